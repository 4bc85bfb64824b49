"""The master's loop: one method per step of the algorithm."""

from __future__ import annotations

import copy
import dataclasses
import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.progress import Progress
from relion_mpi.core.timing import Stopwatch
from relion_mpi.dataset.particles import particles_blocks
from relion_mpi.dataset.quarantine import Quarantine
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.continuing import particle_columns, set_columns
from relion_mpi.refine.ending import EndAsked
from relion_mpi.refine.expectation_step import ExpectationStep
from relion_mpi.refine.first_averages import first_averages
from relion_mpi.refine.first_steps import estimate_accuracy, measure_noise, set_noise
from relion_mpi.refine.messages import LoadReferences, Setup, StartExpectation
from relion_mpi.refine.outputs.names import OutputNames
from relion_mpi.refine.partial import Partial, describe_work
from relion_mpi.refine.planning import make_plan, orientation_grid
from relion_mpi.refine.programme import programme_of
from relion_mpi.refine.rank_times import rank_times, remarks
from relion_mpi.refine.record import IterationRecord, RunState
from relion_mpi.refine.reduction import sum_shapes, unpacked_sums
from relion_mpi.refine.saving import Saving, saved_within
from relion_mpi.refine.start import start_spectra, take_references
from relion_mpi.refine.table import IterationTable
from relion_mpi.sampling.perturbation import next_perturbation

if TYPE_CHECKING:
    from relion_mpi.estep.plan import Plan
    from relion_mpi.model.statistics import Statistics
    from relion_mpi.mstep.maximise import Maximised
    from relion_mpi.parallel.crew import Crew, Stop
    from relion_mpi.refine.outputs.writer import OutputWriter
    from relion_mpi.refine.planning import Stage
    from relion_mpi.refine.start import Start
    from relion_mpi.sampling.orientations import OrientationGrid

log = logging.getLogger(__name__)


