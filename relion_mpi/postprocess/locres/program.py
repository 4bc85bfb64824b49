"""Local resolution of two half-maps, and their sum filtered to it."""

from __future__ import annotations

import logging
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.memory import GIB, used_bytes
from relion_mpi.core.progress import Progress
from relion_mpi.fourier.phase_randomisation import randomise_phases
from relion_mpi.fourier.sections import transform_correlation
from relion_mpi.postprocess.curves import half_transform, volume_of
from relion_mpi.postprocess.inputs import read_halves, read_mask, read_mtf
from relion_mpi.postprocess.locres.kernels import add_window
from relion_mpi.postprocess.locres.layout import Layout, make_layout
from relion_mpi.postprocess.locres.memory import needed_bytes, require
from relion_mpi.postprocess.locres.outputs import write_local
from relion_mpi.postprocess.locres.window import LocalCurves, LocalMaps, Windows
from relion_mpi.postprocess.outputs import prepare_folder
from relion_mpi.postprocess.sharpening import sharpen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from relion_mpi.postprocess.inputs import HalfMaps
    from relion_mpi.postprocess.options import PostprocessOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalResolution:
    """What was found.

    Attributes
    ----------
    layout : where windows lay
    unmasked : float64 (n // 2 + 1,), FSC of the whole maps
    curves : of each window
    resolution : float32 (n, n, n), Angstrom, 0 where no window reaches
    filtered : float32 (n, n, n), the sum of the halves, 0 where no window reaches
    """

    layout: Layout
    unmasked: NDArray[np.float64]
    curves: list[LocalCurves]
    resolution: NDArray[np.float32]
    filtered: NDArray[np.float32]


def local_resolution(options: PostprocessOptions) -> LocalResolution:
    """Measure the resolution within windows, filter the map by it and write both.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    LocalResolution

    Raises
    ------
    InputError
        Files cannot be read or written, do not fit each other, options contradict each other, or
        memory does not suffice.

    Source
    ------
    RELION Postprocessing::run_locres, whose windows are transformed in the box of the whole map.
    """
    _check(options)
    halves = read_halves(options)
    layout = make_layout(options, halves.box_size, halves.pixel_size_angst)
    n_threads = options.j or len(os.sched_getaffinity(0))
    needed = needed_bytes(layout.box_size, layout.window_size, n_threads)
    require(needed)
    mask = None if options.mask is None else read_mask(options.mask, options.i, halves.box_size)
    prepare_folder(options.o)
    log.info(
        "== Local resolution in %d windows: spheres of %d voxels with an edge of %d, in boxes of "
        "%d; %d thread(s), %.2f GiB of memory",
        len(layout.centres), layout.radius_pix, layout.edge_pix, layout.window_size, n_threads,
        needed / GIB,
    )  # fmt: skip
    unmasked, maps = _prepared(halves, layout, options)
    curves, totals = _measured(Windows(layout, maps), n_threads)
    del maps
    found = _divided(layout, unmasked, curves, totals)
    write_local(options, found, mask)
    log.info(
        "Memory: this process used %.2f GiB at most, %.2f predicted",
        used_bytes() / GIB, needed / GIB,
    )  # fmt: skip
    return found


def _check(options: PostprocessOptions) -> None:
    if options.auto_bfac:
        raise InputError(
            "found --locres and --auto_bfac, expected a B-factor: run without --locres first, and "
            "give what it finds as --adhoc_bfac"
        )
    if not options.o.name:
        raise InputError(f"--o {options.o}: expected the root of file names; add one")


def _prepared(
    halves: HalfMaps, layout: Layout, options: PostprocessOptions
) -> tuple[NDArray[np.float64], LocalMaps]:
    """Correlate the halves, sharpen their sum and randomise phases."""
    curve = None if options.mtf is None else read_mtf(options.mtf)
    seed = options.random_seed if options.random_seed >= 0 else None
    rng = np.random.default_rng(seed)
    transforms = [half_transform(volume) for volume in halves.volumes]
    unmasked = transform_correlation(*transforms)
    whole = transforms[0] + transforms[1]
    # Weights are those of each window, later.
    sharpen(
        whole, layout.pixel_size_angst, unmasked, replace(options, skip_fsc_weighting=True), curve
    )
    summed = volume_of(whole)
    del whole
    start = layout.box_angst / layout.first_random
    log.info("  + randomize phases beyond:       %.6g Angstroms", start)
    randomised = []
    while transforms:
        transform = transforms.pop(0)
        randomise_phases(transform, layout.first_random, rng)
        randomised.append(volume_of(transform))
        del transform
    first, second = halves.volumes
    halves.volumes.clear()
    return unmasked, LocalMaps((first, second), (randomised[0], randomised[1]), summed)


def _measured(
    windows: Windows, n_threads: int
) -> tuple[list[LocalCurves], NDArray[np.float32]]:
    """Measure all windows; added up in their order, so that threads change no bit."""
    layout = windows.layout
    totals = np.zeros((3, *(layout.box_size,) * 3), np.float32)
    curves = []
    n_windows = len(layout.centres)
    with Progress(n_windows, "Local resolution") as progress:
        for number, (one, filtered) in enumerate(_in_order(windows, n_threads)):
            add_window(
                windows.mask, filtered, 1.0 / one.resolution_angst, windows.corner(number), totals
            )
            curves.append(one)
            progress.update()
    return curves, totals


def _in_order(
    windows: Windows, n_threads: int
) -> Iterator[tuple[LocalCurves, NDArray[np.float32]]]:
    """Yield the windows' results in order, few ahead of those that are taken."""
    with ThreadPoolExecutor(n_threads) as pool:
        ahead: deque[Future[tuple[LocalCurves, NDArray[np.float32]]]] = deque()
        for number in range(len(windows.layout.centres)):
            ahead.append(pool.submit(windows.measure, number))
            if len(ahead) > 2 * n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _divided(
    layout: Layout,
    unmasked: NDArray[np.float64],
    curves: list[LocalCurves],
    totals: NDArray[np.float32],
) -> LocalResolution:
    """Turn sums into means, in place: of frequency, and of the filtered maps."""
    mask, frequency, filtered = totals
    there = mask > 0
    np.divide(mask, frequency, out=frequency, where=there)
    np.divide(filtered, mask, out=filtered, where=there)
    return LocalResolution(layout, unmasked, curves, frequency, filtered)
