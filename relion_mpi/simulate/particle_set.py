"""Write a particle set with known truth."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mrcfile
import numba
import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.fourier.masks import lowpass
from relion_mpi.io.atomic import replacing
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.simulate.noise import coloured_amplitude, noise_images, normalise
from relion_mpi.simulate.project import Projector, make_projector, project
from relion_mpi.simulate.sources import true_maps
from relion_mpi.simulate.tables import truth_blocks, wiped
from relion_mpi.simulate.truth import Truth, draw_truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.simulate.options import SimulateOptions

log = logging.getLogger(__name__)

CHUNK_BYTES = 16 << 20
N_FOR_SIGNAL = 256


@dataclass(frozen=True, slots=True)
class ParticleSet:
    """Files written, and the scale that was used.

    Attributes
    ----------
    stack, particles, truth, reference : Path
    maps : list of Path, the true maps on the particles' grey scale
    noise_sigma
        Standard deviation of the noise in units of the source maps.
    """

    stack: Path
    particles: Path
    truth: Path
    reference: Path
    maps: list[Path]
    noise_sigma: float


def simulate(options: SimulateOptions) -> ParticleSet:
    """Make a particle set.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    ParticleSet
        Names of the files: particles.mrcs, particles.star (no angles), truth.star, a
        truth_classNNN.mrc for every class, and reference.mrc to start a refinement from.

    Raises
    ------
    InputError
        The box is odd, a range is empty, a source cannot be used, or the folder cannot be made.
    """
    _check(options)
    if options.j:
        numba.set_num_threads(min(options.j, numba.config.NUMBA_NUM_THREADS))
    maps = true_maps(options)
    truth = draw_truth(options, len(maps))
    projector = make_projector(maps, options.angpix, options.backend)
    sigma = noise_sigma(projector, truth, options.snr)
    folder = options.o
    names = [folder / f"truth_class{k + 1:03d}.mrc" for k in range(len(maps))]
    made = ParticleSet(
        stack=folder / "particles.mrcs", particles=folder / "particles.star",
        truth=folder / "truth.star", reference=folder / "reference.mrc", maps=names,
        noise_sigma=sigma,
    )  # fmt: skip
    _write_stack(made.stack, options, truth, projector, sigma)
    for name, volume in zip(names, maps, strict=True):
        write_map(name, volume / np.float32(sigma), options.angpix)
    start = lowpass(maps[0] / sigma, options.angpix, options.ini_high)
    write_map(made.reference, start, options.angpix)
    blocks = truth_blocks(options, truth, made.stack)
    write_star(made.truth, blocks)
    write_star(made.particles, wiped(blocks))
    log.info("%d particles of %d pixels, %d class(es), SNR %g: %s", options.n, options.box,
             len(maps), options.snr, made.particles)  # fmt: skip
    return made


def noise_sigma(projector: Projector, truth: Truth, snr: float) -> float:
    """Find the noise that gives a signal-to-noise ratio.

    Parameters
    ----------
    projector, truth
        The first 256 particles are projected.
    snr
        Mean variance of the noise-free images over the variance of the noise.

    Returns
    -------
    float
        Standard deviation of the noise, in units of the maps.
    """
    images = project(projector, truth, np.arange(min(truth.n, N_FOR_SIGNAL)))
    return float(np.sqrt(images.var(axis=(1, 2), dtype=np.float64).mean() / snr))


def _check(options: SimulateOptions) -> None:
    if options.box % 2:
        raise InputError(f"--box: found {options.box}, expected an even number of pixels")
    if options.defocus_max < options.defocus_min:
        raise InputError(
            f"--defocus_max: found {options.defocus_max:g}, expected at least --defocus_min "
            f"({options.defocus_min:g} A)"
        )
    if options.ini_high < 2 * options.angpix:
        raise InputError(
            f"--ini_high: found {options.ini_high:g}, expected at least two pixels "
            f"({2 * options.angpix:g} A)"
        )
    try:
        options.o.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--o {options.o}: the folder cannot be made: {error.strerror}") from error


def _write_stack(
    path: Path, options: SimulateOptions, truth: Truth, projector: Projector, sigma: float
) -> None:
    """Write the images chunk by chunk."""
    box = options.box
    spectrum = coloured_amplitude(box, options.angpix) if options.noise == "coloured" else None
    chunk = max(1, CHUNK_BYTES // (4 * box * box))
    mode = 12 if options.float16 else 2
    with (
        replacing(path) as temporary,
        mrcfile.new_mmap(temporary, (options.n, box, box), mrc_mode=mode) as stack,
        Progress(options.n, "Simulating") as progress,
    ):
        stack.set_image_stack()
        stack.voxel_size = options.angpix
        chunks = (
            np.arange(start, min(start + chunk, options.n))
            for start in range(0, options.n, chunk)
        )

        def make(rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
            return _images(options, truth, projector, sigma, rows, spectrum)

        for rows, images in in_threads(make, chunks, numba.get_num_threads()):
            stack.data[rows[0] : rows[-1] + 1] = images
            progress.update(rows.size)


def in_threads(
    make: Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]],
    chunks: Iterable[NDArray[np.int64]],
    n_threads: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]:
    """Make chunks of images in threads and give them back in order, few at a time.

    Parameters
    ----------
    make
        Makes the images of some rows; most of its time is in code that lets other threads run.
    chunks
        Rows of each.
    n_threads
        Chunks made at once.
    """
    with ThreadPoolExecutor(n_threads) as threads:
        waiting: deque[tuple[NDArray[np.int64], Future[NDArray[np.floating[Any]]]]] = deque()
        for rows in chunks:
            waiting.append((rows, threads.submit(make, rows)))
            if len(waiting) > 2 * n_threads:
                done, images = waiting.popleft()
                yield done, images.result()
        for done, images in waiting:
            yield done, images.result()


def _images(  # noqa: PLR0913, RUF100 - the loop's invariants
    options: SimulateOptions,
    truth: Truth,
    projector: Projector,
    sigma: float,
    rows: NDArray[np.int64],
    spectrum: NDArray[np.float64] | None,
) -> NDArray[np.floating[Any]]:
    """Make images as they are stored: threads that convert do it at once."""
    images = project(projector, truth, rows) / np.float32(sigma)
    if options.no_noise:
        return images
    images += noise_images(options.seed, rows, options.box, spectrum)
    normalise(images)
    return images.astype(np.float16) if options.float16 else images
