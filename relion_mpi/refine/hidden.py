"""Particles on their way to the workers and back: tasks out, poses and changes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from relion_mpi.estep.plan import ParticleBatch
from relion_mpi.geometry.euler import euler_to_matrix, mean_axis_distance_deg
from relion_mpi.refine.messages import ExpectationTask
from relion_mpi.refine.schedule import Changes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.dataset.particles import Particles
    from relion_mpi.estep.plan import BatchResult


def particle_batch(
    particles: Particles, rows: NDArray[np.int64], half: int, number: int = -1
) -> ParticleBatch:
    """Collect what a worker needs to know about some particles of one optics group.

    Parameters
    ----------
    particles
        All particles.
    rows : int64 (n,)
        Those wanted.
    half
        Index of their half-set.
    number
        Of the batch among those of the run, if it is one of them.
    """
    p = particles
    prior = p.origin_prior_angst
    origin_prior = np.zeros((rows.size, 2)) if prior is None else np.nan_to_num(prior[rows])
    euler = np.stack([p.rot_deg[rows], p.tilt_deg[rows], p.psi_deg[rows]], axis=1)
    given = np.full_like(euler, np.nan) if p.angle_prior_deg is None else p.angle_prior_deg[rows]
    ctf = (
        p.defocus_u_angst, p.defocus_v_angst, p.defocus_angle_deg, p.ctf_bfactor, p.ctf_scale,
        p.phase_shift_deg,
    )  # fmt: skip
    return ParticleBatch(
        number,
        half,
        int(p.optics_group[rows[0]]),
        rows,
        p.stack_file[rows],
        p.image_index[rows],
        p.scale_group[rows],
        np.stack([column[rows] for column in ctf], axis=1),
        euler,
        np.where(np.isfinite(given), given, euler),
        p.origin_angst[rows],
        origin_prior,
        p.norm_correction[rows],
    )


class ExpectationTasks(Sequence[ExpectationTask]):
    """Tasks made when they are asked for, so that they never all exist at once.

    Parameters
    ----------
    particles
        All particles.
    batches
        A task for each.
    flags : uint8 (n_particles,)
        Not 0 where a particle is left out; None for no such particle.
    """

    def __init__(
        self,
        particles: Particles,
        batches: Sequence[Batch],
        flags: NDArray[np.uint8] | None = None,
    ) -> None:
        self._particles = particles
        self._batches = batches
        self._flags = flags

    def __len__(self) -> int:
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> ExpectationTask: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ExpectationTask]: ...
    def __getitem__(self, index: int | slice) -> ExpectationTask | Sequence[ExpectationTask]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        batch = self._batches[index]
        rows = batch.particles
        whole = particle_batch(self._particles, rows, batch.half - 1, batch.index)
        if self._flags is None or not self._flags[rows].any():
            return ExpectationTask(whole)
        return ExpectationTask(whole, self._flags[rows] == 0)


class HiddenVariables:
    """Takes results into the particle table and watches how much they change.

    Parameters
    ----------
    particles
        Changed in place.
    operators : float64 (n, 3, 3)
        Point group, for angular distances.

    Attributes
    ----------
    moved : float64 (n_particles, 3) angle, squared offset, class changes: one slot a particle, so
        that the order in which results arrive does not change the sums
    taken : bool (n_particles,) those that have a result
    """

    def __init__(self, particles: Particles, operators: NDArray[np.float64]) -> None:
        self._particles = particles
        self._operators = operators
        self.moved = np.zeros((particles.n_particles, 3))
        self.taken = np.zeros(particles.n_particles, np.bool_)

    def take(self, rows: NDArray[np.int64], result: BatchResult) -> None:
        """Store a batch's result.

        Source
        ------
        RELION monitorHiddenVariableChanges.
        """
        p = self._particles
        self.taken[rows] = True
        before = euler_to_matrix(p.rot_deg[rows], p.tilt_deg[rows], p.psi_deg[rows])
        after = euler_to_matrix(*result.euler_deg.T)
        self.moved[rows, 0] = mean_axis_distance_deg(before, after, self._operators)
        self.moved[rows, 1] = ((result.origin_angst - p.origin_angst[rows]) ** 2).sum(axis=1)
        self.moved[rows, 2] = result.class_number != p.class_number[rows]
        p.rot_deg[rows], p.tilt_deg[rows], p.psi_deg[rows] = result.euler_deg.T
        p.origin_angst[rows] = result.origin_angst
        p.class_number[rows] = result.class_number
        p.norm_correction[rows] = result.norm_correction
        p.log_likelihood[rows] = result.log_likelihood
        p.max_value_prob[rows] = result.max_value_prob
        p.n_significant[rows] = result.n_significant

    def changes(self) -> Changes:
        """Average the changes over all particles that have a result."""
        angle, offset2, classes = self.moved[self.taken].mean(axis=0)
        return Changes(float(angle), float(np.sqrt(offset2 / 2)), float(classes))