class Refinement:
    """A refinement or classification on rank 0.

    Parameters
    ----------
    start
        What `make_start` prepared.
    crew
        The workers.
    writer
        Takes the records of iterations.
    command_line
        For the files' headers.
    stop
        Asked before each batch is handed out whether the run is to end; None for never.
    """

    def __init__(
        self,
        start: Start,
        crew: Crew,
        writer: OutputWriter,
        command_line: str,
        stop: Stop | None = None,
    ) -> None:
        self.options, self.particles = start.options, start.particles
        self.group, self.images, self._start = start.group, start.images, start
        self.model, self.schedule = start.model, start.schedule
        self.programme = programme_of(
            start.options, start.group.operators, (start.solvent, start.inner),
            start.particles.n_particles,
        )  # fmt: skip
        self.crew, self.writer, self.command_line = crew, writer, command_line
        self.stop = stop or (lambda: False)
        self.iteration = 0
        self.largest_size = 0
        self.last_optimiser = start.options.continue_
        self._names_sha256 = start.names_sha256
        self.batches = start.batches
        out = self.options.o
        self.quarantine = Quarantine(
            self.particles, out.with_name(f"{out.name}_quarantine.star")
        )
        self._allowance = start.limits, start.predicted_bytes, start.mstep_bytes
        self.watch = Stopwatch()
        self.table = IterationTable()
        self._ranks: dict[int, dict[str, float]] = {}
        self._seconds = 0.0
        self._random = np.random.default_rng([self.options.random_seed, 1])
        self._timings: dict[int, dict[str, float]] = {}
        self._work = describe_work(self.batches, self.options.precision)
        self._partial: Partial | None = None
        if start.saved is not None:
            self.iteration = start.saved.iteration
            self._take_over(start.saved.run)
            self._partial = saved_within(out, start.saved, self._work)
        if self._partial is not None:
            self.model, self.schedule = self._partial.model, self._partial.schedule
            self._take_over(self._partial.run)

    def _take_over(self, run: RunState) -> None:
        """Go on where another job was."""
        self._random.bit_generator.state = run.random
        self.quarantine.flags[:] = run.particles["left_out"]
        set_columns(self.particles, run.particles)
        self.programme.restore(run.programme)

    def run(self) -> None:
        """Do all iterations, and write their files.

        Raises
        ------
        EndAsked
            `stop` said so; all up to the last complete iteration is with the writer, and what was
            done of the next one, where it took long.
        """
        self._set_up_workers()
        if self.last_optimiser is None:
            self._estimate_noise()
            if isinstance(self.options, Class2DOptions) and not self.options.has_references:
                self._make_first_averages()
            start_spectra(self.model, self.schedule, self.options)
            self._ranks = rank_times(self.crew.accounts(), {})
            self._submit(self.iteration, self._orientations())
        while self.iteration < self.options.last_iteration:
            if self.stop():
                raise EndAsked
            self.iteration += 1
            stage = self.programme.stage(
                self.iteration, self.schedule, resumed=self._partial is not None
            )
            self._iterate(stage)
            if stage.last:
                break
        else:
            self.programme.say_unfinished()
        with self.watch.span("write"):
            self.writer.wait()

    # Steps before the first iteration

    def _set_up_workers(self) -> None:
        p, model = self.particles, self.model
        setup = Setup(
            tuple(p.stack_headers), p.optics, self.images, model.box_angst, model.n_shell,
            "cpu" if self.options.gpu is None else "gpu", self.options.precision,
            *self._allowance, deterministic=self.options.deterministic,
        )  # fmt: skip
        self.crew.begin(setup, {})

    def _estimate_noise(self) -> None:
        """Estimate each half-set's noise from a sample."""
        data, compat = (self.particles, self.batches, self.quarantine), self.images.compat
        totals = measure_noise(self.crew, *data, compat)
        self.quarantine.write()
        self._count_particles()
        set_noise(self.model, totals, self.particles, self.quarantine, compat)

    def _make_first_averages(self) -> None:
        """Make references of the particles themselves."""
        averages = first_averages(self._start, self.crew, self.quarantine)
        take_references(self.model.halves[0], averages, self.options)
        self._count_particles()

    # One iteration

    def _iterate(self, stage: Stage) -> None:
        self.watch.clear()
        began = time.perf_counter()
        model, schedule = self.model, self.schedule
        partial, self._partial = self._partial, None
        if partial is None:  # otherwise all this has been decided
            pmax = float(np.mean([h.ave_pmax for h in model.halves]))
            model.current_size = schedule.current_size(
                model.box_size, model.box_angst, model.current_resolution, pmax
            )
            schedule.perturbation = next_perturbation(
                schedule.perturbation, schedule.perturbation_factor, self._random
            )
        self.largest_size = max(self.largest_size, model.current_size)
        with self.watch.span("load"):
            maps = {f"maps{h}": half.maps for h, half in enumerate(model.halves)}
            self.crew.begin(LoadReferences(self._plan(self._orientations(), stage)), maps)
        if partial is None and stage.reported and not (stage.is_cc or stage.skip_align):
            with self.watch.span("accuracy"):
                estimate_accuracy(self.crew, model, self.particles, self.batches)
        if self.iteration > 1 and not stage.last and partial is None:
            self._refine_sampling()
        orientations = self._orientations()
        self.crew.begin(StartExpectation(self._plan(orientations, stage)), {})
        sizes = model, self.particles.optics.n_groups, orientations.n_dir
        step = self._expectation(partial, sum_shapes(*sizes))
        partial = None  # the M-step needs the memory of its sums
        with self.watch.span("reduce"):
            statistics, volumes = unpacked_sums(
                step.collect(sum_shapes(*sizes), more_follow=False), *sizes
            )
        accounts = self.crew.accounts()
        with self.watch.span("M-step"):
            maximised = self.programme.maximise(volumes, statistics, model, stage)
        self._ranks = rank_times(accounts, self._timings, self.watch.as_dict()["M-step"])
        self._conclude(maximised, statistics, orientations, stage, began)

    def _orientations(self) -> OrientationGrid:
        return orientation_grid(self.schedule, self.group)

    def _plan(self, orientations: OrientationGrid, stage: Stage) -> Plan:
        return make_plan(
            self.iteration, self.model, self.schedule, orientations, self.particles.optics,
            self.images, stage,
        )  # fmt: skip

    def _refine_sampling(self) -> None:
        s = self.schedule
        changed = s.refine_sampling(
            self.model.accuracy, self.model.current_resolution, self.options.particle_diameter
        )
        if changed:
            n_dir = self._orientations().n_dir
            for half in self.model.halves:
                half.reset_directions(n_dir)
            log.info(
                "Sampling refined: angles %.3g deg, offsets %.3g A within %.3g A%s",
                s.fine_step_deg, s.fine_offset_step_angst, s.offset_range_angst,
                "" if s.local_sigma_deg is None else f", local within {s.local_sigma_deg:.3g} deg",
            )  # fmt: skip

    def _expectation(
        self, partial: Partial | None, shapes: list[tuple[int, ...]]
    ) -> ExpectationStep:
        """Do the E-step, and save how far it is now and then and when an end is asked for."""
        step = ExpectationStep(
            self.crew, self.particles, self.batches, self.quarantine, self.group.operators
        )
        step.done[:] = self.programme.left_out(self.iteration, self.batches)
        if partial is not None:
            step.resume(partial)
        saving = Saving(self.writer, self.options.checkpoint_minutes)
        with Progress(self.particles.n_particles, f"iteration {self.iteration}") as progress:
            progress.update(step.n_done())

            def on_batch(n: int) -> None:
                progress.update(n)
                saving.note_batch()
                self.writer.check()  # a full disk ends the run now, not after the iteration

            while True:
                with self.watch.span("E-step"):
                    if step.run(lambda: self.stop() or saving.is_due(), on_batch):
                        break
                is_over = self.stop()
                if not is_over or saving.is_worth_it():
                    with self.watch.span("save"):
                        step.collect(shapes, more_follow=True)
                        saving.save(self.options.o, self._so_far(step), self.last_optimiser)
                if is_over:
                    raise EndAsked
        self.quarantine.write()
        self._count_particles()
        self.changes, self._timings = step.hidden.changes(), step.timings
        return step

    def _so_far(self, step: ExpectationStep) -> Partial:
        """Freeze how far the iteration is."""
        halves = [dataclasses.replace(half, maps=half.maps[:0]) for half in self.model.halves]
        model = copy.deepcopy(dataclasses.replace(self.model, halves=halves))
        assert step.sums is not None
        return Partial(
            self.iteration, self._work, model, copy.deepcopy(self.schedule), self._run_state(),
            step.done.copy(), step.hidden.moved.copy(), step.hidden.taken.copy(), step.sums,
        )  # fmt: skip

    def _run_state(self) -> RunState:
        columns = particle_columns(self.particles) | {"left_out": self.quarantine.flags.copy()}
        return RunState(
            columns, self._names_sha256, self._random.bit_generator.state, self.programme.arrays()
        )

    def _count_particles(self) -> None:
        """Count the particles of each group that are not left out."""
        p = self.particles
        for h, half in enumerate(self.model.halves):
            mine = (p.half == h + 1) & (self.quarantine.flags == 0)
            half.group_particles = np.bincount(
                p.scale_group[mine], minlength=half.group_particles.size
            )

    # The end of an iteration

    def _conclude(
        self,
        maximised: Maximised | None,
        statistics: list[Statistics],
        orientations: OrientationGrid,
        stage: Stage,
        began: float,
    ) -> None:
        """Update resolution and schedule, report, and hand the files to the writer."""
        model, schedule = self.model, self.schedule
        if maximised is not None:
            schedule.note_fsc(maximised.fsc, model.current_size)
        schedule.note_changes(self.changes)
        if not stage.is_cc or self.options.ini_high <= 0:
            found = schedule.resolution(model.halves[0].data_vs_prior, model.box_angst)
            schedule.note_resolution(found, model.current_resolution)
            model.current_resolution = found
        else:
            schedule.note_resolution(model.current_resolution, model.current_resolution)
        if stage.reported:
            self._seconds = time.perf_counter() - began
            with self.watch.span("write"):
                self._submit(None if stage.last else self.iteration, orientations, maximised)
        self.watch.add("total", time.perf_counter() - began)
        self.table.line(
            self.iteration, model, schedule, statistics, self.watch.as_dict(), self._timings
        )
        for sentence in remarks(self._ranks):
            log.info("     %s", sentence)

    def _submit(
        self,
        iteration: int | None,
        orientations: OrientationGrid,
        maximised: Maximised | None = None,
    ) -> None:
        """Freeze everything the files of an iteration say and hand it to the writer."""
        record = IterationRecord(
            root=self.options.o,
            iteration=iteration,
            options=self.options,
            model=self.model.snapshot(),
            schedule=copy.deepcopy(self.schedule),
            orientations=orientations,
            tables=particles_blocks(self.particles, half_sets=len(self.model.halves) > 1),
            group_names=tuple(self.particles.scale_group_names),
            optics_names=tuple(self.particles.optics.name),
            command_line=self.command_line,
            joined_map=maximised.joined[0] if maximised and maximised.joined else None,
            unfiltered=maximised.unfiltered if maximised else None,
            timings=self.watch.as_dict() | {"total": self._seconds},
            ranks=self._ranks,
            run=self._run_state(),
            last_iteration=self.iteration,
        )
        self.writer.submit(record)
        if iteration is not None:
            self.last_optimiser = OutputNames(self.options.o, iteration).optimiser()
