"""What runs on every working rank: reads images, does the E-step, keeps the sums."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relion_mpi.backend import select_backend
from relion_mpi.core.timing import Account
from relion_mpi.dataset.image_cache import ImageCache, nothing_kept
from relion_mpi.dataset.pixel_checks import check_pixels
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.estep.accuracy import expected_accuracies
from relion_mpi.estep.expectation import Expectation
from relion_mpi.estep.initial_noise import power_sums
from relion_mpi.estep.random_averages import random_expectation
from relion_mpi.estep.sums import HalfSums
from relion_mpi.parallel.shared_memory import no_memory
from relion_mpi.refine.messages import (
    AccuracyTask,
    BatchAnswer,
    ExpectationTask,
    LoadReferences,
    MoreBatchesFollow,
    NoiseTask,
    Setup,
    StartAverages,
    StartExpectation,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.backend.gpu.pinning import PinnedMemory
    from relion_mpi.backend.protocol import Backend
    from relion_mpi.dataset.image_cache import CacheLayout
    from relion_mpi.dataset.scratch_images import ScratchImages
    from relion_mpi.estep.plan import ParticleBatch, Plan
    from relion_mpi.estep.prepared import Prepared
    from relion_mpi.parallel.shared_memory import NodeMemory

log = logging.getLogger(__name__)

GIB = 2.0**30
TOLERANCE = 1.1
"""Used over predicted GPU memory that is worth a warning."""
LANES = {"cpu": 1, "gpu": 2}
"""Batches that a worker does at once: a GPU computes one while the host looks at the other."""
READING_THREADS = {"cpu": 1, "gpu": 4}
"""That read the images of a batch and look at their pixels: one would keep a GPU waiting."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """What `prepare` hands to `work`; no value if no particle of the batch can be used."""

    flags: NDArray[np.uint8] | None
    value: Prepared | NDArray[np.floating[Any]] | None


class RefineWorker:
    """`relion_mpi.parallel.crew.Worker` of a refinement; serves batches of either half-set.

    Parameters
    ----------
    layout
        Where images are kept in memory between iterations; None to read them every time.
    memory
        The memory for them; shared with the other workers of this node.
    scratch
        Which images have a copy on this node's scratch disk.
    """

    def __init__(
        self,
        layout: CacheLayout | None = None,
        memory: NodeMemory | None = None,
        scratch: ScratchImages | None = None,
    ) -> None:
        self._scratch = scratch
        self._layout, self._memory = layout or nothing_kept(), memory or no_memory()
        self._pins: PinnedMemory | None = None
        self._setup: Setup | None = None
        self._backend: Backend | None = None
        self._images: ImageCache | None = None
        self._reader: StackReader | None = None
        self._account = Account()
        self._references: list[Any] = []
        self._expectation: Expectation | None = None
        self._sums: list[HalfSums] = []
        self._warned_bytes = 0
        self._pass = self._first_pass = -1  # over the particles: an iteration
        self._more_follow = False

    def begin(self, message: Any, arrays: dict[str, NDArray[Any]]) -> None:
        """Take a broadcast of the master."""
        if self._backend is not None:
            self._backend.attach()
        match message:
            case Setup() if self._setup is not None:
                pass  # told again because a rank was lost
            case Setup():
                self._setup = message
                self._backend = select_backend(
                    message.backend, message.precision, message.limits,
                    deterministic=message.deterministic,
                )  # fmt: skip
                self._images = self._cache(message)
            case LoadReferences(plan):
                assert self._backend is not None
                assert self._setup is not None
                self._release(most_bytes=self._setup.predicted_bytes)
                for h in range(len(plan.halves)):
                    maps = arrays[f"maps{h}"]
                    self._references.append(
                        self._backend.load_references(maps, plan.r_max, plan.padding)
                    )
                self._expectation = Expectation(self._backend, plan, self._references)
            case StartExpectation(plan):
                assert self._backend is not None
                self._expectation = Expectation(self._backend, plan, self._references)
                self._begin_pass(plan)
            case StartAverages(plan):
                assert self._backend is not None
                self._expectation = random_expectation(self._backend, plan)
                self._begin_pass(plan)
            case MoreBatchesFollow():
                self._more_follow = True
            case _:
                msg = f"the worker does not know {type(message).__name__}"
                raise TypeError(msg)
        assert self._backend is not None
        self._backend.synchronise()

    def _begin_pass(self, plan: Plan) -> None:
        self._pass = plan.iteration
        if self._first_pass < 0:
            self._first_pass = plan.iteration
        self._begin_sums()

    def _begin_sums(self) -> None:
        assert self._backend is not None
        assert self._expectation is not None
        plan = self._expectation.plan
        self._sums = [HalfSums(self._backend, plan, h) for h in range(len(plan.halves))]

    def _cache(self, setup: Setup) -> ImageCache:
        """Make the reader of images; for a GPU what it keeps is page-locked."""
        assert self._backend is not None
        self._reader = StackReader(
            setup.stacks, self._backend.host_buffer, READING_THREADS[setup.backend], self._scratch
        )
        pin = None
        if setup.backend == "gpu":
            from relion_mpi.backend.gpu.pinning import PinnedMemory

            self._pins = PinnedMemory()
            pin = self._pins.pin
        memory = self._memory
        return ImageCache(
            self._layout, memory.data, memory.flags, self._reader, pin, memory.claim
        )

    def close(self) -> None:
        """Let the images' memory go; no task may be under way."""
        self._images = None
        if self._pins is not None:
            self._pins.unpin_all()

    def _release(self, room_bytes: int = 0, most_bytes: int = 0) -> None:
        """Free references and sums: the next ones, or the master's M-step, need the memory."""
        assert self._backend is not None
        self._sums, self._references, self._expectation = [], [], None
        self._backend.forget(room_bytes, most_bytes)

    def counts(self) -> dict[str, float]:
        """Return seconds of reading, bytes that were read, batches and particles that were done."""
        found = self._account.take()
        if self._reader is not None:
            found |= self._reader.take_bytes()
        return found

    def memory_used(self) -> int:
        """Return the most bytes of a GPU's memory that were held; 0 without one."""
        return 0 if self._backend is None else self._backend.memory_used()

    def _check_memory(self) -> None:
        """Warn, once for each new height, where more is used than was predicted."""
        assert self._setup is not None
        used, predicted = self.memory_used(), self._setup.predicted_bytes
        if predicted and used > TOLERANCE * max(predicted, self._warned_bytes):
            self._warned_bytes = used
            log.warning(
                "%.2f GiB of GPU memory are used, %.2f were predicted",
                used / GIB, predicted / GIB,
            )  # fmt: skip

    def prepare(self, task: Any) -> _Ready | None:
        """Read the images of a task, check them, and do what of its work needs no device."""
        if isinstance(task, AccuracyTask):
            return None
        assert self._backend is not None
        self._backend.attach()  # pinned memory belongs to a device
        batch, flags = task.batch, None
        keep = task.keep if isinstance(task, ExpectationTask) else None
        if keep is not None and not keep.any():
            return _Ready(None, None)
        images, setup = self._read(batch), self._setup
        assert setup is not None
        assert self._images is not None
        if isinstance(task, NoiseTask) or self._pass == self._first_pass:
            # Once is enough: after that pass the master says which particles to leave out.
            flags = check_pixels(images, READING_THREADS[setup.backend])
            if flags.any():
                keep = flags == 0 if keep is None else keep & (flags == 0)
        self._images.finish_pinning()
        if keep is not None:
            batch, images = batch.part(keep), images[keep]
        if not batch.n_img or isinstance(task, NoiseTask):
            return _Ready(flags, images if batch.n_img else None)
        assert self._expectation is not None
        return _Ready(flags, self._expectation.prepare(batch, images))

    def _read(self, batch: ParticleBatch) -> NDArray[np.floating[Any]]:
        assert self._images is not None
        with self._account.span("read_seconds"):
            return self._images.read(batch.number, batch.stack_file, batch.image_index)

    def work(self, task: Any, prepared: Any) -> Any:
        """Do a task."""
        assert self._backend is not None
        self._backend.attach()
        match task:
            case ExpectationTask() | NoiseTask() if prepared.value is None:
                return BatchAnswer(prepared.flags, None)
            case ExpectationTask(batch):
                assert self._expectation is not None
                found = self._expectation.run(prepared.value, self._sums[batch.half])
                self._account.count("batches")
                self._account.count("particles", batch.n_img)
                return BatchAnswer(prepared.flags, found)
            case AccuracyTask(batch, classes):
                assert self._expectation is not None
                return expected_accuracies(self._expectation, batch, classes)
            case NoiseTask(batch):
                setup = self._setup
                assert setup is not None
                power = power_sums(
                    prepared.value, setup.optics, batch.optics_group, setup.box_angst,
                    setup.n_shell, setup.images,
                )  # fmt: skip
                return BatchAnswer(prepared.flags, power)
            case _:
                msg = f"the worker does not know {type(task).__name__}"
                raise TypeError(msg)

    def sums(self) -> list[NDArray[np.floating[Any]]]:
        """Return volume and statistics of each half-set; they are on the host alone afterwards."""
        self._check_memory()
        if not self._more_follow:
            self._references, self._expectation = [], None  # the packed sums need the memory
        arrays = []
        while self._sums:
            arrays += self._sums.pop(0).arrays()
        assert self._setup is not None
        assert self._backend is not None
        if self._more_follow:
            self._more_follow = False
            self._begin_sums()
            self._backend.synchronise()
        else:
            self._release(self._setup.mstep_bytes)
        return arrays
