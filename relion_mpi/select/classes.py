"""Which classes are wanted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.select.files import CLASS, read_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.select.files import Classified
    from relion_mpi.select.options import SelectOptions

_PART = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def numbers_in(text: str) -> list[int]:
    """Read a list of classes such as `1,3` or `2-5,7`.

    Parameters
    ----------
    text
        What was given as --classes.

    Returns
    -------
    list of int
        In ascending order, each once.

    Raises
    ------
    InputError
        It is no such list.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise InputError(
                f"--classes {text}: found '{part}', expected numbers of classes from 1 and ranges, "
                "for example 1,3 or 2-5"
            )
        found.update(range(first, last + 1))
    return sorted(found)


def wanted_classes(options: SelectOptions, classified: Classified) -> list[int]:
    """Find the classes for which all that was said holds.

    Parameters
    ----------
    options
        What was asked for.
    classified
        Particles and the name of their model.

    Returns
    -------
    list of int
        Numbers of classes from 1.

    Raises
    ------
    InputError
        Nothing was said, a class does not exist, or no class is left.
    """
    by_model = options.min_share > 0 or options.max_resolution > 0
    if options.classes is None and not by_model:
        raise InputError(
            "found none of --classes, --min_share and --max_resolution, expected one or more; say "
            "which classes to take"
        )
    if not by_model:
        assert options.classes is not None
        return _existing(numbers_in(options.classes), _largest(classified), options, classified)
    table = read_classes(classified.model)
    share, resolution = (
        table[label].cast(float).to_numpy()
        for label in ("rlnClassDistribution", "rlnEstimatedResolution")
    )
    good = share >= options.min_share
    if options.max_resolution > 0:
        good &= resolution <= options.max_resolution
    if options.classes is not None:
        good &= _listed(numbers_in(options.classes), share.size, options, classified)
    if not good.any():
        raise InputError(
            f"{classified.model}: found no class that is wanted, expected one or more; shares are "
            f"{_words(share)}, resolutions {_words(resolution)} A: change --min_share, "
            "--max_resolution or --classes"
        )
    return [int(k) + 1 for k in np.flatnonzero(good)]


def _largest(classified: Classified) -> int:
    """Return the number of classes, or of the last one that has particles."""
    if classified.model.exists():
        return read_classes(classified.model).height
    numbers = classified.particles[CLASS]
    return int(np.max(numbers.to_numpy(), initial=0))


def _existing(
    numbers: list[int], n_class: int, options: SelectOptions, classified: Classified
) -> list[int]:
    if numbers[-1] > n_class:
        raise InputError(
            f"--classes {options.classes}: found class {numbers[-1]}, expected numbers from 1 to "
            f"{n_class}, the classes of {classified.data}; correct --classes"
        )
    return numbers


def _listed(
    numbers: list[int], n_class: int, options: SelectOptions, classified: Classified
) -> NDArray[np.bool_]:
    chosen = np.zeros(n_class, np.bool_)
    chosen[np.array(_existing(numbers, n_class, options, classified)) - 1] = True
    return chosen


def _words(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
