"""Copies of images on a scratch disk: what is copied, checked, and read."""

from __future__ import annotations

import os

import numpy as np
import pytest
from factories.scratch import BOX, arrays, copied, planned

from relion_mpi.core.errors import InputError
from relion_mpi.dataset import scratch_pieces, scratch_plan
from relion_mpi.dataset.particles import read_particles
from relion_mpi.dataset.scratch_copy import ChangedError, check_piece, copy_piece
from relion_mpi.dataset.scratch_images import scratch_images
from relion_mpi.dataset.scratch_manifest import (
    Copied,
    ManifestWriter,
    key_of,
    read_manifests,
)
from relion_mpi.dataset.scratch_pieces import copy_name, pieces_of
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.io.mrc import header_bytes, read_header

# What is copied


def test_pieces_hold_each_used_image_once_and_nothing_else(stacks, monkeypatch):
    headers, _ = stacks
    monkeypatch.setattr(scratch_pieces, "PIECE_BYTES", 10 * headers[0].image_bytes)
    rng = np.random.default_rng(3)
    used = rng.integers(0, 2, 90), rng.integers(0, 40, 90)
    found = pieces_of(headers, *used)
    held = [(p.stack, i) for p in found for start, stop in p.runs for i in range(start, stop)]
    assert sorted(set(zip(used[0].tolist(), used[1].tolist(), strict=True))) == held
    assert all(i // 10 == p.block for p in found for run in p.runs for i in (run[0], run[1] - 1))
    assert [(p.stack, p.block) for p in found] == [(s, b) for s in (0, 1) for b in range(4)]
    assert all(a[1] < b[0] for p in found for a, b in zip(p.runs, p.runs[1:], strict=False))


def test_no_images_are_no_pieces(stacks):
    none = np.zeros(0, np.int64)
    assert pieces_of(stacks[0], none, none) == []


def test_a_copy_takes_the_room_of_the_used_images_alone(tmp_path, disk):
    path = tmp_path / "big.mrcs"
    with path.open("wb") as handle:
        handle.write(header_bytes((1000, 64, 64), 2, 1.0, (0, 0, 0, 0), stack=True))
        handle.truncate(1024 + 1000 * 64 * 64 * 4)
    headers = [read_header(path)]
    (piece,) = pieces_of(headers, *arrays((0, 3), (0, 900), (0, 901)))
    copy_piece(headers[0], piece.runs, disk)
    copy = disk / copy_name(path)
    assert copy.stat().st_size == path.stat().st_size
    assert piece.n_bytes(headers[0]) == 3 * 64 * 64 * 4
    assert 512 * copy.stat().st_blocks <= piece.disk_bytes(headers[0]) + 4096
    assert piece.disk_bytes(headers[0]) <= piece.n_bytes(headers[0]) + 2 * 2 * 4096


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<i2", "<f4", "<u2"])
def test_images_are_copied_as_they_are_stored_and_read_the_same(project, disk, kind):
    path = project.folder / "s1.mrcs"
    header = np.frombuffer(path.read_bytes()[:1024], "<i4").copy()
    header[3] = {"i2": 1, "f4": 2, "f2": 12, "u2": 6}[kind[1:]]
    raw = bytearray((header.astype(kind[0] + "i4") if kind[0] == ">" else header).tobytes())
    raw[212:214] = b"\x44\x44" if kind[0] == "<" else b"\x11\x11"
    values = np.random.default_rng(4).integers(0, 900, (3, 8, 8)).astype(kind)
    path.write_bytes(bytes(raw) + values.tobytes())
    particles = read_particles(project.path, project.folder)
    headers = particles.stack_headers
    where = particles.stack_file[5:8], particles.image_index[5:8]
    pieces = pieces_of(headers, *where)
    copied(headers, pieces, disk)
    assert (disk / copy_name(headers[1].path)).read_bytes()[1024:] == values.tobytes()
    with StackReader(headers) as plain:
        expected = plain.read(*where)
    path.unlink()
    with StackReader(headers, scratch=scratch_images(disk, headers, pieces)) as reader:
        np.testing.assert_array_equal(reader.read(*where), expected)
        assert reader.n_bytes == reader.n_scratch_bytes == values.nbytes


# What is read


def test_images_that_are_not_copied_are_read_from_the_stack(stacks, disk):
    headers, images = stacks
    pieces = pieces_of(headers, *arrays((0, 2), (0, 3), (0, 7), (1, 0)))
    copied(headers, pieces, disk)
    every = np.repeat([0, 1], 40), np.tile(np.arange(40), 2)
    with StackReader(headers, scratch=scratch_images(disk, headers, pieces)) as reader:
        np.testing.assert_array_equal(reader.read(*every), images.reshape(80, BOX, BOX))
        assert reader.n_scratch_bytes == 4 * images[0, 0].nbytes
        assert reader.n_bytes == images.nbytes


def wipe(disk, path):
    path.unlink()


def wipe_everything(disk, path):
    for one in disk.iterdir():
        one.unlink()
    disk.rmdir()


def truncate(disk, path):
    os.truncate(path, 2000)


def overwrite(disk, path):
    with path.open("r+b") as handle:
        handle.seek(5000)
        handle.write(b"other")


@pytest.mark.parametrize("harm", [wipe, wipe_everything, truncate, overwrite])
def test_a_copy_that_is_lost_costs_one_warning_and_no_image(stacks, disk, caplog, harm):
    headers, images = stacks
    every = np.repeat([0, 1], 40), np.tile(np.arange(40), 2)
    pieces = pieces_of(headers, *every)
    copied(headers, pieces, disk)
    scratch = scratch_images(disk, headers, pieces)
    harm(disk, disk / copy_name(headers[0].path))
    with StackReader(headers, scratch=scratch) as reader:
        for _ in range(3):
            np.testing.assert_array_equal(reader.read(*every), images.reshape(80, BOX, BOX))
    assert caplog.text.count("WARNING") == 1
    assert "the original" in caplog.text
    assert str(headers[0].path) in caplog.text


def test_a_copy_that_shrinks_while_it_is_open_is_read_from_the_stack(stacks, disk, caplog):
    headers, images = stacks
    every = np.zeros(40, np.int64), np.arange(40)
    pieces = pieces_of(headers, *every)
    copied(headers, pieces, disk)
    with StackReader(headers, scratch=scratch_images(disk, headers, pieces)) as reader:
        reader.read(*every)
        truncate(disk, disk / copy_name(headers[0].path))
        np.testing.assert_array_equal(reader.read(*every), images[0])
    assert "a copy became shorter" in caplog.text


# Checks


def test_a_damaged_copy_does_not_have_its_checksum(stacks, disk):
    headers, _ = stacks
    runs = [(2, 5), (9, 10)]
    checksum, size, _ = copy_piece(headers[0], runs, disk)
    assert size == headers[0].path.stat().st_size
    check_piece(headers[0], runs, disk, checksum)
    path = disk / copy_name(headers[0].path)
    with path.open("r+b") as handle:
        handle.seek(1024 + 9 * headers[0].image_bytes + 17)
        handle.write(b"x")
    with pytest.raises(ChangedError, match="other bytes"):
        check_piece(headers[0], runs, disk, checksum)
    os.truncate(path, 3000)
    with pytest.raises(ChangedError, match="ends at byte"):
        check_piece(headers[0], runs, disk, checksum)


def test_a_stack_that_is_gone_or_short_is_named(stacks, disk):
    headers, _ = stacks
    os.truncate(headers[0].path, 9000)
    with pytest.raises(InputError, match=r"s0\.mrcs: the file ends at byte 9000"):
        copy_piece(headers[0], [(0, 40)], disk)
    headers[1].path.unlink()
    with pytest.raises(InputError, match=r"s1\.mrcs: the stack was there when the run began"):
        copy_piece(headers[1], [(0, 40)], disk)


def test_a_line_that_was_cut_off_is_left_out(stacks, disk):
    headers, _ = stacks
    pieces = pieces_of(headers, *arrays((0, 1), (1, 2)))
    copied(headers, pieces, disk)
    with (disk / "manifest_0.jsonl").open("a") as handle:
        handle.write('["/some/stack.mrcs", 1024, 40')
    found = read_manifests(disk)
    assert {key[0] for key in found} == {str(header.path) for header in headers}


def test_a_full_disk_is_told_where_a_line_is_added_and_not_again(stacks, disk):
    headers, _ = stacks
    (piece,) = pieces_of(headers, *arrays((0, 1)))
    (disk / "manifest_0.jsonl").symlink_to("/dev/full")
    with ManifestWriter(disk, "0") as manifest, pytest.raises(OSError, match="No space left"):
        manifest.add(key_of(piece, headers[0]), Copied(piece.runs, 1, 2, 3))


# Room


def test_only_what_fits_beside_the_room_to_keep_free_is_copied(stacks, disk, monkeypatch):
    headers, _ = stacks
    monkeypatch.setattr(scratch_pieces, "PIECE_BYTES", 10 * headers[0].image_bytes)
    pieces = pieces_of(headers, np.zeros(40, np.int64), np.arange(40))
    need = [piece.disk_bytes(headers[0]) for piece in pieces]
    monkeypatch.setattr(scratch_plan, "free_bytes", lambda _: 5000 + need[0] + need[1] + 100)
    plan, folder = planned(disk, headers, pieces, keep_free=5000)
    assert plan.to_copy == [0, 1]
    assert "do not fit and are read in place" in plan.told(headers)
    folder.close()
    plan, folder = planned(disk, headers, pieces, keep_free=10**9)
    assert plan.to_copy == []
    folder.close()
    assert list(disk.iterdir()) == []
