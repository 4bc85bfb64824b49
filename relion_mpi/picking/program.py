"""Particle picking on all ranks: rank 0 is the master, the others serve it."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.parallel import abort
from relion_mpi.parallel.crews import led
from relion_mpi.parallel.threads import set_threads, threads_per_rank
from relion_mpi.picking.micrographs import read_micrographs
from relion_mpi.picking.outputs import write_coordinates, write_lists
from relion_mpi.picking.page import Shown, write_page
from relion_mpi.picking.pictures import write_marked
from relion_mpi.picking.references import read_references
from relion_mpi.picking.templates import automatic_diameter_pix, blob_templates, image_templates
from relion_mpi.picking.worker import Picks, PickTask, PickWorker, Setup

if TYPE_CHECKING:
    from pathlib import Path

    from relion_mpi.parallel.comm import World
    from relion_mpi.parallel.crew import Crew
    from relion_mpi.picking.micrographs import Micrograph
    from relion_mpi.picking.options import AutopickOptions
    from relion_mpi.picking.templates import Templates

log = logging.getLogger(__name__)

BLOB_STEP = 1.2
"""Ratio of the diameters of neighbouring blobs, at most."""
BLOB_BAND = 8.0
"""A blob's transform counts until its exponent reaches this."""


def autopick(options: AutopickOptions, ranks: World) -> None:
    """Find the particles of all micrographs; collective over all ranks.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.
    ranks
        The job.

    Raises
    ------
    AgreedStop
        Something given cannot be used; one rank has said so.
    """
    if options.gpu is not None:
        from relion_mpi.backend.gpu import binding

        binding.bind_rank(options.gpu, ranks, master_too=False)
    job = abort.agreed(ranks.comm, lambda: _Job(options), here=ranks.rank == 0)
    set_threads(threads_per_rank(options.j or None, ranks))

    def lead(crew: Crew) -> None:
        assert job is not None
        job.run(crew)

    led(ranks, PickWorker(), 1, lead)


class _Job:
    """Everything that rank 0 reads, checks and writes.

    Parameters
    ----------
    options
        Checked options.
    """

    def __init__(self, options: AutopickOptions) -> None:
        _check(options)
        with_ctf = options.LoG_use_ctf if options.LoG else options.ctf
        self._micrographs = read_micrographs(options.i, options.angpix, need_ctf=with_ctf)
        sizes = {round(one.pixel_size_angst, 4) for one in self._micrographs}
        if len(sizes) > 1:
            raise InputError(
                f"{options.i}: found micrographs of {min(sizes):g} and {max(sizes):g} A per pixel, "
                "expected one pixel size; pick them in jobs of their own"
            )
        self._paths = self._outputs(options)
        pixel_size = self._micrographs[0].pixel_size_angst
        self.options, templates = _templates(options, self._micrographs, pixel_size)
        distance = options.min_distance / pixel_size
        if options.min_distance < 0:
            distance = templates.border_pix
        backend = "cpu" if options.gpu is None else "gpu"
        self._setup = Setup(self.options, backend, templates, distance)
        try:
            options.odir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"--odir {options.odir}: it cannot be made ({error.strerror}); choose another"
            raise InputError(msg) from error

    def run(self, crew: Crew) -> None:
        """Have all micrographs picked, and write what was found.

        Parameters
        ----------
        crew
            The workers.
        """
        began = time.perf_counter()
        options, setup = self.options, self._setup
        todo = [
            k for k, path in enumerate(self._paths)
            if not (options.only_do_unfinished and path.exists())
        ]  # fmt: skip
        if len(todo) < len(self._paths):
            log.info("%d micrographs are done already", len(self._paths) - len(todo))
        planes = setup.templates.planes
        light = dataclasses.replace(setup.templates, planes=planes[:0])
        crew.begin(dataclasses.replace(setup, templates=light), {"planes": planes})
        tasks = [PickTask(self._micrographs[k], n < options.pictures) for n, k in enumerate(todo)]
        shown: dict[int, Shown] = {}
        counts: list[int] = []
        with Progress(len(tasks), "Picking") as progress:

            def on_result(number: int, picks: Picks) -> None:
                k = todo[number]
                if picks.refusal:
                    log.warning("left out: %s", picks.refusal)
                else:
                    counts.append(picks.x.size)
                    self._write(k, picks, shown)
                progress.update()

            crew.run(tasks, on_result, summed=False)
        crew.close()
        pairs = zip(self._micrographs, self._paths, strict=True)
        write_lists(options, options.i, [(one, path) for one, path in pairs if path.exists()])
        if shown:
            page = options.odir / f"{options.pickname}.html"
            ordered = [shown[k] for k in sorted(shown)]
            title = f"{sum(counts)} particles in {len(counts)} micrographs: {options.odir}"
            write_page(page, title, ordered, setup.templates.radius_pix, options.threshold)
            log.info("look through the picks of %d micrographs: %s", len(shown), page)
        log.info(
            "%d particles in %d micrographs (%.1f each), %.1f s: %s", sum(counts), len(counts),
            float(np.mean(counts)) if counts else 0.0, time.perf_counter() - began,
            options.odir / f"{options.pickname}.star",
        )  # fmt: skip

    def _write(self, k: int, picks: Picks, shown: dict[int, Shown]) -> None:
        """Write what belongs to one micrograph."""
        micrograph, path = self._micrographs[k], self._paths[k]
        write_coordinates(path, picks)
        if picks.picture:
            radius = self._setup.templates.radius_pix
            write_marked(path.with_suffix(".jpg"), picks, micrograph.shape, radius)
            shown[k] = Shown(micrograph.name, micrograph.shape, picks)

    def _outputs(self, options: AutopickOptions) -> list[Path]:
        """Name the coordinate files, all of them different."""
        ending = f"_{options.pickname}.star"
        paths = [one.output(options.odir, ending) for one in self._micrographs]
        seen: dict[Path, str] = {}
        for path, one in zip(paths, self._micrographs, strict=True):
            if path in seen:
                raise InputError(
                    f"{options.i}: found {seen[path]} and {one.name}, whose coordinates would both "
                    f"be {path}; expected names that differ within their jobs"
                )
            seen[path] = one.name
        return paths


