import threading

import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.dataset import stacks
from relion_mpi.dataset.particles import read_particles
from relion_mpi.dataset.stacks import Prefetcher, StackReader

# Image i of stack s is 100 s + i everywhere (conftest).
VALUES = np.array([0, 1, 2, 3, 4, 100, 101, 102, 200, 201, 202, 203], dtype=np.float32)


@pytest.fixture
def particles(project):
    return read_particles(project.path, project.folder)


@pytest.mark.parametrize("rows", [list(range(12)), [11, 0, 6, 1, 5], [3, 3], [7]])
def test_images_come_in_the_order_of_the_rows(particles, rows):
    with StackReader(particles) as reader:
        images = reader.read(np.array(rows))
    assert images.shape == (len(rows), 8, 8)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[:, 3, 5], VALUES[rows])
    assert (images == images[:, :1, :1]).all()


@pytest.mark.parametrize(
    ("rows", "n_runs"),
    [(range(12), 3), ([0, 1, 3, 4], 2), ([4, 3, 2, 1, 0], 1), ([0, 5, 8], 3), ([2], 1)],
)
def test_one_read_serves_a_run_of_images(particles, rows, n_runs, monkeypatch):
    calls = []
    preadv = stacks.os.preadv
    monkeypatch.setattr(stacks.os, "preadv", lambda *a: calls.append(a[2]) or preadv(*a))
    with StackReader(particles) as reader:
        reader.read(np.array(list(rows)))
        assert reader.n_runs == n_runs
    assert len(calls) == n_runs


@pytest.mark.parametrize("kind", ["<i2", ">f4", "<f2", ">u2"])
def test_stored_types_become_float32(project, kind):
    path = project.folder / "s1.mrcs"
    raw = bytearray(path.read_bytes()[:1024])
    header = np.frombuffer(raw, "<i4").copy()
    header[3] = {"i2": 1, "f4": 2, "f2": 12, "u2": 6}[kind[1:]]
    header = header.astype(kind[0] + "i4") if kind[0] == ">" else header
    raw = bytearray(header.tobytes())
    raw[212:214] = b"\x44\x44" if kind[0] == "<" else b"\x11\x11"
    data = np.broadcast_to(np.array([7, 8, 9])[:, None, None], (3, 8, 8)).astype(kind)
    path.write_bytes(bytes(raw) + data.tobytes())
    with StackReader(read_particles(project.path, project.folder)) as reader:
        assert reader.read(np.array([5, 6, 7, 8]))[:, 0, 0].tolist() == [7, 8, 9, 200]


def test_a_file_that_shrank_is_refused(particles, project):
    path = project.folder / "s2.mrcs"
    path.write_bytes(path.read_bytes()[:-10])
    with StackReader(particles) as reader:
        assert reader.read(np.array([8, 9]))[1, 0, 0] == 201
        with pytest.raises(InputError, match=r"s2\.mrcs: the file ends at byte"):
            reader.read(np.array([10, 11]))


def test_a_file_that_went_is_refused(particles, project):
    (project.folder / "s2.mrcs").unlink()
    with StackReader(particles) as reader, pytest.raises(InputError, match="cannot be opened now"):
        reader.read(np.array([10]))


def test_few_files_stay_open(particles, monkeypatch):
    monkeypatch.setattr(stacks, "_N_OPEN", 2)
    opened, closed = [], []
    real_open, real_close = stacks.os.open, stacks.os.close
    monkeypatch.setattr(stacks.os, "open", lambda *a: opened.append(a[0]) or real_open(*a))
    monkeypatch.setattr(stacks.os, "close", lambda fd: closed.append(fd) or real_close(fd))
    with StackReader(particles) as reader:
        for row in (0, 5, 0, 8, 0, 5):  # stacks 0 1 0 2 0 1: stack 1 is the one let go
            assert reader.read(np.array([row]))[0, 0, 0] == VALUES[row]
    assert [path.name for path in opened] == ["s0.mrcs", "s1.mrcs", "s2.mrcs", "s1.mrcs"]
    assert len(closed) == len(opened)


def test_the_prefetcher_gives_batches_in_order(particles):
    with StackReader(particles) as reader, Prefetcher(reader) as ahead:
        for row in range(12):
            ahead.put(np.array([row]))
        got = [ahead.get()[0, 0, 0] for _ in range(12)]
    np.testing.assert_array_equal(got, VALUES)


def test_the_prefetcher_reads_two_ahead_and_no_more():
    class Source:
        def __init__(self):
            self.rows = []
            self.second = threading.Event()

        def read(self, rows):
            self.rows.append(int(rows[0]))
            if len(self.rows) == 2:
                self.second.set()
            return rows

    source = Source()
    with Prefetcher(source) as ahead:
        for row in range(5):
            ahead.put(np.array([row]))
        assert source.second.wait(10)
        assert source.rows == [0, 1]
        for row in range(5):
            assert ahead.get()[0] == row
            assert len(source.rows) <= row + 3


def test_the_prefetcher_raises_in_get_and_goes_on(particles, project):
    (project.folder / "s2.mrcs").unlink()
    with StackReader(particles) as reader, Prefetcher(reader) as ahead:
        ahead.put(np.array([11]))
        ahead.put(np.array([1]))
        with pytest.raises(InputError, match=r"s2\.mrcs"):
            ahead.get()
        assert ahead.get()[0, 0, 0] == 1


def test_get_without_put_does_not_hang(particles):
    with Prefetcher(StackReader(particles)) as ahead, pytest.raises(RuntimeError, match="queued"):
        ahead.get()
