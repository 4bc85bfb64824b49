"""The line that the launcher makes, for every MPI and any hosts."""

from __future__ import annotations

import logging
import sys

import pytest

from relion_mpi.cli import launch as command
from relion_mpi.cluster import flavours, hosts, launch_program
from relion_mpi.cluster.command_lines import mpiexec_line, slurm_plugin, srun_line
from relion_mpi.cluster.flavours import Family, Launcher, family_of, find_launcher
from relion_mpi.cluster.hosts import Host, read_hosts, scheduled_hosts, with_ranks
from relion_mpi.cluster.launch_options import LaunchOptions
from relion_mpi.cluster.launch_program import as_command, launch, plan_launch
from relion_mpi.core.errors import InputError

NONE: dict[str, str] = {}


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith(("SLURM_", "PBS_", "CUDA_VISIBLE")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("HYDRA build details:\n    Version:    5.0.2", Family.MPICH),
        ("mpiexec (OpenRTE) 4.1.4\n\nReport bugs to", Family.OPEN_MPI),
        ("mpirun (Open MPI) 5.0.11\n", Family.OPEN_MPI),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.10 Build 20230619", Family.INTEL),
        ("MPICH 4.2.1", Family.MPICH),
        ("Open MPI v5.0.11, package: ...", Family.OPEN_MPI),
        ("bash: something else", None),
    ],
)
def test_an_mpi_is_recognised_by_its_words(text, family):
    assert family_of(text) is family


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)
    return str(path)


def test_the_first_launcher_that_fits_mpi4py_is_taken(tmp_path, monkeypatch):
    other = script(tmp_path, "mpiexec", "mpiexec (OpenRTE) 4.1.4")
    fits = script(tmp_path, "mpirun", "HYDRA build details: Version: 4.2.1")
    monkeypatch.setattr(flavours, "_candidates", lambda: [other, fits])
    assert find_launcher("MPICH 5.0.2") == Launcher(fits, Family.MPICH, "4.2.1")
    assert find_launcher("Intel(R) MPI Library 2021").path == fits
    assert find_launcher("Open MPI v5.0.11").path == other


def test_a_launcher_of_another_mpi_is_refused_with_both_names(tmp_path):
    other = script(tmp_path, "mpiexec", "mpiexec (OpenRTE) 4.1.4")
    with pytest.raises(InputError, match=r"mpiexec \(Open MPI 4.1.4\), but mpi4py uses MPICH 5"):
        find_launcher("MPICH 5.0.2", other)
    with pytest.raises(InputError, match="found no launcher of Open MPI, MPICH or Intel MPI"):
        find_launcher("MPICH 5.0.2", str(tmp_path / "nothing"))


def test_hosts_are_read_from_a_list_or_a_file(tmp_path):
    assert read_hosts("n1,n2:4") == [Host("n1", 0), Host("n2", 4)]
    path = tmp_path / "hosts"
    path.write_text("# all\nn1 slots=5\nn2:4\n\nn1 slots=1  # again\n")
    assert read_hosts(str(path)) == [Host("n1", 6), Host("n2", 4)]
    path.write_text("n1 and n2\n")
    with pytest.raises(InputError, match="line 1: found 'n1 and n2'"):
        read_hosts(str(path))


def test_the_hosts_of_a_slurm_job_come_with_their_tasks(monkeypatch):
    monkeypatch.setattr(hosts, "_expanded", lambda nodes: ["n1", "n2"])
    job = {"SLURM_JOB_NODELIST": "n[1-2]"}
    assert scheduled_hosts(job) == [Host("n1"), Host("n2")]
    assert scheduled_hosts(job | {"SLURM_TASKS_PER_NODE": "1(x2)"}) == [Host("n1"), Host("n2")]
    assert scheduled_hosts(job | {"SLURM_TASKS_PER_NODE": "5(x2)"}) == [
        Host("n1", 5), Host("n2", 5),
    ]  # fmt: skip
    assert scheduled_hosts(NONE) == [Host("")]


def test_rank_0_is_one_more_on_the_first_host():
    three = [Host("a"), Host("b"), Host("c")]
    assert [host.n_ranks for host in with_ranks(three, 0, 4)] == [5, 4, 4]
    assert [host.n_ranks for host in with_ranks(three, 13, 0)] == [5, 4, 4]
    assert [host.n_ranks for host in with_ranks(three, 2, 0)] == [1, 1]


TWO = [Host("a", 3), Host("b", 2)]


def test_open_mpi_is_told_hosts_and_environment():
    line = mpiexec_line(
        Launcher("mpirun", Family.OPEN_MPI, "5"), TWO, ["prog"], {"PATH": "x", "HOME": "y"}
    )
    assert line == ["mpirun", "-n", "5", "--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none",
                    "--host", "a:3,b:2", "-x", "PATH", "prog"]  # fmt: skip


def test_mpich_and_intel_place_the_same_ranks():
    line = mpiexec_line(Launcher("mpiexec", Family.MPICH, "5"), TWO, ["prog"], NONE)
    assert line == ["mpiexec", "-hosts", "a:3,b:2", "-n", "5", "-bind-to", "none", "prog"]
    line = mpiexec_line(Launcher("mpiexec", Family.INTEL, "2021"), TWO, ["prog"], NONE)
    assert line == ["mpiexec", "-genv", "I_MPI_PIN", "0", "-host", "a", "-n", "3", "prog", ":",
                    "-host", "b", "-n", "2", "prog"]  # fmt: skip


