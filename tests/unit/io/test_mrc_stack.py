import mrcfile
import numpy as np
import pytest

from relion_mpi.io.mrc import read_header, read_map
from relion_mpi.io.mrc_stack import write_stack


@pytest.mark.parametrize(("dtype", "mode"), [(np.float32, 2), (np.float16, 12)])
def test_a_stack_is_read_back_as_it_was(tmp_path, dtype, mode):
    images = np.random.default_rng(1).normal(3.0, 2.0, (5, 6, 8)).astype(dtype)
    path = tmp_path / "a.mrcs"
    write_stack(path, iter(images), images.shape, np.dtype(dtype), 1.5)
    header = read_header(path)
    assert (header.mode, header.pixel_size_angst) == (mode, pytest.approx(1.5))
    np.testing.assert_array_equal(read_map(path)[0], images.astype(np.float32))
    assert mrcfile.validate(path)


def test_the_header_tells_what_values_there_are(tmp_path):
    images = np.random.default_rng(2).normal(3.0, 2.0, (5, 6, 8)).astype(np.float32)
    write_stack(tmp_path / "a.mrcs", images, images.shape, np.dtype(np.float32), 1.0)
    with mrcfile.open(tmp_path / "a.mrcs") as opened:
        found = [float(opened.header[name]) for name in ("dmin", "dmax", "dmean", "rms")]
        assert opened.is_image_stack()
    expected = [images.min(), images.max(), images.mean(), images.std()]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_too_few_images_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="expected 5 images, found 3"):
        write_stack(
            tmp_path / "a.mrcs", np.zeros((3, 4, 4)), (5, 4, 4), np.dtype(np.float32), 1.0
        )
    assert list(tmp_path.iterdir()) == []
