"""Everything about an extraction that is decided before work starts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.extract.dust import key
from relion_mpi.extract.finished import finished_rows
from relion_mpi.extract.micrographs import (
    GROUP,
    IMAGE_PIXEL_SIZE,
    PIXEL_SIZE,
    Micrographs,
    read_headers,
    read_micrographs,
)
from relion_mpi.extract.names import stack_of, table_of
from relion_mpi.extract.operations import Recipe, make_recipe
from relion_mpi.extract.particles import (
    DEFOCUS,
    Particles,
    picked_particles,
    whole_coordinates,
    with_columns_of_micrographs,
)
from relion_mpi.extract.reextract import Refined, numbers_by_name, refined_particles
from relion_mpi.extract.window import is_outside

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.extract.options import ExtractOptions
    from relion_mpi.io.mrc import MrcHeader

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """The particles of one micrograph.

    Attributes
    ----------
    name : of the micrograph
    header : of its file
    centre : int64 (n, 2) pixels (x, y) that windows are centred on
    pixel_size_angst : of the images that are written
    stack, table : files to write
    frame : rows of the table
    """

    name: str
    header: MrcHeader
    centre: NDArray[np.int64]
    pixel_size_angst: float
    stack: Path
    table: Path
    frame: pl.DataFrame

    @property
    def n_particles(self) -> int:
        """Number of particles."""
        return self.frame.height

    def keys(self, rows: range) -> list[tuple[int, int]]:
        """Return seeds for some of the particles."""
        return [key(self.name, row) for row in rows]


@dataclass(frozen=True, slots=True)
class Plan:
    """An extraction.

    Attributes
    ----------
    recipe : what is done to images
    tasks : micrographs to do
    done : rows of particles that are there already, by place among all micrographs
    todo : place of each task among all micrographs
    files : (name, table) of all micrographs with particles
    optics : table of optics groups to write
    """

    recipe: Recipe
    tasks: list[Task]
    done: dict[int, pl.DataFrame]
    todo: list[int]
    files: list[tuple[str, Path]]
    optics: pl.DataFrame

    @property
    def n_particles(self) -> int:
        """Particles to extract."""
        return sum(task.n_particles for task in self.tasks)

    def worker_bytes(self, n_lanes: int) -> int:
        """Return the memory that a worker takes besides its program.

        Parameters
        ----------
        n_lanes
            Micrographs worked on at once; one more is being read.
        """
        n_lanes = min(n_lanes, max(len(self.tasks), 1))
        largest = max((task.header.image_bytes for task in self.tasks), default=0)
        side = max(self.recipe.side, self.recipe.final_side)
        # Images in single and double precision, a product of the same size, two transforms.
        chunk = self.recipe.n_chunk * side**2 * (4 * 2 + 8 * 3 + 8 * 2)
        return (n_lanes + 1) * largest + n_lanes * chunk


def make_plan(options: ExtractOptions) -> Plan:
    """Read and check everything.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        Something cannot be used: the first mistake that is found.
    """
    assert options.i is not None
    recipe = make_recipe(options, options.extract_size)
    micrographs = read_micrographs(options.i, options.set_angpix)
    refined = None
    if options.reextract_data_star is None:
        particles = picked_particles(options, micrographs)
    else:
        refined = refined_particles(options, micrographs)
        particles = refined.particles
    with_ctf = (
        refined is None or options.keep_ctfs_micrographs or DEFOCUS not in particles.frame.columns
    )
    particles = with_columns_of_micrographs(
        particles, micrographs, options.part_dir, with_ctf=with_ctf
    )
    if refined is not None and options.keep_ctfs_micrographs:
        table = Table(options.i, "particles", refined.particles.frame, particles.source_row)
        numbers = numbers_by_name(refined.optics, micrographs, table)
        particles.frame.replace_column(particles.frame.get_column_index(GROUP), numbers)
    _tell_of_ctf(options, particles)
    found = _Found(options, recipe, micrographs, particles, refined)
    return found.plan()


@dataclass(frozen=True, slots=True)
class _Found:
    """What was read."""

    options: ExtractOptions
    recipe: Recipe
    micrographs: Micrographs
    particles: Particles
    refined: Refined | None

    def plan(self) -> Plan:
        """Divide the particles among micrographs, and leave out what is done."""
        rows, first = np.unique(self.particles.micrograph, return_index=True)
        last = np.append(first[1:], self.particles.micrograph.size)
        names = [self.micrographs.names[row] for row in rows]
        stacks = [stack_of(self.options.part_dir, name) for name in names]
        self._check_stacks(names, stacks)
        tables = [table_of(self.options.part_dir, name) for name in names]
        done: dict[int, pl.DataFrame] = {}
        if self.options.only_do_unfinished:
            side = self.recipe.final_side
            for place, pair in enumerate(zip(tables, stacks, strict=True)):
                if (frame := finished_rows(*pair, side)) is not None:
                    done[place] = frame
        todo = [place for place in range(rows.size) if place not in done]
        headers = read_headers(self.micrographs, [int(rows[place]) for place in todo])
        centre = whole_coordinates(self.particles)
        sizes = self._pixel_sizes(self.micrographs.optics.pixel_size_angst)
        tasks = []
        for place, header in zip(todo, headers, strict=True):
            part = slice(int(first[place]), int(last[place]))
            self._check_windows(centre[part], header, part.start)
            size = float(sizes[self.micrographs.group[rows[place]]])
            tasks.append(
                Task(names[place], header, centre[part], size, stacks[place], tables[place],
                     self.particles.frame[part])
            )  # fmt: skip
        files = list(zip(names, tables, strict=True))
        return Plan(self.recipe, tasks, done, todo, files, self._optics())

    def _pixel_sizes(self, of_micrographs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixel sizes of images, Angstrom."""
        return of_micrographs * self.recipe.side / self.recipe.scaled_side

    def _optics(self) -> pl.DataFrame:
        of_data = self.refined is not None and not self.options.keep_ctfs_micrographs
        if of_data:
            assert self.refined is not None
            groups, sizes = self.refined.optics, self.refined.pixel_size_angst
            # A group without particles that the micrographs do not know.
            sizes = np.where(np.isfinite(sizes), sizes, groups.pixel_size_angst)
        else:
            groups = self.micrographs.optics
            sizes = groups.pixel_size_angst
        table, n = groups.table, groups.n_groups
        if self.refined is None or of_data:
            table = table.drop(PIXEL_SIZE, strict=False)
        return table.with_columns(
            pl.Series(IMAGE_PIXEL_SIZE, self._pixel_sizes(sizes)),
            pl.Series("rlnImageSize", np.full(n, self.recipe.final_side)),
            pl.Series("rlnImageDimensionality", np.full(n, 2)),
        )

    def _check_stacks(self, names: list[str], stacks: list[Path]) -> None:
        """Refuse two micrographs of one stack, and a stack that particles are in now."""
        seen: dict[Path, str] = {}
        for name, stack in zip(names, stacks, strict=True):
            if stack in seen:
                raise InputError(
                    f"{self.options.i}: found that the particles of {seen[stack]} and of {name} "
                    f"would both be {stack}, expected another name for each; rename one, or "
                    "extract them in two jobs"
                )
            seen[stack] = name
        if self.refined is None:
            return
        now = next((one for one in stacks if one.resolve() in self.refined.stacks), None)
        if now is not None and not self.options.only_do_unfinished:
            raise InputError(
                f"--part_dir {self.options.part_dir}: found that {now} holds particles of "
                f"{self.options.reextract_data_star}, expected another folder for the new ones; "
                "choose one"
            )

    def _check_windows(
        self, centre: NDArray[np.int64], header: MrcHeader, start: int
    ) -> None:
        outside = is_outside(centre, self.recipe.side, (header.ny, header.nx))
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            x, y = centre[row]
            raise InputError(
                f"{self.particles.where(start + row)}: the particle at x {x}, y {y} lies with its "
                f"whole window of {self.recipe.side} pixels outside of {header.path}, expected "
                f"coordinates within its {header.nx} x {header.ny} pixels; remove the row, or "
                "check the pixel size that particles were picked at"
            )


def _tell_of_ctf(options: ExtractOptions, particles: Particles) -> None:
    if DEFOCUS not in particles.frame.columns:
        log.warning(
            "%s: no %s: particles get no CTF parameters; estimate CTFs before refining", options.i,
            DEFOCUS,
        )  # fmt: skip
