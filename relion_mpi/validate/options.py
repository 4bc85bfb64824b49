"""What `relion-mpi validate` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option


@dataclass(frozen=True, slots=True)
class ValidateOptions:
    """Options of the checks; the names and defaults are those of the run to come."""

    i: Path = option(help="Particle STAR file; the flag may be left out")
    ref: Path | None = option(None, help="Initial reference map to check")
    ref_angpix: float = option(
        -1.0, help="Pixel size of the reference; by default from its header", unit="angst"
    )
    mask: Path | None = option(None, help="Solvent mask to check")
    sym: str = option("C1", help="Point group")
    particle_diameter: float = option(
        -1.0, help="Diameter of the soft mask on particles; by default the box less its edge",
        unit="angst",
    )  # fmt: skip
    ini_high: float = option(
        60.0, help="Low-pass of the initial reference", unit="angst", minimum=0
    )
    ctf: bool = option(True, help="The run corrects for the CTF", negate="--no-ctf")
    full: bool = option(False, help="Look at every pixel of every image, not only at a sample")
    o: Path | None = option(
        None, help="Root name of a list of unusable particles, ROOT_quarantine.star"
    )
    j: int = option(0, help="Threads that read images; 0 means all cores", minimum=0)
