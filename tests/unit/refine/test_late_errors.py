"""HDF5 writes to a disk that fills up, and neither notices nor tries again."""

from __future__ import annotations

import gc
import io

import h5py
import numpy as np
import pytest

from relion_mpi.refine.late_errors import LateErrors


class SmallDisk(io.FileIO):
    """A file that cannot grow beyond so many bytes."""

    def __init__(self, path, room):
        super().__init__(path, "w+")
        self.room = room

    def write(self, data):
        fits = max(self.room - self.tell(), 0)
        if not fits:
            raise OSError(28, "No space left on device")
        return super().write(memoryview(data)[:fits])


def written(path, room):
    with SmallDisk(path, room) as disk:
        target = LateErrors(disk)
        with h5py.File(target, "w") as file:
            file.attrs["format"] = 1
            for k in range(5):
                file[f"group/array{k}"] = np.arange(1000.0) + k
        return target.error


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("room", [0, 90, 3000, 9000, 30000])
def test_a_full_disk_is_known_afterwards_and_only_then(tmp_path, room):
    assert written(tmp_path / "file.h5", room).errno == 28
    gc.collect()  # HDF5 would complain here


def test_a_file_that_fits_is_whole(tmp_path):
    assert written(tmp_path / "file.h5", 1 << 20) is None
    with h5py.File(tmp_path / "file.h5") as file:
        for k in range(5):
            np.testing.assert_array_equal(file[f"group/array{k}"][()], np.arange(1000.0) + k)


def test_writes_in_parts_are_put_together(tmp_path):
    class Piecewise(io.FileIO):
        def write(self, data):
            return super().write(memoryview(data)[:7])

    with Piecewise(tmp_path / "file", "w+") as raw:
        assert LateErrors(raw).write(bytes(range(100))) == 100
    assert (tmp_path / "file").read_bytes() == bytes(range(100))
