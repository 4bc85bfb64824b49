"""Options of doctor."""

from __future__ import annotations

from dataclasses import dataclass

from relion_mpi.core.options import option


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What refine3d would be started with, to see what it would get."""

    gpu: str | None = option(
        None, help="The --gpu of the run to come (alone or '' for automatic); no GPU is then a "
        "problem", bare="",
    )  # fmt: skip
    j: int = option(
        0, help="The --j of the run to come: threads per rank; 0 shares the cores", minimum=0
    )
