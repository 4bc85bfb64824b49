"""Coarse samples that survive the first pass, grouped by image and orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Candidates:
    """Job lists: every image has orientations, every orientation has shifts.

    Attributes
    ----------
    job_offsets : int64 (n_img + 1,) orientations of each image
    hypothesis : int64 (n_job,) class * n_orient + coarse orientation
    log_prior : float64 (n_job,) of the orientation
    shift_offsets : int64 (n_job + 1,)
    shift : int32 (n_pair,) coarse shift
    shift_prior : float64 (n_img, n_shift)
    n_significant : int64 (n_img,) pairs of each image
    """

    job_offsets: NDArray[np.int64]
    hypothesis: NDArray[np.int64]
    log_prior: NDArray[np.float64]
    shift_offsets: NDArray[np.int64]
    shift: NDArray[np.int32]
    shift_prior: NDArray[np.float64]
    n_significant: NDArray[np.int64]


    def of_images(self, first: int, last: int) -> Candidates:
        """Return those of images first .. last - 1, which count from 0 then."""
        jobs = slice(self.job_offsets[first], self.job_offsets[last])
        pairs = slice(self.shift_offsets[jobs.start], self.shift_offsets[jobs.stop])
        return Candidates(
            self.job_offsets[first : last + 1] - jobs.start,
            self.hypothesis[jobs],
            self.log_prior[jobs],
            self.shift_offsets[jobs.start : jobs.stop + 1] - pairs.start,
            self.shift[pairs],
            self.shift_prior[first:last],
            self.n_significant[first:last],
        )


def offsets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn counts into offsets with a leading zero."""
    offsets = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def join_candidates(parts: list[Candidates]) -> Candidates:
    """Append the candidates of consecutive groups of images."""
    if len(parts) == 1:
        return parts[0]
    return Candidates(
        offsets_of(np.concatenate([np.diff(p.job_offsets) for p in parts])),
        np.concatenate([p.hypothesis for p in parts]),
        np.concatenate([p.log_prior for p in parts]),
        offsets_of(np.concatenate([np.diff(p.shift_offsets) for p in parts])),
        np.concatenate([p.shift for p in parts]),
        np.concatenate([p.shift_prior for p in parts]),
        np.concatenate([p.n_significant for p in parts]),
    )
