"""Noise before the first iteration, and expected accuracies before each: work of few particles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.estep.initial_noise import MAX_PARTICLES, halved_averages, initial_sigma2_noise
from relion_mpi.model.state import Accuracy
from relion_mpi.refine.background import warn_of_background
from relion_mpi.refine.hidden import particle_batch
from relion_mpi.refine.messages import AccuracyTask, NoiseTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.dataset.particles import Particles
    from relion_mpi.dataset.quarantine import Quarantine
    from relion_mpi.estep.accuracy import AccuracyResult
    from relion_mpi.estep.initial_noise import PowerSums
    from relion_mpi.model.compat import Compat
    from relion_mpi.model.state import Model
    from relion_mpi.parallel.crew import Crew
    from relion_mpi.refine.messages import BatchAnswer

    Key = tuple[int, int]

ACCURACY_PARTICLES = 100
TOGETHER = 4
"""Classes that a worker looks at in one task."""
LEAST_SHARE = 0.01
"""Smaller classes say nothing of accuracies."""


def measure_noise(
    crew: Crew,
    particles: Particles,
    batches: Sequence[Batch],
    quarantine: Quarantine,
    compat: Compat,
) -> dict[Key, PowerSums]:
    """Sum the power of at most MAX_PARTICLES per half-set and optics group.

    Parameters
    ----------
    crew
        Does the work.
    particles, batches
        Of the run.
    quarantine
        Takes what is found to be unusable.
    compat
        Whether all particles are summed.

    Returns
    -------
    dict
        By half-set and optics group, both counted from 0.
    """
    taken: dict[Key, int] = {}
    chosen = []
    for batch in batches:
        key = batch.half - 1, int(particles.optics_group[batch.particles[0]])
        if taken.get(key, 0) < MAX_PARTICLES or compat.initial_noise:
            taken[key] = taken.get(key, 0) + batch.particles.size
            chosen.append((key, batch))
    parts: dict[int, PowerSums | None] = {}
    tasks = [NoiseTask(particle_batch(particles, b.particles, k[0], b.index)) for k, b in chosen]

    def take(index: int, answer: BatchAnswer[PowerSums]) -> None:
        quarantine.take(chosen[index][1].particles, answer.flags)
        parts[index] = answer.value

    crew.run(tasks, take, summed=False)
    totals: dict[Key, PowerSums] = {}
    for index, (key, _) in enumerate(chosen):
        part = parts[index]
        if part is not None:
            totals[key] = totals[key] + part if key in totals else part
    return totals


def set_noise(
    model: Model,
    totals: dict[Key, PowerSums],
    particles: Particles,
    quarantine: Quarantine,
    compat: Compat,
) -> None:
    """Make the first noise spectra of what `measure_noise` returned.

    Parameters
    ----------
    model
        Changed in place.
    totals
        By half-set and optics group.
    particles, quarantine
        Of the run.
    compat
        What is done as RELION does it.
    """
    averages = halved_averages(totals) if compat.initial_noise else {}
    for (h, g), sums in sorted(totals.items()):
        own_pixel = float(particles.optics.pixel_size_angst[g])
        half = model.halves[h]
        half.sigma2_noise[g] = initial_sigma2_noise(
            sums, own_pixel, model.box_angst, average=averages.get(h), compat=compat
        )
        mine = (particles.half == h + 1) & (particles.optics_group == g)
        half.optics_particles[g] = (mine & (quarantine.flags == 0)).sum()
        mean, deviation = sums.background / sums.n_img
        if h == 0:
            warn_of_background(particles.optics.name[g], mean, deviation)


def estimate_accuracy(
    crew: Crew, model: Model, particles: Particles, batches: Sequence[Batch]
) -> None:
    """Find the expected accuracies of each class with the references that workers have.

    Parameters
    ----------
    crew
        Has the references of the iteration.
    model
        Changed in place; classes with hardly any particles stay unknown.
    particles, batches
        Of the run.
    """
    first = next(b for b in batches if b.half == 1)
    group = particles.optics_group[first.particles[0]]
    mine = (particles.half == 1) & (particles.optics_group == group)
    batch = particle_batch(particles, np.flatnonzero(mine)[:ACCURACY_PARTICLES], 0)
    model.accuracy = Accuracy.unknown(model.n_class)
    known = np.flatnonzero(model.halves[0].pdf_class >= LEAST_SHARE).tolist()
    pieces = [tuple(known[i : i + TOGETHER]) for i in range(0, len(known), TOGETHER)]

    def take(place: int, results: list[AccuracyResult]) -> None:
        for k, found in zip(pieces[place], results, strict=True):
            model.accuracy.rotation_deg[k] = found.rotation_deg
            model.accuracy.translation_angst[k] = found.translation_angst
            for half in model.halves:
                half.orientability[k] = found.orientability

    crew.run([AccuracyTask(batch, piece) for piece in pieces], take, summed=False)
