"""RELION's pipeliner reads projects that our commands have written to, and starts our commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import mrcfile
import numpy as np
import pytest
from factories.projects import empty_project, project_with_particles

from relion_mpi.io.star import read_star
from relion_mpi.project.job import job_of
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.initial_model_options import InitialModelOptions
from relion_mpi.refine.options import RefineOptions

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_pipeliner") is None, reason="RELION's pipeliner is not installed"
    ),
]
OURS = (sys.executable, "-m", "relion_mpi.cli.main")


def run(folder, *words, **more):
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=120, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_ball(path):
    z, y, x = np.mgrid[-12:12, -12:12, -12:12]
    with mrcfile.new(path, data=(x * x + y * y + z * z < 36).astype(np.float32)) as file:
        file.voxel_size = 3.0


@pytest.fixture
def project(tmp_path):
    project_with_particles(tmp_path, "3.1")
    write_ball(tmp_path / "map.mrc")
    return tmp_path


@pytest.fixture
def worked(project):
    """Select particles and make a mask."""
    run(project, *OURS, "select", "--i", "Extract/job001/particles.star", "--classes", "1",
        "--o", "Select/job002/particles.star")  # fmt: skip
    run(project, *OURS, "mask", "--i", "map.mrc", "--o", "MaskCreate/job003/mask.mrc",
        "--ini_threshold", "0.5", "--lowpass", "-1", "--pipeline_control", "MaskCreate/job003/",
    )  # fmt: skip
    return project


def test_the_pipeliner_reads_the_project_without_complaint(worked):
    assert run(worked, "relion_pipeliner", "--check_job_completion") == ""
    graph = read_star(worked / "default_pipeline.star")
    assert graph["pipeline_processes"]["rlnPipeLineProcessStatus"].to_list() == [2, 2, 2]
    edges = graph["pipeline_output_edges"]["rlnPipeLineEdgeToNode"].to_list()
    assert edges[1:] == ["Select/job002/particles.star", "MaskCreate/job003/mask.mrc"]


def test_the_pipeliner_takes_our_outputs_for_its_next_job(worked):
    said = run(worked, "relion_pipeliner", "--addJob", "PostProcess", "--addJobOptions",
               "fn_in == run_half1_class001_unfil.mrc;fn_mask == MaskCreate/job003/mask.mrc")
    assert said == ""
    graph = read_star(worked / "default_pipeline.star")
    assert graph["pipeline_processes"]["rlnPipeLineProcessName"][-1] == "PostProcess/job004/"
    edges = graph["pipeline_input_edges"].rows()
    assert ("MaskCreate/job003/mask.mrc", "PostProcess/job004/") in edges
    nodes = dict(graph["pipeline_nodes"].rows())
    assert nodes["MaskCreate/job003/mask.mrc"] == 7


def test_the_pipeliner_finishes_a_job_that_was_killed(worked):
    """It settles what we had no time to: it looks for the sign of the end."""
    path = worked / "default_pipeline.star"
    path.write_text(path.read_text().replace("MaskCreate/job003/ None 12 2",
                                             "MaskCreate/job003/ None 12 0"))
    (worked / "MaskCreate" / "job003" / "RELION_JOB_EXIT_SUCCESS").unlink()
    (worked / "MaskCreate" / "job003" / "RELION_JOB_EXIT_FAILURE").touch()
    run(worked, "relion_pipeliner", "--check_job_completion")
    assert read_star(path)["pipeline_processes"]["rlnPipeLineProcessStatus"][-1] == 3


def test_the_pipeliner_makes_a_job_of_each_job_star(project):
    """Every variable that we write is one that RELION's interface has."""
    paths = {"i": project / "Extract/job001/particles.star", "ref": project / "map.mrc"}
    made = {
        "Refine3D": ("refine3d", RefineOptions(**paths, o="", sym="D2", ini_high=33.0)),
        "Class3D": ("class3d", Class3DOptions(**paths, o="", K=3)),
        "Class2D": ("class2d", Class2DOptions(i=paths["i"], o="", K=4)),
        "InitialModel": ("initialmodel", InitialModelOptions(i=paths["i"], o="")),
    }
    for number, (kind, (name, options)) in enumerate(made.items(), 2):
        import dataclasses

        folder = project / kind / f"job{number:03d}"
        whole = dataclasses.replace(options, o=folder / "run")
        job_of(name, whole, ["--o", str(whole.o)], project).carried_out(lambda: 0)
        said = run(project, "relion_pipeliner", "--addJobFromStar", str(folder / "job.star"))
        assert said == "", kind
    theirs = sorted(project.glob("Refine3D/job*/job.star"))[-1]
    values = dict(read_star(theirs)["joboptions_values"].rows())
    assert values["sym_name"] == "D2"
    assert float(values["ini_high"]) == 33.0
    assert values["sampling"] == "7.5 degrees"
    assert float(values["offset_step"]) == 1.0
    assert values["fn_ref"] == str(paths["ref"])


def test_the_pipeliner_runs_a_command_as_an_external_job(tmp_path):
    project_with_particles(tmp_path, "3.1")
    program = tmp_path / "bin" / "relion-mpi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(OURS)} "$@"\n')
    program.chmod(0o755)
    environment = dict(os.environ, PATH=f"{program.parent}:{os.environ['PATH']}")
    options = (
        "fn_exe == relion-mpi select;in_part == Extract/job001/particles.star;"
        "param1_label == classes;param1_value == 2"
    )
    run(tmp_path, "relion_pipeliner", "--addJob", "External", "--addJobOptions", options)
    run(tmp_path, "relion_pipeliner", "--RunJobs", "External/job002/", "--schedule", "now",
        "--sec_wait_after", "1", env=environment)  # fmt: skip
    folder = tmp_path / "External" / "job002"
    assert read_star(folder / "particles.star")["particles"].height == 3
    assert (folder / "RELION_JOB_EXIT_SUCCESS").exists()
    assert run(tmp_path, "relion_pipeliner", "--check_job_completion") == ""
    graph = read_star(tmp_path / "default_pipeline.star")
    assert graph["pipeline_processes"]["rlnPipeLineProcessStatus"].to_list() == [2, 2]
    assert graph["pipeline_output_edges"].rows()[-1] == (
        "External/job002/", "External/job002/particles.star",
    )  # fmt: skip
    assert dict(graph["pipeline_nodes"].rows())["External/job002/particles.star"] == 3
    assert (tmp_path / ".Nodes" / "3" / "External" / "job002" / "particles.star").exists()


def test_a_project_that_has_no_job_yet_is_read_too(tmp_path):
    empty_project(tmp_path)
    write_ball(tmp_path / "map.mrc")
    run(tmp_path, *OURS, "mask", "--i", "map.mrc", "--o", "MaskCreate/job001/mask.mrc",
        "--ini_threshold", "0.5", "--lowpass", "-1")  # fmt: skip
    assert run(tmp_path, "relion_pipeliner", "--check_job_completion") == ""
    assert "MaskCreate/job001/" in (tmp_path / "default_pipeline.star").read_text()
