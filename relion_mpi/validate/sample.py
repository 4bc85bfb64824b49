"""A look at some images of each optics group: pixels and background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.dataset.pixel_checks import check_pixels
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.estep.initial_noise import power_sums
from relion_mpi.refine.background import warn_of_background
from relion_mpi.refine.start import image_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.particles import Particles
    from relion_mpi.refine.options import RefineOptions

SAMPLE = 100
"""Images of each optics group, evenly spaced."""


def sample_images(
    particles: Particles, options: RefineOptions
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Read a sample; warn of a background that is not normalised.

    Parameters
    ----------
    particles
        All particles.
    options
        With the particle diameter filled in.

    Returns
    -------
    rows : int64 (n,)
        Particles that were looked at.
    flags : uint8 (n,)
        What `check_pixels` says of them.
    """
    seen, said = [], []
    optics = particles.optics
    with StackReader(particles.stack_headers) as reader:
        for group in np.unique(particles.optics_group).tolist():
            rows = np.flatnonzero(particles.optics_group == group)
            rows = rows[np.linspace(0, rows.size - 1, min(SAMPLE, rows.size)).astype(np.int64)]
            images = reader.read(particles.stack_file[rows], particles.image_index[rows])
            flags = check_pixels(images)
            seen.append(rows)
            said.append(flags)
            if flags.all():
                continue
            box = int(optics.box_size[group])
            box_angst = box * float(optics.pixel_size_angst[group])
            sums = power_sums(
                images[flags == 0], optics, group, box_angst, box // 2 + 1, image_options(options)
            )
            mean, deviation = sums.background / sums.n_img
            warn_of_background(optics.name[group], float(mean), float(deviation))
    return np.concatenate(seen), np.concatenate(said)
