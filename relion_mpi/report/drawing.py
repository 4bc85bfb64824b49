"""Draw the page of a run that is under way: `python -m relion_mpi.report.drawing ROOT STATE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from relion_mpi.report.gather.job import find_job
from relion_mpi.report.gather.run import gather
from relion_mpi.report.gather.state import State
from relion_mpi.report.page import make_page
from relion_mpi.report.program import page_of, write_page


def draw(root: Path, state: State) -> Path:
    """Write the page of a run whose state is known.

    Parameters
    ----------
    root
        --o of the run.
    state
        How it is.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        A file cannot be read, or the page cannot be written.
    """
    page = page_of(root)
    write_page(page, make_page(gather(find_job(root), state=state)))
    return page


if __name__ == "__main__":
    os.nice(int(sys.argv[3]))
    draw(Path(sys.argv[1]), State(sys.argv[2]))
