"""Which cores a worker gets, from a made-up /sys."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from relion_mpi.parallel import bind, topology
from relion_mpi.parallel.bind import share_out, started
from relion_mpi.parallel.leftovers import remove_leftovers
from relion_mpi.parallel.local_ranks import Place, place_of, tasks_per_node
from relion_mpi.parallel.topology import list_text, look_at_cores, look_at_gpus, parse_list


@pytest.fixture
def sys_folder(tmp_path):
    """Two memory nodes of four cores with two threads each: thread i + 8 is on core i."""
    for node, text in enumerate(("0-3,8-11", "4-7,12-15")):
        folder = tmp_path / f"devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{text}\n")
    for thread in range(16):
        folder = tmp_path / f"devices/system/cpu/cpu{thread}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{thread % 8},{thread % 8 + 8}\n")
    for number, (name, node, text) in enumerate(
        [("0000:3b:00.0", 0, "0-3,8-11"), ("0000:d8:00.0", 1, "4-7,12-15")]
    ):
        assert number == node
        folder = tmp_path / "bus/pci/devices" / name
        folder.mkdir(parents=True)
        (folder / "numa_node").write_text(f"{node}\n")
        (folder / "local_cpulist").write_text(f"{text}\n")
    return tmp_path


@pytest.fixture
def nvidia(monkeypatch):
    rows = "0, GPU-aa11, 00000000:3B:00.0\n1, GPU-bb22, 00000000:D8:00.0\n"
    monkeypatch.setattr(topology, "_ask_nvidia", lambda: rows)


def test_lists_of_linux_are_read_and_written():
    assert parse_list("0-3,8\n") == [0, 1, 2, 3, 8]
    assert parse_list("") == []
    assert parse_list("none") == []
    assert list_text([8, 0, 1, 3, 2]) == "0-3,8"


def test_threads_of_a_core_stay_together_and_cores_of_a_node_beside_each_other(sys_folder):
    cores = look_at_cores(range(16), sys_folder)
    assert cores.physical == tuple((i, i + 8) for i in range(8))
    assert cores.memory_nodes[3] == 0
    assert cores.memory_nodes[12] == 1
    assert look_at_cores([0, 1, 8], sys_folder).physical == ((0, 8), (1,))
    assert look_at_cores([0, 1, 8], sys_folder).memory_nodes == {}


def test_gpus_are_those_that_are_visible_in_that_order(sys_folder, nvidia):
    assert [gpu.memory_node for gpu in look_at_gpus(None, sys_folder)] == [0, 1]
    assert [gpu.name for gpu in look_at_gpus("1,0", sys_folder)] == ["GPU-bb22", "GPU-aa11"]
    assert [gpu.memory_node for gpu in look_at_gpus("GPU-bb", sys_folder)] == [1]
    assert look_at_gpus("", sys_folder) == []
    assert look_at_gpus("MIG-1", sys_folder) == []


def test_each_worker_gets_the_cores_near_its_gpu(sys_folder, nvidia):
    cores, gpus = look_at_cores(range(16), sys_folder), look_at_gpus(None, sys_folder)
    shares = share_out(4, cores, gpus, [1, 0, 0, 1])
    assert [list_text(share.threads) for share in shares] == ["4-5,12-13", "0-1,8-9", "2-3,10-11",
                                                             "6-7,14-15"]  # fmt: skip
    assert [share.memory_node for share in shares] == [1, 0, 0, 1]
    assert str(shares[0]) == "GPU 1, cores 4-5,12-13, memory of node 1"


def test_without_gpus_cores_are_shared_out_once_each(sys_folder):
    cores = look_at_cores(range(16), sys_folder)
    for n in range(1, 9):
        shares = share_out(n, cores, [], [None] * n)
        threads = sorted(thread for share in shares for thread in share.threads)
        assert threads == list(range(16))
        sizes = [len(share.threads) for share in shares]
        assert max(sizes) - min(sizes) <= 2  # one core
    assert [share.memory_node for share in share_out(2, cores, [], [None] * 2)] == [0, 1]


def test_more_workers_than_cores_are_left_to_the_system(sys_folder):
    cores = look_at_cores([0, 1], sys_folder)
    assert {share.threads for share in share_out(3, cores, [], [None] * 3)} == {(0, 1)}


def test_cores_that_the_job_lacks_are_not_given(sys_folder, nvidia):
    cores, gpus = look_at_cores([4, 5, 12, 13], sys_folder), look_at_gpus(None, sys_folder)
    # GPU 0 is far from all of them: its worker gets what there is.
    shares = share_out(2, cores, gpus, [0, 1])
    assert {thread for share in shares for thread in share.threads} == {4, 5, 12, 13}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PMI_RANK": "3", "PMI_SIZE": "5", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"},
         Place(3, 5, 0, 2)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "5",
          "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "3"},
         Place(1, 5, 1, 3)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "5", "SLURM_STEP_NUM_TASKS": "5",
          "SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_STEP_TASKS_PER_NODE": "3,2"},
         Place(3, 5, 0, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "5"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_rank_knows_its_place_from_its_launcher(environment, expected):
    assert place_of(environment) == expected


def test_rank_0_is_no_worker():
    assert Place(0, 5, 0, 3).is_master
    assert (Place(1, 5, 1, 3).worker, Place(1, 5, 1, 3).n_workers) == (0, 2)
    assert (Place(3, 5, 0, 2).worker, Place(3, 5, 0, 2).n_workers) == (0, 2)
    assert (Place(0, 1, 0, 1).worker, Place(0, 1, 0, 1).is_master) == (0, False)


def test_tasks_of_nodes_are_read():
    assert tasks_per_node("9(x2),4") == [9, 9, 4]
    assert tasks_per_node("") == []


def test_rank_0_and_unknown_launchers_are_left_alone(monkeypatch):
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: pytest.fail("bound"))
    assert started(["program"], None, None) == ["program"]
    assert started(["program"], Place(0, 3, 0, 3), None) == ["program"]


def test_a_worker_is_bound_before_its_program_starts():
    wanted = min(os.sched_getaffinity(0))
    code = "import os; print(sorted(os.sched_getaffinity(0)))"
    environment = os.environ | {
        "PMI_RANK": "1", "PMI_SIZE": str(len(os.sched_getaffinity(0)) + 1),
        "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": str(len(os.sched_getaffinity(0)) + 1),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "relion_mpi.parallel.bind", "--", sys.executable, "-c", code],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = done.stdout.splitlines()
    assert told[0].startswith("rank 1 on ")
    # As many workers as hardware threads: at most the threads of one core each.
    assert wanted in eval(told[1])
    assert len(eval(told[1])) <= max(len(core) for core in look_at_cores().physical)


def test_memory_is_taken_near_the_cores_where_numactl_is_there(sys_folder, monkeypatch):
    cores = look_at_cores(range(16), sys_folder)
    monkeypatch.setattr(bind, "look_at_cores", lambda: cores)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    place = Place(2, 3, 2, 3)
    monkeypatch.setattr(bind.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert started(["program"], place, None) == ["numactl", "--preferred=1", "--", "program"]
    monkeypatch.setattr(bind.shutil, "which", lambda _: None)
    assert started(["program"], place, None) == ["program"]


def test_only_memory_that_nobody_uses_is_removed(tmp_path):
    import mmap

    stale, used, other = (tmp_path / n for n in ("mpich_shm_1_0", "mpich_shm_2_0", "sem.x"))
    for path in (stale, used, other):
        path.write_bytes(b"\0" * 4096)
    with used.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert remove_leftovers(tmp_path) == [stale]
    assert sorted(tmp_path.iterdir()) == [used, other]
