"""Images copied to the scratch disk of each node by its ranks; `tests/jobs` starts it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.dataset import scratch_pieces
from relion_mpi.dataset.batches import Batch
from relion_mpi.dataset.image_cache import make_layout
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.io.mrc import read_header, write_map
from relion_mpi.parallel import comm, roll_call
from relion_mpi.parallel.abort import AgreedStop
from relion_mpi.parallel.shared_memory import share_on_node
from relion_mpi.refine import scratch
from relion_mpi.refine.scratch import images_on_scratch

pytestmark = pytest.mark.mpi

N_STACK, N_IMAGE, BOX = 5, 30, 32


@dataclass
class Options:
    scratch_dir: Any = None
    keep_free_scratch: float = 0.0
    reuse_scratch: bool = False
    keep_scratch: bool = False


def everybody(item):
    return roll_call.everybody(comm.world(), item)


def never():
    return False


@pytest.fixture
def made(tmp_path_factory, monkeypatch):
    """Stacks of random images in batches of 10, pieces of 10 images, and the copies made here."""
    job = comm.world()
    folder = roll_call.tell(job, tmp_path_factory.mktemp("set") if job.rank == 0 else None)
    images = np.random.default_rng(1).normal(size=(N_STACK, N_IMAGE, BOX, BOX)).astype(np.float32)
    if job.rank == 0:
        (folder / "disk").mkdir()
        for k in range(N_STACK):
            write_map(folder / f"s{k}.mrcs", images[k], 1.0, stack=True)
    everybody(None)
    headers = [read_header(folder / f"s{k}.mrcs") for k in range(N_STACK)]
    monkeypatch.setattr(scratch_pieces, "PIECE_BYTES", 10 * headers[0].image_bytes)
    particles = SimpleNamespace(
        stack_headers=headers, stack_file=np.repeat(np.arange(N_STACK), N_IMAGE),
        image_index=np.tile(np.arange(N_IMAGE), N_STACK),
    )  # fmt: skip
    order = np.random.default_rng(2).permutation(N_STACK * N_IMAGE // 10)
    batches = [Batch(i, 1, np.arange(10 * k, 10 * k + 10)) for i, k in enumerate(order.tolist())]
    copies = []
    original = scratch.copy_piece
    monkeypatch.setattr(
        scratch, "copy_piece", lambda h, *a: copies.append(h.path) or original(h, *a)
    )
    start = SimpleNamespace(particles=particles, batches=batches)
    return SimpleNamespace(
        disk=folder / "disk", images=images, headers=headers, particles=particles,
        batches=batches, start=start if job.rank == 0 else None, copies=copies,
    )  # fmt: skip


def two_nodes(monkeypatch):
    """Even ranks on one node, odd ones on another."""
    monkeypatch.setattr(comm, "split_by_node", lambda c: c.Split(c.Get_rank() % 2, c.Get_rank()))


def kept(made, memory, n_bytes):
    return make_layout(made.particles, made.batches, n_bytes), memory


def read_all(made, found):
    """Read every image; return how many bytes of them came from the scratch disk."""
    with StackReader(made.headers, scratch=found) as reader:
        images = reader.read(made.particles.stack_file, made.particles.image_index)
        np.testing.assert_array_equal(images, made.images.reshape(images.shape))
        assert reader.n_bytes == images.nbytes
        return reader.n_scratch_bytes


def folders(made):
    return sorted(path.name for path in made.disk.glob("relion_mpi_*"))


def test_ranks_of_a_node_copy_each_piece_once(made):
    with share_on_node(comm.world(), 0, 0) as memory:
        options = Options(made.disk)
        with images_on_scratch(
            options, comm.world(), made.start, kept(made, memory, 0), never
        ) as found:
            assert read_all(made, found) == made.images.nbytes
            assert len(folders(made)) == 1
            counts = everybody(len(made.copies))
            assert sum(counts) == 15
            assert max(counts) - min(counts) <= 1
            everybody(None)
        everybody(None)
        assert folders(made) == []


@pytest.mark.skipif("comm.world().size < 3", reason="two nodes have three ranks or more")
def test_each_node_has_its_own_copies_and_one_with_the_master_alone_has_none(made, monkeypatch):
    two_nodes(monkeypatch)
    with share_on_node(comm.world(), 0, 0) as memory:
        with images_on_scratch(
            Options(made.disk), comm.world(), made.start, kept(made, memory, 0), never
        ) as found:
            assert read_all(made, found) == made.images.nbytes
            assert len(folders(made)) == 2
            assert sum(everybody(len(made.copies))) == 30
            everybody(None)
        everybody(None)
        assert folders(made) == []


def test_only_what_does_not_stay_in_memory_is_copied(made):
    piece = 10 * made.headers[0].image_bytes
    with share_on_node(comm.world(), 6 * piece, 15) as memory:
        everything = kept(made, memory, 1 << 30)
        with images_on_scratch(
            Options(made.disk), comm.world(), made.start, everything, never
        ) as found:
            assert read_all(made, found) == 9 * piece
            assert sum(everybody(len(made.copies))) == 9
        with images_on_scratch(
            Options(made.disk, keep_scratch=True), comm.world(), made.start, everything, never
        ) as found:
            assert read_all(made, found) == 15 * piece
        everybody(None)
        assert len(folders(made)) == 1


def test_kept_copies_are_checked_and_damaged_ones_copied_again(made):
    job = comm.world()
    with share_on_node(job, 0, 0) as memory:
        nothing = kept(made, memory, 0)
        with images_on_scratch(
            Options(made.disk, keep_scratch=True), job, made.start, nothing, never
        ):
            pass
        everybody(None)
        if job.rank == 0:
            copy = next(iter(made.disk.glob("*/*.images")))
            with copy.open("r+b") as handle:
                handle.seek(1024 + 15 * made.headers[0].image_bytes)
                handle.write(b"damage")
        made.copies.clear()
        everybody(None)
        with images_on_scratch(
            Options(made.disk, reuse_scratch=True), job, made.start, nothing, never
        ) as found:
            assert sum(everybody(len(made.copies))) == 1
            assert read_all(made, found) == made.images.nbytes
            everybody(None)
        everybody(None)
        assert folders(made) == []


def test_a_disk_that_fills_up_holds_what_fits(made, monkeypatch, caplog):
    job = comm.world()
    counted = scratch.copy_piece
    n_here = []

    def full(*given):
        n_here.append(1)
        if len(n_here) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return counted(*given)

    monkeypatch.setattr(scratch, "copy_piece", full)
    with share_on_node(job, 0, 0) as memory, images_on_scratch(
        Options(made.disk), job, made.start, kept(made, memory, 0), never
    ) as found:
        n_bytes = read_all(made, found)
        expected = sum(everybody(min(2, len(n_here)))) * 10 * made.headers[0].image_bytes
        assert 0 < n_bytes == expected < made.images.nbytes
        assert ("No space left on device" in caplog.text) == (job.rank == 0)


def test_an_end_that_is_asked_for_ends_the_copying(made, monkeypatch):
    monkeypatch.setattr(scratch, "ROUND_SECONDS", 0.0)
    job = comm.world()
    with share_on_node(job, 0, 0) as memory, images_on_scratch(
        Options(made.disk), job, made.start, kept(made, memory, 0), lambda: job.rank == 0
    ) as found:
        assert read_all(made, found) < made.images.nbytes


def test_a_disk_that_one_node_lacks_stops_all_ranks_with_one_message(made, monkeypatch, capfd):
    job = comm.world()
    if job.size >= 3:
        two_nodes(monkeypatch)
    last = (job.size - 1) % 2 if job.size >= 3 else 0

    def missing(root):
        if job.rank % 2 == last or job.size < 3:
            raise InputError(f"--scratch_dir {root}: on node{last} there is no such folder")

    monkeypatch.setattr(scratch, "check_scratch", missing)
    with share_on_node(job, 0, 0) as memory:
        with (
            pytest.raises(AgreedStop),
            images_on_scratch(
                Options(made.disk), job, made.start, kept(made, memory, 0), never
            ),
        ):
            pass
        told = "".join(everybody(capfd.readouterr().err))
        assert told.count("relion-mpi: error: --scratch_dir") == 1
        assert folders(made) == []


@pytest.mark.skipif("comm.world().size > 1", reason="it ends the job")
def test_a_stack_that_vanishes_is_named_and_no_copies_are_left(made):
    job = comm.world()
    os.unlink(made.headers[2].path)
    with (
        share_on_node(job, 0, 0) as memory,
        pytest.raises(InputError, match=r"s2\.mrcs: the stack was there when the run began"),
        images_on_scratch(Options(made.disk), job, made.start, kept(made, memory, 0), never),
    ):
        pass
    assert folders(made) == []
