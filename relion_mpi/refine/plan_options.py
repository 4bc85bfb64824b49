"""What `relion-mpi plan` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option
from relion_mpi.refine.gpu_memory import REAL_BYTES


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Options of the prediction; those of the run to come have its names and defaults."""

    i: Path | None = option(None, help="Particle STAR file, in place of --box, --n and --angpix")
    box: int = option(0, help="Side of the images", unit="pixel", minimum=0)
    n: int = option(0, help="Number of particles; 0 means many", minimum=0)
    angpix: float = option(
        1.0, help="Pixel size; matters with --particle_diameter", unit="angst", minimum=0.01
    )
    pad: int = option(2, help="Oversampling of transforms", minimum=1, maximum=3)
    n_class: int = option(1, flag="--K", help="Number of classes", minimum=1, maximum=1000)
    precision: str = option(
        "float32", help="Arithmetic of the E-step", choices=tuple(REAL_BYTES)
    )
    sym: str = option("C1", help="Point group")
    particle_diameter: float = option(
        -1.0, help="Diameter of the soft mask on particles; not positive: the box", unit="angst"
    )
    batch: int = option(0, help="Particles per batch; 0 chooses from the box", minimum=0)
    gpu_memory: float = option(
        0.0, help="Memory of a GPU; 0 asks the first GPU here", unit="GiB", minimum=0
    )
    gpus: int = option(
        0, help="GPUs of a node; 0 counts those here, or means 1 with --gpu_memory", minimum=0
    )
    ranks: int = option(
        0, help="Ranks on the node with rank 0; 0 means one a GPU and rank 0", minimum=0
    )
    host_memory: float = option(
        0.0, help="Memory of the node; 0 asks this one, unless --gpu_memory tells of another",
        unit="GiB", minimum=0,
    )  # fmt: skip
    time: bool = option(
        True, help="Also estimate the time, by a second or two of work here", negate="--no-time"
    )
    table: bool = option(False, help="Also a table of boxes and classes")
