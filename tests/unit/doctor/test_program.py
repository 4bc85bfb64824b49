"""What doctor says, from facts made here and from this machine."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from relion_mpi.backend.gpu.device import DeviceInfo, Missing
from relion_mpi.cli import main as command_line
from relion_mpi.doctor import checks, facts
from relion_mpi.doctor.facts import Facts
from relion_mpi.doctor.gpu_facts import GPUFacts
from relion_mpi.doctor.program import judge
from relion_mpi.doctor.table import Line, State, as_text
from relion_mpi.parallel.comm import World

NO_GPU = GPUFacts("", "", "", Missing("there is no driver", "get one"), (), None, "", "", "")


def gpu(index, uuid):
    return DeviceInfo(index, "H100", uuid, f"0000:0{index}:00.0", 80 * 2**30, None, "9.0")


def with_gpus(uuids, chosen):
    seen = tuple(gpu(index, uuid) for index, uuid in enumerate(uuids))
    return GPUFacts("cupy-cuda13x 14.0", "580.1", "13.0", None, seen, chosen, "said", "", "")


def job(n_ranks, gpus=None, host="n1"):
    """Return the facts of ranks on one host of 8 cores."""
    return [
        Facts(
            rank=rank, host=host, is_worker=rank > 0 or n_ranks == 1,
            versions=(("Python", "3.12"),), program="/x", mpi="MPICH 5", cuda_aware=False,
            outlives_workers=False,
            cores=tuple(range(8)), n_threads=2, folder="/", folder_error="", cache="/c",
            cache_error="", shm_bytes=2**33, gpu=gpus[rank] if gpus else NO_GPU,
        )
        for rank in range(n_ranks)
    ]  # fmt: skip


def lines(found, topic, wants_gpu=False):
    return [line for line in judge(found, wants_gpu) if line.topic == topic]


def only(found, topic, wants_gpu=False):
    (line,) = lines(found, topic, wants_gpu)
    return line


def test_shared_memory_is_looked_at_where_there_are_several_ranks():
    assert lines(job(1), "shared memory") == []
    assert only(job(3), "shared memory").found == "n1: 8.00 GiB free in /dev/shm"
    little = only([replace(one, shm_bytes=2**20) for one in job(3)], "shared memory")
    assert little.state is State.NOTE
    assert "--shm-size" in little.mend


def test_ranks_are_counted_by_host():
    found = [*job(3), *(replace(one, rank=one.rank + 3, host="n2") for one in job(2))]
    line = only(found, "launch")
    assert line.state is State.OK
    assert line.found == "5 ranks (1 master, 4 worker(s)) on 2 host(s): n1 3, n2 2"


def test_ranks_of_different_programs_are_a_problem():
    found = job(3)
    found[2] = replace(found[2], versions=(("Python", "3.11"),))
    line = only(found, "programs")
    assert line.state is State.PROBLEM
    assert "others on rank 2" in line.found


def test_no_mpi_is_a_note_with_its_cure():
    line = only([replace(job(1)[0], mpi="none")], "MPI")
    assert line.state is State.NOTE
    assert "pip install mpich" in line.mend


@pytest.mark.parametrize(("outlives", "words"), [(True, "goes on without"), (False, "ends if a")])
def test_what_becomes_of_a_run_that_loses_a_worker_is_told(outlives, words):
    found = [replace(one, outlives_workers=outlives) for one in job(3)]
    assert words in only(found, "MPI").found


@pytest.mark.parametrize(("n_ranks", "state"), [(5, State.OK), (6, State.NOTE)])
def test_threads_beyond_the_cores_are_noted(n_ranks, state):
    assert only(job(n_ranks), "cores").state is state


def test_workers_bound_to_cores_of_their_own_are_fine():
    bound = [replace(one, cores=(2 * one.rank, 2 * one.rank + 1)) for one in job(6)]
    assert only(bound, "cores").state is State.OK


def test_a_host_of_the_master_alone_has_no_worker():
    assert only(job(2)[:1], "cores").found == "n1: 8, no worker"


@pytest.mark.parametrize(("wants_gpu", "state"), [(False, State.NOTE), (True, State.PROBLEM)])
def test_no_gpu_is_a_problem_only_where_one_is_asked_for(wants_gpu, state):
    line = only(job(2), "GPU", wants_gpu)
    assert line.state is state
    assert line.found == "none on n1 (ranks 0, 1): there is no driver"
    assert line.mend == "get one"


def test_a_gpu_names_the_ranks_that_use_it():
    seen = with_gpus(["GPU-a", "GPU-b"], 0)
    found = lines(job(3, [seen, seen, replace(seen, chosen=1)]), "GPU")
    assert [line.state for line in found] == [State.OK, State.OK]
    assert found[0].found.endswith("used by ranks 0, 1")
    assert "GPU-a" in found[0].found
    assert found[1].found.endswith("used by rank 2")


def test_gpus_hidden_by_the_scheduler_are_told_apart_by_uuid():
    each = [with_gpus([uuid], 0) for uuid in ("GPU-a", "GPU-a", "GPU-b")]
    found = lines(job(3, each), "GPU")
    assert len(found) == 2
    assert "GPU-b" in found[1].found
    assert "GPUs of its own" in only(job(3, each), "--gpu").found


def test_a_gpu_that_fails_the_trial_is_a_problem():
    broken = replace(with_gpus(["GPU-a"], 0), fault="a Fourier transform fails: no libcufft")
    line = only(job(1, [broken]), "GPU")
    assert line.state is State.PROBLEM
    assert "no libcufft" in line.found
    assert line.mend


def test_a_worker_without_a_gpu_among_others_with_one_is_a_problem():
    has = with_gpus(["GPU-a"], 0)
    assert lines(job(3, [has, has, NO_GPU]), "GPU")[0].state is State.PROBLEM
    assert lines(job(3, [NO_GPU, has, has]), "GPU")[0].state is State.NOTE


def test_a_wrong_list_of_gpus_is_a_problem():
    wrong = replace(with_gpus(["GPU-a"], None), mistake="--gpu 7: no such", understood="")
    assert only(job(1, [wrong]), "--gpu") == Line("--gpu", State.PROBLEM, "--gpu 7: no such")


@pytest.mark.parametrize(("aware", "word"), [(True, "yes"), (False, "no: data are staged")])
def test_cuda_awareness_is_told(aware, word):
    has = with_gpus(["GPU-a"], 0)
    found = [replace(one, cuda_aware=aware) for one in job(2, [has, has])]
    assert only(found, "CUDA-aware MPI").found.startswith(word)


def test_one_rank_that_is_not_cuda_aware_makes_all_stage():
    has = with_gpus(["GPU-a"], 0)
    found = job(2, [has, has])
    assert only([replace(found[0], cuda_aware=True), found[1]], "CUDA-aware MPI").found[:2] == "no"


def test_a_folder_that_cannot_be_written_is_a_problem():
    line = only([replace(job(1)[0], folder_error="cannot be written (No space)")], "folder")
    assert line.state is State.PROBLEM
    assert "No space" in line.found


def test_a_folder_that_is_not_shared_is_a_problem():
    found = job(3)
    found[2] = replace(found[2], host="n2", folder_error="is not the folder of rank 0")
    line = only(found, "folder")
    assert line.state is State.PROBLEM
    assert "rank 2 (n2)" in line.found


def test_little_disk_is_noted(monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert only(job(1), "folder").state is State.NOTE


@pytest.mark.parametrize(("cache", "state"), [("/c", State.NOTE), ("", State.PROBLEM)])
def test_no_kernel_cache_is_mended_by_a_variable(cache, state):
    line = only([replace(job(1)[0], cache=cache, cache_error="cannot")], "kernel cache")
    assert line.state is state
    assert "NUMBA_CACHE_DIR" in line.mend


def test_no_relion_is_no_problem(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert checks.relion().state is State.OK


def test_the_table_aligns_and_sums_up():
    table = as_text(
        [Line("MPI", State.OK, "here"), Line("folder", State.PROBLEM, "gone", "make it")]
    )
    assert table == (
        "MPI     OK       here\n"
        "folder  problem  gone\n"
        "                 -> make it\n\n"
        "1 problem(s) and 0 note(s): mend the problems before a run."
    )


def test_the_write_test_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert facts._try_folder(World(comm=None, rank=0, size=1)) == (str(tmp_path), "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_told(monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(facts.tempfile, "mkstemp", full)
    _, error = facts._try_folder(World(comm=None, rank=0, size=1))
    assert error == "cannot be written (No space left on device)"


def test_doctor_runs_on_this_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command_line.main(["doctor"]) == 0
    told = capsys.readouterr().out
    for topic in ("programs", "MPI", "launch", "cores", "GPU", "folder", "kernel cache", "RELION"):
        assert f"\n{topic} " in f"\n{told}"
    assert told.rstrip().splitlines()[-1].startswith("No problem")


def test_a_wrong_list_is_a_problem_without_a_gpu_too(capsys):
    assert command_line.main(["doctor", "--gpu", "0:x"]) == 1
    assert "found 'x' as a device of worker 2" in capsys.readouterr().out
