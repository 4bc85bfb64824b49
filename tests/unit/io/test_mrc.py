import logging

import mrcfile
import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.io import mrc
from relion_mpi.io.mrc import read_header, read_map, write_map

VOLUME = np.random.default_rng(5).normal(size=(4, 6, 8)).astype(np.float32)


def write_raw(path, data, order="<", extended=0):
    """Write an MRC file by hand, independent of the program."""
    data = data.astype(data.dtype.newbyteorder(order))
    header = np.zeros(256, dtype=f"{order}i4")
    modes = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}
    nz, ny, nx = data.shape
    header[:4] = nx, ny, nz, modes[data.dtype.str[1:]]
    header[7:10] = nx, ny, nz
    header[10:13] = np.array([nx, ny, nz], f"{order}f4").view(f"{order}i4") if nx else 0
    header[16:19] = 1, 2, 3
    header[23] = extended
    raw = bytearray(header.tobytes())
    raw[208:216] = b"MAP " + (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    path.write_bytes(bytes(raw) + b"\7" * extended + data.tobytes())
    return path


@pytest.mark.parametrize("stack", [False, True])
def test_mrcfile_accepts_what_is_written(tmp_path, stack):
    path = tmp_path / "a.mrc"
    write_map(path, VOLUME, 1.25, stack=stack)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        np.testing.assert_array_equal(mrc.data, VOLUME)
        assert mrc.is_image_stack() == stack
        np.testing.assert_allclose(mrc.voxel_size.tolist(), 1.25, rtol=1e-6)
        statistics = [mrc.header[x].item() for x in ("dmin", "dmax", "dmean", "rms")]
    expected = [VOLUME.min(), VOLUME.max(), VOLUME.mean(), VOLUME.std()]
    np.testing.assert_allclose(statistics, expected, rtol=1e-5, atol=1e-7)


def test_a_map_is_read_back(tmp_path):
    write_map(tmp_path / "a.mrc", VOLUME, 3.5)
    volume, pixel_size = read_map(tmp_path / "a.mrc")
    np.testing.assert_array_equal(volume, VOLUME)
    assert volume.dtype == np.float32
    assert pixel_size == pytest.approx(3.5, rel=1e-6)


def test_a_single_image_is_a_stack_of_one(tmp_path):
    write_map(tmp_path / "a.mrc", VOLUME[0], 1.0)
    assert read_header(tmp_path / "a.mrc").nz == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i1", "i2", "f4", "u2", "f2"])
def test_every_mode_is_read_in_either_byte_order(tmp_path, kind, order):
    data = np.arange(4 * 6 * 8).reshape(4, 6, 8) % 100
    path = write_raw(tmp_path / "a.mrc", data.astype(kind), order, extended=160)
    np.testing.assert_array_equal(read_map(path)[0], data)


@pytest.mark.parametrize("piece_bytes", [1, 100, 4 * 6 * 8 * 4, 10**6])
def test_a_map_read_in_pieces_is_the_whole_map(tmp_path, monkeypatch, piece_bytes):
    path = write_raw(tmp_path / "a.mrc", VOLUME, extended=160)
    monkeypatch.setattr(mrc, "_PIECE_BYTES", piece_bytes)
    np.testing.assert_array_equal(read_map(path)[0], VOLUME)


def test_a_file_that_shrinks_while_it_is_read_is_told_of(tmp_path, monkeypatch):
    path = write_raw(tmp_path / "a.mrc", VOLUME)
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(mrc, "read_header", lambda _: header)
    with pytest.raises(InputError, match="became shorter while it was read"):
        read_map(path)


def test_mrcfiles_own_files_are_read(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc", VOLUME) as file:
        file.voxel_size = 2.0
    volume, pixel_size = read_map(tmp_path / "a.mrc")
    np.testing.assert_array_equal(volume, VOLUME)
    assert pixel_size == 2.0


def test_a_truncated_file_is_refused(tmp_path):
    path = write_raw(tmp_path / "a.mrc", VOLUME)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"a\.mrc: found 1791 bytes, expected 1792 .* truncated"):
        read_header(path)


def test_surplus_bytes_are_told(tmp_path, caplog):
    path = write_raw(tmp_path / "a.mrc", VOLUME)
    path.write_bytes(path.read_bytes() + b"123")
    with caplog.at_level(logging.WARNING):
        assert read_header(path).nz == 4
    assert "3 bytes follow" in caplog.text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"short", "expected an MRC header"),
        (b"text " * 400, "not an MRC file"),
        (b"\0" * 2000, "not an MRC file"),
    ],
)
def test_other_files_are_refused(tmp_path, raw, message):
    (tmp_path / "a.mrc").write_bytes(raw)
    with pytest.raises(InputError, match=message):
        read_header(tmp_path / "a.mrc")


def test_other_modes_are_refused(tmp_path):
    path = write_raw(tmp_path / "a.mrc", VOLUME)
    raw = bytearray(path.read_bytes())
    raw[12] = 101
    path.write_bytes(raw)
    with pytest.raises(InputError, match="mode 101"):
        read_header(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_header(tmp_path / "none.mrc")


def test_permuted_axes_are_refused(tmp_path):
    path = write_raw(tmp_path / "a.mrc", VOLUME)
    raw = bytearray(path.read_bytes())
    raw[64] = 3
    path.write_bytes(raw)
    with pytest.raises(InputError, match="axes"):
        read_map(path)