def _check(options: AutopickOptions) -> None:
    """Refuse options that contradict each other."""
    if options.LoG == (options.ref is not None):
        raise InputError(
            "found both --ref and --LoG, expected one of them" if options.LoG
            else "found neither --ref nor --LoG, expected templates or a search for blobs"
        )  # fmt: skip
    if "/" in options.pickname or not options.pickname:
        raise InputError(f"--pickname '{options.pickname}': expected the end of a file name")
    if not options.LoG:
        point_group(options.sym)
        return
    low, high = options.LoG_diam_min, options.LoG_diam_max
    if not 0 < low <= high:
        raise InputError(
            f"--LoG_diam_min {low:g} --LoG_diam_max {high:g}: expected two diameters in Angstrom, "
            "the first not above the second"
        )


def _templates(
    options: AutopickOptions, micrographs: list[Micrograph], pixel_size_angst: float
) -> tuple[AutopickOptions, Templates]:
    """Make the templates; for blobs the low-pass is theirs."""
    longest = max(max(one.shape) for one in micrographs)
    if options.LoG:
        diameters = _diameters(options)
        sigma = diameters[0] / (2.0 * np.sqrt(2.0))
        finest = np.pi * sigma * np.sqrt(2.0 / BLOB_BAND)
        options = dataclasses.replace(options, lowpass=max(options.lowpass, float(finest)))
        limit = min(0.5, pixel_size_angst / options.lowpass)
        return options, blob_templates(
            diameters, pixel_size_angst, limit, longest, options.LoG_diam_max
        )
    assert options.ref is not None
    images = read_references(
        options.ref, options.healpix_order, options.sym, pixel_size_angst, options.angpix_ref
    )
    diameter = options.particle_diameter / pixel_size_angst
    if options.particle_diameter < 0:
        diameter = automatic_diameter_pix(images)
    box = images.shape[1]
    radius = min(round(diameter / 2), box // 2) - options.shrink_particle_mask
    if radius < 2:
        raise InputError(
            f"--particle_diameter: found a mask of radius {radius} pixels after "
            f"--shrink_particle_mask {options.shrink_particle_mask}, expected 2 or more"
        )
    if box > min(min(one.shape) for one in micrographs):
        raise InputError(
            f"{options.ref}: found templates of {box} pixels in the micrographs' pixel size, more "
            "than a micrograph has; check --angpix and --angpix_ref"
        )
    limit = min(0.5, pixel_size_angst / options.lowpass) if options.lowpass > 0 else 0.5
    log.info(
        "%d templates of %d pixels, mask of %.1f A, %d in-plane angles", len(images), box,
        2 * radius * pixel_size_angst, options.n_psi,
    )  # fmt: skip
    return options, image_templates(images, radius, limit, options.pad, options.n_psi)


def _diameters(options: AutopickOptions) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """List diameters of blobs, those of particles first; larger ones are not particles."""
    low, high, more = options.LoG_diam_min, options.LoG_diam_max, options.Log_max_search
    inner = max(int(np.ceil(np.log(high / low) / np.log(BLOB_STEP))), 1)
    outer = int(np.ceil(np.log(more) / np.log(BLOB_STEP)))
    within = low * (high / low) ** (np.arange(inner + 1) / inner)
    step = more ** (1.0 / outer) if outer else 1.0
    beyond = step ** np.arange(1, outer + 1)
    return np.concatenate([within, high * beyond])
