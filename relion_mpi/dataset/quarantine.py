"""Particles whose images cannot be used: kept aside, listed, and counted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.pixel_checks import REASONS
from relion_mpi.io.star import write_star

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.dataset.particles import Particles

log = logging.getLogger(__name__)

LARGEST_SHARE = 0.01
"""More bad images than this say that the data set is wrong, not some of its images."""


class Quarantine:
    """The master's list of particles that are left out.

    Parameters
    ----------
    particles
        All particles.
    path
        STAR file to list them in, `<o>_quarantine.star`; its folder exists. None for no file.
    """

    def __init__(self, particles: Particles, path: Path | None) -> None:
        self.path = path
        self.flags = np.zeros(particles.n_particles, np.uint8)
        self._particles = particles
        self._n_written = -1  # a list of an earlier run may be there

    @property
    def n_bad(self) -> int:
        """Number of particles left out."""
        return int(np.count_nonzero(self.flags))

    def add(self, rows: NDArray[np.int64], flags: NDArray[np.uint8]) -> None:
        """Take what a worker found; particles that are listed already are not told again.

        Parameters
        ----------
        rows : int64 (n,)
            Particles that were looked at.
        flags : uint8 (n,)
            What `check_pixels` said of their images.

        Raises
        ------
        InputError
            More than LARGEST_SHARE of all particles are bad; the list has been written.
        """
        new = rows[(flags != 0) & (self.flags[rows] == 0)]
        if not new.size:
            return
        first = self.n_bad == 0
        self.flags[rows] |= flags
        if first:
            where = "" if self.path is None else f"; see {self.path}"
            log.warning("%s and left out, as any others like it%s", self._told(int(new[0])), where)
        if self.n_bad > LARGEST_SHARE * self.flags.size:
            self.write()
            raise InputError(self._too_many())

    def take(
        self, rows: NDArray[np.int64], flags: NDArray[np.uint8] | None
    ) -> NDArray[np.int64]:
        """Take what a worker found, if it looked, and return the rows that are not left out.

        Parameters
        ----------
        rows : int64 (n,)
            Particles of a batch.
        flags : uint8 (n,)
            As for `add`; None if their images were not looked at this time.
        """
        if flags is not None:
            self.add(rows, flags)
        return self.kept(rows)

    def kept(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows that are not left out, in their order."""
        good: NDArray[np.int64] = rows[self.flags[rows] == 0]
        return good

    def table(self) -> pl.DataFrame:
        """Return the particles left out, in the order of their file.

        Returns
        -------
        DataFrame
            rlnImageName, rowInFile (from 1), rlnComment (the reason), then rlnMicrographName if
            the file has it.
        """
        p = self._particles
        bad = np.flatnonzero(self.flags)
        bad = bad[np.argsort(p.row_number[bad])]
        columns = [
            p.frame["rlnImageName"][bad],
            pl.Series("rowInFile", p.row_number[bad]),
            pl.Series("rlnComment", [REASONS[x] for x in self.flags[bad].tolist()], pl.String),
        ]
        if "rlnMicrographName" in p.frame.columns:
            columns.append(p.frame["rlnMicrographName"][bad])
        return pl.DataFrame(columns)

    def write(self) -> None:
        """Write the list if it grew since the last call; whole or not at all.

        While there is nothing to list, a list of an earlier run is removed.
        """
        if self.path is None or self.n_bad == self._n_written:
            return
        if self.n_bad:
            comments = [f"left out of {self._particles.path}"]
            write_star(self.path, {"quarantine": self.table()}, comments)
        else:
            self.path.unlink(missing_ok=True)
        self._n_written = self.n_bad

    def _told(self, row: int) -> str:
        p = self._particles
        name, reason = p.frame["rlnImageName"][row], REASONS[int(self.flags[row])]
        return f"{p.path}, row {p.row_number[row]}: the image {name} is unusable ({reason})"

    def _too_many(self) -> str:
        counts = ", ".join(
            f"{n} x {reason}"
            for flag, reason in REASONS.items()
            if (n := int((self.flags == flag).sum()))
        )
        first = self.table().row(0, named=True)
        where = "" if self.path is None else f"; all found so far are in {self.path}"
        return (
            f"{self._particles.path}: {self.n_bad} of {self.flags.size} images are unusable "
            f"({counts}), the first is {first['rlnImageName']} in row {first['rowInFile']}, "
            f"expected at most {LARGEST_SHARE:.0%}{where}; `relion-mpi validate --full` lists "
            "them: extract these particles again or remove their rows"
        )
