import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.dataset import stacks
from relion_mpi.dataset.particles import read_particles
from relion_mpi.dataset.stacks import StackReader

# Image i of stack s is 100 s + i everywhere (conftest).
VALUES = np.array([0, 1, 2, 3, 4, 100, 101, 102, 200, 201, 202, 203], dtype=np.float32)


@pytest.fixture
def particles(project):
    return read_particles(project.path, project.folder)


def read(reader, particles, rows):
    rows = np.array(list(rows))
    return reader.read(particles.stack_file[rows], particles.image_index[rows])


@pytest.mark.parametrize("rows", [list(range(12)), [11, 0, 6, 1, 5], [3, 3], [7]])
def test_images_come_in_the_order_of_the_rows(particles, rows):
    with StackReader(particles.stack_headers) as reader:
        images = read(reader, particles, rows)
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
    with StackReader(particles.stack_headers) as reader:
        read(reader, particles, list(rows))
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
    particles = read_particles(project.path, project.folder)
    with StackReader(particles.stack_headers) as reader:
        assert read(reader, particles, [5, 6, 7, 8])[:, 0, 0].tolist() == [7, 8, 9, 200]


def test_a_file_that_shrank_is_refused(particles, project):
    path = project.folder / "s2.mrcs"
    path.write_bytes(path.read_bytes()[:-10])
    with StackReader(particles.stack_headers) as reader:
        assert read(reader, particles, [8, 9])[1, 0, 0] == 201
        with pytest.raises(InputError, match=r"s2\.mrcs: the file ends at byte"):
            read(reader, particles, [10, 11])


def test_a_file_that_went_is_refused(particles, project):
    (project.folder / "s2.mrcs").unlink()
    with StackReader(particles.stack_headers) as reader:
        with pytest.raises(InputError, match="cannot be opened now"):
            read(reader, particles, [10])


def test_few_files_stay_open(particles, monkeypatch):
    monkeypatch.setattr(stacks, "_N_OPEN", 2)
    opened, closed = [], []
    real_open, real_close = stacks.os.open, stacks.os.close
    monkeypatch.setattr(stacks.os, "open", lambda *a: opened.append(a[0]) or real_open(*a))
    monkeypatch.setattr(stacks.os, "close", lambda fd: closed.append(fd) or real_close(fd))
    with StackReader(particles.stack_headers) as reader:
        for row in (0, 5, 0, 8, 0, 5):  # stacks 0 1 0 2 0 1: stack 1 is the one let go
            assert read(reader, particles, [row])[0, 0, 0] == VALUES[row]
    assert [path.name for path in opened] == ["s0.mrcs", "s1.mrcs", "s2.mrcs", "s1.mrcs"]
    assert len(closed) == len(opened)


@pytest.mark.parametrize("rows", [list(range(12)), [11, 0, 6, 1, 5]])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_images_go_into_a_given_array(particles, rows, dtype):
    out = np.full((len(rows), 8, 8), np.nan, dtype)
    with StackReader(particles.stack_headers) as reader:
        found = reader.read(particles.stack_file[rows], particles.image_index[rows], out)
    assert found is out
    np.testing.assert_array_equal(out, np.broadcast_to(VALUES[rows, None, None], out.shape))


def test_a_given_array_of_another_shape_is_refused(particles):
    with StackReader(particles.stack_headers) as reader:
        with pytest.raises(ValueError, match=r"\(1, 8, 8\) do not go into \(2, 8, 8\)"):
            reader.read(np.array([0]), np.array([0]), np.empty((2, 8, 8), np.float32))


def test_converted_images_are_right_across_the_parts_they_are_read_in(particles, monkeypatch):
    monkeypatch.setattr(stacks, "_PART_BYTES", 2 * 8 * 8 * 4)  # two images
    out = np.empty((12, 8, 8), np.float16)
    with StackReader(particles.stack_headers) as reader:
        reader.read(particles.stack_file, particles.image_index, out)
    np.testing.assert_array_equal(out[:, 4, 4], VALUES)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_threads_that_share_a_read_give_the_same_images(particles, dtype, monkeypatch):
    monkeypatch.setattr(stacks, "_SHARE_BYTES", 2 * 8 * 8 * 4)  # two images a thread
    monkeypatch.setattr(stacks, "_N_OPEN", 2)  # so that a file must wait for one to be done with
    rows = [11, 0, 6, 1, 5, 2, 3, 8, 9, 10, 4, 7]
    out = np.full((12, 8, 8), np.nan, dtype)
    with StackReader(particles.stack_headers, n_threads=3) as reader:
        reader.read(particles.stack_file[rows], particles.image_index[rows], out)
        assert reader.n_runs == 3
    np.testing.assert_array_equal(out, np.broadcast_to(VALUES[rows, None, None], out.shape))


def test_a_thread_that_finds_a_file_too_short_ends_the_read(particles, project):
    path = project.folder / "s2.mrcs"
    path.write_bytes(path.read_bytes()[:-10])
    with StackReader(particles.stack_headers, n_threads=2) as reader:
        with pytest.raises(InputError, match=r"s2\.mrcs: the file ends at byte"):
            read(reader, particles, range(12))
        assert read(reader, particles, [0, 8])[1, 0, 0] == 200  # the reader can still be used


def test_float16_files_are_not_converted_on_their_way_to_float16(project, monkeypatch):
    path = project.folder / "s1.mrcs"
    header = np.frombuffer(path.read_bytes()[:1024], "<i4").copy()
    header[3] = 12
    stored = np.random.default_rng(3).normal(size=(3, 8, 8)).astype("<f2")
    path.write_bytes(header.tobytes() + stored.tobytes())
    particles = read_particles(project.path, project.folder)
    monkeypatch.setattr(stacks, "_convert", None)
    out = np.empty((3, 8, 8), np.float16)
    with StackReader(particles.stack_headers) as reader:
        reader.read(particles.stack_file[5:8], particles.image_index[5:8], out)
    np.testing.assert_array_equal(out, stored)
