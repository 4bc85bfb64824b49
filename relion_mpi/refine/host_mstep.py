"""What the M-step of two half-sets holds in a host's memory, moment by moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.backend.cpu.map_power import CHUNK_BYTES
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from relion_mpi.refine.gpu_memory import GpuJob

HALF_BYTES = 24
"""A voxel of a half-set: complex data and weight, float64."""
FSC_BYTES = 91
"""A coefficient of the unpadded grid while two half-sets are correlated, of which 83 are arrays of
`relion_mpi.fourier.correlation.shell_powers` and of its caller beside the shells."""
MASK_MAPS = 5.25
"""The map, and radii, edge and two selections of `mask_outside_to_mean`."""
GRIDDING_BYTES = 105
"""A voxel in an iteration of gridding: weights, radii, kernel, target, factors, and the transform's
cast, its axes and its result."""
JOIN_BYTES = 9
"""A voxel while low resolution is joined: its squared radius and whether it is inside."""


def mstep_moments(job: GpuJob, n_packed: int, *, fsc_mask: bool) -> dict[str, dict[str, int]]:
    """List what is held beside what rank 0 keeps anyway.

    Parameters
    ----------
    job
        What is refined.
    n_packed
        Voxels of a half-set's reduced sums.
    fsc_mask
        Unregularised half-maps are there in every iteration.

    Returns
    -------
    dict
        Bytes by name, by moment of `relion_mpi.mstep.maximise` on the CPU.
    """
    voxels, box = job.voxels, job.box_size
    half, map_bytes = HALF_BYTES * voxels, 8 * job.pixels(box)
    packed = HALF_BYTES * n_packed
    copies = half if job.n_operators > 1 else 0
    if job.planar:
        # `relion_mpi.mstep.planes`: averages one after the other, each a small part of the sums.
        return {"averages": {"packed sums": 2 * packed, "new maps": job.n_class * map_bytes}}
    maps = (3 if fsc_mask else job.n_half) * map_bytes
    if job.n_half == 1:
        maps = job.n_class * job.real * job.pixels(box)
    # Classes are reconstructed one after the other, while the reduced sums of the others wait.
    waiting = packed if job.n_half == 1 else 0
    spread = {
        # The first half-set is whole, the second one not yet; a bool a number that is looked at.
        "spreading sums": {
            "half-sets": job.n_half * half, "packed sums": packed + 3 * n_packed, "rotated": copies,
        },
    }  # fmt: skip
    coefficients = padded_size(job.shells, 1) ** 2 * (padded_size(job.shells, 1) // 2 + 1)
    work = {
        "making a map": _map_bytes(job),
        "dividing": (GRIDDING_BYTES if not job.skip_gridding else 8 + 16) * voxels,
    }
    if job.n_half == 1:
        spread["power of the references"] = {"packed sums": packed, "transform": _power_bytes(job)}
    else:
        work |= {"joining": JOIN_BYTES * voxels, "FSC": FSC_BYTES * coefficients}
    return spread | {
        name: {
            "half-sets": job.n_half * half, "packed sums": waiting, "new maps": maps, name: n_bytes,
        }
        for name, n_bytes in work.items()
    }


def _power_bytes(job: GpuJob) -> int:
    """`map_power`: what two axes leave, and what is made of the third at a time."""
    box, big, reach = job.box_size, job.padding * job.box_size, job.padding * job.shells
    first, second = 8 * box * box * (big + 2), 16 * box * big * (reach + 1)
    third = 16 * big * (2 * reach + 1) * (reach + 1)
    return max(first + second, second + second * (2 * reach + 1) // big + min(third, CHUNK_BYTES))


def _map_bytes(job: GpuJob) -> int:
    """`CPUVolumes.to_map`: what each axis takes and leaves, then the masked map."""
    box, big, reach = job.box_size, job.padding * job.box_size, job.padding * job.shells
    side, half = min(2 * reach + 1, big), min(reach, big // 2) + 1
    transform, spread = 16 * job.voxels, 16 * big * side * half
    planes, columns, rows = 16 * box * side * half, 16 * box * big * half, 16 * box * box * half
    return max(
        transform + spread,
        spread + planes,
        planes + columns,
        columns + rows,
        rows + 8 * box * box * big + 8 * box**3,
        int(MASK_MAPS * 8 * box**3),
    )
