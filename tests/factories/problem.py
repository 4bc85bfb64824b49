"""A small search whose answer can be computed sample by sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from factories.maps import blob_image, blob_map
from factories.pixels import geometry, images_from
from factories.poses import no_mask, quanta_for
from relion_mpi.backend.protocol import (
    GlobalPrior,
    ImageGeometry,
    ImageMask,
    Likelihood,
    OpticsArrays,
    SearchGrid,
)
from relion_mpi.fourier.masks import mask_outside_to_mean
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.optics.ctf import CtfParameters, ctf, ctf_coefficients

BOX = 16
N_DIR, N_PSI, CHILD_DIR, CHILD_PSI, CHILD_SHIFT = 7, 4, 2, 2, 2


def grid(seed=0, *, planar=False):
    """Directions anywhere; every fine sample close to its coarse parent."""
    rng = np.random.default_rng(seed)
    rot = rng.uniform(-180, 180, N_DIR)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, N_DIR)))
    rot[:2], tilt[:2] = 0.0, (0.0, 180.0)
    near = rng.uniform(-4, 4, (2, N_DIR, CHILD_DIR))
    if planar:
        tilt, near[1] = np.zeros(N_DIR), 0.0
    fine_dir = euler_to_matrix(
        (rot[:, None] + near[0]).ravel(), (tilt[:, None] + near[1]).ravel(), 0
    )
    psi = np.arange(N_PSI) * 2 * np.pi / N_PSI
    fine_psi = (psi[:, None] + np.radians([-4.0, 4.0])).ravel()
    shift = np.array([[0, 0], [1.5, 0], [-1.5, 0.3], [0, 1.5], [0.2, -1.5]])
    fine_shift = (shift[:, None] + np.array([[-0.4, 0.1], [0.4, -0.2]])).reshape(-1, 2)
    return SearchGrid(euler_to_matrix(rot, tilt, 0), psi, fine_dir, fine_psi, shift, fine_shift)


def matrices(directions, psi_rad):
    """Rz(psi) @ direction for every pair, psi fastest, (n, 3, 3)."""
    turn = euler_to_matrix(0, 0, np.degrees(psi_rad))
    return np.einsum("pij,djk->dpik", turn, directions).reshape(-1, 3, 3)


@dataclass(frozen=True)
class Problem:
    """Inputs of a search, and how to run it on a backend."""

    maps: Any
    images: Any
    geometry: ImageGeometry
    grid: SearchGrid
    optics: OpticsArrays
    ctf: Any
    sigma2: Any
    prior: GlobalPrior
    mask: ImageMask
    adaptive_fraction: float = 0.999
    max_significants: int = 0
    metric: str = "gauss"

    @property
    def n_img(self):
        return len(self.images)

    @property
    def likelihood(self):
        return Likelihood(self.metric, self.sigma2, self.adaptive_fraction, self.max_significants)

    @property
    def r_max(self):
        return self.geometry.n_shell - 1

    def only(self, rows):
        """The same problem with some of the images."""
        optics = replace(
            self.optics,
            scale=self.optics.scale[rows],
            ctf_coefficients=self.optics.ctf_coefficients[rows],
        )
        prior = replace(self.prior, shift=self.prior.shift[rows])
        return replace(
            self, images=self.images[rows], optics=optics, prior=prior, ctf=self.ctf[rows]
        )

    def references(self, backend):
        return backend.load_references(self.maps, self.r_max, 2)

    def prepare(self, backend):
        n = self.n_img
        return backend.prepare(
            self.images, np.zeros((n, 2), np.int64), np.ones(n), self.mask, self.geometry,
            self.optics,
        )  # fmt: skip

    @property
    def quanta(self):
        return quanta_for(0.1 * self.n_img / self.sigma2.min())

    def new_sums(self, backend):
        return backend.new_sums(
            len(self.maps), self.grid.n_dir, self.r_max, 2, self.quanta, planar=self.maps.ndim == 3
        )

    def search(self, backend, sums=None, local=None):
        """Run both passes: (best, moments or None)."""
        references, handle = self.references(backend), self.prepare(backend)
        if local is None:
            found = backend.search_global(
                handle, references, self.grid, self.prior, self.likelihood
            )
        else:
            found = backend.search_local(handle, references, self.grid, local, self.likelihood)
        posterior, best = backend.search_fine(handle, references, self.grid, found, self.likelihood)
        if sums is None:
            return best, None
        moments = backend.accumulate(
            handle, references, self.grid, posterior, self.likelihood, sums
        )
        return best, moments


def problem(n_img=4, *, n_class=1, seed=0, snr=0.3, coarse=12, planar=False, **changes):
    """Images of random fine samples with noise, CTF, scales, priors; planar: of 2D references."""
    rng = np.random.default_rng(seed)
    make = blob_image if planar else blob_map
    maps = np.stack([make(BOX, 10 + k, sigma_pix=1.2) for k in range(n_class)])
    pixels, samples = geometry(BOX, BOX, coarse), grid(seed, planar=planar)
    u = rng.uniform(8000, 20000, n_img)
    params = CtfParameters(
        u, u - 500, rng.uniform(0, 180, n_img), np.full(n_img, 300.0), np.full(n_img, 2.7),
        np.full(n_img, 0.1), np.zeros(n_img), np.ones(n_img), np.zeros(n_img),
    )  # fmt: skip
    values = ctf(params, pixels.freq_x, pixels.freq_y)
    scale = rng.uniform(0.8, 1.2, n_img)
    signal = (maps[0] if planar else maps[0].sum(0)).std()
    images = rng.normal(0, signal / np.sqrt(snr), (n_img, BOX, BOX))
    from relion_mpi.backend import select_backend  # the truth is made once, in double precision

    make = select_backend("cpu", "float64")
    poses = matrices(samples.fine_direction, samples.fine_psi_rad)
    for i in range(n_img):
        pose = poses[rng.integers(len(poses))][None]
        references = make.load_references(maps, BOX // 2, 2)
        shift = samples.fine_shift_pix[rng.integers(len(samples.fine_shift_pix))]
        truth = make.project(references, pose, pixels, int(rng.integers(n_class)))[0]
        truth = truth * values[i] * scale[i]
        truth *= np.exp(2j * np.pi / BOX * (shift[0] * pixels.x + shift[1] * pixels.y))
        images[i] += images_from(truth[None], pixels.x, pixels.y, BOX)[0]
    log_dir = np.log(rng.dirichlet(np.full(n_class * N_DIR, 3.0)).reshape(n_class, N_DIR))
    log_shift = -0.1 * rng.uniform(0, 3, (n_img, len(samples.coarse_shift_pix)))
    optics = OpticsArrays(ctf_coefficients(params), scale)
    variance = signal**2 / snr
    sigma2 = np.full(BOX // 2 + 1, variance / (2 * BOX**2)) * np.linspace(1.3, 0.7, BOX // 2 + 1)
    made = Problem(
        maps, images.astype(np.float32), pixels, samples, optics, values, sigma2,
        GlobalPrior(log_dir, log_shift), no_mask(BOX),
    )  # fmt: skip
    return replace(made, **changes)


@dataclass(frozen=True)
class BruteForce:
    """Everything computed in double precision, one sample after the other."""

    problem: Problem
    backend: Any

    def images_ft(self):
        """Masked transforms, (n_img, n_pix)."""
        p, g = self.problem, self.problem.geometry
        masked = [
            mask_outside_to_mean(i.astype(float), p.mask.radius_pix, p.mask.edge_pix)
            for i in p.images
        ]
        full = np.fft.fft2(np.fft.ifftshift(np.array(masked), axes=(1, 2))) / BOX**2
        return full[:, g.y, g.x]

    def slices(self, *, fine):
        """Projections without CTF, (n_class, n_orient, n_pix)."""
        p, g = self.problem, self.problem.grid
        pairs = (
            (g.fine_direction, g.fine_psi_rad) if fine else (g.coarse_direction, g.coarse_psi_rad)
        )
        references = p.references(self.backend)
        return np.stack([
            self.backend.project(references, matrices(*pairs), p.geometry, k).astype(complex)
            for k in range(len(p.maps))
        ])  # fmt: skip

    def scores(self, i, *, fine):
        """Log weights of image i up to a constant, (n_class, n_dir, n_psi, n_shift)."""
        p, g = self.problem, self.problem.grid
        n_pix = p.geometry.n_pix if fine else p.geometry.n_coarse
        use = slice(n_pix)
        image = self.images_ft()[i, use]
        shifts = g.fine_shift_pix if fine else g.coarse_shift_pix
        lever = shifts @ np.stack([p.geometry.x, p.geometry.y])[:, use]
        shifted = image * np.exp(-2j * np.pi / BOX * lever)
        predicted = self.slices(fine=fine)[..., use] * (p.ctf[i] * p.optics.scale[i])[use]
        if p.metric == "cc":
            cross = np.einsum("kop,tp->kot", predicted.conj(), shifted).real
            power = (np.abs(predicted) ** 2).sum(axis=-1)
            shaped = self._shaped(cross / np.sqrt(power)[..., None], fine)
            skipped = np.isneginf(p.prior.direction)
            shaped[np.repeat(skipped, CHILD_DIR if fine else 1, axis=1)] = -np.inf
            return shaped
        weight = np.where(p.geometry.shell == 0, 0.0, 1 / p.sigma2[p.geometry.shell])[use]
        residual = np.abs(predicted[:, :, None] - shifted) ** 2
        distance = 0.5 * ((residual - np.abs(shifted) ** 2) * weight).sum(axis=-1)
        log_dir, log_shift = p.prior.direction, p.prior.shift[i]
        if fine:
            log_dir = np.repeat(log_dir, CHILD_DIR, axis=1)
            log_shift = np.repeat(log_shift, CHILD_SHIFT)
        return self._shaped(-distance, fine) + log_dir[:, :, None, None] + log_shift

    def _shaped(self, values, fine):
        n_psi = N_PSI * CHILD_PSI if fine else N_PSI
        return values.reshape(len(values), -1, n_psi, values.shape[-1])

    def significant(self, i):
        """Coarse samples kept, as RELION sorts and cuts them, bool like `scores`."""
        p = self.problem
        scores = self.scores(i, fine=False)
        if p.metric == "cc":
            return scores == scores.max()
        return cut(scores, p.adaptive_fraction, p.max_significants)

    def fine(self, i):
        """Scores of the children of the significant samples, -inf elsewhere."""
        keep = self.significant(i)
        for axis, n in ((1, CHILD_DIR), (2, CHILD_PSI), (3, CHILD_SHIFT)):
            keep = np.repeat(keep, n, axis=axis)
        return np.where(keep, self.scores(i, fine=True), -np.inf)

    def weights(self, i):
        """Posterior weights that are accumulated: cut, normalised by the full sum."""
        scores = self.fine(i)
        if self.problem.metric == "cc":
            return (scores == scores.max()).astype(float)
        total = np.logaddexp.reduce(scores.ravel())
        kept = cut(scores, self.problem.adaptive_fraction, 0)
        return np.where(kept, np.exp(scores - total), 0.0)


def cut(scores, fraction, limit):
    """Largest samples until their sum exceeds a fraction of the total."""
    weight = np.exp(scores - scores.max())
    order = np.sort(weight.ravel())[::-1]
    n = int(np.searchsorted(np.cumsum(order), fraction * order.sum(), side="right")) + 1
    n = min(n, limit) if limit else n
    return weight >= order[min(n, order.size) - 1]
