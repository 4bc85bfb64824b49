"""Maps of an iteration and where they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.refine.outputs.names import OutputNames
    from relion_mpi.refine.record import IterationRecord


def half_numbers(record: IterationRecord) -> tuple[int | None, ...]:
    """Return the half-sets that get files of their own: 1 and 2, or (None,) for all data."""
    split = record.iteration is not None and len(record.model.halves) > 1
    return (1, 2) if split else (None,)


def output_maps(
    record: IterationRecord, names: OutputNames
) -> Iterator[tuple[Path, NDArray[np.floating[Any]]]]:
    """Yield every map of an iteration with its name.

    Parameters
    ----------
    record
        Of the iteration; the final one of two half-sets needs `joined_map`.
    names
        Of its files.

    Yields
    ------
    Path, floating (z, y, x)
        Class averages as one stack.

    Raises
    ------
    ValueError
        A final record of two half-sets without `joined_map`.
    """
    halves = record.model.halves
    if record.model.is_planar:
        yield names.averages(), halves[0].maps
        return
    if record.iteration is None and len(halves) > 1:
        if record.joined_map is None:
            raise ValueError("the final record of two half-sets needs the joined map")
        yield names.map(1), record.joined_map
    else:
        for half in half_numbers(record):
            for k, volume in enumerate(halves[half - 1 if half else 0].maps):
                yield names.map(k + 1, half), volume
    for i, volume in enumerate(record.unfiltered or ()):
        yield names.unfiltered(1, i + 1), volume
