"""What `relion-mpi extract` can be told: flags and defaults of relion_preprocess."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relion_mpi.core.options import option

_COORDINATES = "Coordinates"
_AGAIN = "Particles of a refinement extracted again"
_CUT = "Windows"
_IMAGES = "Operations on each image"
_STACK = "Operations on a stack"
_RUN = "Running"
AS_INPUT = "ASINPUT"


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """Options of an extraction."""

    i: Path | None = option(None, help="STAR file of the micrographs, with their CTFs")
    part_star: Path | None = option(None, help="particle STAR file to write")
    part_dir: Path = option(Path("Particles"), help="folder for stacks, one a micrograph")
    pick_star: Path | None = option(
        None, help="list to write: micrographs and the files with their extracted coordinates"
    )
    extract: bool = option(False, help="extract particles (or give --operate_on)")
    coord_suffix: str | None = option(
        None, help="end of the names of coordinate files, as _autopick.star or .box",
        group=_COORDINATES,
    )  # fmt: skip
    coord_dir: str = option(
        AS_INPUT, help="folder of the coordinate files; ASINPUT means beside the micrographs",
        group=_COORDINATES,
    )  # fmt: skip
    coord_list: Path | None = option(
        None, help="STAR file that names the coordinate file of each micrograph, as RELION 4's "
        "autopick.star", group=_COORDINATES,
    )  # fmt: skip
    minimum_pick_fom: float = option(
        -999.0, help="leave out picks with a rlnAutopickFigureOfMerit below this, if above -999",
        group=_COORDINATES,
    )  # fmt: skip
    extract_bias_x: int = option(
        0, help="to add to every coordinate", unit="pixels", group=_COORDINATES
    )
    extract_bias_y: int = option(
        0, help="to add to every coordinate", unit="pixels", group=_COORDINATES
    )
    set_angpix: float = option(
        -1.0, help="pixel size of the micrographs, instead of the STAR file's; above 0",
        unit="angst", group=_COORDINATES,
    )  # fmt: skip
    reextract_data_star: Path | None = option(
        None, help="_data.star of a refinement, whose particles to extract instead", group=_AGAIN
    )
    recenter: bool = option(
        False, help="move each window by the whole pixels of the particle's origin", group=_AGAIN
    )
    recenter_x: float = option(
        0.0, help="point of the map to bring to the centre", unit="pixels", group=_AGAIN
    )
    recenter_y: float = option(
        0.0, help="point of the map to bring to the centre", unit="pixels", group=_AGAIN
    )
    recenter_z: float = option(
        0.0, help="point of the map to bring to the centre", unit="pixels", group=_AGAIN
    )
    ref_angpix: float = option(
        -1.0, help="pixel size of that map; not above 0 means that of the particles", unit="angst",
        group=_AGAIN,
    )  # fmt: skip
    reset_offsets: bool = option(
        False, help="set origins to 0 and leave windows where they are", group=_AGAIN
    )
    keep_ctfs_micrographs: bool = option(
        False, help="take CTFs of the micrographs, not those of the particles", group=_AGAIN
    )
    extract_size: int = option(
        -1, help="side of the windows; even", unit="pixels", group=_CUT
    )
    only_do_unfinished: bool = option(
        False, help="leave alone the micrographs whose particles are there", group=_CUT
    )
    scale: int = option(
        -1, help="rescale images to this side by their transforms; even", unit="pixels",
        group=_IMAGES,
    )  # fmt: skip
    window: int = option(
        -1, help="then crop images to this side, or pad them with zeros; even", unit="pixels",
        group=_IMAGES,
    )  # fmt: skip
    norm: bool = option(
        False, help="bring the background to mean 0 and standard deviation 1", group=_IMAGES
    )
    bg_radius: float = option(
        -1.0, help="background lies beyond this radius (its whole pixels) of the final image",
        unit="pixels", group=_IMAGES,
    )  # fmt: skip
    no_ramp: bool = option(
        False, help="with --norm: subtract the mean of the background, not a fitted plane",
        group=_IMAGES,
    )  # fmt: skip
    white_dust: float = option(
        -1.0, help="with --norm: replace pixels above so many standard deviations; above 0",
        group=_IMAGES,
    )  # fmt: skip
    black_dust: float = option(
        -1.0, help="with --norm: replace pixels below minus so many standard deviations; above 0",
        group=_IMAGES,
    )  # fmt: skip
    invert_contrast: bool = option(
        False, help="multiply by -1, so that protein is white", group=_IMAGES
    )
    float16: bool = option(False, help="write stacks in half precision", group=_IMAGES)
    operate_on: Path | None = option(
        None, help="stack to operate on, instead of an extraction", group=_STACK
    )
    operate_out: Path = option(
        Path("preprocessed.mrcs"), help="stack to write then", group=_STACK
    )
    j: int = option(
        0, help="threads of each worker, a micrograph each; 0 shares the cores of the node out",
        minimum=0, group=_RUN,
    )  # fmt: skip
    pipeline_control: Path | None = option(
        None, help="folder for the files by which RELION's interface follows a job", group=_RUN
    )
    verb: int = option(1, help="taken and ignored", hidden=True)
    helix: bool = option(False, help="not there", hidden=True)
    helical_outer_diameter: float = option(-1.0, help="not there", hidden=True)
    helical_tubes: bool = option(False, help="not there", hidden=True)
    helical_nr_asu: int = option(1, help="not there", hidden=True)
    helical_rise: float = option(0.0, help="not there", hidden=True)
    helical_bimodal_angular_priors: bool = option(False, help="not there", hidden=True)
    helical_cut_into_segments: bool = option(False, help="not there", hidden=True)
    project3d: bool = option(False, help="not there", hidden=True)
    premultiply_ctf: bool = option(False, help="not there", hidden=True)
    premultiply_extract_size: int = option(-1, help="not there", hidden=True)
    ctf_intact_first_peak: bool = option(False, help="not there", hidden=True)
    phase_flip: bool = option(False, help="not there", hidden=True)
