"""The schedule of mini-batches: how many particles, which, how fast sums fade, which resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.refine.class_options import ClassOptions

FIRST_SHARE, FIRST_LEAST = 0.005, 200
LAST_LEAST, LAST_MOST = 1000, 100_000
LAST_SHARE_PLANAR, LAST_SHARE = 0.05, 0.1
FIRST_MOST, FIRST_MOST_INITIAL = 10_000, 5_000
"""Sizes of the first and last mini-batches, as RELION's gradient form has them."""
LEAST_OF_CLASS = 10
"""Particles of the first mini-batches for each class: fewer, and most classes are lost at once."""
FASTEST, SLOWEST = 0.5, 0.05
"""Share of the sums that a mini-batch replaces: at first, and least in the end."""
ORDER = 6
"""Of the random numbers of this module among those of a run."""


@dataclass(frozen=True, slots=True)
class MiniBatches:
    """Sizes and shares of an iteration that is not the last, which takes all particles.

    Attributes
    ----------
    n_iterations : of the run
    n_particles : of the run
    first, last : iterations after which sizes begin to grow, and from which they stay
    sizes : particles of the first and the last mini-batches
    limits_angst : resolution in the first and in the last ones; not positive: no limit
    """

    n_iterations: int
    n_particles: int
    first: int
    last: int
    sizes: tuple[int, int]
    limits_angst: tuple[float, float]

    @classmethod
    def of(cls, options: ClassOptions, n_particles: int) -> MiniBatches:
        """Choose what the options leave open.

        Parameters
        ----------
        options
            Of the run.
        n_particles
            Of the run.

        Source
        ------
        RELION 5 MlOptimiser::initialiseGeneral and updateSubsetSize.
        """
        n = options.last_iteration
        most = FIRST_MOST_INITIAL if options.from_nothing else FIRST_MOST
        ini = max(min(int(FIRST_SHARE * n_particles), most), FIRST_LEAST)
        ini = max(ini, LEAST_OF_CLASS * options.K)
        share = LAST_SHARE_PLANAR if options.is_planar else LAST_SHARE
        fin = max(min(int(share * n_particles), LAST_MOST), LAST_LEAST)
        ini = options.grad_ini_subset if options.grad_ini_subset > 0 else ini
        fin = options.grad_fin_subset if options.grad_fin_subset > 0 else fin
        first = round(options.grad_ini_frac * n)
        return cls(
            n, n_particles, first, max(first, n - round(options.grad_fin_frac * n)),
            (min(ini, n_particles), min(max(ini, fin), n_particles)),
            (options.grad_ini_resol, options.grad_fin_resol),
        )  # fmt: skip

    def progress(self, iteration: int) -> float:
        """Return 0 in the first part of the run, 1 in the last, and between them what lies between.

        Parameters
        ----------
        iteration
            Counted from 1.
        """
        if iteration <= self.first:
            return 0.0
        return min((iteration - self.first) / max(self.last - self.first, 1), 1.0)

    def size(self, iteration: int) -> int:
        """Return how many particles an iteration takes; parameter as in `progress`."""
        if iteration >= self.n_iterations:
            return self.n_particles
        ini, fin = self.sizes
        return round(ini + self.progress(iteration) * (fin - ini))

    def replaced(self, iteration: int) -> float:
        """Return the share of the sums that an iteration replaces; parameter as in `progress`.

        At last it is such that sums are of about as many particles as there are.
        """
        if iteration >= self.n_iterations:
            return 1.0
        last = float(np.clip(self.sizes[1] / self.n_particles, SLOWEST, FASTEST))
        return FASTEST + self.progress(iteration) * (last - FASTEST)

    def limit_angst(self, iteration: int) -> float:
        """Return the resolution limit, not positive for none; parameter as in `progress`.

        Shells, not Angstrom, grow evenly.
        """
        ini, fin = self.limits_angst
        if ini <= 0 or iteration >= self.n_iterations:
            return fin
        end = 1 / fin if fin > 0 else 0.0
        if end <= 0:
            return ini if self.progress(iteration) < 1 else fin
        return 1 / (1 / ini + self.progress(iteration) * (end - 1 / ini))

    def chosen(
        self, iteration: int, batches: Sequence[Batch], random_seed: int
    ) -> NDArray[np.bool_]:
        """Choose the batches of an iteration: in a new random order each time all had their turn.

        Parameters
        ----------
        iteration
            Counted from 1.
        batches
            Of the run.
        random_seed
            Of the run.

        Returns
        -------
        bool (n_batch,)
            At least one; depends on nothing that happened before.
        """
        chosen = np.ones(len(batches), np.bool_)
        wanted = self.size(iteration)
        if wanted >= self.n_particles:
            return chosen
        begin = sum(self.size(earlier) for earlier in range(1, iteration))
        chosen[:] = False
        turn, place = divmod(begin, self.n_particles)
        sizes = np.array([batch.particles.size for batch in batches])
        while wanted > 0:
            order = np.random.default_rng([random_seed, ORDER, turn]).permutation(len(batches))
            start = np.cumsum(sizes[order]) - sizes[order]
            taken = order[(start >= place) & (start < place + wanted)]
            chosen[taken] = True
            wanted, turn, place = place + wanted - self.n_particles, turn + 1, 0
        if not chosen.any():
            chosen[order[-1]] = True
        return chosen
