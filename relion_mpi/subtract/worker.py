"""What runs on every working rank: reads particles, subtracts, hands the images back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from relion_mpi.backend import select_backend
from relion_mpi.dataset.pixel_checks import NOT_FINITE, check_pixels
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.fourier.shells import half_transform_radius, round_half_away
from relion_mpi.subtract.framing import boxed, moved_images, recentred_offsets
from relion_mpi.subtract.predict import Predictor, images_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import ImageGeometry
    from relion_mpi.estep.plan import ParticleBatch
    from relion_mpi.io.mrc import MrcHeader
    from relion_mpi.subtract.predict import PredictionPlan


@dataclass(frozen=True, slots=True)
class BeginSubtraction:
    """Batches follow; the array "maps" (n_map, box, box, box) comes with it.

    Attributes
    ----------
    plan : of the projections
    stacks : of the particles
    precision : of the backend
    point_angst : float64 (3,) that images are centred on, or None
    new_box : side of the images to be made, 0 for their own
    only_ratio : measure powers instead of subtracting
    """

    plan: PredictionPlan
    stacks: tuple[MrcHeader, ...]
    precision: str
    point_angst: NDArray[np.float64] | None
    new_box: int
    only_ratio: bool


@dataclass(frozen=True, slots=True)
class SubtractTask:
    """Particles of one optics group.

    Attributes
    ----------
    place : of the first image among those of its optics group
    number : int64 (n_img,) map that is subtracted from each
    factor, gain : float64 (n_img,) of the image and of the projection
    """

    batch: ParticleBatch
    place: int
    number: NDArray[np.int64]
    factor: NDArray[np.float64]
    gain: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Subtracted:
    """The answer to a task.

    Attributes
    ----------
    broken : bool (n_img,) pixels that are not finite; if any, nothing else is there
    images : float32 (n_img, side, side), or None
    origin_angst : float64 (n_img, 2) new offsets, or None where they stay
    powers : float64 (3, n_shell) of signal, noise and pixels that were summed, or None
    """

    broken: NDArray[np.bool_]
    images: NDArray[np.float32] | None = None
    origin_angst: NDArray[np.float64] | None = None
    powers: NDArray[np.float64] | None = None


class SubtractWorker:
    """`relion_mpi.parallel.crew.Worker` of a subtraction."""

    def __init__(self) -> None:
        self._message: BeginSubtraction | None = None
        self._reader: StackReader | None = None
        self._predictor: Predictor | None = None

    def begin(self, message: BeginSubtraction, arrays: dict[str, NDArray[Any]]) -> None:
        """Transform the maps."""
        backend = select_backend("cpu", message.precision)
        self._message = message
        self._reader = StackReader(message.stacks, backend.host_buffer)
        self._predictor = Predictor(backend, message.plan, arrays["maps"])

    def prepare(self, task: SubtractTask) -> NDArray[np.floating[Any]]:
        """Read the images."""
        assert self._reader is not None
        return self._reader.read(task.batch.stack_file, task.batch.image_index)

    def work(self, task: SubtractTask, prepared: NDArray[np.floating[Any]]) -> Subtracted:
        """Subtract the maps' projections."""
        assert self._message is not None
        assert self._predictor is not None
        broken = check_pixels(prepared) == NOT_FINITE
        if broken.any():
            return Subtracted(broken)
        batch, message = task.batch, self._message
        geometry = self._predictor.geometry(batch.optics_group)
        values = self._predictor.transforms(batch, task.number, task.gain)
        images: NDArray[np.floating[Any]] = prepared * task.factor[:, None, None]
        if message.only_ratio:
            ratio = _shell_ratio(message.plan, batch.optics_group)
            return Subtracted(broken, powers=_powers(images, values, geometry, ratio))
        images -= images_of(values, geometry)
        origin = None
        if message.point_angst is not None:
            pixel_size = float(message.plan.optics.pixel_size_angst[batch.optics_group])
            moved, origin = recentred_offsets(
                batch.euler_deg, batch.origin_angst, message.point_angst, pixel_size
            )
            images = moved_images(images, moved)
        framed = boxed(images, message.new_box or images.shape[1])
        return Subtracted(broken, np.asarray(framed, np.float32), origin)

    def counts(self) -> dict[str, float]:
        """Return the bytes that were read since it was asked last."""
        return {} if self._reader is None else self._reader.take_bytes()

    def sums(self) -> Sequence[NDArray[Any]]:
        """Keep no sums."""
        return []


def _shell_ratio(plan: PredictionPlan, group: int) -> float:
    """Shells of the map for one of an optics group's images."""
    own = float(plan.optics.pixel_size_angst[group] * plan.optics.box_size[group])
    return plan.box_size * plan.pixel_size_angst / own


def _powers(
    images: NDArray[np.floating[Any]],
    values: NDArray[np.complex128],
    geometry: ImageGeometry,
    ratio: float,
) -> NDArray[np.float64]:
    """Sum |prediction|^2, |image - prediction|^2 and pixels over each shell of the map.

    All stored coefficients count, and `ratio` of the map's shells are one of the image's.
    """
    box, n_shell = geometry.box_size, geometry.n_shell
    drawn = images_of(values, geometry)
    shells = np.minimum(round_half_away(half_transform_radius(box, 2) * ratio), n_shell).ravel()
    found = [
        np.bincount(shells, (np.abs(fft.rfft2(one)) ** 2).sum(axis=0).ravel() / box**4, n_shell + 1)
        for one in (drawn, images - drawn)
    ]
    count = images.shape[0] * np.bincount(shells, minlength=n_shell + 1)
    return np.stack([*found, count])[:, :n_shell]
