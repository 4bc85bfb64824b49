"""What is special about the first iterations of a classification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class_references import is_one_map
from relion_mpi.refine.planning import Stage

if TYPE_CHECKING:
    from relion_mpi.refine.class_options import ClassOptions


def class_stage(options: ClassOptions, iteration: int) -> Stage:
    """Decide what is special about an iteration.

    Classes that begin from one reference are parted by a random choice of particles, in the first
    iteration that is not cross-correlation.

    Parameters
    ----------
    options
        Of the run.
    iteration
        Counted from 1.

    Returns
    -------
    Stage
        From the third iteration on the same.
    """
    stage = Stage(skip_align=options.skip_align)
    if iteration > 1 + int(options.firstiter_cc):
        return stage
    if isinstance(options, Class2DOptions) and not options.has_references:
        return stage  # the first averages are of the particles, on their grey scale, and differ
    from_one = options.K > 1 and is_one_map(options)
    is_cc = iteration == 1 and options.firstiter_cc
    return Stage(
        is_cc=is_cc,
        one_class=from_one and is_cc,
        seeded=from_one and iteration == 1 + int(options.firstiter_cc),
        skip_align=options.skip_align,
    )
