"""The report of a run of RELION."""

from __future__ import annotations

import shutil

import pytest

from relion_mpi.report.gather.job import find_job
from relion_mpi.report.gather.run import gather
from relion_mpi.report.gather.state import State
from relion_mpi.report.page import make_page
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed"),
]

PANELS = (
    "classes", "course", "resolution", "pmax", "shares", "views", "pmaxhist", "shifts", "defocus",
    "signal", "noise",
)  # fmt: skip


def test_a_classification_by_relion_has_its_pictures(relion, tmp_path):
    simulate(SimulateOptions(o=tmp_path / "set", n=40, box=24, angpix=7.0))
    (tmp_path / "job").mkdir()
    relion(
        "relion_refine", "--o", "job/run", "--i", "set/particles.star", "--ref",
        "set/reference.mrc", "--K", 2, "--iter", 2, "--ini_high", 60, "--firstiter_cc",
        "--healpix_order", 0, "--offset_range", 2, "--offset_step", 2, "--oversampling", 0,
        "--pad", 1, "--ctf", "--flatten_solvent", "--zero_mask", "--norm", "--scale", "--sym", "C1",
        "--particle_diameter", 150, "--j", 1,
    )  # fmt: skip
    run = gather(find_job(tmp_path / "job"))
    assert run.state is State.FINISHED
    assert run.origin.program.startswith("RELION ")
    assert "--particle_diameter 150" in run.origin.command_line
    assert [step.iteration for step in run.steps] == [0, 1, 2]
    assert run.last.n_class == 2
    assert run.views.symmetry == "C1"
    text = make_page(run)
    assert [name for name in PANELS if f'id="{name}-panel"' not in text] == []
