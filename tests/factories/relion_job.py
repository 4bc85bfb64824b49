"""One iteration of a classification by relion_refine and by relion-mpi, side by side."""

from __future__ import annotations

import os
import subprocess
import sys

from relion_mpi.io.star import read_star

THEIRS = (
    "--ctf", "--ctf_corrected_ref", "--flatten_solvent", "--zero_mask", "--norm", "--scale",
    "--oversampling", "1", "--skip_gridding", "--dont_check_norm", "--pool", "3", "--j", "1",
)  # fmt: skip
"""What relion_refine has to be told and relion-mpi does."""


def classified_by_both(folder, command, n_class, both, ours, maps):
    """Run both in `folder`; (particles, model, maps, model before) of theirs, then of ours.

    `both` are the words of both, `ours` more of a command of relion-mpi, `maps` reads the maps of
    a folder.
    """
    (folder / "relion").mkdir()
    _run(folder, "relion_refine", "--o", "relion/run", *both, "--K", str(n_class), *THEIRS)
    program = (sys.executable, "-m", "relion_mpi.cli.main", command)
    _run(folder, *program, "--o", "ours/run", *both, *ours, "--compat", "relion3", "--no-report")
    return [
        (
            read_star(one / "run_it001_data.star")["particles"].sort("rlnImageName"),
            read_star(one / "run_it001_model.star"),
            maps(one),
            read_star(one / "run_it000_model.star"),
        )
        for one in (folder / "relion", folder / "ours")
    ]


def _run(folder, *command):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
