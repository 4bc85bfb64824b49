"""What `relion-mpi postprocess` can be told: RELION's flags and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relion_mpi.core.options import option

_MASK = "Mask"
_SHARPEN = "Sharpening and filter"
_RANDOM = "Phase randomisation"
_LOCAL = "Local resolution"


@dataclass(frozen=True, slots=True)
class PostprocessOptions:
    """Options of post-processing."""

    i: Path = option(help="unfiltered map of one half-set, half1 or half2 in its name")
    i2: Path | None = option(None, help="the other one, if its name differs in more than that")
    o: Path = option(Path("postprocess"), help="root of the output files")
    angpix: float = option(
        -1.0, help="pixel size; not above 0 means as the header says", unit="angst"
    )
    half_maps: bool = option(
        False, help="write the half-maps sharpened and filtered as the map, for validation"
    )
    mask: Path | None = option(None, help="map of 0 to 1: 1 on the particle", group=_MASK)
    force_mask: bool = option(
        False, help="use the mask even where the resolution is better without", group=_MASK
    )
    molweight: float = option(
        -1.0, help="mass of the ordered protein, for an FSC per particle volume; above 0",
        unit="kDa", group=_MASK,
    )  # fmt: skip
    mtf: Path | None = option(
        None, help="STAR file with the MTF of the detector, to divide by", group=_SHARPEN
    )
    mtf_angpix: float = option(
        -1.0, help="pixel size of the movies; not above 0 means that of the maps", unit="angst",
        group=_SHARPEN,
    )  # fmt: skip
    auto_bfac: bool = option(
        False, help="find the B-factor from the Guinier plot (Rosenthal and Henderson 2003)",
        group=_SHARPEN,
    )  # fmt: skip
    autob_lowres: float = option(
        10.0, help="lowest resolution of the fit", unit="angst", minimum=0.0, group=_SHARPEN
    )
    autob_highres: float = option(
        0.0, help="highest resolution of the fit; 0 means Nyquist", unit="angst", minimum=0.0,
        group=_SHARPEN,
    )  # fmt: skip
    adhoc_bfac: float = option(
        0.0, help="B-factor to apply, negative to sharpen", unit="angst^2", group=_SHARPEN
    )
    skip_fsc_weighting: bool = option(
        False, help="do not weight by sqrt(2 FSC / (1 + FSC))", group=_SHARPEN
    )
    low_pass: float = option(
        0.0, help="low-pass the map; 0 means no, negative at the resolution of FSC 0.143",
        unit="angst", group=_SHARPEN,
    )  # fmt: skip
    filter_edge_width: int = option(
        2, help="width of the low-pass's raised cosine", unit="shells", minimum=0, group=_SHARPEN
    )
    randomize_at_fsc: float = option(
        0.8, help="from the shell where the unmasked FSC falls below this", maximum=1.0,
        group=_RANDOM,
    )  # fmt: skip
    randomize_at: float = option(
        -1.0, help="from this resolution, if above 0", unit="angst", flag="--randomize_at_A",
        group=_RANDOM,
    )  # fmt: skip
    random_seed: int = option(
        0, help="of the random phases; negative means another one each time", group=_RANDOM
    )
    locres: bool = option(
        False, help="find the resolution all over the map, and filter the map by it, instead",
        group=_LOCAL,
    )  # fmt: skip
    locres_sampling: float = option(
        25.0, help="distance of windows", unit="angst", minimum=0.0, group=_LOCAL
    )
    locres_maskrad: float = option(
        -1.0, help="radius of windows; not above 0 means half of --locres_sampling", unit="angst",
        group=_LOCAL,
    )  # fmt: skip
    locres_edgwidth: float = option(
        -1.0, help="width of their soft edge; below 0 means --locres_sampling", unit="angst",
        group=_LOCAL,
    )  # fmt: skip
    locres_randomize_at: float = option(
        25.0, help="randomise phases from this resolution", unit="angst", minimum=1e-3,
        group=_LOCAL,
    )  # fmt: skip
    locres_minres: float = option(
        50.0, help="lowest resolution to tell", unit="angst", minimum=1e-3, group=_LOCAL
    )
    j: int = option(0, help="threads that measure windows; 0 means one a core", unit="threads",
                    minimum=0, group=_LOCAL)  # fmt: skip
    verb: int = option(1, help="taken and ignored", hidden=True)
    pipeline_control: Path | None = option(
        None, help="folder for the files by which RELION's interface follows a job"
    )


@dataclass(frozen=True, slots=True)
class FscOptions:
    """Options of the FSC of two maps."""

    a: Path = option(help="map, or atomic model (mmCIF or PDB) in the frame of the other")
    b: Path = option(help="map on the same grid, or such a model if the other is a map")
    o: Path = option(Path("fsc"), help="root of the output files: .star, .csv, .xml and .png")
    mask: Path | None = option(None, help="map to multiply both maps by")
    angpix: float = option(
        -1.0, help="pixel size; not above 0 means as the header says", unit="angst"
    )
