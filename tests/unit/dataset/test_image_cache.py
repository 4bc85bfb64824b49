"""Batches in memory: where they lie, when files are read, what comes back."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.batches import Batch
from relion_mpi.dataset.image_cache import PAGE_BYTES, ImageCache, make_layout
from relion_mpi.dataset.particles import read_particles
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.io.mrc import write_map

BOX = 40  # an image of float32 is more than a page, one of float16 less
PLENTY = 1 << 30
KINDS = {"f4": 2, "f2": 12, "i2": 1, "u2": 6, "i1": 0}


def store_as(path, kind, values):
    """Write a stack of another type of number, little endian."""
    write_map(path, np.zeros(values.shape, np.float32), 2.0, stack=True)
    raw = bytearray(path.read_bytes()[:1024])
    raw[12:16] = np.array(KINDS[kind], "<i4").tobytes()
    path.write_bytes(bytes(raw) + values.astype("<" + kind).tobytes())


def pictures(stack, n, box):
    """Small integers, which every type holds."""
    return np.random.default_rng(stack).integers(-100, 100, (n, box, box)).astype(np.float32)


@pytest.fixture
def stored(project):
    """Make stacks of these types and boxes and read their STAR file."""

    def make(kinds=("f4", "f4", "f4"), boxes=(BOX, BOX, BOX)):
        images = []
        for s, (kind, box, n) in enumerate(zip(kinds, boxes, (5, 3, 4), strict=True)):
            images.append(np.abs(pictures(s, n, box)) if kind == "u2" else pictures(s, n, box))
            store_as(project.folder / f"s{s}.mrcs", kind, images[-1])
        if len(set(boxes)) > 1:  # one box size in a group: a group for each stack
            stack = [0] * 5 + [1] * 3 + [2] * 4
            project.table = project.table.with_columns(rlnOpticsGroup=np.array(stack) + 1)
            project.optics = project.optics[[0, 0, 0]].with_columns(
                rlnOpticsGroup=np.arange(1, 4), rlnImageSize=np.array(boxes)
            )
        project.write()
        return read_particles(project.path, project.folder), [i for part in images for i in part]

    return make


def batches_of(*rows):
    return [Batch(i, 0, np.array(r)) for i, r in enumerate(rows)]


def by_stack():
    return batches_of(range(5), range(5, 8), range(8, 12))


def aligned(n_bytes):
    """Bytes of ones that start at a page."""
    memory = np.frombuffer(mmap.mmap(-1, max(n_bytes, 1)), np.uint8)[:n_bytes]
    memory[:] = 255
    return memory


class Run:
    """A cache over a layout, with its reader."""

    def __init__(self, particles, batches, layout, memory=None, flags=None, **hooks):
        self.particles, self.batches = particles, batches
        self.reader = StackReader(particles.stack_headers)
        self.memory = aligned(layout.n_bytes) if memory is None else memory
        self.flags = np.zeros(len(batches), np.uint8) if flags is None else flags
        self.cache = ImageCache(layout, self.memory, self.flags, self.reader, **hooks)

    def read(self, i):
        rows = self.batches[i].particles
        p = self.particles
        return self.cache.read(i, p.stack_file[rows], p.image_index[rows])

    def reads(self, i):
        """Whether reading batch i asks the files."""
        before = self.reader.n_runs
        self.read(i)
        return self.reader.n_runs > before


# Layout


def test_pieces_follow_one_another_in_whole_pages(stored):
    layout = make_layout(stored()[0], by_stack(), PLENTY)
    assert layout.n_img.tolist() == [5, 3, 4]
    assert layout.box.tolist() == [BOX] * 3
    assert (layout.offset % 4096 == 0).all()
    padding = np.diff(layout.offset) - 4 * BOX**2 * layout.n_img
    assert ((padding >= 0) & (padding < PAGE_BYTES)).all()


def test_only_batches_of_float16_files_are_kept_as_float16(stored):
    particles, _ = stored(("f2", "i2", "f4"))
    batches = batches_of(range(2), range(2, 5), range(4, 6), range(6, 8), range(8, 12))
    layout = make_layout(particles, batches, PLENTY)
    assert layout.is_half.tolist() == [True, True, False, False, False]


def test_half_precision_can_be_asked_for(stored):
    particles, _ = stored(("f2", "i2", "f4"))
    full, half = (make_layout(particles, by_stack(), PLENTY, half=h) for h in (False, True))
    assert half.is_half.all()
    assert half.n_bytes < full.n_bytes


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_as_many_first_batches_as_fit_are_kept(stored, n):
    particles, _ = stored()
    wanted = make_layout(particles, by_stack(), PLENTY)
    exact = int(wanted.offset[n])
    assert make_layout(particles, by_stack(), exact).n_batch == n
    assert make_layout(particles, by_stack(), exact).n_bytes == exact
    assert make_layout(particles, by_stack(), exact - 1).n_batch == max(n - 1, 0)


def test_each_batch_has_the_box_of_its_images(stored):
    boxes = (40, 64, 16)
    particles, images = stored(boxes=boxes)
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY))
    for i, rows in enumerate((range(5), range(5, 8), range(8, 12))):
        for _ in range(2):
            np.testing.assert_array_equal(run.read(i), [images[r] for r in rows])
    # The pieces did not run into each other.
    np.testing.assert_array_equal(run.read(0), images[:5])


# Reading


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [False, True])
def test_images_are_those_of_the_files(stored, kind, half):
    particles, images = stored((kind,) * 3)
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY, half=half))
    for _ in range(2):
        found = run.read(1)
        assert found.dtype == (np.float16 if half or kind == "f2" else np.float32)
        np.testing.assert_array_equal(found, images[5:8])


def test_files_are_read_once(stored):
    particles, _ = stored()
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY))
    assert [run.reads(i) for i in (0, 1, 0, 2, 1, 2)] == [True, True, False, True, False, False]
    assert run.flags.tolist() == [1, 1, 1]


def test_the_view_lies_in_the_cache_and_cannot_be_written_to(stored):
    particles, _ = stored()
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY))
    for _ in range(2):
        found = run.read(2)
        assert np.shares_memory(found, run.memory)
        assert found.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 0
    assert run.memory.flags.writeable


def test_batches_that_do_not_fit_are_read_every_time(stored):
    particles, images = stored()
    layout = make_layout(particles, by_stack(), PLENTY)
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), layout.offset[1]))
    assert run.cache.n_batch == 1
    assert [run.reads(i) for i in (0, 1, 0, 1)] == [True, True, False, True]
    np.testing.assert_array_equal(run.read(1), images[5:8])
    assert not np.shares_memory(run.read(1), run.memory)


def test_less_memory_than_laid_out_keeps_fewer_batches(stored):
    particles, images = stored()
    layout = make_layout(particles, by_stack(), PLENTY)
    run = Run(particles, by_stack(), layout, memory=aligned(layout.n_bytes - 1))
    assert run.cache.n_batch == 2
    assert [run.reads(i) for i in (1, 2, 1, 2)] == [True, True, False, True]
    np.testing.assert_array_equal(run.read(2), images[8:])


def test_another_reader_sees_what_the_first_has_read(stored):
    particles, images = stored()
    layout = make_layout(particles, by_stack(), PLENTY)
    first = Run(particles, by_stack(), layout)
    second = Run(particles, by_stack(), layout, memory=first.memory, flags=first.flags)
    assert first.reads(1)
    assert not second.reads(1)
    np.testing.assert_array_equal(second.read(1), images[5:8])


def test_a_batch_whose_reading_failed_is_not_taken_for_read(stored):
    particles, images = stored()
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY))
    path = particles.stack_headers[1].path
    moved = path.with_suffix(".away")
    path.rename(moved)
    with pytest.raises(InputError, match="cannot be opened"):
        run.read(1)
    moved.rename(path)
    np.testing.assert_array_equal(run.read(1), images[5:8])


def test_values_that_half_precision_cannot_hold_end_the_run(stored, project):
    stored(("f4", "f4", "u2"))
    large = np.full((4, BOX, BOX), 7, np.float32)
    large[2, 1, 1] = 65535
    store_as(project.folder / "s2.mrcs", "u2", large)
    particles = read_particles(project.path, project.folder)
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY, half=True))
    with pytest.raises(InputError, match=r"s2\.mrcs: image 3 has values beyond 65504"):
        run.read(2)


def test_float32_is_rounded_to_the_nearest_float16(stored, project):
    stored()
    values = np.random.default_rng(5).normal(size=(4, BOX, BOX)).astype(np.float32)
    write_map(project.folder / "s2.mrcs", values, 2.0, stack=True)
    particles = read_particles(project.path, project.folder)
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY, half=True))
    # 11 bits: half a step is 2^-12 of a value, and 2^-25 below the smallest normal number.
    np.testing.assert_allclose(run.read(2), values, rtol=2.0**-11, atol=2.0**-25)


def test_images_that_are_not_kept_are_rounded_as_those_that_are(stored, project):
    stored()
    values = np.random.default_rng(5).normal(size=(4, BOX, BOX)).astype(np.float32)
    write_map(project.folder / "s2.mrcs", values, 2.0, stack=True)
    particles = read_particles(project.path, project.folder)
    kept, read = (
        Run(particles, by_stack(), make_layout(particles, by_stack(), n_bytes, half=True))
        for n_bytes in (PLENTY, 0)
    )
    assert (kept.cache.n_batch, read.cache.n_batch) == (3, 0)
    assert kept.read(2).tobytes() == read.read(2).tobytes()


def test_a_value_too_large_for_half_precision_ends_a_run_that_keeps_nothing(stored, project):
    stored(("f4", "f4", "u2"))
    large = np.full((4, BOX, BOX), 7, np.float32)
    large[2, 1, 1] = 65535
    store_as(project.folder / "s2.mrcs", "u2", large)
    particles = read_particles(project.path, project.folder)
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), 0, half=True))
    with pytest.raises(InputError, match=r"s2\.mrcs: image 3 has values beyond 65504"):
        run.read(2)


def test_other_images_than_those_laid_out_are_refused(stored):
    particles, _ = stored()
    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY))
    with pytest.raises(ValueError, match="batch 1 has 3 images in the layout, not 2"):
        run.cache.read(1, np.array([1, 1]), np.array([0, 1]))


def test_memory_must_start_at_a_page(stored):
    particles, _ = stored()
    layout = make_layout(particles, by_stack(), PLENTY)
    with pytest.raises(ValueError, match="start at a page"):
        Run(particles, by_stack(), layout, memory=aligned(layout.n_bytes + 8)[8:])


# Pinning and claiming


def test_each_piece_is_pinned_once_after_it_was_filled(stored):
    particles, images = stored()
    pinned = []
    run = Run(
        particles, by_stack(), make_layout(particles, by_stack(), PLENTY),
        pin=lambda piece: pinned.append((piece, piece[: 4 * BOX**2].view(np.float32).copy())),
    )  # fmt: skip
    for i in (1, 0, 1, 0, 0):
        run.read(i)
    run.cache.finish_pinning()
    assert [first.tolist() for _, first in pinned] == [images[i].ravel().tolist() for i in (5, 0)]
    a, b = (piece for piece, _ in pinned)
    assert not np.shares_memory(a, b)
    assert all(p.ctypes.data % PAGE_BYTES == p.size % PAGE_BYTES == 0 for p in (a, b))


def test_pinning_that_fails_is_told_where_it_is_waited_for(stored):
    particles, _ = stored()

    def pin(piece):
        raise RuntimeError("no more")

    run = Run(particles, by_stack(), make_layout(particles, by_stack(), PLENTY), pin=pin)
    run.read(0)
    with pytest.raises(RuntimeError, match="no more"):
        run.cache.finish_pinning()


def test_what_another_process_has_read_is_pinned_here_too(stored):
    particles, _ = stored()
    layout = make_layout(particles, by_stack(), PLENTY)
    first, pinned = Run(particles, by_stack(), layout), []
    first.read(0)
    second = Run(
        particles, by_stack(), layout, memory=first.memory, flags=first.flags, pin=pinned.append
    )
    second.read(0)
    second.cache.finish_pinning()
    assert [piece.size for piece in pinned] == [layout.offset[1]]


def test_full_memory_is_told_once_and_what_is_kept_stays(stored, caplog):
    particles, images = stored()
    claims = []
    run = Run(
        particles, by_stack(), make_layout(particles, by_stack(), PLENTY),
        claim=lambda piece: claims.append(piece.size) or len(claims) < 2,
    )  # fmt: skip
    assert [run.reads(i) for i in (0, 1, 2, 0, 1)] == [True, True, True, False, True]
    np.testing.assert_array_equal(run.read(1), images[5:8])
    assert len(claims) == 2
    assert caplog.text.count("shared memory is full") == 1
