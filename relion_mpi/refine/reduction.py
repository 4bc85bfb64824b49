"""The sums of all workers, brought to the master."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.model.statistics import Statistics

if TYPE_CHECKING:
    from relion_mpi.model.state import Model
    from relion_mpi.parallel.crew import Crew


def reduced_sums(
    crew: Crew, model: Model, n_optics: int, n_dir: int
) -> tuple[list[Statistics], list[Any]]:
    """Collect the sums of both half-sets in float64.

    Parameters
    ----------
    crew
        Has finished an E-step.
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
        Of each half-set, see `relion_mpi.fourier.half_ball`.
    """
    size = padded_size(model.current_size // 2, model.padding)
    volume_shape = (model.n_class, n_kept(size), 3)
    statistics = [
        Statistics.empty(n_optics, model.n_shell, half.scale.size, model.n_class, n_dir)
        for half in model.halves
    ]
    shapes: list[tuple[int, ...]] = []
    for mine in statistics:
        shapes += [volume_shape, mine.packed().shape]
    arrays = crew.reduce(shapes)
    for mine, vector in zip(statistics, arrays[1::2], strict=True):
        mine.fill_from(vector)
    return statistics, arrays[0::2]
