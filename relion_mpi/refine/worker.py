"""What runs on every working rank: reads images, does the E-step, keeps the sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.backend import select_backend
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.estep.accuracy import expected_accuracy
from relion_mpi.estep.expectation import Expectation
from relion_mpi.estep.initial_noise import power_sums
from relion_mpi.estep.sums import HalfSums
from relion_mpi.refine.messages import (
    AccuracyTask,
    ExpectationTask,
    LoadReferences,
    NoiseTask,
    Setup,
    StartExpectation,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Backend


class RefineWorker:
    """`relion_mpi.parallel.crew.Worker` of a refinement; serves batches of either half-set."""

    def __init__(self) -> None:
        self._setup: Setup | None = None
        self._backend: Backend | None = None
        self._reader: StackReader | None = None
        self._references: list[Any] = []
        self._expectation: Expectation | None = None
        self._sums: list[HalfSums] = []

    def begin(self, message: Any, arrays: dict[str, NDArray[Any]]) -> None:
        """Take a broadcast of the master."""
        match message:
            case Setup():
                self._setup = message
                self._backend = select_backend(message.backend, message.precision)
                self._reader = StackReader(message.stacks, self._backend.host_buffer)
            case LoadReferences(plan):
                assert self._backend is not None
                # The old ones go before the new ones come: both need not fit.
                self._sums, self._references, self._expectation = [], [], None
                for h in range(len(plan.halves)):
                    maps = arrays[f"maps{h}"]
                    self._references.append(
                        self._backend.load_references(maps, plan.r_max, plan.padding)
                    )
                self._expectation = Expectation(self._backend, plan, self._references)
            case StartExpectation(plan):
                assert self._backend is not None
                self._expectation = Expectation(self._backend, plan, self._references)
                self._sums = [
                    HalfSums(self._backend, plan, h) for h in range(len(plan.halves))
                ]
            case _:
                msg = f"the worker does not know {type(message).__name__}"
                raise TypeError(msg)

    def prepare(self, task: Any) -> NDArray[np.float32] | None:
        """Read the images of a task."""
        if isinstance(task, AccuracyTask):
            return None
        assert self._reader is not None
        return self._reader.read(task.batch.stack_file, task.batch.image_index)

    def work(self, task: Any, prepared: Any) -> Any:
        """Do a task."""
        match task:
            case ExpectationTask(batch):
                assert self._expectation is not None
                return self._expectation.run(batch, prepared, self._sums[batch.half])
            case AccuracyTask(batch, class_index):
                assert self._expectation is not None
                return expected_accuracy(self._expectation, batch, class_index)
            case NoiseTask(batch):
                setup = self._setup
                assert setup is not None
                return power_sums(
                    prepared, setup.optics, batch.optics_group, setup.box_angst, setup.n_shell,
                    setup.images,
                )  # fmt: skip
            case _:
                msg = f"the worker does not know {type(task).__name__}"
                raise TypeError(msg)

    def sums(self) -> list[NDArray[np.floating[Any]]]:
        """Return volume and statistics of each half-set."""
        return [array for half in self._sums for array in half.arrays()]
