"""A GPU that is too small, pretended on ranks without one: refused at the start, by one rank."""

from __future__ import annotations

import pytest
from factories.project import noise_project
from launcher import finish, mpiexec, needs_mpiexec

pytestmark = needs_mpiexec

PROGRAM = """
import os, sys
from types import SimpleNamespace
from relion_mpi.backend.gpu import device
from relion_mpi.cli.main import main

device.why_no_device = lambda: ""
device.n_devices = lambda: 1
device.bind = lambda index: SimpleNamespace(
    name="toy", uuid="GPU-0", index=index, total_bytes=2**30
)
device.limit_memory = lambda n: 0
device.bytes_free = lambda n: int(float(sys.argv[1]) * 2**30) // n
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(("n_ranks", "free_gib"), [(1, "0.2"), (3, "0.5")])
def test_what_cannot_fit_is_refused_once_before_anything_is_written(
    tmp_path, n_ranks, free_gib
):
    project = noise_project(tmp_path, box=32)
    out = tmp_path / "out"
    job = mpiexec(
        n_ranks, "-c", PROGRAM, free_gib, "refine3d", "--i", str(project.star), "--ref",
        str(project.reference), "--o", str(out / "run"), "--gpu", "--batch", "16",
    )  # fmt: skip
    status, output, _ = finish(job, 60.0)
    assert status == 1
    assert output.count("relion-mpi: error:") == 1
    assert "GiB of GPU memory a rank" in output
    assert "What would make it fit" in output
    # Two workers share the GPU, the master does not count.
    assert ("1 rank(s) on this GPU instead of 2" in output) == (n_ranks == 3)
    assert "Traceback" not in output
    assert not out.exists()
