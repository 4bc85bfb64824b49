"""What runs on every working rank: reads micrographs, scores them, finds their particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend import select_picking
from relion_mpi.backend.picking import Contrast
from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import read_map
from relion_mpi.picking.grid import make_grid, picking_area, ring_transform
from relion_mpi.picking.merit import apart, expected_score, merit, positions, told_from
from relion_mpi.picking.outputs import FoundMaps, write_maps
from relion_mpi.picking.pictures import thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.backend.picking import Peaks, PickingBackend, PickingGrid
    from relion_mpi.picking.micrographs import Micrograph
    from relion_mpi.picking.options import AutopickOptions
    from relion_mpi.picking.templates import Templates


@dataclass(frozen=True, slots=True)
class Setup:
    """What rank 0 tells every worker; `planes` follow as an array."""

    options: AutopickOptions
    backend: str
    templates: Templates
    min_distance_pix: float


@dataclass(frozen=True, slots=True)
class PickTask:
    """A micrograph, and whether a picture of it is wanted."""

    micrograph: Micrograph
    picture: bool


@dataclass(frozen=True, slots=True)
class Picks:
    """The particles of a micrograph, the best first.

    Attributes
    ----------
    x, y : float64 (n,) pixels of the micrograph from 0
    merit : float64 (n,) figures of merit
    class_number : int64 (n,) template, from 1; 0 for blobs
    psi_deg : float64 (n,)
    expected : score that stands for a figure of merit of 1
    picture : JPEG, or nothing
    refusal : why the micrograph was left out
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    merit: NDArray[np.float64]
    class_number: NDArray[np.int64]
    psi_deg: NDArray[np.float64]
    expected: float
    picture: bytes = b""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What micrographs of one shape share."""

    grid: PickingGrid
    ring: NDArray[np.float32]


class PickWorker:
    """`relion_mpi.parallel.crew.Worker` of particle picking."""

    def __init__(self) -> None:
        self._setup: Setup | None = None
        self._backend: PickingBackend | None = None
        self._templates: Any = None
        self._sizes: dict[tuple[int, int], _Sizes] = {}

    def begin(self, message: Setup, arrays: dict[str, NDArray[Any]]) -> None:
        """Take options and templates."""
        self._setup = message
        self._backend = select_picking(message.backend)
        self._backend.attach()
        templates = message.templates
        self._templates = self._backend.load_templates(
            arrays["planes"], templates.box_size, templates.padding
        )
        self._sizes = {}

    def prepare(self, task: PickTask) -> NDArray[np.float32] | str:
        """Read a micrograph; says why if it cannot be used."""
        assert self._backend is not None
        self._backend.attach()  # page-locked memory belongs to a device
        try:
            stored, _ = read_map(task.micrograph.path)
        except InputError as error:
            return str(error)
        if stored.shape[1:] != task.micrograph.shape:
            return f"{task.micrograph.path}: its size changed after the run began"
        image = self._backend.host_buffer(task.micrograph.shape)
        image[...] = stored[0]
        return image

    def work(self, task: PickTask, prepared: NDArray[np.float32] | str) -> Picks:
        """Find the particles of a micrograph: what they are depends on nothing else."""
        setup, backend = self._setup, self._backend
        assert setup is not None
        assert backend is not None
        backend.attach()
        if isinstance(prepared, str):
            return _nothing(prepared)
        micrograph, options, templates = task.micrograph, setup.options, setup.templates
        sizes = self._sizes_of(micrograph)
        with_ctf = options.LoG_use_ctf if options.LoG else options.ctf
        intact = options.LoG or options.ctf_intact_first_peak
        contrast = Contrast(
            options.sign, options.outlier_removal_zscore, micrograph.ctf if with_ctf else None,
            intact, micrograph.pixel_size_angst,
        )  # fmt: skip
        film = backend.prepare(prepared, sizes.grid, sizes.ring, contrast)
        scores = backend.search(
            film, self._templates, templates.rotations, templates.weights(sizes.grid, contrast)
        )
        area = picking_area(sizes.grid, templates.border_pix + options.skip_side)
        peaks = backend.peaks(scores, area, _reach(setup, sizes.grid))
        if not peaks.score.size:
            return _nothing(
                f"{micrograph.path}: no place for a particle: it is too small, constant, or has "
                "pixels that are not finite"
            )
        picks = _chosen(peaks, sizes.grid, setup, micrograph.pixel_size_angst)
        if options.write_fom_maps:
            maps = FoundMaps(backend.fetch(scores), picks.expected, templates.rotations.n)
            write_maps(task.micrograph, options, sizes.grid, maps)
        if not task.picture:
            return picks
        return _with_picture(picks, thumbnail(prepared, micrograph.pixel_size_angst))

    def sums(self) -> Sequence[NDArray[Any]]:
        """Return nothing: results are all there is."""
        return []

    def counts(self) -> dict[str, float]:
        """Return nothing: results tell what was done."""
        return {}

    def _sizes_of(self, micrograph: Micrograph) -> _Sizes:
        """Choose sizes for a shape once."""
        assert self._setup is not None
        options, shape = self._setup.options, micrograph.shape
        if shape not in self._sizes:
            grid = make_grid(
                shape, micrograph.pixel_size_angst, lowpass_angst=options.lowpass,
                highpass_angst=options.highpass, shrink=options.shrink,
                exact=options.skip_optimise_scale,
            )  # fmt: skip
            ring = ring_transform(grid, self._setup.templates.radius_pix)
            self._sizes[shape] = _Sizes(grid, ring)
        return self._sizes[shape]


def _reach(setup: Setup, grid: PickingGrid) -> int:
    """Return how far apart peaks are, in pixels of the grid of scores.

    Half a particle's radius leaves peaks of noise between particles, from which these are told.
    """
    reach = 0.5 * setup.templates.radius_pix
    return max(int(reach * grid.work[1] / grid.padded[1]), 1)


def _chosen(
    peaks: Peaks, grid: PickingGrid, setup: Setup, pixel_size_angst: float
) -> Picks:
    """Choose peaks that are particles."""
    options, templates = setup.options, setup.templates
    fine = np.ones(peaks.score.size, np.bool_)
    if options.max_stddev_noise > 0:
        fine &= peaks.deviation <= options.max_stddev_noise
    # The background is that of the micrograph as it is in the file.
    fine &= options.sign * peaks.mean >= options.min_avg_noise
    kept = np.flatnonzero(fine)
    which, angle = np.divmod(peaks.index, templates.rotations.n)
    points = positions(peaks, grid)
    diameter = templates.diameter_angst
    distance: NDArray[np.float64] | float = setup.min_distance_pix
    if options.LoG:
        of_peak = diameter[which]
        kept = kept[_in_range(of_peak[kept], options)]
        wide = 0.5 * (of_peak + options.LoG_diam_min) * options.LoG_neighbour / 100.0
        distance = wide[kept] / pixel_size_angst
    single = kept[apart(points[kept], told_from(templates.radius_pix))]
    expected = expected_score(peaks.score[single], blobs=options.LoG)
    kept = kept[apart(points[kept], distance)]
    figures = merit(peaks.score[kept], expected)
    good = figures >= options.threshold
    if options.LoG:
        spread = float(figures[good].std()) if good.any() else 0.0
        good = figures >= options.threshold + options.LoG_adjust_threshold * spread
        good &= figures <= 1.0 + options.LoG_upper_threshold * max(spread, 1e-3)
    kept, figures = kept[good], figures[good]
    psi = angle[kept] * (360.0 / templates.rotations.n)
    number = np.zeros(kept.size, np.int64) if options.LoG else which[kept].astype(np.int64) + 1
    return Picks(
        points[kept, 0], points[kept, 1], figures, number, np.where(psi > 180.0, psi - 360.0, psi),
        expected,
    )  # fmt: skip


def _in_range(diameter: NDArray[np.float64], options: AutopickOptions) -> NDArray[np.bool_]:
    """Tell blobs that have a particle's size from others."""
    low, high = options.LoG_diam_min, options.LoG_diam_max
    inside: NDArray[np.bool_] = (diameter >= low * (1 - 1e-6)) & (diameter <= high * (1 + 1e-6))
    return inside


def _nothing(refusal: str) -> Picks:
    empty = np.empty(0)
    return Picks(empty, empty, empty, np.empty(0, np.int64), empty, 0.0, b"", refusal)


def _with_picture(picks: Picks, picture: bytes) -> Picks:
    return Picks(
        picks.x, picks.y, picks.merit, picks.class_number, picks.psi_deg, picks.expected, picture
    )
