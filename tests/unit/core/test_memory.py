import os

import numpy as np
import pytest

from relion_mpi.core import memory
from relion_mpi.core.memory import (
    GIB,
    available_bytes,
    capacity_bytes,
    group_limits,
    group_rooms,
    image_cache_bytes,
    used_bytes,
)


def test_the_free_memory_of_this_host_is_positive():
    free = available_bytes()
    assert free is None or free > 0


def test_a_host_has_at_least_what_is_free():
    free, there = available_bytes(), capacity_bytes()
    assert free is None or there >= free


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux says it in /proc")
def test_the_peak_of_a_process_stays_after_its_memory_is_freed():
    before = used_bytes("VmRSS")
    array = np.ones(20 * 2**20)
    del array
    assert used_bytes() >= before + 150 * 2**20
    assert used_bytes("VmRSS") < before + 50 * 2**20


def test_a_size_that_is_not_told_is_0():
    assert used_bytes("VmNothing") == 0


# What may keep images


def test_images_get_half_of_what_the_run_leaves(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 * GIB)
    assert image_cache_bytes(26 * GIB) / GIB == pytest.approx(37)
    assert image_cache_bytes(26 * GIB, share=0.25) / GIB == pytest.approx(18.5)


@pytest.mark.parametrize("free", [20 * GIB, None])
def test_images_get_nothing_where_memory_is_short_or_unknown(monkeypatch, free):
    monkeypatch.setattr(memory, "available_bytes", lambda: free)
    assert image_cache_bytes(26 * GIB) == 0


def control_group(folder, limit, used, stat, names=("memory.max", "memory.current")):
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text("".join(f"{k} {v}\n" for k, v in stat.items()))


def test_the_limits_of_all_control_groups_around_a_job_count(tmp_path):
    top, mine = tmp_path / "cgroup", tmp_path / "mine"
    control_group(top / "job", 1000, 700, {"active_file": 50, "inactive_file": 100, "shmem": 300})
    control_group(top / "job" / "step", "max", 600, {"active_file": 0, "inactive_file": 0})
    control_group(top / "other", 10, 0, {"active_file": 0, "inactive_file": 0})
    mine.write_text("0::/job/step\n")
    assert group_rooms(top, mine) == [1000 - 700 + 150]
    assert group_limits(top, mine) == [1000]


def test_the_limits_of_older_control_groups_count(tmp_path):
    top, mine = tmp_path / "cgroup", tmp_path / "mine"
    names = "memory.limit_in_bytes", "memory.usage_in_bytes"
    stat = {"inactive_file": 7, "total_active_file": 0, "total_inactive_file": 100}
    control_group(top / "memory" / "job", 1000, 700, stat, names)
    mine.write_text("5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n")
    assert group_rooms(top, mine) == [400]


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert group_rooms(tmp_path, tmp_path / "nothing") == []
