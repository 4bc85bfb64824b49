"""The initial reference and the masks: read, checked, brought to the model's grid."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.resample import resample, windowed
from relion_mpi.io.mrc import read_map
from relion_mpi.mstep.solvent import spherical_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.refine.common_options import CommonOptions

log = logging.getLogger(__name__)

PIXEL_TOLERANCE = 0.01


def _read_cube(path: Path, what: str) -> tuple[NDArray[np.float64], float]:
    """Read a cubic map of finite values."""
    volume, pixel_size = read_map(path)
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        msg = f"{path}: the {what} has shape {volume.shape}, expected a cube; crop or pad it"
        raise InputError(msg)
    check_grid(volume, path, what)
    return volume.astype(np.float64), pixel_size


def check_grid(values: NDArray[np.floating[Any]], path: Path, what: str) -> None:
    """Refuse an odd side, and values that are not finite.

    Parameters
    ----------
    values : float (n,) * ndim
    path, what
        For the message.

    Raises
    ------
    InputError
        For the first of them.
    """
    if values.shape[-1] % 2:
        kind = "voxels" if values.ndim == 3 else "pixels"
        msg = f"{path}: the {what} has an odd side of {values.shape[-1]} {kind}; pad it to even"
        raise InputError(msg)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        kind = "voxels" if values.ndim == 3 else "pixels"
        msg = f"{path}: the {what} has {bad} {kind} that are NaN or infinite; make it anew"
        raise InputError(msg)


def load_reference(
    options: CommonOptions, box_size: int, pixel_size_angst: float, path: Path | None = None
) -> NDArray[np.float64]:
    """Read an initial reference onto the model's grid, not yet low-passed.

    Parameters
    ----------
    options
        --ref and --ref_angpix.
    box_size, pixel_size_angst
        Of the model.
    path
        The map, where --ref names several.

    Returns
    -------
    float64 (box_size,) * 3

    Raises
    ------
    InputError
        If the map is not a usable cube.
    """
    path = path or options.ref
    volume, header_pixel = _read_cube(path, "reference")
    return on_model_grid(
        volume, header_pixel, path, options.ref_angpix, box_size, pixel_size_angst
    )


def on_model_grid(
    values: NDArray[np.float64],
    header_pixel_angst: float,
    path: Path,
    asked_pixel_angst: float,
    box_size: int,
    pixel_size_angst: float,
) -> NDArray[np.float64]:
    """Bring a reference to the pixel and box size of the model.

    Parameters
    ----------
    values : float64 (n,) * ndim
        A volume or an image.
    header_pixel_angst
        Pixel size of the file's header, Angstrom; 0 where there is none.
    path
        For messages.
    asked_pixel_angst
        --ref_angpix; not positive for the header's.
    box_size, pixel_size_angst
        Of the model.

    Returns
    -------
    float64 (box_size,) * ndim

    Raises
    ------
    InputError
        All values are the same, or no pixel size is known.
    """
    kind = "voxels" if values.ndim == 3 else "pixels"
    if not np.ptp(values) > 0:
        what = "map" if values.ndim == 3 else "image"
        msg = f"{path}: all {kind} of the reference are {values.flat[0]:g}; give a real {what}"
        raise InputError(msg)
    own_pixel = asked_pixel_angst if asked_pixel_angst > 0 else header_pixel_angst
    if not own_pixel > 0:
        msg = (
            f"{path}: the header gives no pixel size; say it with --ref_angpix, or set it "
            "in the header"
        )
        raise InputError(msg)
    if abs(own_pixel / pixel_size_angst - 1) > PIXEL_TOLERANCE:
        log.warning(
            "%s has a pixel size of %.4g A, the particles %.4g A: it is resampled",
            path, own_pixel, pixel_size_angst,
        )  # fmt: skip
        values = resample(values, own_pixel, box_size, pixel_size_angst).astype(np.float64)
        if values.ndim == 3:  # a projection is a sum over voxels: keep it when voxels change
            values *= pixel_size_angst / own_pixel
    elif values.shape[0] != box_size:
        log.warning(
            "%s has a box of %d %s, the particles %d: it is cropped or padded",
            path, values.shape[0], kind, box_size,
        )  # fmt: skip
        values = windowed(values, box_size).astype(np.float64)
    return values


def load_mask(path: Path, box_size: int, pixel_size_angst: float) -> NDArray[np.float64]:
    """Read a mask that must fit the model's grid.

    Raises
    ------
    InputError
        If its box, pixel size or values are wrong.
    """
    mask, own_pixel = _read_cube(path, "mask")
    if mask.shape[0] != box_size:
        msg = f"{path}: the mask has a box of {mask.shape[0]} voxels, the particles {box_size}"
        raise InputError(msg + "; resample it")
    if own_pixel > 0 and abs(own_pixel / pixel_size_angst - 1) > PIXEL_TOLERANCE:
        msg = (
            f"{path}: the mask's pixel size is {own_pixel:g} A, the particles' "
            f"{pixel_size_angst:g} A; resample it or mend its header"
        )
        raise InputError(msg)
    low, high = float(mask.min()), float(mask.max())
    if low < -1e-3 or high > 1 + 1e-3:
        msg = f"{path}: mask values go from {low:g} to {high:g}, expected 0 to 1; scale or clip it"
        raise InputError(msg)
    if high < 1e-3:
        msg = f"{path}: the mask is empty (largest value {high:g}), expected 1 inside; make it anew"
        raise InputError(msg)
    return np.clip(mask, 0.0, 1.0)


def solvent_masks(
    options: CommonOptions, box_size: int, pixel_size_angst: float, diameter_angst: float
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Read or make the solvent mask, and read the inner mask if there is one."""
    if options.solvent_mask is not None:
        mask = load_mask(options.solvent_mask, box_size, pixel_size_angst)
    else:
        mask = spherical_mask(
            box_size, pixel_size_angst, diameter_angst, options.maskedge,
            n_dim=2 if options.is_planar else 3,
        )  # fmt: skip
    inner = None
    if options.solvent_mask2 is not None:
        inner = load_mask(options.solvent_mask2, box_size, pixel_size_angst)
    return mask, inner
