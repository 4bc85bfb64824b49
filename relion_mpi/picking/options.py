"""What `relion-mpi autopick` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relion_mpi.core.options import option

_REFS, _BLOBS, _PEAKS, _RUN = "References", "Laplacian of Gaussian", "Peak search", "Running"


@dataclass(frozen=True, slots=True)
class AutopickOptions:
    """Options of particle picking, with RELION's names."""

    i: str = option(help='STAR file of micrographs, one micrograph, or names such as "Mics/*.mrc"')
    odir: Path = option(Path("AutoPick"), help="folder to write to")
    pickname: str = option("autopick", help="coordinate files are named MICROGRAPH_pickname.star")
    angpix: float = option(
        0.0, help="pixel size of the micrographs; 0 reads it from the STAR file or the headers",
        unit="angst", minimum=0.0,
    )  # fmt: skip
    particle_diameter: float = option(
        -1.0, help="diameter of the circular mask of the templates; -1 finds it in the templates",
        unit="angst", minimum=-1.0,
    )  # fmt: skip
    shrink_particle_mask: int = option(
        2, help="make the mask's radius smaller by so much", unit="pixel", minimum=0
    )
    outlier_removal_zscore: float = option(
        8.0, help="pixels so many standard deviations from the mean become the mean; 0 for none",
        minimum=0.0,
    )  # fmt: skip
    write_fom_maps: bool = option(
        False, help="write maps of figure of merit, angle, local mean and standard deviation"
    )
    only_do_unfinished: bool = option(
        False, help="leave out micrographs whose coordinate file is there"
    )
    pictures: int = option(
        24, help="draw the picks on so many micrographs and show them on one page; 0 for none",
        minimum=0,
    )  # fmt: skip
    ref: Path | None = option(
        None, help="templates: a stack of 2D averages, a STAR file that names them, or a 3D map",
        group=_REFS,
    )  # fmt: skip
    angpix_ref: float = option(
        0.0, help="pixel size of the references; 0 reads it from their header", unit="angst",
        minimum=0.0, group=_REFS,
    )  # fmt: skip
    invert: bool = option(
        False, help="particles are dark in the micrographs and bright in the references",
        group=_REFS,
    )  # fmt: skip
    ang: float = option(
        10.0, help="step of the in-plane angles, made to divide 360; 360 for no rotations",
        unit="deg", minimum=0.1, maximum=360.0, group=_REFS,
    )  # fmt: skip
    lowpass: float = option(
        -1.0, help="compare frequencies up to this resolution only, on a grid as coarse as that; "
        "-1 for all", unit="angst", minimum=-1.0, group=_REFS,
    )  # fmt: skip
    highpass: float = option(
        -1.0, help="leave out frequencies below this resolution; -1 for none", unit="angst",
        minimum=-1.0, group=_REFS,
    )  # fmt: skip
    ctf: bool = option(False, help="multiply the templates by each micrograph's CTF", group=_REFS)
    ctf_intact_first_peak: bool = option(
        False, help="leave the CTF out until its first peak", group=_REFS
    )
    healpix_order: int = option(
        1, help="directions in which a 3D reference is projected: 0, 1, 2 are 60, 30, 15 degrees",
        minimum=0, maximum=4, group=_REFS,
    )  # fmt: skip
    sym: str = option("C1", help="point group of a 3D reference", group=_REFS)
    pad: int = option(
        2, help="padding of the templates' transforms", minimum=1, maximum=8, group=_REFS
    )
    LoG: bool = option(  # RELION's flag
        False, help="pick blobs, without references", group=_BLOBS
    )
    LoG_diam_min: float = option(
        -1.0, help="smallest diameter of a particle", unit="angst", group=_BLOBS
    )
    LoG_diam_max: float = option(
        -1.0, help="largest diameter of a particle", unit="angst", group=_BLOBS
    )
    LoG_neighbour: float = option(
        75.0, help="of two blobs nearer than this share of the mean of the found and the smallest "
        "diameter the better one stays", unit="%", minimum=0.0, group=_BLOBS,
    )  # fmt: skip
    Log_invert: bool = option(
        False, help="particles are bright in the micrographs", group=_BLOBS
    )
    LoG_adjust_threshold: float = option(
        0.0, help="raise --threshold by so many standard deviations of the picks' figures of merit",
        group=_BLOBS,
    )  # fmt: skip
    LoG_upper_threshold: float = option(
        99999.0, help="leave out blobs so many standard deviations above the expected one",
        group=_BLOBS,
    )  # fmt: skip
    LoG_use_ctf: bool = option(
        False, help="correct for the CTF up to its first peak", group=_BLOBS
    )
    Log_max_search: float = option(
        1.5, help="look for blobs of up to so many times the largest diameter: they are no "
        "particles", minimum=1.0, group=_BLOBS,
    )  # fmt: skip
    threshold: float = option(
        0.25, help="lowest figure of merit: 1 is what a particle should give, 0 is where noise is "
        "as likely", group=_PEAKS,
    )  # fmt: skip
    min_distance: float = option(
        -1.0, help="of two particles nearer than this the better one stays; -1 for half the box",
        unit="angst", minimum=-1.0, group=_PEAKS,
    )  # fmt: skip
    max_stddev_noise: float = option(
        -1.0, help="highest standard deviation of the background around a particle, where the "
        "micrograph has 1; -1 for any", minimum=-1.0, group=_PEAKS,
    )  # fmt: skip
    min_avg_noise: float = option(
        -999.0, help="lowest mean of the background around a particle, in standard deviations of "
        "the micrograph", group=_PEAKS,
    )  # fmt: skip
    skip_side: int = option(
        0, help="stay so much further away from the edges than half a box", unit="pixel",
        minimum=0, group=_PEAKS,
    )  # fmt: skip
    shrink: float = option(
        0.0, help="grid of scores: 0 as coarse as --lowpass allows, up to 1 a share of the "
        "micrograph's size, above that pixels", minimum=0.0, group=_RUN,
    )  # fmt: skip
    skip_optimise_scale: bool = option(
        False, help="take the size of the grid of scores as it is, whatever primes are in it",
        group=_RUN,
    )  # fmt: skip
    gpu: str | None = option(
        None, help='use GPUs: alone or "" for all, or as RELION 0:1:2 (one a worker); by default '
        "the CPU", bare="", group=_RUN,
    )  # fmt: skip
    j: int = option(
        0, help="threads of a rank; 0 shares the cores among the ranks", minimum=0, group=_RUN
    )
    pipeline_control: Path | None = option(
        None, help="folder where RELION's interface looks for how the job ended", group=_RUN
    )

    @property
    def n_psi(self) -> int:
        """Number of in-plane angles."""
        return max(1, -int(-360.0 // self.ang)) if not self.LoG else 1

    @property
    def sign(self) -> float:
        """What the micrographs are multiplied by so that particles are as in the references."""
        dark = not self.Log_invert if self.LoG else self.invert
        return -1.0 if dark else 1.0
