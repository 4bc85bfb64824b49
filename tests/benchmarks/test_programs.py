"""Programs under benchmarks/ still run, on the smallest input: what nobody starts rots unseen.

Left out is what takes a GPU, an installed RELION or more than some seconds.
"""

from __future__ import annotations

import pytest
from factories.benchmark_runs import MPIEXEC, needs_mpiexec, run

PROGRAMS = {
    "io/million_particles.py": "{out} --n 2000 --micrographs 50",
    "io/star_million.py": "2000",
    "kernels/host_per_particle.py": "--n 50 --box 32 --repeats 2 --symmetries C1 --orders 4",
    "kernels/mstep.py": "--box 24 --backend cpu --repeats 1",
    "kernels/picking.py": "{out} --side 512 --templates 2 --repeats 1 --lowpass 20",
}
STUDY = (
    "--folder {out} --ranks 2,3 --out {out}/study --n 60 --box 24 --angpix 3 --diameter 60 "
    "--iterations 3 --snr 20 --order 1"
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs(name, tmp_path):
    assert run(name, PROGRAMS[name].format(out=tmp_path).split())


@needs_mpiexec
def test_a_study_of_scaling_is_what_predictions_are_made_from(tmp_path):
    words = STUDY.format(out=tmp_path).split()
    assert run("scaling/study.py", [*words, "--mpirun", f"{MPIEXEC}"])
    told = run("scaling/predict.py", ["--measured", str(tmp_path / "study" / "runs.jsonl")])
    assert "Predicted from the fewest workers" in told
