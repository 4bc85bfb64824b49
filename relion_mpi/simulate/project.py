"""Noise-free images: slices of the true maps, times the CTF, shifted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from relion_mpi.backend import select_backend
from relion_mpi.backend.protocol import ImageGeometry
from relion_mpi.fourier.shells import half_transform_shells, pixel_list
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.optics.ctf import CtfParameters, ctf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Backend
    from relion_mpi.simulate.truth import Truth

# The transform of a large map padded four times would not fit into memory; its slices need it less.
_PADDING = ((64, 4), (160, 3))


@dataclass(frozen=True, slots=True)
class Projector:
    """Padded transforms of the true maps.

    Attributes
    ----------
    backend : does the projections
    references : its handle of the transforms, one a class
    n_class, box_size
        Number of maps; side of the images.
    pixel_size_angst
        Angstrom.
    """

    backend: Backend
    references: Any
    n_class: int
    box_size: int
    pixel_size_angst: float
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_projector(
    maps: list[NDArray[np.float32]], pixel_size_angst: float, backend: str = "cpu"
) -> Projector:
    """Transform the true maps.

    Parameters
    ----------
    maps : list of float32 (n, n, n), n even
    pixel_size_angst
        Angstrom.
    backend
        Name of the backend that projects.

    Returns
    -------
    Projector
    """
    box_size = maps[0].shape[0]
    padding = next((pad for largest, pad in _PADDING if box_size <= largest), 2)
    chosen = select_backend(backend, "float32")
    references = chosen.load_references(np.stack(maps), box_size // 2, padding)
    return Projector(chosen, references, len(maps), box_size, pixel_size_angst)


def project(
    projector: Projector, truth: Truth, rows: NDArray[np.int64], *, with_ctf: bool = True
) -> NDArray[np.float32]:
    """Make the noise-free images of some particles.

    Parameters
    ----------
    projector
        True maps.
    truth
        Poses and optics of all particles.
    rows : int64 (n,)
        Particles wanted.
    with_ctf
        Multiply by the contrast transfer function.

    Returns
    -------
    float32 (n, box, box)
        Sums over voxels along the view, on the maps' grey scale; agrees with relion_project --ctf.
    """
    box = projector.box_size
    # The Nyquist pixels are left out: one coefficient cannot hold both of their phases.
    pixels = pixel_list(box, box // 2 - 0.001)
    x, y = pixels.x.astype(np.float64), pixels.y.astype(np.float64)
    values = _slices(projector, truth, rows, pixels.x, pixels.y)
    origin = truth.origin_angst[rows] / projector.pixel_size_angst
    phase = (2.0 * np.pi / box) * (origin[:, :1] * x + origin[:, 1:] * y)
    values *= np.exp(1j * phase.astype(np.float32))
    if with_ctf:
        scale = 1.0 / (box * projector.pixel_size_angst)
        values *= ctf(_chosen(truth.ctf, rows), x * scale, y * scale).astype(np.float32)
    half = np.zeros((rows.size, box, box // 2 + 1), np.complex64)
    half[:, pixels.y, pixels.x] = values
    mates = (pixels.x == 0) & (pixels.y > 0)
    half[:, -pixels.y[mates], 0] = values[:, mates].conj()
    images = fft.irfft2(half, s=(box, box), norm="forward", overwrite_x=True)
    return np.ascontiguousarray(fft.fftshift(images, axes=(1, 2)), dtype=np.float32)


def _slices(
    projector: Projector,
    truth: Truth,
    rows: NDArray[np.int64],
    x: NDArray[np.int32],
    y: NDArray[np.int32],
) -> NDArray[np.complex64]:
    """Cut the slices of each class."""
    matrices = euler_to_matrix(truth.rot_deg[rows], truth.tilt_deg[rows], truth.psi_deg[rows])
    geometry = _whole_image(projector.box_size, x, y)
    out = np.empty((rows.size, x.size), np.complex64)
    for k in range(projector.n_class):
        chosen = np.flatnonzero(truth.class_index[rows] == k)
        if chosen.size:
            with projector.lock:  # kernels of numba have threads of their own
                out[chosen] = projector.backend.project(
                    projector.references, matrices[chosen], geometry, k
                )
    return out


def _whole_image(box: int, x: NDArray[np.int32], y: NDArray[np.int32]) -> ImageGeometry:
    """Describe the listed pixels to a backend; only their positions are used here."""
    unused = np.zeros(x.size)
    return ImageGeometry(
        box, x, y, x.astype(np.float64), y.astype(np.float64), unused.astype(np.int32), x.size,
        box // 2 + 1, half_transform_shells(box), unused, unused,
    )  # fmt: skip


def _chosen(params: CtfParameters, rows: NDArray[np.int64]) -> CtfParameters:
    return CtfParameters(
        *(getattr(params, name)[rows] for name in CtfParameters.__dataclass_fields__)
    )
