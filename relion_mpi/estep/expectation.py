"""The E-step of one batch: prepare, search coarsely, search finely, accumulate."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend.protocol import GlobalPrior, ImageMask, Likelihood, LocalPrior, SearchGrid
from relion_mpi.core.errors import NumericalError
from relion_mpi.estep.geometry import (
    batch_optics,
    components_per_pixel,
    image_geometry,
    without_cropped_row,
)
from relion_mpi.estep.noise_fill import noise_images
from relion_mpi.estep.plan import BatchResult
from relion_mpi.estep.prepared import Prepared, Recentring
from relion_mpi.estep.sums import MIN_SCALE
from relion_mpi.fourier.shells import pixels_per_shell, round_half_away
from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler
from relion_mpi.sampling.local import local_orientations
from relion_mpi.sampling.local_euler import local_orientations_by_euler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Backend, BestHypotheses, ImageGeometry, Moments
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
        self._direction_prior = [_relative_log(half.pdf_direction) for half in plan.halves]

    def group(self, optics_group: int) -> tuple[ImageGeometry, SearchGrid]:
        """Return pixels and grid for an optics group."""
        with self._lock:
            if optics_group not in self._groups:
                plan = self.plan
                geometry = image_geometry(
                    plan.optics, optics_group, plan.box_size, plan.pixel_size_angst,
                    plan.current_size, plan.coarse_size,
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
        shift_prior = self._shift_prior(batch, half, recentring)
        return Prepared(
            batch,
            images,
            recentring,
            factor,
            ImageMask(
                options.particle_diameter_angst / (2 * pixel_size), options.mask_edge_pix, fill
            ),
            batch_optics(plan.optics, batch, geometry, scale, options),
            GlobalPrior(self._direction_prior[batch.half], shift_prior)
            if plan.local_sigma_deg is None
            else self._local_prior(batch, shift_prior),
            Likelihood(
                plan.metric,
                half.sigma2_noise[batch.optics_group],
                options.adaptive_fraction,
                options.max_significants,
            ),
        )

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
        n_img = prepared.batch.n_img
        try:
            return self._run(prepared, sums)
        except MemoryError:
            if n_img == 1:
                raise
            log.info("A batch of %d particles is too much for the memory: halving it", n_img)
        first = self.run(prepared.part(0, n_img // 2), sums)
        return first.followed_by(self.run(prepared.part(n_img // 2, n_img), sums))

    def _run(self, prepared: Prepared, sums: HalfSums) -> BatchResult:
        plan, batch, backend = self.plan, prepared.batch, self.backend
        geometry, grid = self.group(batch.optics_group)
        references = self.references[batch.half]
        prior, likelihood = prepared.prior, prepared.likelihood
        handle = backend.prepare(
            prepared.images, prepared.recentring.pix, prepared.factor, prepared.mask, geometry,
            prepared.optics,
        )  # fmt: skip
        if isinstance(prior, GlobalPrior):
            candidates = backend.search_global(handle, references, grid, prior, likelihood)
        else:
            candidates = backend.search_local(handle, references, grid, prior, likelihood)
        posterior, best = backend.search_fine(handle, references, grid, candidates, likelihood)
        del candidates
        _check_finite(batch, best)
        moments = backend.accumulate(handle, references, grid, posterior, likelihood, sums.handle)
        power = backend.power_spectra(handle)
        half = plan.halves[batch.half]
        return self._conclude(batch, half, prepared.recentring, best, moments, power, sums)

    def _shift_prior(
        self, batch: ParticleBatch, half: HalfPlan, recentring: Recentring
    ) -> NDArray[np.float64]:
        """Log prior of each coarse shift relative to the mean prior, (n_img, n_shift).

        The Gaussian of the whole offset in Angstrom; RELION mixes units here.
        """
        start, unit = recentring.angst - batch.origin_prior_angst, 1.0
        if self.plan.images.compat.mixed_offset_prior:
            unit = float(self.plan.optics.pixel_size_angst[batch.optics_group])
            start = start / unit
        # One axis after the other: sums over an axis of two are slow.
        x, y = (start[:, [i]] + self.plan.translations.coarse_angst[:, i] for i in (0, 1))
        distance2 = (x * x + y * y) * unit**2
        if half.sigma2_offset_angst2 < 1e-4:
            log_prior = np.where(distance2 < 1e-6, 0.0, -np.inf)
        else:
            log_prior = -distance2 / (2 * half.sigma2_offset_angst2)
        return _relative_rows(log_prior)

    def _local_prior(self, batch: ParticleBatch, shift_prior: NDArray[np.float64]) -> LocalPrior:
        """List the orientations near the particles' last ones."""
        sigma = self.plan.local_sigma_deg
        if sigma is None:
            msg = "a local prior needs a width"
            raise ValueError(msg)
        grid, euler_deg = self.plan.orientations, batch.prior_euler_deg
        if self.plan.images.compat.local_psi_as_number:
            nearby = local_orientations_by_euler(grid, euler_deg, sigma)
        else:
            nearby = local_orientations(grid, euler_to_matrix(*euler_deg.T), sigma)
        return LocalPrior(nearby.offsets, nearby.orient, nearby.log_prior, shift_prior)

    def _conclude(
        self,
        batch: ParticleBatch,
        half: HalfPlan,
        recentring: Recentring,
        best: BestHypotheses,
        moments: Moments,
        power: NDArray[np.float64],
        sums: HalfSums,
    ) -> BatchResult:
        """Turn moments into noise, norm and scale terms, and best samples into poses."""
        plan, g = self.plan, batch.optics_group
        noise = power.copy()
        noise[:, : plan.r_max + 1] *= moments.class_weight.sum(axis=1)[:, None]
        noise -= 2 * moments.cross
        noise += moments.power
        norm = self._norm(batch, half, noise)
        evidence = self._log_evidence(batch, half, best, power)
        fine = plan.translations.fine_shifts_angst
        components = components_per_pixel(
            int(plan.optics.box_size[g]), float(plan.optics.pixel_size_angst[g]),
            plan.box_size, plan.pixel_size_angst,
        )  # fmt: skip
        sums.add(
            batch,
            noise=noise.sum(axis=0) * components,
            gated=self._gated(half, moments),
            class_weight=moments.class_weight,
            offset2=_squared_offsets(
                recentring.angst - batch.origin_prior_angst, fine, moments.shift_weight
            ),
            norm=norm,
            evidence=evidence,
            pmax=best.max_weight,
            n_slices=moments.n_slices,
            n_significant=best.n_significant,
        )
        matrices = plan.orientations.fine_matrices(best.fine_direction, best.fine_psi)
        return BatchResult(
            matrix_to_euler(matrices),
            recentring.angst + fine[best.fine_shift],
            best.class_index + 1,
            norm,
            evidence,
            best.max_weight,
            best.n_significant,
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

    def _gated(
        self, half: HalfPlan, moments: Moments
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sum cross and power terms over the shells with signal, (n_img,) each."""
        gate = np.asarray((half.data_vs_prior > SCALE_GATE).any(axis=0), np.float64)
        return _row_sums(moments.cross, gate), _row_sums(moments.power, gate)

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


def _squared_offsets(
    start: NDArray[np.float64], shifts: NDArray[np.float64], weight: NDArray[np.float64]
) -> float:
    """Sum weight |start + shift|^2 over all images (n_img, 2) and shifts (n_shift, 2)."""
    first_x, first_y = (_row_sums(weight, np.ascontiguousarray(shifts[:, i])) for i in (0, 1))
    second = _row_sums(weight, (shifts**2).sum(axis=1))
    total = weight.sum(axis=1) * (start**2).sum(axis=1) + second
    total += 2 * (start[:, 0] * first_x + start[:, 1] * first_y)
    return float(total.sum())


def _relative_rows(log_prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the log of each row's mean probability (RELION's normalisation)."""
    peak = log_prior.max(axis=1, keepdims=True)
    mean = np.exp(log_prior - peak).mean(axis=1, keepdims=True)
    relative: NDArray[np.float64] = log_prior - peak - np.log(mean)
    return relative


def _relative_log(pdf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of a distribution relative to its mean; -inf where it vanishes."""
    with np.errstate(divide="ignore"):
        relative: NDArray[np.float64] = np.log(pdf / pdf.mean())
    return relative


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
