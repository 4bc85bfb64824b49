import numpy as np
import pytest

from relion_mpi.fourier.resample import fourier_resized, resample, windowed


def blob(n, pixel, sigma=12.0):
    axis = (np.arange(n) - n // 2) * pixel
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    r2 = (x - 6.0) ** 2 + (y + 4.0) ** 2 + z**2
    return np.exp(-r2 / (2 * sigma**2)).astype(np.float32)


@pytest.mark.parametrize(("n", "m"), [(48, 32), (32, 48), (32, 32)])
def test_resizing_keeps_grey_values_and_centre(n, m):
    np.testing.assert_allclose(fourier_resized(blob(n, 192 / n), m), blob(m, 192 / m), atol=1e-4)


@pytest.mark.parametrize(("pixel", "new", "box"), [(4.0, 6.0, 32), (6.0, 3.7, 50), (5.0, 5.0, 30)])
def test_a_map_on_a_new_grid_is_the_same_function(pixel, new, box):
    np.testing.assert_allclose(
        resample(blob(40, pixel), pixel, box, new), blob(box, new), atol=4e-3
    )


@pytest.mark.parametrize(("n", "m"), [(5, 8), (8, 5), (7, 4), (4, 7)])
def test_windows_share_the_centre_voxel(n, m):
    volume = np.zeros((n,) * 3)
    volume[(n // 2,) * 3] = 1.0
    assert windowed(volume, m)[(m // 2,) * 3] == 1.0
