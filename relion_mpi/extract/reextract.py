"""Particles of a refinement, to be extracted again, perhaps recentred."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.dataset.legacy import origins_in_angstrom
from relion_mpi.dataset.optics_groups import OpticsGroups, read_optics_groups
from relion_mpi.dataset.particle_table import find_tables, optics_rows
from relion_mpi.extract.coordinates import X, Y
from relion_mpi.extract.micrographs import GROUP, NAME
from relion_mpi.extract.particles import IMAGE, Particles
from relion_mpi.fourier.shells import round_half_away
from relion_mpi.geometry.euler import euler_to_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.extract.micrographs import Micrographs
    from relion_mpi.extract.options import ExtractOptions

log = logging.getLogger(__name__)

ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


@dataclass(frozen=True, slots=True)
class Refined:
    """Particles of a refinement.

    Attributes
    ----------
    particles : to extract
    optics : their groups
    pixel_size_angst : float64 (n_groups,) of the micrographs of each group
    stacks : where their images are now
    """

    particles: Particles
    optics: OpticsGroups
    pixel_size_angst: NDArray[np.float64]
    stacks: set[Path]


def refined_particles(options: ExtractOptions, micrographs: Micrographs) -> Refined:
    """Read --reextract_data_star and move its coordinates.

    Parameters
    ----------
    options
        What was asked for.
    micrographs
        Of the job.

    Returns
    -------
    Refined
        Particles of these micrographs, in the order of the file within each.

    Raises
    ------
    InputError
        The file cannot be used, or lacks what recentring needs.
    """
    assert options.reextract_data_star is not None
    path = options.reextract_data_star
    optics_frame, table = find_tables(path)
    for label in (X, Y, NAME):
        if label not in table.frame.columns:
            raise InputError(
                f"{path}, table '{table.name}': found no column {label}, expected it for every "
                "particle, to find it in its micrograph; give a file that has it"
            )
    optics = read_optics_groups(
        Table(path, "optics", optics_frame, np.arange(1, optics_frame.height + 1))
    )
    table, micrograph = _of_micrographs(table, micrographs)
    group = optics_rows(table, optics)
    of_micrographs = _match_groups(table, optics, group, micrographs)
    table = origins_in_angstrom(table, optics.pixel_size_angst[group])
    shift = np.array([options.extract_bias_x, options.extract_bias_y], np.float64)
    xy = np.stack([table.numbers(label, 0.0, finite=True) for label in (X, Y)], axis=1) + shift
    added: list[pl.Series] = []
    if options.recenter:
        reference = options.ref_angpix if options.ref_angpix > 0 else optics.pixel_size_angst[group]
        pixel_size = micrographs.optics.pixel_size_angst[micrographs.group[micrograph]]
        moved = recentred(table, _point(options), np.asarray(reference), pixel_size)
        xy -= moved.whole_pix
        added = [pl.Series(label, moved.rest_angst[:, k]) for k, label in enumerate(ORIGINS)]
    elif options.reset_offsets:
        there = [label for label in ORIGINS if label in table.frame.columns]
        added = [pl.Series(label, np.zeros(table.frame.height)) for label in there]
    added += [pl.Series(X, xy[:, 0]), pl.Series(Y, xy[:, 1])]
    names = table.frame[IMAGE].cast(pl.String) if IMAGE in table.frame.columns else pl.Series([""])
    stacks = {Path(name).resolve() for name in names.str.replace(r"^[^@]*@", "").unique()}
    particles = Particles(
        table.frame.with_columns(added), micrograph,
        dict.fromkeys(micrograph.tolist(), f"{path}, table '{table.name}'"), table.row_numbers,
    )  # fmt: skip
    return Refined(particles, optics, of_micrographs, stacks)


@dataclass(frozen=True, slots=True)
class Moved:
    """What becomes of origins; both (n, 2) as x, y.

    Attributes
    ----------
    whole_pix : int64, to subtract from coordinates, pixels of the micrograph
    rest_angst : float64, origins that remain, Angstrom
    """

    whole_pix: NDArray[np.int64]
    rest_angst: NDArray[np.float64]


def recentred(
    table: Table,
    point: NDArray[np.float64],
    reference_angst: NDArray[np.float64],
    pixel_size_angst: NDArray[np.float64],
) -> Moved:
    """Split origins into whole pixels, by which windows move, and rests.

    Parameters
    ----------
    table
        Particles with origins in Angstrom, and angles where the point is not the map's centre.
    point : float64 (3,)
        (x, y, z) of the map to bring to the centre, pixels of the map from its centre.
    reference_angst : float64 () or (n,)
        Pixel size of the map, Angstrom.
    pixel_size_angst : float64 (n,)
        Of the micrographs.

    Returns
    -------
    Moved

    Raises
    ------
    InputError
        Columns are missing or hold no finite numbers.

    Source
    ------
    RELION extractParticlesFromOneMicrograph, by its output.
    """
    needed = ORIGINS + (_ANGLES if point.any() else ())
    for label in needed:
        if label not in table.frame.columns:
            raise InputError(
                f"{table.path}, table '{table.name}': found no column {label}, expected it for "
                "--recenter; give the _data.star of a refinement"
            )
    origin = np.stack([table.numbers(label, 0.0, finite=True) for label in ORIGINS], axis=1)
    if point.any():
        angles = (table.numbers(label, 0.0, finite=True) for label in _ANGLES)
        seen = (euler_to_matrix(*angles) @ point)[:, :2]
        origin -= seen * np.broadcast_to(reference_angst, origin.shape[0])[:, None]
    pixels = origin / pixel_size_angst[:, None]
    whole = round_half_away(pixels)
    return Moved(whole, (pixels - whole) * pixel_size_angst[:, None])


def _point(options: ExtractOptions) -> NDArray[np.float64]:
    return np.array([options.recenter_x, options.recenter_y, options.recenter_z])


def _of_micrographs(
    table: Table, micrographs: Micrographs
) -> tuple[Table, NDArray[np.int64]]:
    """Keep the particles of known micrographs, sorted by these; return their rows too."""
    known = {name: row for row, name in enumerate(micrographs.names)}
    found = table.frame[NAME].cast(pl.String).replace_strict(
        known, default=-1, return_dtype=pl.Int64
    ).to_numpy()  # fmt: skip
    order = np.argsort(found, kind="stable")
    order = order[np.count_nonzero(found < 0) :]
    if order.size == 0:
        raise InputError(
            f"{table.path}: found particles of {table.frame[NAME][0]} and others, expected some of "
            f"the micrographs of {micrographs.table.path}; give the STAR file of their micrographs "
            "as --i"
        )
    if order.size < found.size:
        row = table.first(found < 0)
        log.warning(
            "%s: %d of %d particles are of micrographs that %s does not have, the first of %s: "
            "they are left out", table.path, found.size - order.size, found.size,
            micrographs.table.path, table.frame[NAME][row],
        )  # fmt: skip
    kept = Table(table.path, table.name, table.frame[order], table.row_numbers[order])
    return kept, found[order]


def _match_groups(
    table: Table, optics: OpticsGroups, group: NDArray[np.int64], micrographs: Micrographs
) -> NDArray[np.float64]:
    """Return the pixel size of the micrographs of each group; groups are known by their names."""
    sizes = dict(
        zip(micrographs.optics.name, micrographs.optics.pixel_size_angst.tolist(), strict=True)
    )
    for row in np.unique(group).tolist():
        if optics.name[row] not in sizes:
            raise InputError(
                f"{table.path}: found the optics group {optics.name[row]}, expected one of "
                f"{', '.join(sizes)} as in {micrographs.table.path}; rename the groups of either"
            )
    return np.array([sizes.get(name, np.nan) for name in optics.name])


def numbers_by_name(optics: OpticsGroups, micrographs: Micrographs, table: Table) -> pl.Series:
    """Return the groups of particles as the micrographs number them.

    Parameters
    ----------
    optics
        Groups of the particles.
    micrographs
        Have groups of the same names.
    table
        Particles.

    Returns
    -------
    pl.Series
        Column of group numbers.
    """
    known = dict(zip(micrographs.optics.name, micrographs.optics.number.tolist(), strict=True))
    numbers = np.array([known.get(name, -1) for name in optics.name])
    return pl.Series(GROUP, numbers[optics_rows(table, optics)])
