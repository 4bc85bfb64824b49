import logging

import pytest

from relion_mpi.refine import memory
from relion_mpi.refine.memory import (
    GIB,
    MemoryNeed,
    available_bytes,
    group_rooms,
    image_cache_bytes,
    memory_need,
    say_need,
)

CPU = {"on_gpu": False, "double": False}


def test_twice_the_box_needs_eight_times_the_memory():
    small, large = memory_need(128, 2, 1, **CPU), memory_need(256, 2, 1, **CPU)
    assert large.worker_bytes / small.worker_bytes == pytest.approx(8, rel=0.05)
    assert large.master_bytes / small.master_bytes == pytest.approx(8, rel=0.05)


def test_the_sums_of_both_halves_alone_are_less_than_a_worker_needs():
    sums = 2 * 259 * 259 * 130 * 3 * 8
    assert sums < memory_need(128, 2, 1, **CPU).worker_bytes < 4 * sums


def test_too_little_free_memory_is_told_before_the_start(monkeypatch, caplog):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2.0**30)
    with caplog.at_level(logging.INFO):
        say_need(MemoryNeed(2.0**30, 2.0**30), 2, together=False)
    assert "3.0 GiB on this node" in caplog.text
    assert "--pad 1" in caplog.text


def test_enough_memory_gives_no_warning(monkeypatch, caplog):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2.0**40)
    with caplog.at_level(logging.WARNING):
        say_need(MemoryNeed(2.0**30, 2.0**30), 2, together=False)
    assert caplog.text == ""


def test_the_free_memory_of_this_host_is_positive():
    free = available_bytes()
    assert free is None or free > 0


# What may keep images


def kept(monkeypatch, free, **changes):
    monkeypatch.setattr(memory, "available_bytes", lambda: free)
    values = {"need": MemoryNeed(4 * GIB, 10 * GIB), "n_workers_here": 3, "with_master": True}
    return image_cache_bytes(**(values | changes)) / GIB


def test_images_get_half_of_what_the_run_leaves(monkeypatch):
    # 3 workers of 4 GiB, a master of 10, and 1 more for each of 4 ranks: 26 GiB.
    assert kept(monkeypatch, 100 * GIB) == pytest.approx(37)
    assert kept(monkeypatch, 100 * GIB, with_master=False) == pytest.approx(42.5)
    assert kept(monkeypatch, 100 * GIB, share=0.25) == pytest.approx(18.5)


@pytest.mark.parametrize("free", [20 * GIB, None])
def test_images_get_nothing_where_memory_is_short_or_unknown(monkeypatch, free):
    assert kept(monkeypatch, free) == 0


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


def test_the_limits_of_older_control_groups_count(tmp_path):
    top, mine = tmp_path / "cgroup", tmp_path / "mine"
    names = "memory.limit_in_bytes", "memory.usage_in_bytes"
    stat = {"inactive_file": 7, "total_active_file": 0, "total_inactive_file": 100}
    control_group(top / "memory" / "job", 1000, 700, stat, names)
    mine.write_text("5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n")
    assert group_rooms(top, mine) == [400]


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert group_rooms(tmp_path, tmp_path / "nothing") == []
