"""Were particles normalised? The background should have mean 0 and standard deviation 1."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def warn_of_background(group_name: str, mean: float, deviation: float) -> None:
    """Log a warning where the background of an optics group is far from normalised.

    Parameters
    ----------
    group_name
        Of the optics group.
    mean, deviation
        Averages over its particles, outside the particle.
    """
    if abs(mean) > 0.5 * deviation or not 0.5 < deviation < 2:
        log.warning(
            "optics group %s: the background has mean %.2f and standard deviation %.2f, expected "
            "0 and 1; were the particles normalised at extraction?",
            group_name, mean, deviation,
        )  # fmt: skip
