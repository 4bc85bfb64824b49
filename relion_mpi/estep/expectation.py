"""The E-step of one batch: prepare, search coarsely, search finely, accumulate."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend.protocol import GlobalPrior, ImageMask, Likelihood, SearchGrid
from relion_mpi.core.errors import NumericalError
from relion_mpi.estep.exact_poses import class_prior, exact_poses, known_euler
from relion_mpi.estep.geometry import (
    batch_optics,
    components_per_pixel,
    image_geometry,
    without_cropped_row,
)
from relion_mpi.estep.noise_fill import noise_images
from relion_mpi.estep.plan import BatchResult
from relion_mpi.estep.prepared import Prepared, Recentring
from relion_mpi.estep.priors import (
    listed_for_classes,
    nearby,
    prior_of_class,
    relative_log,
    shift_prior,
)
from relion_mpi.estep.seeds import seeded_classes
from relion_mpi.estep.sums import MIN_SCALE
from relion_mpi.fourier.shells import pixels_per_shell, round_half_away
from relion_mpi.geometry.euler import matrix_to_euler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Backend, ImageGeometry, LocalPrior
    from relion_mpi.backend.results import BestHypotheses, Moments
    from relion_mpi.estep.plan import HalfPlan, ParticleBatch, Plan
    from relion_mpi.estep.sums import HalfSums

log = logging.getLogger(__name__)

SCALE_GATE = 3.0
"""Shells with a larger signal-to-noise ratio take part in the scale estimate."""


def search_grid(plan: Plan, pixel_size_angst: float) -> SearchGrid:
    """Lay out the grids of an iteration for images of a pixel size."""
    orientations, translations = plan.orientations, plan.translations
    return SearchGrid(
        orientations.coarse_directions(),
        orientations.coarse_psi_rad(),
        orientations.fine_directions(),
        orientations.fine_psi_rad(),
        translations.coarse_shifts_angst / pixel_size_angst,
        translations.fine_shifts_angst / pixel_size_angst,
    )


class Expectation:
    """The E-step of one iteration on one worker; geometry and grids are made once.

    Parameters
    ----------
    backend
        Does the arithmetic.
    plan
        The iteration.
    references
        Handle of each half-set's references.
    """

    def __init__(self, backend: Backend, plan: Plan, references: list[Any]) -> None:
        self.backend = backend
        self.plan = plan
        self.references = references
        self._groups: dict[int, tuple[ImageGeometry, SearchGrid]] = {}
        self._lock = threading.Lock()
        self._direction_prior = [relative_log(half.pdf_direction) for half in plan.halves]
        self._classes = [np.flatnonzero(h.pdf_direction.any(axis=1)) for h in plan.halves]

    def group(self, optics_group: int) -> tuple[ImageGeometry, SearchGrid]:
        """Return pixels and grid for an optics group."""
        with self._lock:
            if optics_group not in self._groups:
                plan = self.plan
                # Without a search there is no first pass to spare anything in.
                coarse_size = plan.current_size if plan.skip_align else plan.coarse_size
                geometry = image_geometry(
                    plan.optics, optics_group, plan.box_size, plan.pixel_size_angst,
                    plan.current_size, coarse_size,
                )  # fmt: skip
                if plan.images.compat.cropped_last_shell:
                    geometry = without_cropped_row(geometry)
                pixel_size = float(plan.optics.pixel_size_angst[optics_group])
                self._groups[optics_group] = geometry, search_grid(plan, pixel_size)
            return self._groups[optics_group]

    def prepare(self, batch: ParticleBatch, images: NDArray[np.floating[Any]]) -> Prepared:
        """Do what needs no device: priors, optics, factors; may run beside `run`.

        Parameters
        ----------
        batch
            The particles.
        images : float32 or float16 (n_img, box, box)
            Their images as read.
        """
        plan, half = self.plan, self.plan.halves[batch.half]
        geometry, _ = self.group(batch.optics_group)
        pixel_size = float(plan.optics.pixel_size_angst[batch.optics_group])
        options = plan.images
        moved = round_half_away(batch.origin_angst / pixel_size)
        recentring = Recentring(moved, moved.astype(np.float64) * pixel_size)
        factor = np.ones(batch.n_img)
        if options.correct_norm:
            factor = half.avg_norm / batch.norm_correction
        fill = None
        if not options.zero_mask:
            fill = noise_images(
                half.sigma2_noise[batch.optics_group], geometry.power_shell,
                batch.particle, (options.random_seed, plan.iteration),
            )  # fmt: skip
        scale = np.ones(batch.n_img)
        if options.correct_scale:
            scale = np.maximum(half.scale[batch.scale_group], MIN_SCALE)
        poses = None
        if plan.skip_align:
            poses = exact_poses(batch, plan.orientations, moved, pixel_size)
        return Prepared(
            batch,
            images,
            recentring,
            factor,
            ImageMask(
                options.particle_diameter_angst / (2 * pixel_size), options.mask_edge_pix, fill
            ),
            batch_optics(plan.optics, batch, geometry, scale, options),
            self._prior(batch, recentring),
            Likelihood(
                plan.metric,
                half.sigma2_noise[batch.optics_group],
                options.adaptive_fraction,
                options.max_significants,
            ),
            poses,
        )

    def _prior(self, batch: ParticleBatch, recentring: Recentring) -> GlobalPrior | LocalPrior:
        """Say which hypotheses are tried, and how likely they are beforehand."""
        plan, half = self.plan, self.plan.halves[batch.half]
        if plan.skip_align:
            return class_prior(half.pdf_direction.sum(axis=1), self._classes_of(batch))
        shift = shift_prior(plan, batch, recentring.angst)
        if plan.local_sigma_deg is None:
            return GlobalPrior(self._direction_prior[batch.half], shift)
        near = nearby(plan, batch, plan.local_sigma_deg)
        return listed_for_classes(near, self._classes_of(batch), plan.orientations.n_orient, shift)

    def _classes_of(self, batch: ParticleBatch) -> NDArray[np.int64]:
        """Give the classes in which each particle takes part, int64 (n_img, n)."""
        there = self._classes[batch.half]
        if self.plan.seeded:
            seed = self.plan.images.random_seed
            return there[seeded_classes(seed, batch.particle, there.size)][:, None]
        return np.broadcast_to(there, (batch.n_img, there.size))

    def run(self, prepared: Prepared, sums: HalfSums) -> BatchResult:
        """Do the E-step of a batch and add it to the sums of its half-set.

        Parameters
        ----------
        prepared
            The batch. Where the device's memory does not hold its temporary arrays it is done in
            parts.
        sums
            Changed in place.

        Raises
        ------
        NumericalError
            If a particle's posterior is not finite.
        MemoryError
            If the device's memory does not hold a single particle's arrays.
        """
        if not (self.plan.seeded and isinstance(prepared.prior, GlobalPrior)):
            return self._run_or_halve(prepared, sums)
        # Global priors are the batch's, so particles of one class go together.
        batch, shift = prepared.batch, prepared.prior.shift
        drawn = self._classes_of(batch)[:, 0]
        found, order = [], []
        for k in np.unique(drawn):
            rows = np.flatnonzero(drawn == k)
            direction = prior_of_class(self.plan.halves[batch.half].pdf_direction, int(k))
            part = replace(prepared.chosen(rows), prior=GlobalPrior(direction, shift[rows]))
            found.append(self._run_or_halve(part, sums))
            order.append(rows)
        joined = reduce(BatchResult.followed_by, found)
        return joined.in_order(np.argsort(np.concatenate(order)))

    def _run_or_halve(self, prepared: Prepared, sums: HalfSums) -> BatchResult:
        """Do a batch at once, or in parts as small as the memory needs them."""
        n_img = prepared.batch.n_img
        try:
            found = self._run(prepared, sums)
        except MemoryError:  # before anything was added to the sums
            if n_img == 1:
                raise
            log.info("A batch of %d particles is too much for the memory: halving it", n_img)
        else:
            return self._conclude(prepared, *found, sums)
        first = self._run_or_halve(prepared.chosen(slice(n_img // 2)), sums)
        second = self._run_or_halve(prepared.chosen(slice(n_img // 2, n_img)), sums)
        return first.followed_by(second)

    def _run(
        self, prepared: Prepared, sums: HalfSums
    ) -> tuple[BestHypotheses, Moments, NDArray[np.float64]]:
        """Search and add to the volume; return best samples, moments and power spectra."""
        batch, backend, poses = prepared.batch, self.backend, prepared.poses
        geometry, grid = self.group(batch.optics_group)
        references = self.references[batch.half]
        prior, likelihood = prepared.prior, prepared.likelihood
        handle = backend.prepare(
            prepared.images, prepared.recentring.pix, prepared.factor, prepared.mask, geometry,
            prepared.optics, None if poses is None else poses.remainder_pix,
        )  # fmt: skip
        if isinstance(prior, GlobalPrior):
            candidates = backend.search_global(handle, references, grid, prior, likelihood)
        elif poses is None:
            candidates = backend.search_local(handle, references, grid, prior, likelihood)
        else:
            # One pass is enough for classes: the first one keeps all, the second one cuts.
            grid, whole = poses.grid, replace(likelihood, adaptive_fraction=1.0)
            candidates = backend.search_local(handle, references, grid, prior, whole)
        posterior, best = backend.search_fine(handle, references, grid, candidates, likelihood)
        del candidates
        _check_finite(batch, best)
        power = backend.power_spectra(handle)
        moments = backend.accumulate(handle, references, grid, posterior, likelihood, sums.handle)
        return best, moments, power

    def _conclude(
        self,
        prepared: Prepared,
        best: BestHypotheses,
        moments: Moments,
        power: NDArray[np.float64],
        sums: HalfSums,
    ) -> BatchResult:
        """Turn moments into noise, norm and scale terms, and best samples into poses."""
        plan, batch, poses, start = self.plan, prepared.batch, prepared.poses, prepared.start_angst
        half, g = plan.halves[batch.half], batch.optics_group
        noise = power.copy()
        noise[:, : plan.r_max + 1] *= moments.class_weight.sum(axis=1)[:, None]
        noise -= 2 * moments.cross
        noise += moments.power
        norm = self._norm(batch, half, noise)
        evidence = self._log_evidence(batch, half, best, power)
        fine = np.zeros((1, 2)) if poses else plan.translations.fine_shifts_angst
        n_significant = (moments.class_weight > 0).sum(axis=1) if poses else best.n_significant
        components = components_per_pixel(
            int(plan.optics.box_size[g]), float(plan.optics.pixel_size_angst[g]),
            plan.box_size, plan.pixel_size_angst,
        )  # fmt: skip
        sums.add(
            batch,
            noise=noise.sum(axis=0) * components,
            gated=_gated(half, best, moments),
            class_weight=moments.class_weight,
            offset2=_squared_offsets(start - batch.origin_prior_angst, fine, moments.shift_weight),
            norm=norm,
            evidence=evidence,
            pmax=best.max_weight,
            n_slices=moments.n_slices,
            n_significant=n_significant,
            direction=poses.direction if poses else None,
        )
        euler_deg = known_euler(batch.euler_deg, plan.orientations)
        if not poses:
            euler_deg = matrix_to_euler(
                plan.orientations.fine_matrices(best.fine_direction, best.fine_psi)
            )
        return BatchResult(
            euler_deg,
            start + fine[best.fine_shift],
            best.class_index + 1,
            norm,
            evidence,
            best.max_weight,
            n_significant,
            moments.n_slices,
        )

    def _norm(
        self, batch: ParticleBatch, half: HalfPlan, noise: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Update the norm corrections: residual standard deviation, undoing what was applied."""
        if not self.plan.images.correct_norm:
            return batch.norm_correction
        residual = np.sqrt(2 * np.maximum(noise.sum(axis=1), 0.0))
        updated: NDArray[np.float64] = batch.norm_correction / half.avg_norm * residual
        return updated

    def _log_evidence(
        self,
        batch: ParticleBatch,
        half: HalfPlan,
        best: BestHypotheses,
        power: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Log-likelihood contribution of each image, as RELION reports it."""
        if self.plan.metric == "cc":
            return best.log_evidence
        last = self.plan.r_max
        sigma2 = half.sigma2_noise[batch.optics_group]
        inside = slice(1, last + 1)
        count = pixels_per_shell(self.plan.box_size)[inside]
        if self.plan.images.compat.cropped_last_shell:
            shells = self.group(batch.optics_group)[0].power_shell
            count = np.bincount(shells[shells >= 0], minlength=last + 1)[inside]
        misfit = 0.5 * _row_sums(power[:, inside], 1.0 / sigma2[inside])
        beyond = 0.5 * power[:, last + 1 :].sum(axis=1)
        constant = float((count * np.log(2 * np.pi * sigma2[inside])).sum())
        evidence: NDArray[np.float64] = best.log_evidence - misfit - beyond - constant
        return evidence


def _row_sums(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum each row with weights: without a temporary array, and not by threads of BLAS."""
    total: NDArray[np.float64] = np.einsum("is,s->i", values, weight)
    return total


def _gated(
    half: HalfPlan, best: BestHypotheses, moments: Moments
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum cross and power terms over the shells with signal in the best class, (n_img,) each."""
    gate = np.asarray(half.data_vs_prior > SCALE_GATE, np.float64)[best.class_index]
    cross, power = (np.einsum("is,is->i", one, gate) for one in (moments.cross, moments.power))
    return cross, power


def _squared_offsets(
    start: NDArray[np.float64], shifts: NDArray[np.float64], weight: NDArray[np.float64]
) -> float:
    """Sum weight |start + shift|^2 over all images (n_img, 2) and shifts (n_shift, 2)."""
    first_x, first_y = (_row_sums(weight, np.ascontiguousarray(shifts[:, i])) for i in (0, 1))
    second = _row_sums(weight, (shifts**2).sum(axis=1))
    total = weight.sum(axis=1) * (start**2).sum(axis=1) + second
    total += 2 * (start[:, 0] * first_x + start[:, 1] * first_y)
    return float(total.sum())


def _check_finite(batch: ParticleBatch, best: BestHypotheses) -> None:
    """Refuse posteriors that are not numbers."""
    bad = np.flatnonzero(~np.isfinite(best.log_evidence) | ~np.isfinite(best.max_weight))
    if bad.size:
        rows = ", ".join(str(batch.particle[i] + 1) for i in bad[:5])
        msg = (
            f"the posterior of particle row(s) {rows} is not finite: look for NaN, infinite or "
            "constant pixels in these images"
        )
        raise NumericalError(msg)
