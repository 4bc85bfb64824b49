"""FSC of any two maps on one grid."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.correlation import resolution_at
from relion_mpi.fourier.sections import transform_correlation
from relion_mpi.io.cube import read_cube
from relion_mpi.postprocess import tables
from relion_mpi.postprocess.curves import half_transform
from relion_mpi.postprocess.inputs import chosen_pixel_size, read_like
from relion_mpi.postprocess.outputs import beside, prepare_folder
from relion_mpi.postprocess.plots import write_fsc_plot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.postprocess.options import FscOptions

log = logging.getLogger(__name__)

THRESHOLDS = (0.143, 0.5)


@dataclass(frozen=True, slots=True)
class TwoMaps:
    """How two maps correlate.

    Attributes
    ----------
    box_size, pixel_size_angst : grid
    unmasked : float64 (n // 2 + 1,)
    masked : the same under the mask, or None without one
    """

    box_size: int
    pixel_size_angst: float
    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64] | None

    def resolutions_angst(self, curve: NDArray[np.float64]) -> tuple[float, float]:
        """Return where a curve first falls below 0.143 and below 0.5, interpolated."""
        strict, half = (
            resolution_at(curve, threshold, self.box_size, self.pixel_size_angst)
            for threshold in THRESHOLDS
        )
        return strict, half


def correlate(options: FscOptions) -> TwoMaps:
    """Correlate two maps shell by shell and write the curves.

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
    first, of_header = read_cube(options.a)
    pixel_size = chosen_pixel_size(options.a, options.angpix, of_header)
    box_size = first.shape[0]
    second = read_like(options.b, options.a, box_size)
    mask = None if options.mask is None else read_like(options.mask, options.a, box_size)
    prepare_folder(options.o)
    unmasked = transform_correlation(half_transform(first), half_transform(second))
    masked = None
    if mask is not None:
        first *= mask
        second *= mask
        masked = transform_correlation(half_transform(first), half_transform(second))
    found = TwoMaps(box_size, pixel_size, unmasked, masked)
    _tell(found)
    _write(options, found)
    return found


def _tell(found: TwoMaps) -> None:
    log.info("%-10s %12s %12s", "FSC", "at 0.143 (A)", "at 0.5 (A)")
    for name, curve in (("unmasked", found.unmasked), ("masked", found.masked)):
        if curve is not None:
            log.info("%-10s %12.3f %12.3f", name, *found.resolutions_angst(curve))


def _write(options: FscOptions, found: TwoMaps) -> None:
    counts = found.unmasked if found.masked is None else found.masked
    at = found.resolutions_angst(counts)
    general = tables.general_table(
        {
            "rlnUnfilteredMapHalf1": options.a, "rlnUnfilteredMapHalf2": options.b,
            "rlnMaskName": options.mask, "rlnFinalResolution": at[0],
        }
    )  # fmt: skip
    curves = {tables.UNMASKED: found.unmasked, tables.MASKED: found.masked}
    table = tables.fsc_table(curves, found.box_size, found.pixel_size_angst)
    kind = "masked FSC" if found.masked is not None else "unmasked FSC"
    title = f"{at[0]:.4g} A at 0.143, {at[1]:.4g} A at 0.5 ({kind.split()[0]})"
    shown = {"masked": found.masked, "unmasked": found.unmasked}
    try:
        tables.write_tables(beside(options.o, ".star"), general, table)
        tables.write_csv(beside(options.o, ".csv"), table)
        box_angst = found.box_size * found.pixel_size_angst
        tables.write_xml(beside(options.o, ".xml"), kind, counts, box_angst)
        write_fsc_plot(beside(options.o, ".png"), shown, found.pixel_size_angst, title, THRESHOLDS)
    except OSError as error:
        raise InputError(
            f"--o {options.o}: could not be written ({error.strerror or error}); free space or "
            "choose another --o"
        ) from error
    log.info("Written: %s.star, .csv, .xml and .png", options.o)
