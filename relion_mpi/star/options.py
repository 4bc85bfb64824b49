"""What `relion-mpi star` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relion_mpi.core.options import option

_COMBINE, _SPLIT, _SELECT = "Combine", "Split", "Select"
_DUPLICATES, _COLUMNS, _HISTOGRAM = "Remove duplicates", "Change columns", "Statistics of a column"
_POSES, _CRYOSPARC = "Poses", "Import from cryoSPARC"


@dataclass(frozen=True, slots=True)
class StarOptions:
    """Options of operations on STAR files; one of them a call."""

    i: tuple[Path, ...] = option(
        help="STAR file; several to --combine, also in one word in quotes as RELION takes them; "
        "with --from_cryosparc, .cs files"
    )
    o: Path = option(Path("out.star"), help="STAR file to write")
    ignore_optics: bool = option(
        False, help="take the table as it is: no optics groups are made or looked at"
    )
    i_tablename: str | None = option(
        None, help="table to work on; without it, that of particles, micrographs, or the first"
    )
    combine: bool = option(
        False, help="write the rows of all files into one; optics groups of one name and one "
        "meaning become one", group=_COMBINE,
    )  # fmt: skip
    check_duplicates: str | None = option(
        None, help="with --combine: warn of values that this column has more than once",
        metavar="label", group=_COMBINE,
    )  # fmt: skip
    split: bool = option(
        False, help="write the rows to several files, OUT_split1.star and so on", group=_SPLIT
    )
    nr_split: int = option(
        -1, help="number of files, of equal size; -1: as many as --size_split needs", group=_SPLIT
    )
    size_split: int = option(-1, help="rows of a file; -1: as --nr_split says", group=_SPLIT)
    random_order: bool = option(False, help="draw the rows at random first", group=_SPLIT)
    random_seed: int = option(
        -1, help="seed of --random_order; negative: drawn and logged", group=_SPLIT
    )
    select: str | None = option(
        None, help="keep rows by the number in this column", metavar="label", group=_SELECT
    )
    minval: float = option(-99999999.0, help="smallest number to keep", group=_SELECT)
    maxval: float = option(99999999.0, help="largest number to keep", group=_SELECT)
    select_by_str: str | None = option(
        None, help="keep rows by the text in this column", metavar="label", group=_SELECT
    )
    select_include: str | None = option(
        None, help="keep rows whose text has this in it", group=_SELECT
    )
    select_exclude: str | None = option(
        None, help="keep rows whose text does not have this in it", group=_SELECT
    )
    discard_on_stats: bool = option(
        False, help="leave out images whose mean or standard deviation is unlike the others'",
        group=_SELECT,
    )  # fmt: skip
    discard_label: str = option(
        "rlnImageName", help="column that names the images of --discard_on_stats",
        metavar="label", group=_SELECT,
    )  # fmt: skip
    discard_sigma: float = option(
        4.0, help="standard deviations of the ensemble that an image may be off", minimum=0.0,
        group=_SELECT,
    )  # fmt: skip
    remove_duplicates: float = option(
        -1.0, help="leave out particles that have one of a later row within this distance in the "
        "same micrograph; negative: do not", unit="angst", group=_DUPLICATES,
    )  # fmt: skip
    image_angpix: float = option(
        -1.0, help="pixel size of the micrographs that coordinates refer to; not positive: as the "
        "optics groups say", unit="angst", group=_DUPLICATES,
    )  # fmt: skip
    unique: str | None = option(
        None, help="leave out rows whose value in this column an earlier row has, for example "
        "rlnImageName", metavar="label", group=_DUPLICATES,
    )  # fmt: skip
    operate: str | None = option(
        None, help="change the numbers of this column", metavar="label", group=_COLUMNS
    )
    operate2: str | None = option(None, help="and of this", metavar="label", group=_COLUMNS)
    operate3: str | None = option(None, help="and of this", metavar="label", group=_COLUMNS)
    set_to: str | None = option(None, help="value for all rows of --operate", group=_COLUMNS)
    multiply_by: float = option(1.0, help="factor for --operate", group=_COLUMNS)
    add_to: float = option(
        0.0, help="number to add for --operate, after --multiply_by", group=_COLUMNS
    )
    remove_column: str | None = option(
        None, help="leave out this column", metavar="label", group=_COLUMNS
    )
    add_column: str | None = option(
        None, help="add this column, or replace it", metavar="label", group=_COLUMNS
    )
    add_column_value: str | None = option(
        None, help="value of --add_column in all rows", group=_COLUMNS
    )
    copy_column_from: str | None = option(
        None, help="column whose values --add_column gets", metavar="label", group=_COLUMNS
    )
    hist_column: str | None = option(
        None, help="log statistics of this column and draw its histogram, OUT.png",
        metavar="label", group=_HISTOGRAM,
    )  # fmt: skip
    in_percent: bool = option(False, help="show percent of the rows", group=_HISTOGRAM)
    show_cumulative: bool = option(False, help="show the cumulative sum", group=_HISTOGRAM)
    hist_bins: int = option(
        -1, help="number of bins; not positive: from the spread of the values", group=_HISTOGRAM
    )
    hist_min: float | None = option(None, help="smallest value to show", group=_HISTOGRAM)
    hist_max: float | None = option(None, help="largest value to show", group=_HISTOGRAM)
    center: bool = option(
        False, help="shift origins so that a point of the reference is the centre of the images",
        group=_POSES,
    )  # fmt: skip
    center_x: float = option(
        0.0, help="x of that point, from the centre of the box", unit="pixel", flag="--center_X",
        group=_POSES,
    )  # fmt: skip
    center_y: float = option(0.0, help="its y", unit="pixel", flag="--center_Y", group=_POSES)
    center_z: float = option(0.0, help="its z", unit="pixel", flag="--center_Z", group=_POSES)
    symmetry_expand: bool = option(
        False, help="write each particle once for each operator of --sym (RELION's "
        "relion_particle_symmetry_expand)", group=_POSES,
    )  # fmt: skip
    sym: str = option("C1", help="point group of --symmetry_expand", group=_POSES)
    from_cryosparc: bool = option(
        False, help="make a STAR file of cryoSPARC's particles.cs and, after it, its passthrough "
        "files", group=_CRYOSPARC,
    )  # fmt: skip
    image_folder: Path | None = option(
        None, help="folder of the cryoSPARC project, put before the names of stacks",
        group=_CRYOSPARC,
    )  # fmt: skip
    invert_y: bool = option(
        False, help="measure y of coordinates from the other side of the micrograph",
        group=_CRYOSPARC,
    )  # fmt: skip
    pipeline_control: Path | None = option(
        None, help="folder for the files by which RELION's interface follows a job"
    )
