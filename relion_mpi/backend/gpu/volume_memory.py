"""What the M-step needs of a GPU's memory; needs no CuPy."""

from __future__ import annotations

from relion_mpi.fourier.shells import padded_size

SLAB_VOXELS = 2**20
"""Voxels of reduced sums that are copied to the GPU at a time."""
SLAB_BYTES = 2**26
"""Most bytes of the planes that are transformed at a time."""
WORK_BYTES = 2**30
"""Work space of the plans of transforms, a generous multiple of SLAB_BYTES, and small arrays."""
MAX_ELEMENTS = 2**31
"""cuFFT's plans count in 32 bits."""


def slabs_at_once(n: int, side: int) -> int:
    """Choose how many planes of a cube are transformed at a time.

    Parameters
    ----------
    n
        Planes in all.
    side
        Of the cube.

    Returns
    -------
    int
        The largest divisor of n whose planes take at most SLAB_BYTES, or 1.
    """
    plane_bytes = 16 * side * (side // 2 + 1)
    fit = max(1, min(n, SLAB_BYTES // plane_bytes))
    return next(k for k in range(fit, 0, -1) if n % k == 0)


def peak_bytes(
    box_size: int, r_max: int, padding: int, *, skip_gridding: bool = True, n_operators: int = 1
) -> int:
    """Predict the most memory that an M-step of two half-sets holds on a GPU.

    Parameters
    ----------
    box_size, r_max, padding
        See `relion_mpi.backend.volumes.FourierSums`.
    skip_gridding
        Divide once instead of iterating.
    n_operators
        Of the point group.

    Returns
    -------
    int
        Bytes.
    """
    size, big = padded_size(r_max, padding), padding * box_size
    voxels = size * size * (size // 2 + 1)
    halves = 2 * 24 * voxels
    transform = 16 * big * big * (big // 2 + 1)
    symmetry = 24 * voxels if n_operators > 1 else 0
    uploading = 24 * SLAB_VOXELS + symmetry
    weights = 8 * voxels
    if skip_gridding:
        making = weights + transform
    else:
        # Weights, factors, and the grid that is transformed to and fro or the result.
        making = 2 * weights + max(16 * voxels, transform)
    inverting = transform + 8 * box_size**3
    return halves + max(uploading, making, inverting) + WORK_BYTES


def too_large(box_size: int, padding: int) -> bool:
    """Whether the padded transform has more elements than cuFFT's plans can count."""
    big = padding * box_size
    return 2 * big * big * (big // 2 + 1) >= MAX_ELEMENTS
