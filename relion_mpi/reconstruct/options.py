"""What `relion-mpi reconstruct` can be told: RELION's names and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relion_mpi.core.options import option

_CTF, _MAP, _RUN = "Contrast transfer function", "Map", "Running"


@dataclass(frozen=True, slots=True)
class ReconstructOptions:
    """Options of a reconstruction."""

    i: Path = option(help="particle STAR file with poses (RELION 3.0, 3.1 or later)")
    o: Path = option(Path("relion.mrc"), help="map to write; its folder is made")
    img: Path | None = option(
        None, help="folder of the stacks: their names are looked for there, without their own "
        "folders",
    )  # fmt: skip
    subset: int = option(
        -1, help="1 or 2: take only the particles of this half-set (rlnRandomSubset)"
    )
    halves: bool = option(
        False, help="write the maps of both half-sets, as ..._half1 and ..._half2, and that of all "
        "particles, from one pass over the images",
    )  # fmt: skip
    class_: int = option(
        -1, help="take only the particles of this class; not above 0 means all", flag="--class"
    )
    sym: str = option("C1", help="point group: Cn, Dn, T, O, I1, I2, I3, I4", group=_MAP)
    maxres: float = option(
        -1.0, help="highest resolution that is used; not above 0 means Nyquist", unit="angst",
        group=_MAP,
    )  # fmt: skip
    angpix: float = option(
        -1.0, help="pixel size of the map; not above 0 means that of the first optics group",
        unit="angst", group=_MAP,
    )  # fmt: skip
    pad: int = option(2, help="oversampling of transforms", minimum=1, maximum=3, group=_MAP)
    iter: int = option(
        10, help="iterations of the gridding correction", minimum=1, maximum=100, group=_MAP
    )
    skip_gridding: bool = option(
        False, help="divide by the weights once instead of iterating",
        negate="--dont_skip_gridding", group=_MAP,
    )  # fmt: skip
    ctf: bool = option(False, help="correct for the contrast transfer function", group=_CTF)
    ctf_intact_first_peak: bool = option(
        False, help="leave the CTF at 1 up to its first peak", group=_CTF
    )
    ctf_phase_flipped: bool = option(False, help="images are phase-flipped already", group=_CTF)
    only_flip_phases: bool = option(False, help="flip phases only", group=_CTF)
    j: int = option(
        0, help="threads per rank; 0 shares the node's cores between its workers", minimum=0,
        group=_RUN,
    )  # fmt: skip
    precision: str = option(
        "float32", help="arithmetic of the back-projection; sums are in float64 on CPUs",
        choices=("float32", "float64"), group=_RUN,
    )  # fmt: skip
    gpu: str | None = option(
        None, help='use GPUs: alone or "" for all, or as RELION 0:1:2 (one a worker); by default '
        "the CPU", bare="", group=_RUN,
    )  # fmt: skip
    deterministic: bool = option(
        False, help="the same bits on any number of GPUs of one kind; CPUs give them in any case",
        group=_RUN,
    )  # fmt: skip
    verb: int = option(1, help="taken and ignored", hidden=True)
    pipeline_control: Path | None = option(
        None, help="folder for the files by which RELION's interface follows a job", group=_RUN
    )
