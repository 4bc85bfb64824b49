"""A snapshot of an iteration, from which its files are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from relion_mpi.model.state import Model
    from relion_mpi.refine.common_options import CommonOptions
    from relion_mpi.refine.schedule import BaseSchedule
    from relion_mpi.sampling.orientations import OrientationGrid


@dataclass(frozen=True, slots=True)
class RunState:
    """What the next iteration needs beyond options, model and schedule.

    Attributes
    ----------
    particles : columns by name, see `relion_mpi.refine.continuing.particle_columns`
    names_sha256 : checksum of the image names
    random : state of the generator
    programme : what the programme keeps between iterations, by name; not changed in place
    """

    particles: Mapping[str, NDArray[Any]]
    names_sha256: str
    random: Mapping[str, Any]
    programme: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def named(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by section/name, as files have them."""
        return {f"particles/{name}": array for name, array in self.particles.items()} | {
            f"programme/{name}": array for name, array in self.programme.items()
        }

    @classmethod
    def from_named(
        cls, arrays: Mapping[str, NDArray[Any]], names_sha256: str, random: Mapping[str, Any]
    ) -> RunState:
        """Make a state of arrays as `named` returned them, among others."""

        def section(name: str) -> dict[str, NDArray[Any]]:
            begin = f"{name}/"
            return {k.removeprefix(begin): v for k, v in arrays.items() if k.startswith(begin)}

        return cls(section("particles"), names_sha256, random, section("programme"))


@dataclass(frozen=True, slots=True)
class IterationRecord:
    """Everything the output files of one iteration say; nothing in it changes any more.

    Attributes
    ----------
    root : RELION's --o root name, for example Refine3D/job001/run
    iteration : number, or None for the final files without _itNNN
    options : of the run
    model : maps, spectra, parameters
    schedule : sampling and convergence
    orientations : coarse grid of this iteration
    tables : "optics" and "particles" for the data file
    group_names : of the scale groups
    optics_names : of the optics groups
    command_line : for the header
    joined_map : map of all data, last iteration only
    unfiltered : unregularised half-maps, where made
    timings : seconds per stage on rank 0
    ranks : seconds, bytes and counts by rank, see `relion_mpi.refine.rank_times.FIELDS`
    run : what a continuation needs besides; None for no state file
    last_iteration : number of the last iteration, in the final files
    """

    root: Path
    iteration: int | None
    options: CommonOptions
    model: Model
    schedule: BaseSchedule
    orientations: OrientationGrid
    tables: Mapping[str, pl.DataFrame]
    group_names: tuple[str, ...]
    optics_names: tuple[str, ...]
    command_line: str
    joined_map: NDArray[np.float64] | None = None
    unfiltered: tuple[NDArray[np.float64], ...] | None = None
    timings: Mapping[str, Any] | None = None
    ranks: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    run: RunState | None = None
    last_iteration: int = 0
