"""FSC of any two maps on one grid, or of a map and an atomic model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.correlation import resolution_at
from relion_mpi.fourier.sections import transform_correlation
from relion_mpi.postprocess import tables
from relion_mpi.postprocess.curves import half_transform
from relion_mpi.postprocess.inputs import chosen_pixel_size, read_even_cube, read_like
from relion_mpi.postprocess.model_density import is_model, model_density
from relion_mpi.postprocess.outputs import beside, prepare_folder, told
from relion_mpi.postprocess.plots import write_fsc_plot

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.postprocess.options import FscOptions

log = logging.getLogger(__name__)

THRESHOLDS = (0.143, 0.5)
OF_MODEL = 0.5
"""At 0.143 half-maps are cut; a map of all data beside a noiseless model is cut at 0.5."""
_LOW_ANGST = 20.0
"""Any right model correlates down there."""


@dataclass(frozen=True, slots=True)
class TwoMaps:
    """How two maps correlate.

    Attributes
    ----------
    box_size, pixel_size_angst : grid
    unmasked : float64 (n // 2 + 1,)
    masked : the same under the mask, or None without one
    with_model : one of the two is an atomic model
    """

    box_size: int
    pixel_size_angst: float
    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64] | None
    with_model: bool

    @property
    def counts(self) -> NDArray[np.float64]:
        """The masked curve if there is one, else the unmasked one."""
        return self.unmasked if self.masked is None else self.masked

    @property
    def final_angst(self) -> float:
        """Resolution by the threshold that fits: 0.5 with a model, else 0.143."""
        return self.resolutions_angst(self.counts)[1 if self.with_model else 0]

    def resolutions_angst(self, curve: NDArray[np.float64]) -> tuple[float, float]:
        """Return where a curve first falls below 0.143 and below 0.5, interpolated."""
        strict, half = (
            resolution_at(curve, threshold, self.box_size, self.pixel_size_angst)
            for threshold in THRESHOLDS
        )
        return strict, half


def correlate(options: FscOptions) -> TwoMaps:
    """Correlate two maps, or a map and a model, shell by shell and write the curves.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    TwoMaps

    Raises
    ------
    InputError
        Files cannot be read or written, or do not fit each other.
    """
    if not options.o.name:
        raise InputError(f"--o {options.o}: expected the root of file names; add one")
    map_file, other = _map_first(options)
    first, of_header = read_even_cube(map_file)
    pixel_size = chosen_pixel_size(map_file, options.angpix, of_header)
    box_size = first.shape[0]
    mask = None if options.mask is None else read_like(options.mask, map_file, box_size)
    prepare_folder(options.o)
    with_model = is_model(other)
    if with_model:
        second = model_density(other, map_file, box_size, pixel_size)
    else:
        second = read_like(other, map_file, box_size)
    unmasked = transform_correlation(half_transform(first), half_transform(second))
    masked = None
    if mask is not None:
        first *= mask
        second *= mask
        masked = transform_correlation(half_transform(first), half_transform(second))
    found = TwoMaps(box_size, pixel_size, unmasked, masked, with_model)
    _tell(found)
    _write(options, found)
    return found


def _map_first(options: FscOptions) -> tuple[Path, Path]:
    """Return the map whose grid counts, and the other file."""
    if not is_model(options.a):
        return options.a, options.b
    if is_model(options.b):
        raise InputError(
            f"{options.a}, {options.b}: found two atomic models, expected a map among them; make "
            "a map of one, for example with relion-mpi simulate --model"
        )
    return options.b, options.a


def _tell(found: TwoMaps) -> None:
    log.info("%-10s %12s %12s", "FSC", "at 0.143 (A)", "at 0.5 (A)")
    for name, curve in (("unmasked", found.unmasked), ("masked", found.masked)):
        if curve is not None:
            log.info("%-10s %12.3f %12.3f", name, *found.resolutions_angst(curve))
    n_low = max(int(found.box_size * found.pixel_size_angst / _LOW_ANGST), 1)
    low = float(found.counts[1 : n_low + 1].mean())
    if found.with_model and low < OF_MODEL:
        log.warning(
            "model and map correlate by %.2f only below %g A: the model may lie elsewhere, or the "
            "map may be of the other hand%s; look at both together", low, _LOW_ANGST,
            " or contrast" if low < 0 else "",
        )  # fmt: skip


def _write(options: FscOptions, found: TwoMaps) -> None:
    at = found.resolutions_angst(found.counts)
    general = tables.general_table(
        {
            "rlnUnfilteredMapHalf1": options.a, "rlnUnfilteredMapHalf2": options.b,
            "rlnMaskName": options.mask, "rlnFinalResolution": found.final_angst,
        }
    )  # fmt: skip
    curves = {tables.UNMASKED: found.unmasked, tables.MASKED: found.masked}
    table = tables.fsc_table(curves, found.box_size, found.pixel_size_angst)
    kind = "unmasked FSC" if found.masked is None else "masked FSC"
    if found.with_model:
        kind = f"model-map {kind}"
    title = f"{kind}: {at[0]:.4g} Å at 0.143, {at[1]:.4g} Å at 0.5"
    shown = {"masked": found.masked, "unmasked": found.unmasked}
    with told(options.o):
        tables.write_tables(beside(options.o, ".star"), general, table)
        tables.write_csv(beside(options.o, ".csv"), table)
        box_angst = found.box_size * found.pixel_size_angst
        tables.write_xml(beside(options.o, ".xml"), kind, found.counts, box_angst)
        write_fsc_plot(beside(options.o, ".png"), shown, found.pixel_size_angst, title, THRESHOLDS)
    log.info("Written: %s.star, .csv, .xml and .png", options.o)
