"""The batch script that RELION's own pipeliner makes of our template."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_pipeliner") is None, reason="there is no RELION"),
]

PIPELINE = "\ndata_pipeline_general\n\n_rlnPipeLineJobCounter    1\n\n"
QUEUE = {
    "RELION_QUEUE_USE": "Yes", "RELION_QUEUE_NAME": "gpu", "RELION_QSUB_COMMAND": "true",
    "RELION_QSUB_TEMPLATE": str(ROOT / "slurm" / "relion_qsub.sbatch"),
    "RELION_QSUB_NRMPI": "5", "RELION_QSUB_NRTHREADS": "2", "RELION_QSUB_EXTRA_COUNT": "4",
    "RELION_QSUB_EXTRA1": "Time", "RELION_QSUB_EXTRA1_DEFAULT": "1-00:00:00",
    "RELION_QSUB_EXTRA2": "Memory", "RELION_QSUB_EXTRA2_DEFAULT": "64G",
    "RELION_QSUB_EXTRA3": "GPUs", "RELION_QSUB_EXTRA3_DEFAULT": "--gres=gpu:4",
    "RELION_QSUB_EXTRA4": "More", "RELION_QSUB_EXTRA4_DEFAULT": "--nodes=1",
}  # fmt: skip


def test_relion_s_interface_submits_a_refinement_to_relion_mpi(tmp_path):
    environment = os.environ | QUEUE
    (tmp_path / "default_pipeline.star").write_text(PIPELINE)
    (tmp_path / ".gui_projectdir").touch()
    subprocess.run(
        ["relion_pipeliner", "--addJob", "Refine3D", "--addJobOptions",
         "Input images STAR file: == particles.star;Reference map: == map.mrc"],
        cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    made = tmp_path / "Refine3D" / "job001" / "run_submit.script"
    with subprocess.Popen(
        ["relion_pipeliner", "--RunJobs", "Refine3D/job001/"], cwd=tmp_path, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as waiting:  # for the end of a job that never runs
        deadline = time.monotonic() + 30
        while not made.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        waiting.kill()
    text = made.read_text()
    assert "XXX" not in text
    for line in ("--ntasks=5", "--cpus-per-task=2", "--partition=gpu", "--gres=gpu:4", "--mem=64G"):
        assert f"#SBATCH {line}\n" in text
    stand_in = tmp_path / "bin" / "relion-mpi"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    path = f"{stand_in.parent}:{os.environ['PATH']}"
    told = subprocess.run(
        ["bash", str(made)], env=environment | {"PATH": path}, capture_output=True, text=True,
        check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    assert told.startswith("launch --requeue --n 5 -- ")
    assert "relion_refine_mpi --o Refine3D/job001/run --auto_refine --split_random_halves" in told
