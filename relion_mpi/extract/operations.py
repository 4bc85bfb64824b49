"""What is done to the images of particles, in RELION's order."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.extract.normalise import normalise
from relion_mpi.extract.rescale import rescale
from relion_mpi.extract.window import rewindow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.extract.options import ExtractOptions

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Operations on square images of one side.

    Attributes
    ----------
    side, scaled_side, final_side
        As cut, after rescaling, after windowing; pixels.
    radius_pix
        Background lies beyond; None leaves grey values as they are.
    ramp, dust
        As in `relion_mpi.extract.normalise.normalise`.
    invert, half
        Multiply by -1; write in half precision.
    """

    side: int
    scaled_side: int
    final_side: int
    radius_pix: int | None
    ramp: bool
    dust: tuple[float, float]
    invert: bool
    half: bool

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of the images that are written."""
        return np.dtype(np.float16 if self.half else np.float32)

    @property
    def n_chunk(self) -> int:
        """Images that are worked on together, so that they stay in the cache."""
        return max(1, _CHUNK_BYTES // (8 * max(self.side, self.final_side) ** 2))


def make_recipe(options: ExtractOptions, side: int) -> Recipe:
    """Check the options for operations against each other.

    Parameters
    ----------
    options
        What was asked for.
    side
        Of the images before, pixels.

    Returns
    -------
    Recipe

    Raises
    ------
    InputError
        No radius of a background inside of the images, or dust without --norm.
    """
    scaled = _even(options.scale, "--scale") if options.scale > 0 else side
    final = _even(options.window, "--window") if options.window > 0 else scaled
    radius = None
    if options.norm:
        radius = int(options.bg_radius)
        if not 0 < radius <= final // 2:
            raise InputError(
                f"--bg_radius {options.bg_radius:g}: expected 1 to {final // 2} pixels, half the "
                f"side of the final images, for --norm; {round(0.375 * final)} is usual"
            )
    elif max(options.white_dust, options.black_dust) > 0:
        raise InputError(
            "--white_dust and --black_dust are part of --norm, which is not there; add it with "
            "--bg_radius, or leave them out"
        )
    return Recipe(
        side=side, scaled_side=scaled, final_side=final, radius_pix=radius,
        ramp=not options.no_ramp, dust=(options.white_dust, options.black_dust),
        invert=options.invert_contrast, half=options.float16,
    )  # fmt: skip


def operate(
    images: NDArray[np.float32], recipe: Recipe, keys: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Do everything that a recipe says.

    Parameters
    ----------
    images : float32 (n, side, side)
        Changed.
    recipe
        What to do.
    keys
        Seeds for dust, one an image.

    Returns
    -------
    images : float32 (n, final_side, final_side)
    flat : bool (n,)
        Images that could not be normalised: their background is constant.
    """
    mean = np.zeros(images.shape[0], np.float32)
    if recipe.scaled_side != recipe.side:
        # Grey values far from 0 would lose digits in transforms of single precision.
        mean = images.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
        images -= mean[:, None, None]
        images = rescale(images, recipe.scaled_side)
    images = rewindow(images, recipe.final_side, -mean)
    flat = np.zeros(images.shape[0], np.bool_)
    if recipe.radius_pix is not None:
        flat = normalise(images, recipe.radius_pix, keys, dust=recipe.dust, ramp=recipe.ramp)
    elif mean.any():
        images += mean[:, None, None]
    if recipe.invert:
        np.negative(images, out=images)
    return images, flat


def check_half(images: NDArray[np.float32], name: str) -> None:
    """Refuse values that half precision does not hold.

    Parameters
    ----------
    images : float32 (n, side, side)
    name
        Where they are from.

    Raises
    ------
    InputError
        A finite value would become infinite.
    """
    largest = float(np.abs(images).max(initial=0.0, where=np.isfinite(images)))
    if largest > LARGEST_HALF:
        raise InputError(
            f"{name}: found a grey value of {largest:g}, expected at most {LARGEST_HALF:g} for "
            "--float16; add --norm or leave --float16 out"
        )


def _even(side: int, flag: str) -> int:
    """Round up to an even side, as RELION does."""
    if side % 2:
        log.warning("%s %d is odd: %d is taken", flag, side, side + 1)
    return side + side % 2
