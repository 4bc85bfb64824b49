"""Where the windows of a local resolution lie, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.shells import round_half_away

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.postprocess.options import PostprocessOptions

_MARGIN = 4 / 3
"""Side of a window's box over its mask's diameter: the finer shells leave the FSC within 0.01 of
that in the whole box, and filters have room for their ripples."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Windows on a regular grid.

    Attributes
    ----------
    box_size, pixel_size_angst : grid of the map
    radius_pix, edge_pix : of the soft spheres
    window_size : side of the box around each, even, at most that of the map
    centres : int64 (n, 3), z, y, x of each window's centre, voxels from the map's centre
    first_random : shell of the map from which phases are random
    lowest_angst : no resolution is told lower than this
    """

    box_size: int
    pixel_size_angst: float
    radius_pix: int
    edge_pix: int
    window_size: int
    centres: NDArray[np.int64]
    first_random: int
    lowest_angst: float

    @property
    def box_angst(self) -> float:
        """Side of the map, Angstrom."""
        return self.box_size * self.pixel_size_angst

    def soft_mask(self) -> NDArray[np.float32]:
        """Make the mask of a window, float32 (window_size,) * 3."""
        if self.edge_pix == 0:
            ball = soft_sphere(self.window_size, self.radius_pix, 1e-6, 3)
        else:
            ball = soft_sphere(self.window_size, self.radius_pix, self.edge_pix, 3)
        return ball.astype(np.float32)


def make_layout(options: PostprocessOptions, box_size: int, pixel_size_angst: float) -> Layout:
    """Lay windows over a map.

    Parameters
    ----------
    options
        Those that begin with --locres.
    box_size
        Voxels, even.
    pixel_size_angst
        Angstrom.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        Windows do not fit the box, or phases would be random from no shell of it.

    Source
    ------
    RELION Postprocessing::run_locres: the grid begins in the corner of the box, and only windows
    count whose sphere without its edge lies within the sphere that the box holds.
    """
    sampling = options.locres_sampling
    radius = options.locres_maskrad if options.locres_maskrad > 0 else 0.5 * sampling
    edge = options.locres_edgwidth if options.locres_edgwidth >= 0 else sampling
    lengths = np.array([sampling, radius, edge]) / pixel_size_angst
    step, radius_pix, edge_pix = (int(one) for one in round_half_away(lengths))
    if step < 1 or radius_pix < 1:
        raise InputError(
            f"--locres_sampling {sampling:g}, --locres_maskrad {radius:g}: found less than a voxel "
            f"of {pixel_size_angst:g} A, expected at least one; choose larger ones"
        )
    axis = np.arange(-(box_size // 2), box_size // 2, step)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = z * z + y * y + x * x < max(box_size // 2 - radius_pix, 0) ** 2
    if not inside.any():
        raise InputError(
            f"--locres_maskrad {radius:g}: no sphere of {radius_pix} voxels on the grid lies in a "
            f"box of {box_size}; choose a smaller radius or --locres_sampling"
        )
    first_random = int(box_size * pixel_size_angst / options.locres_randomize_at)
    if not 1 <= first_random < box_size // 2:
        raise InputError(
            f"--locres_randomize_at {options.locres_randomize_at:g}: found shell {first_random}, "
            f"expected 1 to {box_size // 2 - 1}; choose a resolution between the box and Nyquist"
        )
    return Layout(
        box_size=box_size, pixel_size_angst=pixel_size_angst, radius_pix=radius_pix,
        edge_pix=edge_pix, window_size=min(_fast_even(2 * (radius_pix + edge_pix)), box_size),
        centres=np.stack([z[inside], y[inside], x[inside]], axis=1), first_random=first_random,
        lowest_angst=options.locres_minres,
    )  # fmt: skip


def _fast_even(diameter: int) -> int:
    """Return an even side with room around a mask whose transform is fast."""
    side = int(np.ceil(_MARGIN * diameter))
    while side % 2 or fft.next_fast_len(side, real=True) != side:
        side += 1
    return side
