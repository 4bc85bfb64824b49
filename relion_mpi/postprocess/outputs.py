"""All files of a post-processing, named after its root."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import write_map
from relion_mpi.postprocess import tables
from relion_mpi.postprocess.curves import fsc_within_particle
from relion_mpi.postprocess.plots import write_fsc_plot, write_guinier_plot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.postprocess.findings import Findings

log = logging.getLogger(__name__)


def beside(root: Path, end: str) -> Path:
    """Return the root with something behind its name."""
    return root.with_name(root.name + end)


@contextmanager
def told(root: Path) -> Iterator[None]:
    """Turn failures to write into what the user can do about them.

    Parameters
    ----------
    root
        What was given as --o.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--o {root}: could not be written ({error.strerror or error}), expected a folder with "
            "enough space that may be written to; free space or choose another --o"
        ) from error


def prepare_folder(root: Path) -> None:
    """Make the folder of the outputs.

    Parameters
    ----------
    root
        What was given as --o.

    Raises
    ------
    InputError
        It cannot be made.
    """
    with told(root):
        root.parent.mkdir(parents=True, exist_ok=True)


def write_volume(
    root: Path,
    volume: NDArray[np.float32],
    mask: NDArray[np.float32] | None,
    pixel_size_angst: float,
) -> None:
    """Write a map, and the same under the mask.

    Parameters
    ----------
    root
        Of the names.
    volume : float32 (n, n, n)
        Multiplied by the mask in place.
    mask : float32 (n, n, n) or None
    pixel_size_angst
        Angstrom.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    with told(root):
        write_map(beside(root, ".mrc"), volume, pixel_size_angst)
        log.info("  + Processed map:                 %s", beside(root, ".mrc"))
        if mask is not None:
            volume *= mask
            write_map(beside(root, "_masked.mrc"), volume, pixel_size_angst)
            log.info("  + Processed masked map:          %s", beside(root, "_masked.mrc"))


def write_findings(root: Path, found: Findings) -> None:
    """Write tables, the curve for the EMDB and pictures.

    Parameters
    ----------
    root
        Of the names.
    found
        What to write.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    fsc = tables.fsc_table(_curves(found), found.box_size, found.pixel_size_angst)
    masked = found.masked
    title = f"{root.name}: {found.resolution_angst:.4g} Å at FSC 0.143"
    shown = {
        "corrected": None if masked is None else found.fsc,
        "unmasked": found.unmasked,
        "masked": None if masked is None else masked.masked,
        "masked, random phases": None if masked is None else masked.randomised,
    }
    with told(root):
        star = beside(root, ".star")
        tables.write_tables(star, _general(found), fsc, tables.guinier_table(found.guinier))
        name = "masked-corrected FSC" if masked is not None else "unmasked FSC"
        tables.write_xml(beside(root, "_fsc.xml"), name, found.fsc, found.box_angst)
        write_fsc_plot(beside(root, "_fsc.png"), shown, found.pixel_size_angst, title)
        write_guinier_plot(
            beside(root, "_guinier.png"), found.guinier, f"{root.name}: Guinier plot"
        )
    log.info("  + Metadata file:                 %s", star)


def _curves(found: Findings) -> dict[str, NDArray[np.float64] | None]:
    """Give the curves RELION's labels, in RELION's order."""
    if found.masked is None:
        return {tables.UNMASKED: found.unmasked}
    of_mask, of_weight = (
        None if factor is None else fsc_within_particle(found.unmasked, factor)
        for factor in (found.mask_factor, found.weight_factor)
    )
    return {
        tables.CORRECTED: found.fsc,
        tables.OF_MASK: of_mask,
        tables.OF_WEIGHT: of_weight,
        tables.UNMASKED: found.unmasked,
        tables.MASKED: found.masked.masked,
        tables.RANDOMISED: found.masked.randomised,
    }


def _general(found: Findings) -> dict[str, str]:
    masked, fit = found.masked, found.guinier.fit
    return tables.general_table(
        {
            "rlnFinalResolution": found.resolution_angst,
            "rlnBfactorUsedForSharpening": found.bfactor,
            "rlnUnfilteredMapHalf1": found.halves[0],
            "rlnUnfilteredMapHalf2": found.halves[1],
            "rlnMolecularWeight": found.molweight,
            "rlnParticleBoxFractionMolecularWeight": found.weight_factor,
            "rlnParticleBoxFractionSolventMask": found.mask_factor,
            "rlnMaskName": found.mask,
            "rlnRandomiseFrom": None if masked is None else found.box_angst / masked.first_random,
            "rlnFittedSlopeGuinierPlot": None if fit is None else fit.slope,
            "rlnFittedInterceptGuinierPlot": None if fit is None else fit.intercept,
            "rlnCorrelationFitGuinierPlot": None if fit is None else fit.correlation,
        }
    )
