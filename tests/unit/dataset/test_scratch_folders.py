"""Folders of jobs on a scratch disk: found again, gone on with, or left alone."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time

import pytest
from factories.scratch import arrays, copied, interrupted, planned

from relion_mpi.core.errors import InputError
from relion_mpi.dataset import scratch_folder
from relion_mpi.dataset.scratch_copy import check_piece
from relion_mpi.dataset.scratch_folder import check_scratch, leftovers, new_folder, take_over
from relion_mpi.dataset.scratch_pieces import pieces_of
from relion_mpi.io.mrc import write_map


def test_an_interrupted_copy_goes_on_where_it_was(stacks, pieces, disk):
    headers, _ = stacks
    left = interrupted(disk, headers, pieces, 5)
    plan, folder = planned(disk, headers, pieces)
    assert folder.path == left
    assert sorted(plan.there) == [0, 1, 2, 3, 4]
    assert plan.to_copy == [5, 6, 7]
    for i, one in plan.there.items():
        check_piece(headers[pieces[i].stack], one.runs, left, one.checksum)
    folder.close()
    assert not left.exists()


def test_a_stack_that_changed_since_is_copied_again(stacks, pieces, disk):
    headers, images = stacks
    interrupted(disk, headers, pieces, 5)
    write_map(headers[0].path, images[0] + 1, 1.0, stack=True)
    plan, folder = planned(disk, headers, pieces)
    assert {pieces[i].stack for i in plan.there} == {1}
    assert plan.to_copy == [0, 1, 2, 3, 5, 6, 7]
    folder.close()


def test_images_that_were_not_copied_before_are_copied_now(stacks, disk):
    headers, _ = stacks
    few, more = ((0, 1), (0, 2), (1, 4)), ((0, 1), (0, 3), (1, 4))
    interrupted(disk, headers, pieces_of(headers, *arrays(*few)), 2)
    plan, folder = planned(disk, headers, pieces_of(headers, *arrays(*more)))
    assert (list(plan.there), plan.to_copy) == ([1], [0])
    folder.close()


def test_fewer_images_than_were_copied_are_all_there(stacks, pieces, disk):
    headers, _ = stacks
    interrupted(disk, headers, pieces, 8)
    subset = pieces_of(headers, *arrays((0, 3), (1, 39)))
    plan, folder = planned(disk, headers, subset)
    assert (sorted(plan.there), plan.to_copy) == ([0, 1], [])
    folder.close()


def test_what_was_kept_on_purpose_is_used_if_asked_for(stacks, pieces, disk, caplog):
    headers, _ = stacks
    plan, folder = planned(disk, headers, pieces, keep=True)
    copied(headers, pieces, folder.path)
    folder.close()
    caplog.set_level("INFO")
    plan, other = planned(disk, headers, pieces)
    assert other.path != folder.path
    assert not plan.there
    assert "--reuse_scratch uses it" in caplog.text
    other.close()
    assert folder.path.exists()
    plan, again = planned(disk, headers, pieces, reuse=True, keep=True)
    assert again.path == folder.path
    assert len(plan.there) == len(pieces)
    again.close()
    assert folder.path.exists()
    planned(disk, headers, pieces, reuse=True)[1].close()
    assert not folder.path.exists()


def test_the_folder_of_a_killed_job_with_other_data_is_told_of_and_left(
    stacks, pieces, disk, caplog
):
    headers, _ = stacks
    left = interrupted(disk, headers, pieces[:4], 4)
    _, folder = planned(disk, headers, pieces[4:])
    assert folder.path != left
    assert f"{left} was left by a job that was killed" in caplog.text
    folder.close()
    assert left.exists()


HOLDER = """
import sys, time
from pathlib import Path
from relion_mpi.dataset.scratch_folder import new_folder
folder = new_folder(Path(sys.argv[1]), keep=sys.argv[2] == "keep")
print(folder.path, flush=True)
time.sleep(60)
"""


def holder(disk, word):
    job = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(disk), word], stdout=subprocess.PIPE, text=True
    )
    return job, disk / job.stdout.readline().strip()


def ended(job):
    job.kill()
    job.wait()
    job.stdout.close()


def test_the_folder_of_a_running_job_is_never_touched(stacks, pieces, disk, caplog):
    headers, _ = stacks
    job, path = holder(disk, "keep")
    try:
        copied(headers, pieces, path)
        before = sorted(one.name for one in path.iterdir())
        assert leftovers(disk) == []
        plan, folder = planned(disk, headers, pieces, reuse=True)
        assert folder.path != path
        assert not plan.there
        folder.close()
        assert sorted(one.name for one in path.iterdir()) == before
        assert caplog.text == ""
    finally:
        ended(job)
    (found,) = leftovers(disk)
    assert (found.path, found.is_kept) == (path, False)
    with_it = take_over(found, keep=False)
    assert leftovers(disk) == []
    assert take_over(found, keep=False) is None
    with_it.close()


def test_the_folder_of_a_killed_job_is_removed_by_a_process_beside_it(disk):
    job, path = holder(disk, "")
    (path / "x.images").write_bytes(b"0" * 100)
    ended(job)
    deadline = time.monotonic() + 10
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert leftovers(disk) == []


def test_another_hosts_folder_is_only_taken_if_it_was_left_on_purpose(stacks, pieces, disk):
    headers, _ = stacks
    left = interrupted(disk, headers, pieces, 8)
    about = json.loads((left / "about.json").read_text())
    for kept, there in ((False, 0), (True, 8)):
        (left / "about.json").write_text(json.dumps(about | {"host": "another", "kept": kept}))
        plan, folder = planned(disk, headers, pieces, reuse=True, keep=True)
        assert len(plan.there) == there
        folder.close()


def test_a_folder_of_another_program_is_left_alone(stacks, pieces, disk):
    other = disk / "relion_mpi_notes"
    other.mkdir()
    (other / "lock").touch()
    planned(disk, stacks[0], pieces, reuse=True)[1].close()
    assert [one.name for one in disk.iterdir()] == ["relion_mpi_notes"]


def test_a_scratch_disk_that_cannot_be_used_is_named_with_its_host(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"--scratch_dir .*gone: on \S+ there is no such folder"):
        check_scratch(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="there is no such folder"):
        check_scratch(tmp_path / "file")
    monkeypatch.setattr(scratch_folder.os, "access", lambda *_: False)
    with pytest.raises(InputError, match="may not be written to"):
        check_scratch(tmp_path)


def test_a_full_disk_is_told_before_anything_is_copied(disk, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scratch_folder, "_write_about", full)
    with pytest.raises(InputError, match="could not be made there"):
        new_folder(disk, keep=False)
    assert list(disk.iterdir()) == []
