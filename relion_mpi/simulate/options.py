"""What `relion-mpi simulate` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option

_SOURCE = "Source"
_OPTICS = "Optics"
_NOISE = "Noise and poses"


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """Options of a simulated particle set."""

    o: Path = option(help="folder to write to", group="Output")
    n: int = option(1000, help="number of particles", minimum=1, group="Output")
    box: int = option(64, help="side of the images, even", unit="pixel", minimum=16, group="Output")
    angpix: float = option(
        3.5, help="pixel size of the images", unit="angst", minimum=0.01, group="Output"
    )
    float16: bool = option(
        False, help="write the stack as 16-bit floats (MRC mode 12)", group="Output"
    )
    ini_high: float = option(
        40.0, help="low-pass of reference.mrc", unit="angst", minimum=0.1, group="Output"
    )
    seed: int = option(1, help="seed of all random numbers", minimum=0, group="Output")
    j: int = option(0, help="threads; 0 means all cores", minimum=0, group="Output")
    map: tuple[Path, ...] = option(
        (), help="maps to project, one a class (default: a made-up protein)", group=_SOURCE
    )
    model: tuple[Path, ...] = option(
        (), help="atomic models to project (mmCIF or PDB), one a class", group=_SOURCE
    )
    sym: str = option("C1", help="point group; the source is symmetrised to it", group=_SOURCE)
    bfactor: float = option(
        0.0, help="signal decays as exp(-B/4 d^2); the truth maps include it", unit="angst^2",
        minimum=0.0, group=_SOURCE,
    )  # fmt: skip
    snr: float = option(
        0.1, help="variance of the signal over that of the noise", minimum=1e-9, group=_NOISE
    )
    noise: str = option("white", help="spectrum of the noise", choices=("white", "coloured"),
                        group=_NOISE)  # fmt: skip
    no_noise: bool = option(
        False, help="write the bare signal on the grey scale of --snr, not normalised", group=_NOISE
    )
    offset_sigma: float = option(
        1.5, help="standard deviation of the origin offsets", unit="pixel", minimum=0.0,
        group=_NOISE,
    )  # fmt: skip
    preferred: float = option(
        0.0, help="share of particles seen within a cone of about 15 degrees around the z axis",
        minimum=0.0, maximum=1.0, group=_NOISE,
    )  # fmt: skip
    defocus_min: float = option(
        8000.0, help="smallest underfocus", unit="angst", minimum=0.0, group=_OPTICS
    )
    defocus_max: float = option(
        25000.0, help="largest underfocus", unit="angst", minimum=0.0, group=_OPTICS
    )
    voltage: float = option(300.0, help="acceleration voltage", unit="kV", minimum=1.0,
                            group=_OPTICS)  # fmt: skip
    cs: float = option(2.7, help="spherical aberration", unit="mm", minimum=0.0, group=_OPTICS)
    amplitude_contrast: float = option(
        0.1, help="share of amplitude contrast", minimum=0.0, maximum=0.99, group=_OPTICS
    )
    n_optics: int = option(1, help="number of optics groups", minimum=1, group=_OPTICS)
    n_micrographs: int = option(
        0, help="number of micrographs; 0 means one for every 75 particles", minimum=0,
        group=_OPTICS,
    )  # fmt: skip
    backend: str = option("cpu", help="where to project", choices=("cpu", "gpu"), group="Output")
