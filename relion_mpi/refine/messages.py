"""What the master broadcasts and the tasks it hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.backend.limits import Limits
    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.estep.plan import ImageOptions, ParticleBatch, Plan
    from relion_mpi.io.mrc import MrcHeader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setup:
    """Sent once: where images are and how they are treated, and what the work may use.

    `predicted_bytes` is the memory of a GPU that the work will need, `mstep_bytes` what the master
    needs of it between two iterations. `deterministic` is the option of that name.
    """

    stacks: tuple[MrcHeader, ...]
    optics: OpticsGroups
    images: ImageOptions
    box_angst: float
    n_shell: int
    backend: str
    precision: str
    limits: Limits
    predicted_bytes: int
    mstep_bytes: int
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class LoadReferences:
    """New references; the arrays "maps0", "maps1" (n_class, box, box[, box]) come with it.

    The plan's grids are not used yet: expected accuracies are asked for next.
    """

    plan: Plan


@dataclass(frozen=True, slots=True)
class StartExpectation:
    """Sums are set to zero and batches of this plan follow."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class StartAverages:
    """References are zeros, and batches of this plan follow: the pass of the first averages."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class MoreBatchesFollow:
    """The sums asked for next begin again from zero, and more batches of the same plan follow."""


@dataclass(frozen=True, slots=True)
class NoiseTask:
    """Sum the power spectra of some images."""

    batch: ParticleBatch


@dataclass(frozen=True, slots=True)
class AccuracyTask:
    """Estimate expected accuracies of some classes from some particles' poses."""

    batch: ParticleBatch
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExpectationTask:
    """Do the E-step of a batch.

    Attributes
    ----------
    batch : the particles, those that are left out too: batches are read whole
    keep : bool (n_img,) which are not left out; None for all
    """

    batch: ParticleBatch
    keep: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class BatchAnswer(Generic[T]):
    """The answer to a NoiseTask or an ExpectationTask.

    Attributes
    ----------
    flags : uint8 (n_img,) what `check_pixels` says of each image of the batch, or None if they were
        not looked at this time
    value : of the usable particles alone, in their order; None if there are none
    """

    flags: NDArray[np.uint8] | None
    value: T | None
