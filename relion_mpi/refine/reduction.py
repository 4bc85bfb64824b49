"""The shapes of what workers sum, and what it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.backend import half_plane
from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.model.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.model.state import Model


def sum_shapes(model: Model, n_optics: int, n_dir: int) -> list[tuple[int, ...]]:
    """Return the shapes of what workers sum: for each half-set a volume and packed statistics.

    Parameters
    ----------
    model
        Of which the E-step is.
    n_optics
        Optics groups.
    n_dir
        Directions of the coarse grid.
    """
    size = padded_size(model.current_size // 2, model.padding)
    n_rows = half_plane.n_rows(size) if model.is_planar else n_kept(size)
    volume_shape = (model.n_class, n_rows, 3)
    shapes: list[tuple[int, ...]] = []
    for mine in _statistics(model, n_optics, n_dir):
        shapes += [volume_shape, mine.packed().shape]
    return shapes


def unpacked_sums(
    arrays: Sequence[Any], model: Model, n_optics: int, n_dir: int
) -> tuple[list[Statistics], list[Any]]:
    """Name what was summed.

    Parameters
    ----------
    arrays
        Of the shapes of `sum_shapes`.
    model
        Of which the E-step was.
    n_optics
        Optics groups.
    n_dir
        Directions of the coarse grid.

    Returns
    -------
    statistics : list of Statistics
        Of each half-set.
    volumes : list of float64 (n_class, n_kept, 3)
        Of each half-set, see `relion_mpi.fourier.half_ball`; of images (n_class, n_rows, 3), see
        `relion_mpi.backend.half_plane`.
    """
    statistics = _statistics(model, n_optics, n_dir)
    for mine, vector in zip(statistics, arrays[1::2], strict=True):
        mine.fill_from(vector)
    return statistics, list(arrays[0::2])


def _statistics(model: Model, n_optics: int, n_dir: int) -> list[Statistics]:
    return [
        Statistics.empty(n_optics, model.n_shell, half.scale.size, model.n_class, n_dir)
        for half in model.halves
    ]
