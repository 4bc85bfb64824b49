"""The particles of a refinement: a table of arrays, from and to a STAR file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.checks import (
    check_defocus,
    check_groups,
    check_norms,
    check_origins,
)
from relion_mpi.dataset.columns import Table
from relion_mpi.dataset.legacy import origins_in_angstrom
from relion_mpi.dataset.optics_groups import OpticsGroups, read_optics_groups
from relion_mpi.dataset.particle_table import (
    compare_pixel_sizes,
    find_tables,
    half_sets,
    optics_rows,
    priors,
    scale_groups,
    sort_by_micrograph,
    with_box_sizes,
    with_images_in,
)
from relion_mpi.dataset.stack_index import StackIndex, find_images, warn_of_repeated_images

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from relion_mpi.io.mrc import MrcHeader

log = logging.getLogger(__name__)

_DECIMALS = 6


@dataclass(slots=True)
class Particles:
    """n particles, sorted by micrograph; refinement changes the columns below `half`."""

    # where the image is
    stack_file: NDArray[np.int64]  # (n,), index into stack_paths
    image_index: NDArray[np.int64]  # (n,), section in the stack from 0
    stack_paths: list[Path]  # absolute
    stack_headers: list[MrcHeader]
    # what it belongs to
    optics_group: NDArray[np.int64]  # (n,), index into optics
    scale_group: NDArray[np.int64]  # (n,), index into scale_group_names
    scale_group_names: list[str]
    half: NDArray[np.int8]  # (n,), 1 or 2; 0 = not yet
    # contrast transfer function
    defocus_u_angst: NDArray[np.float64]  # (n,)
    defocus_v_angst: NDArray[np.float64]
    defocus_angle_deg: NDArray[np.float64]
    phase_shift_deg: NDArray[np.float64]
    ctf_bfactor: NDArray[np.float64]  # square Angstrom
    ctf_scale: NDArray[np.float64]
    # what refinement finds
    rot_deg: NDArray[np.float64]  # (n,)
    tilt_deg: NDArray[np.float64]
    psi_deg: NDArray[np.float64]
    origin_angst: NDArray[np.float64]  # (n, 2), (x, y)
    origin_prior_angst: NDArray[np.float64] | None  # (n, 2), (x, y)
    angle_prior_deg: NDArray[np.float64] | None  # (n, 3) rot, tilt, psi; NaN = no prior
    class_number: NDArray[np.int64]  # (n,), from 1
    norm_correction: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    max_value_prob: NDArray[np.float64]
    n_significant: NDArray[np.int64]
    # what else the file holds, in the 3.1 form
    frame: pl.DataFrame
    optics: OpticsGroups
    project_root: Path
    path: Path  # the file
    row_number: NDArray[np.int64]  # (n,), row of the file's table, from 1

    @property
    def n_particles(self) -> int:
        """Number of rows."""
        return int(self.stack_file.size)


def read_particles(
    path: str | os.PathLike[str],
    project_root: str | os.PathLike[str] | None = None,
    image_folder: str | os.PathLike[str] | None = None,
) -> Particles:
    """Read a particle STAR file of any RELION version and check it.

    Parameters
    ----------
    path
        File with data_optics and data_particles (RELION >= 3.1), or with one table (<= 3.0).
    project_root
        Folder that relative stack names start from; by default the current one.
    image_folder
        Folder of all stacks, whatever folders their names have; by default as they are named.

    Returns
    -------
    Particles
        Rows sorted by micrograph (stable), RELION's defaults where columns are absent.

    Raises
    ------
    InputError
        The first thing that refinement could not work with; it names file and row.

    Notes
    -----
    Source: RELION 3.1 exp_model.cpp:Experiment::read, obs_model.cpp:loadSafely.
    """
    path = Path(path)
    root = Path.cwd() if project_root is None else Path(project_root).resolve()
    optics_frame, table = find_tables(path)
    if table.frame.height == 0:
        raise InputError(
            f"{path}, table '{table.name}': found no particle, expected one or more; is this the "
            "right file?"
        )
    table = sort_by_micrograph(table)
    if image_folder is not None:
        table = with_images_in(table, Path(image_folder))
    n_groups = optics_frame.height
    optics = read_optics_groups(Table(path, "optics", optics_frame, np.arange(1, n_groups + 1)))
    optics_group = optics_rows(table, optics)
    half = half_sets(table)
    images = find_images(table, root)
    optics = with_box_sizes(table, optics, optics_group, images)
    compare_pixel_sizes(path, optics, optics_group, images)
    warn_of_repeated_images(table, images)
    return _assemble(table, optics, optics_group, half, images, root)


def particles_blocks(particles: Particles, *, half_sets: bool = True) -> dict[str, pl.DataFrame]:
    """Build the tables of a particle STAR file.

    Parameters
    ----------
    particles
        Particles with the values of refinement.
    half_sets
        Whether their half-sets are two that are kept apart.

    Returns
    -------
    dict
        'optics' and 'particles': every column that was read, those of refinement replaced or
        added; rlnRandomSubset only where half-sets are known.
    """
    floats: dict[str, NDArray[np.float64]] = {
        "rlnAngleRot": particles.rot_deg,
        "rlnAngleTilt": particles.tilt_deg,
        "rlnAnglePsi": particles.psi_deg,
        "rlnOriginXAngst": particles.origin_angst[:, 0],
        "rlnOriginYAngst": particles.origin_angst[:, 1],
        "rlnNormCorrection": particles.norm_correction,
        "rlnLogLikeliContribution": particles.log_likelihood,
        "rlnMaxValueProbDistribution": particles.max_value_prob,
    }
    integers: dict[str, NDArray[np.int64]] = {
        "rlnGroupNumber": particles.scale_group + 1,
        "rlnClassNumber": particles.class_number,
        "rlnNrOfSignificantSamples": particles.n_significant,
    }
    if half_sets and particles.half.any():
        integers["rlnRandomSubset"] = particles.half.astype(np.int64)
    columns = [pl.Series(name, np.round(x, _DECIMALS)) for name, x in floats.items()]
    columns += [pl.Series(name, x) for name, x in integers.items()]
    if "rlnPhaseShift" not in particles.frame.columns:
        # Readers of our output take a missing phase shift for NaN.
        columns.append(pl.Series("rlnPhaseShift", particles.phase_shift_deg))
    return {
        "optics": particles.optics.table,
        "particles": particles.frame.with_columns(columns),
    }


def _assemble(
    table: Table,
    optics: OpticsGroups,
    optics_group: NDArray[np.int64],
    half: NDArray[np.int8],
    images: StackIndex,
    root: Path,
) -> Particles:
    columns = table.frame.columns
    if "rlnOriginX" in columns or "rlnOriginY" in columns:
        if "rlnOriginXAngst" not in columns:
            log.warning("%s: origins are in pixels; converted to Angstrom", table.path)
        table = origins_in_angstrom(table, optics.pixel_size_angst[optics_group])
    origin = [table.numbers(f"rlnOrigin{axis}Angst", 0.0, finite=True) for axis in "XY"]
    origin_angst = np.stack(origin, axis=1)
    check_origins(table, origin_angst, (optics.box_size * optics.pixel_size_angst)[optics_group])
    groups, group_names = scale_groups(table)
    check_groups(table, groups)
    defocus_u = table.numbers("rlnDefocusU", 0.0, finite=True)
    defocus_v = defocus_u.copy()
    if "rlnDefocusV" in table.frame.columns:
        defocus_v = table.numbers("rlnDefocusV", 0.0, finite=True)
    check_defocus(table, {"rlnDefocusU": defocus_u, "rlnDefocusV": defocus_v})
    norm = table.numbers("rlnNormCorrection", 1.0, finite=True)
    check_norms(table, norm)
    return Particles(
        stack_file=images.stack_file,
        image_index=images.image_index,
        stack_paths=images.paths,
        stack_headers=images.headers,
        optics_group=optics_group,
        scale_group=groups,
        scale_group_names=group_names,
        half=half,
        defocus_u_angst=defocus_u,
        defocus_v_angst=defocus_v,
        defocus_angle_deg=table.numbers("rlnDefocusAngle", 0.0, finite=True),
        phase_shift_deg=table.numbers("rlnPhaseShift", 0.0, finite=True),
        ctf_bfactor=table.numbers("rlnCtfBfactor", 0.0, finite=True),
        ctf_scale=table.numbers("rlnCtfScalefactor", 1.0, finite=True),
        rot_deg=table.numbers("rlnAngleRot", 0.0, finite=True),
        tilt_deg=table.numbers("rlnAngleTilt", 0.0, finite=True),
        psi_deg=table.numbers("rlnAnglePsi", 0.0, finite=True),
        origin_angst=origin_angst,
        origin_prior_angst=priors(table, ("rlnOriginXPriorAngst", "rlnOriginYPriorAngst")),
        angle_prior_deg=priors(
            table, ("rlnAngleRotPrior", "rlnAngleTiltPrior", "rlnAnglePsiPrior")
        ),
        class_number=table.integers("rlnClassNumber", 1),
        norm_correction=norm,
        log_likelihood=table.numbers("rlnLogLikeliContribution", 0.0),
        max_value_prob=table.numbers("rlnMaxValueProbDistribution", 0.0),
        n_significant=table.integers("rlnNrOfSignificantSamples", 0),
        frame=table.frame,
        optics=optics,
        project_root=root,
        path=table.path,
        row_number=table.row_numbers,
    )
