"""What runs on every working rank: reads images and back-projects them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relion_mpi.backend import select_backend
from relion_mpi.dataset.pixel_checks import check_pixels
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.estep.known_poses import KnownPoses
from relion_mpi.refine.messages import BatchAnswer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.backend.limits import Limits
    from relion_mpi.backend.protocol import Backend
    from relion_mpi.estep.known_poses import Posed, PosedPlan
    from relion_mpi.io.mrc import MrcHeader
    from relion_mpi.refine.messages import ExpectationTask


@dataclass(frozen=True, slots=True)
class BeginSums:
    """Sums are zero and batches follow; `room_bytes` is what the master needs of a GPU then."""

    plan: PosedPlan
    stacks: tuple[MrcHeader, ...]
    backend: str
    precision: str
    limits: Limits
    deterministic: bool
    room_bytes: int


@dataclass(frozen=True, slots=True)
class _Ready:
    """What `prepare` hands to `work`; nothing posed if no image of the batch can be used."""

    flags: NDArray[np.uint8]
    posed: Posed | None


class ReconstructWorker:
    """`relion_mpi.parallel.crew.Worker` of a reconstruction."""

    def __init__(self) -> None:
        self._message: BeginSums | None = None
        self._backend: Backend | None = None
        self._reader: StackReader | None = None
        self._poses: KnownPoses | None = None

    def begin(self, message: BeginSums, arrays: dict[str, NDArray[Any]]) -> None:
        """Make empty sums."""
        del arrays
        self._message = message
        self._backend = select_backend(
            message.backend, message.precision, message.limits,
            deterministic=message.deterministic,
        )  # fmt: skip
        self._backend.attach()
        self._reader = StackReader(message.stacks, self._backend.host_buffer)
        self._poses = KnownPoses(self._backend, message.plan)
        self._backend.synchronise()

    def prepare(self, task: ExpectationTask) -> _Ready:
        """Read the images of a batch, leave out those that cannot be used."""
        assert self._backend is not None
        assert self._reader is not None
        assert self._poses is not None
        self._backend.attach()
        batch = task.batch
        images = self._reader.read(batch.stack_file, batch.image_index)
        flags = check_pixels(images)
        good = flags == 0
        if not good.any():
            return _Ready(flags, None)
        if not good.all():
            batch, images = batch.part(good), images[good]
        return _Ready(flags, self._poses.prepare(batch, images))

    def work(self, task: ExpectationTask, prepared: _Ready) -> BatchAnswer[None]:
        """Back-project the batch."""
        del task
        assert self._backend is not None
        assert self._poses is not None
        self._backend.attach()
        if prepared.posed is not None:
            self._poses.add(prepared.posed)
        return BatchAnswer(prepared.flags, None)

    def counts(self) -> dict[str, float]:
        """Return the bytes that were read since it was asked last."""
        return {} if self._reader is None else self._reader.take_bytes()

    def sums(self) -> list[NDArray[np.floating[Any]]]:
        """Return the volume of each half-set; they are on the host alone afterwards."""
        assert self._message is not None
        assert self._backend is not None
        assert self._poses is not None
        found = [one.reshape(-1) for one in self._poses.volumes()]
        self._poses = None
        self._backend.forget(self._message.room_bytes)
        return found
