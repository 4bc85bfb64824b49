"""Measure how fast this machine does the parts of an iteration, in a second or two."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.backend.protocol import (
    GlobalPrior,
    ImageMask,
    Likelihood,
    LocalPrior,
    OpticsArrays,
    Quanta,
    SearchGrid,
)
from relion_mpi.backend.select import select_backend, select_volumes
from relion_mpi.dataset.columns import Table
from relion_mpi.dataset.optics_groups import read_optics_groups
from relion_mpi.estep.geometry import image_geometry
from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.mstep.maximise import MaximisationOptions, maximise_halves, symmetrised
from relion_mpi.refine.gpu_job import gpu_job
from relion_mpi.refine.schedule import LOCAL_SIGMA_STEPS
from relion_mpi.sampling.local import local_orientations
from relion_mpi.sampling.orientations import make_orientation_grid, nominal_step_deg
from relion_mpi.sampling.translations import make_translation_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from relion_mpi.backend.protocol import ImageGeometry
    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.refine.options import RefineOptions
    from relion_mpi.sampling.orientations import OrientationGrid
    from relion_mpi.sampling.translations import TranslationGrid

LARGEST_BOX, MSTEP_BOX = 128, 48
"""Larger boxes are measured at these, and scaled."""
N_IMAGES = {"cpu": 16, "gpu": 256}
REPEATS, ENOUGH_SECONDS = 3, 0.3
SAMPLES = 4
"""Coarse samples of an image that go on to the second pass, once poses are known."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that one rank takes.

    Attributes
    ----------
    exhaustive : a particle, at each exhaustive order from the first
    local : a particle in local searches
    """

    exhaustive: tuple[float, ...]
    local: float


class _Bench:
    """Noise images and a made-up map on a backend."""

    def __init__(self, options: RefineOptions, box_size: int, pixel_size: float) -> None:
        self.options, self.pixel_size = options, pixel_size
        self.box = min(box_size, LARGEST_BOX)
        self.name = "cpu" if options.gpu is None else "gpu"
        self.backend = select_backend(self.name, options.precision)
        self.backend.attach()
        self.group = point_group(options.sym)
        self.optics = _optics(self.box, pixel_size)
        rng = np.random.default_rng(1)
        kind = "float64" if options.precision == "float64" else "float32"
        volume = rng.standard_normal((1, *[self.box] * 3)).astype(kind)
        self.references = self.backend.load_references(volume, self.box // 2, options.pad)
        n = N_IMAGES[self.name]
        job = gpu_job(options, self.box, pixel_size, n_class=1, batch_size=n)
        self._sizes = [size for _, size in job.searches]
        self.images = self.backend.host_buffer((n, self.box, self.box))
        self.images[:] = rng.standard_normal(self.images.shape, dtype=np.float32)
        self.matrices = self._grid(options.healpix_order).fine_matrices(
            np.arange(n) % 48, np.arange(n) % 12
        )

    def exhaustive(self, order: int) -> float:
        """Return the seconds of a particle in exhaustive searches."""
        orientations = self._grid(order)
        size = self._sizes[order - self.options.healpix_order]
        prior = GlobalPrior(
            np.zeros((1, orientations.n_dir)), np.zeros((len(self.images), self._shifts().n_shift))
        )
        return self._seconds(orientations, size, prior)

    def local(self, order: int) -> float:
        """Return the seconds of a particle in local searches."""
        orientations = self._grid(order)
        sigma = LOCAL_SIGMA_STEPS * nominal_step_deg(order + self.options.oversampling)
        near = local_orientations(orientations, self.matrices, sigma)
        shifts = np.zeros((len(self.images), self._shifts().n_shift))
        prior = LocalPrior(near.offsets, near.orient, near.log_prior, shifts)
        # Twice as many shells at an order more.
        size = min(2 * max(self._sizes, default=self.box), self.box)
        return self._seconds(orientations, size, prior)

    def _grid(self, order: int) -> OrientationGrid:
        return make_orientation_grid(
            order, self.group, oversampling=self.options.oversampling, perturbation=0.3
        )

    def _shifts(self) -> TranslationGrid:
        steps = self.options.offset_range, self.options.offset_step
        return make_translation_grid(*steps, oversampling=self.options.oversampling)

    def _seconds(
        self, orientations: OrientationGrid, size: int, prior: GlobalPrior | LocalPrior
    ) -> float:
        """Time the E-step of the images."""
        shifts = self._shifts()
        grid = SearchGrid(
            orientations.coarse_directions(), orientations.coarse_psi_rad(),
            orientations.fine_directions(), orientations.fine_psi_rad(),
            shifts.coarse_shifts_angst, shifts.fine_shifts_angst,
        )  # fmt: skip
        geometry = image_geometry(self.optics, 0, self.box, self.pixel_size, self.box, size)
        quanta = Quanta(2.0**-30, 2.0**-30, 2.0**-30)
        sums = self.backend.new_sums(
            1, orientations.n_dir, self.box // 2, self.options.pad, quanta
        )

        def once() -> None:
            self._e_step(grid, geometry, prior, sums)
            self.backend.synchronise()

        return _timed(once) / len(self.images)

    def _e_step(
        self,
        grid: SearchGrid,
        geometry: ImageGeometry,
        prior: GlobalPrior | LocalPrior,
        sums: object,
    ) -> None:
        n = len(self.images)
        noise = np.full(geometry.n_shell, 0.5 / self.box**2)
        likelihood = Likelihood("gauss", noise, 0.999, SAMPLES)
        backend, references = self.backend, self.references
        handle = backend.prepare(
            self.images, np.zeros((n, 2), np.int64), np.ones(n), ImageMask(self.box / 3, 5.0),
            geometry, OpticsArrays(None, np.ones(n)),
        )  # fmt: skip
        if isinstance(prior, GlobalPrior):
            found = backend.search_global(handle, references, grid, prior, likelihood)
        else:
            found = backend.search_local(handle, references, grid, prior, likelihood)
        posterior, _ = backend.search_fine(handle, references, grid, found, likelihood)
        backend.accumulate(handle, references, grid, posterior, likelihood, sums)
        backend.power_spectra(handle)


def measure_estep(options: RefineOptions, box_size: int, pixel_size_angst: float) -> Rates:
    """Time the E-step of a few noise images with this rank's threads or GPU.

    Parameters
    ----------
    options
        Of the run, with the particle diameter filled in.
    box_size, pixel_size_angst
        Of the images.

    Returns
    -------
    Rates
        What grows with the pixels of an image is scaled to the box.
    """
    bench = _Bench(options, box_size, pixel_size_angst)
    orders = range(options.healpix_order, options.auto_local_healpix_order)
    local = bench.local(max(options.auto_local_healpix_order, options.healpix_order))
    more = local * ((box_size / bench.box) ** 2 - 1.0)
    exhaustive = tuple(bench.exhaustive(order) + more for order in orders)
    return Rates(exhaustive, local + more)


def measure_mstep(options: RefineOptions, box_size: int) -> float:
    """Time the M-step of a small box on the CPU and scale it to a larger one.

    Parameters
    ----------
    options
        Of the run.
    box_size
        Of the model.

    Returns
    -------
    float
        Seconds.
    """
    small = min(box_size, MSTEP_BOX)
    volumes = select_volumes("cpu")
    n = n_kept(padded_size(small // 2, options.pad))
    sums = np.random.default_rng(1).uniform(0.5, 1.5, (2, n, 3))
    operators = point_group(options.sym).operators
    switches = MaximisationOptions(skip_gridding=options.skip_gridding)

    def once() -> None:
        halves = [
            symmetrised(one, operators, small, small // 2, options.pad, volumes) for one in sums
        ]
        maximise_halves(halves[0], halves[1], 0.1, 1.0, switches, last=False)

    return _timed(once) * (box_size / small) ** 3


def _timed(once: Callable[[], None]) -> float:
    """Return the seconds of the fastest call but the first, which compiles and makes tables."""
    once()
    fastest, began = np.inf, time.perf_counter()
    for _ in range(REPEATS):
        start = time.perf_counter()
        once()
        fastest = min(fastest, time.perf_counter() - start)
        if time.perf_counter() - began > ENOUGH_SECONDS:
            break
    return float(fastest)


def _optics(box: int, pixel_size: float) -> OpticsGroups:
    frame = pl.DataFrame({
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["one"], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [pixel_size], "rlnImageSize": [box], "rlnImageDimensionality": [2],
    })  # fmt: skip
    return read_optics_groups(Table(Path("made up"), "optics", frame, np.arange(1, 2)))
