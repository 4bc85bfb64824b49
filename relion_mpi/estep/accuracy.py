"""Expected accuracies of orientations and offsets, which drive the sampling of auto-refine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.estep.exact_poses import known_euler
from relion_mpi.estep.geometry import batch_optics, ctf_parameters
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.optics.ctf import ctf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import ImageGeometry
    from relion_mpi.estep.expectation import Expectation
    from relion_mpi.estep.plan import ParticleBatch

P_VALUE = 4.605
"""-log(0.01): a pose this much less likely than the true one can be told from it."""
MAX_ROTATION_DEG, MAX_SHIFT_PIX = 30.0, 10.0
PSI = 2
"""Place of the in-plane angle among the Euler angles."""
RUNGS = 8
"""Trial errors that are compared in one call."""


@dataclass(frozen=True, slots=True)
class AccuracyResult:
    """Accuracies of one class.

    Attributes
    ----------
    rotation_deg, translation_angst : mean over the particles tried
    orientability : float64 (n_shell,) share of each shell in the rotational signal
    """

    rotation_deg: float
    translation_angst: float
    orientability: NDArray[np.float64]


def rotation_step(error: float) -> float:
    """Give the next increase of a trial rotation error, degrees (RELION's ladder)."""
    for below, step in ((0.2, 0.05), (1.0, 0.1), (2.0, 0.2), (5.0, 0.5), (10.0, 1.0), (20.0, 2.0)):
        if error < below:
            return step
    return 5.0


def shift_step(error: float) -> float:
    """Give the next increase of a trial shift error, pixels (RELION's ladder)."""
    for below, step in ((1.0, 0.1), (2.0, 0.2), (5.0, 0.5), (10.0, 1.0)):
        if error < below:
            return step
    return 2.0


def rotation_ladder() -> NDArray[np.float64]:
    """List the trial rotation errors, degrees, up to the largest."""
    errors = [rotation_step(0.0)]
    while errors[-1] < MAX_ROTATION_DEG:
        errors.append(errors[-1] + rotation_step(errors[-1]))
    return np.array(errors)


def expected_accuracies(
    expectation: Expectation, batch: ParticleBatch, classes: Sequence[int]
) -> list[AccuracyResult]:
    """Find how far poses must be off before the data would tell, on average over particles.

    All particles climb the ladder of trial errors together, some rungs in one call.

    Parameters
    ----------
    expectation
        E-step of the iteration; half-set 0's references are used.
    batch
        Particles of one optics group; their last poses and CTFs are used, no images.
    classes
        Those whose references are projected.

    Returns
    -------
    list of AccuracyResult
        Of each class.

    Source
    ------
    RELION calculateExpectedAngularErrors.
    """
    plan = expectation.plan
    geometry, _ = expectation.group(batch.optics_group)
    sigma2 = plan.halves[0].sigma2_noise[batch.optics_group][geometry.shell]
    transfer = _transfer(expectation, batch, geometry)
    weight = transfer**2 / (2 * sigma2)
    weight[:, geometry.shell == 0] = 0.0
    axis = np.array([_axis(plan.images.random_seed, int(p)) for p in batch.particle])
    if plan.planar:
        axis[:, 0] = PSI
    known_deg = known_euler(batch.euler_deg, plan.orientations)
    return [_of_class(expectation, batch, k, weight, axis, known_deg) for k in classes]


def _of_class(
    expectation: Expectation,
    batch: ParticleBatch,
    class_index: int,
    weight: NDArray[np.float64],
    axis: NDArray[np.int64],
    known_deg: NDArray[np.float64],
) -> AccuracyResult:
    """Climb the ladders with the reference of a class.

    Parameters
    ----------
    expectation, batch, class_index
        As for `expected_accuracies`.
    weight : float64 (n_img, n_pix)
        Squared CTF over twice the noise.
    axis : int64 (n_img, 2)
        Euler angle and shift axis along which errors are tried.
    known_deg : float64 (n_img, 3)
    """
    plan, backend = expectation.plan, expectation.backend
    geometry, _ = expectation.group(batch.optics_group)
    references = expectation.references[0]
    rotation = np.zeros(batch.n_img)
    orientability = np.zeros(geometry.n_shell)
    active, ladder = np.arange(batch.n_img), rotation_ladder()
    first = euler_to_matrix(*known_deg.T)
    for low in range(0, ladder.size, RUNGS):
        rungs = ladder[low : low + RUNGS]
        euler = np.repeat(known_deg[active, None], rungs.size, axis=1)
        euler[np.arange(active.size), :, axis[active, 0]] += rungs
        terms = backend.slice_distances(
            references, first[active],
            euler_to_matrix(*euler.reshape(-1, 3).T).reshape(*euler.shape, 3), weight[active],
            geometry, class_index,
        )  # fmt: skip
        total = terms.sum(axis=2)
        told = (total > P_VALUE) | (rungs >= MAX_ROTATION_DEG)
        done = told.any(axis=1)
        rung = told.argmax(axis=1)
        rotation[active[done]] = rungs[rung[done]]
        for i in np.flatnonzero(done):
            if total[i, rung[i]] > 0:
                orientability += terms[i, rung[i]] / total[i, rung[i]]
        active = active[~done]
        if not active.size:
            break
    truth = backend.project(references, first, geometry, class_index)
    pixel_size = float(plan.optics.pixel_size_angst[batch.optics_group])
    shift = _shift_errors(truth, weight, axis[:, 1], geometry)
    total_share = orientability.sum()
    return AccuracyResult(
        float(rotation.mean()),
        float(shift.mean()) * pixel_size,
        orientability / total_share if total_share > 0 else orientability,
    )


def _shift_errors(
    truth: NDArray[np.complexfloating[Any, Any]],
    weight: NDArray[np.float64],
    along_y: NDArray[np.int64],
    geometry: ImageGeometry,
) -> NDArray[np.float64]:
    """Climb the ladder of shift errors, pixels (n_img,)."""
    power = weight * (truth.real**2 + truth.imag**2)
    # A shift turns phases by what depends on one coordinate alone, and its sign does not matter.
    n = geometry.box_size // 2 + 1
    place = np.where(along_y[:, None] == 1, np.abs(geometry.y), np.abs(geometry.x))
    place = place.astype(np.intp) + n * np.arange(along_y.size)[:, None]
    line = np.bincount(place.ravel(), power.ravel(), n * along_y.size).reshape(-1, n)
    out = np.zeros(truth.shape[0])
    active, error = np.arange(out.size), 0.0
    while active.size:
        error += shift_step(error)
        phase = 2 * np.pi * error / geometry.box_size * np.arange(n)
        told = (line[active] * (2.0 - 2.0 * np.cos(phase))).sum(axis=1)
        done = (told > P_VALUE) | (error >= MAX_SHIFT_PIX)
        out[active[done]] = error
        active = active[~done]
    return out


def _axis(seed: int, particle: int) -> tuple[int, int]:
    """Choose which Euler angle and which shift axis a particle's error is tried along."""
    draw = np.random.default_rng([seed, particle, 7]).random(2)
    return min(int(3 * draw[0]), 2), int(draw[1] >= 0.5)


def _transfer(
    expectation: Expectation, batch: ParticleBatch, geometry: ImageGeometry
) -> NDArray[np.float64]:
    """CTFs of the batch on the listed pixels, without intensity scale."""
    options, plan = expectation.plan.images, expectation.plan
    if not options.apply_ctf:
        return np.ones((batch.n_img, geometry.n_pix))
    arrays = batch_optics(plan.optics, batch, geometry, np.ones(batch.n_img), options)
    values = ctf(
        ctf_parameters(plan.optics, batch),
        geometry.freq_x,
        geometry.freq_y,
        gamma_offset=arrays.gamma_offset,
        intact_until_first_peak=options.intact_until_first_peak,
        phase_flipped=options.phase_flipped,
        only_flip_phases=options.only_flip_phases,
    )
    return values**2 if arrays.premultiplied else values
