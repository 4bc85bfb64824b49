"""Options that the kinds of classification share, those of mini-batches among them."""

from __future__ import annotations

from dataclasses import dataclass

from relion_mpi.core.options import option
from relion_mpi.refine.common_options import GRAD, OPT, SAM, CommonOptions

EM_ITERATIONS, MINI_BATCHES = 25, 200
"""Iterations over all particles, and with mini-batches, where --iter does not say."""


@dataclass(frozen=True, slots=True)
class ClassOptions(CommonOptions):
    """Options of a classification: one set of particles, K references."""

    K: int = option(
        1, help="Number of classes; several references say it themselves", minimum=1, group=OPT
    )
    iter: int = option(
        0, help=f"Number of iterations; 0 for {EM_ITERATIONS}, with --grad {MINI_BATCHES}",
        minimum=0, group=OPT,
    )  # fmt: skip
    strict_highres_exp: float = option(
        -1.0, help="Use no data beyond this resolution; not positive: as far as there is signal",
        unit="angst", group=OPT,
    )  # fmt: skip
    skip_align: bool = option(
        False, help="Keep all poses of the particle file and find classes alone",
        negate="--no-skip_align", group=SAM,
    )  # fmt: skip
    grad: bool = option(
        False, help="A mini-batch of the particles an iteration, added to fading sums of the "
        "earlier ones; the last iteration takes all", negate="--no-grad", group=GRAD,
    )  # fmt: skip
    grad_ini_frac: float = option(
        0.3, help="Share of the iterations with the first size of mini-batches",
        minimum=0, maximum=1, group=GRAD,
    )  # fmt: skip
    grad_fin_frac: float = option(
        0.2, help="Share of the iterations with the last size of mini-batches",
        minimum=0, maximum=1, group=GRAD,
    )  # fmt: skip
    grad_ini_subset: int = option(
        -1, help="Particles of the first mini-batches; not positive: 0.5 % of all, 200 to 10000 "
        "(5000 for an initial model)", group=GRAD,
    )  # fmt: skip
    grad_fin_subset: int = option(
        -1, help="Particles of the last mini-batches; not positive: 5 % of all (10 % for volumes), "
        "1000 to 100000", group=GRAD,
    )  # fmt: skip
    grad_ini_resol: float = option(
        -1.0, help="Use no data beyond this resolution in the first mini-batches; not positive: "
        "as far as there is signal", unit="angst", group=GRAD,
    )  # fmt: skip
    grad_fin_resol: float = option(
        -1.0, help="Use no data beyond this resolution in the last mini-batches; not positive: "
        "as far as there is signal", unit="angst", group=GRAD,
    )  # fmt: skip
    class_inactivity_threshold: float = option(
        0.1, help="With mini-batches, classes with less than this share of the mean number of "
        "particles take over a part of the largest ones; 0: they stay empty", minimum=0, group=GRAD,
    )  # fmt: skip
    grad_write_iter: int = option(
        10, help="Write files after every so many mini-batches", minimum=1, group=GRAD
    )

    @property
    def from_nothing(self) -> bool:
        """Whether volumes begin without a reference."""
        return False

    @property
    def n_class(self) -> int:
        """Number of classes."""
        return self.K

    @property
    def last_iteration(self) -> int:
        """Number of the iteration after which a run ends in any case."""
        return self.iter or (MINI_BATCHES if self.grad else EM_ITERATIONS)