def test_srun_gives_the_step_all_cores_of_the_job():
    line = srun_line(TWO, ["prog"], "pmi2", 12)
    assert line[:4] == ["srun", "--mpi=pmi2", "--nodes=2", "--ntasks=5"]
    assert "--cpus-per-task=4" in line
    assert "--wait=15" in line
    assert "--cpus-per-task=1" in srun_line(TWO, ["prog"], "pmi2", 2)


def test_srun_starts_only_what_it_has_a_protocol_for(tmp_path, monkeypatch):
    script(tmp_path, "srun", "MPI plugin types are...\n\tnone\n\tpmi2")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert slurm_plugin(Family.MPICH) == "pmi2"
    assert slurm_plugin(Family.OPEN_MPI) == ""
    monkeypatch.delenv("I_MPI_PMI_LIBRARY", raising=False)
    assert slurm_plugin(Family.INTEL) == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("relion-mpi refine3d --i a", "refine3d --i a"),
        ("class2d --i a", "class2d --i a"),
        ("/opt/bin/relion_refine_mpi --i a", "refine --i a"),
        ("relion_refine --i a", "refine --i a"),
        ("--i a", "refine --i a"),
    ],
)
def test_lines_of_the_interface_become_commands(words, expected):
    assert as_command(words.split()) == expected.split()


def test_our_options_end_where_the_command_begins():
    words = ["--workers", "3", "--dry-run", "refine3d", "--i", "a b.star", "--n", "7"]
    assert command.spelt(words) == [
        "--workers", "3", "--dry-run", "--command=refine3d --i 'a b.star' --n 7",
    ]  # fmt: skip
    assert command.spelt(["--n=2", "--", "--i", "a"]) == ["--n=2", "--command=--i a"]
    with pytest.raises(InputError, match="expected one such as refine3d"):
        as_command([])


def ranks(words, **options):
    found = plan_launch(LaunchOptions(command="", **options), words.split())
    return sum(host.n_ranks for host in found.hosts), found.line


def test_one_worker_a_gpu_and_rank_0(monkeypatch):
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    n, line = ranks("refine3d --gpu --i a", hosts="n1,n2")
    assert n == 9
    assert line[line.index("relion_mpi.parallel.bind") + 1 :][:3] == ["--gpu", "", "--"]
    assert ranks("refine3d --gpu 0:1 --i a", hosts="n1", workers=2)[0] == 3
    assert ranks("refine3d --i a", n=7)[0] == 7


def test_one_rank_needs_no_launcher(monkeypatch):
    monkeypatch.setattr(hosts.os, "sched_getaffinity", lambda _: {0, 1, 2})
    n, line = ranks("refine3d --i a")
    assert n == 1
    assert line == [sys.executable, "-m", "relion_mpi.cli.main", "refine3d", "--i", "a"]
    monkeypatch.setattr(hosts.os, "sched_getaffinity", lambda _: set(range(16)))
    assert ranks("refine3d --i a", bind=False)[0] == 5


def test_a_dry_run_says_the_line_and_runs_nothing(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(launch_program, "run", lambda _: pytest.fail("was run"))
    monkeypatch.setattr(logging.getLogger("relion_mpi"), "propagate", True)
    assert launch(LaunchOptions(command="refine3d --i a", n=3, dry_run=True)) == 0
    assert "3 rank(s): 3 on this host" in caplog.text
    assert "worker 1 of this host: cores" in caplog.text
    assert "relion_mpi.cli.main refine3d --i a" in caplog.text


def test_srun_outside_of_a_job_is_refused():
    with pytest.raises(InputError, match="this is no job of Slurm"):
        ranks("refine3d --i a", n=3, launcher="srun")


@pytest.fixture
def open_mpi(tmp_path, monkeypatch):
    """Return what makes an environment whose MPI is an Open MPI of some version."""

    def made(version):
        monkeypatch.setattr(launch_program, "library_name", lambda: f"Open MPI v{version}")
        return script(tmp_path, "mpiexec", f"mpiexec (Open MPI) {version}")

    return made


def test_a_job_that_may_lose_ranks_is_started_so(open_mpi):
    path = open_mpi("5.0.11")
    options = LaunchOptions("", n=3, mpiexec=path, fault_tolerant=True, bind=False)
    line = plan_launch(options, ["refine3d"]).line
    assert line[:5] == [path, "--with-ft", "ulfm", "-n", "3"]
    plain = plan_launch(LaunchOptions("", n=3, mpiexec=path, bind=False), ["refine3d"]).line
    assert "--with-ft" not in plain


def test_slurm_s_own_launcher_is_not_taken_where_ranks_may_be_lost(open_mpi, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setattr(launch_program, "slurm_plugin", lambda _: "pmix")
    path = open_mpi("5.0.11")
    monkeypatch.setattr(flavours, "_candidates", lambda: [path])
    options = LaunchOptions("", n=3, hosts="n1:3", fault_tolerant=True)
    assert plan_launch(options, ["refine3d"]).line[0] == path
    with pytest.raises(InputError, match="leave --launcher out"):
        plan_launch(LaunchOptions("", n=3, launcher="srun", fault_tolerant=True), ["refine3d"])


def test_an_mpi_that_ends_all_ranks_is_refused_where_they_are_to_go_on(open_mpi, tmp_path):
    options = LaunchOptions("", n=3, mpiexec=open_mpi("4.1.6"), fault_tolerant=True)
    with pytest.raises(InputError, match=r"Open MPI 4.1.6\), expected Open MPI 5 or newer"):
        plan_launch(options, ["refine3d"])
