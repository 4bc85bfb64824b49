"""First class averages without references: particles turned at random, in random classes.

The pass is an E-step in which nothing is searched. With references of zeros every particle belongs
wholly to the class drawn for it, so what is back-projected is its image, centred by its own offset,
turned by the angle drawn for it and weighted by its CTF.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.estep.expectation import Expectation

if TYPE_CHECKING:
    from relion_mpi.backend.protocol import Backend
    from relion_mpi.estep.plan import ParticleBatch, Plan

STREAM = 17
"""Tells these random numbers from others of the same particle."""


def random_plan(plan: Plan) -> Plan:
    """Make the plan of the pass.

    Parameters
    ----------
    plan
        Of the first iteration; it gives sizes, optics, noise, and by its `pdf_direction` the
        number of classes.

    Source
    ------
    RELION calculateSumOfPowerSpectraAndAverageImage, where all classes are as likely.
    """
    halves = tuple(
        replace(half, pdf_direction=np.full_like(half.pdf_direction, 1 / half.pdf_direction.size))
        for half in plan.halves
    )
    return replace(plan, metric="gauss", halves=halves, seeded=True, skip_align=True)


def random_expectation(backend: Backend, plan: Plan) -> Expectation:
    """Make the E-step of the pass; its batches come from `random_poses`.

    Parameters
    ----------
    backend
        Does the arithmetic.
    plan
        From `random_plan`.
    """
    n_class, box = plan.halves[0].pdf_direction.shape[0], plan.box_size
    nothing = np.zeros((n_class, box, box), np.float32)
    references = backend.load_references(nothing, plan.r_max, plan.padding)
    return Expectation(backend, plan, [references] * len(plan.halves))


def random_poses(batch: ParticleBatch, random_seed: int) -> ParticleBatch:
    """Turn particles by random angles, the same whatever the batches and the ranks.

    Parameters
    ----------
    batch
        The particles; their offsets stay.
    random_seed
        Of the run.
    """
    euler_deg = np.zeros((batch.n_img, 3))
    for i, particle in enumerate(batch.particle):
        draw = np.random.default_rng([random_seed, int(particle), STREAM])
        euler_deg[i, 2] = draw.uniform(-180.0, 180.0)
    return replace(batch, euler_deg=euler_deg)
