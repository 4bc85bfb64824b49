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
from relion_mpi.estep.initial_noise import MAX_PARTICLES, halved_averages, initial_sigma2_noise
from relion_mpi.model.state import Accuracy
from relion_mpi.refine.background import warn_of_background
from relion_mpi.refine.continuing import particle_columns, set_columns
from relion_mpi.refine.ending import EndAsked
from relion_mpi.refine.expectation_step import ExpectationStep
from relion_mpi.refine.hidden import particle_batch
from relion_mpi.refine.maximisation import maximisation
from relion_mpi.refine.messages import (
    AccuracyTask,
    LoadReferences,
    NoiseTask,
    Setup,
    StartExpectation,
)
from relion_mpi.refine.outputs.names import OutputNames
from relion_mpi.refine.partial import Partial, describe_work
from relion_mpi.refine.planning import make_plan, orientation_grid
from relion_mpi.refine.record import IterationRecord, RunState
from relion_mpi.refine.reduction import sum_shapes, unpacked_sums
from relion_mpi.refine.saving import Saving, saved_within
from relion_mpi.refine.schedule import resolution_from_ssnr
from relion_mpi.refine.start import start_spectra
from relion_mpi.refine.table import IterationTable
from relion_mpi.sampling.perturbation import next_perturbation

if TYPE_CHECKING:
    from relion_mpi.estep.accuracy import AccuracyResult
    from relion_mpi.estep.initial_noise import PowerSums
    from relion_mpi.estep.plan import Plan
    from relion_mpi.model.statistics import Statistics
    from relion_mpi.mstep.maximise import Maximised
    from relion_mpi.parallel.crew import Crew, Stop
    from relion_mpi.refine.messages import BatchAnswer
    from relion_mpi.refine.outputs.writer import OutputWriter
    from relion_mpi.refine.start import Start
    from relion_mpi.sampling.orientations import OrientationGrid

log = logging.getLogger(__name__)

ACCURACY_PARTICLES = 100


class Refinement:
    """A gold-standard refinement on rank 0.

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
        self.group, self.images = start.group, start.images
        self.model, self.schedule = start.model, start.schedule
        self.solvent, self.inner = start.solvent, start.inner
        self.crew, self.writer, self.command_line = crew, writer, command_line
        self.stop = stop or (lambda: False)
        self.iteration = 0
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
        self._random = np.random.default_rng([self.options.random_seed, 1])
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

    def run(self) -> None:
        """Refine until convergence or --auto_iter_max, and write the final files.

        Raises
        ------
        EndAsked
            `stop` said so; all up to the last complete iteration is with the writer, and what was
            done of the next one, where it took long.
        """
        self._set_up_workers()
        if self.last_optimiser is None:
            self._estimate_noise()
            start_spectra(self.model, self.options)
            self._submit(self.iteration, self._orientations())
        while self.iteration < self.options.auto_iter_max:
            if self.stop():
                raise EndAsked
            self.iteration += 1
            if self._partial is None:
                self.schedule.check_convergence()
            last = self.schedule.has_converged
            if last:
                log.info("Converged: the last iteration combines the half-sets, to Nyquist.")
            self._iterate(last=last)
            if last:
                break
        else:
            log.warning(
                "not converged after --auto_iter_max %d iterations: there is no final map yet",
                self.options.auto_iter_max,
            )
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
        """Estimate each half-set's noise from at most MAX_PARTICLES per optics group."""
        taken: dict[tuple[int, int], int] = {}
        chosen = []
        for batch in self.batches:
            key = batch.half - 1, int(self.particles.optics_group[batch.particles[0]])
            if taken.get(key, 0) < MAX_PARTICLES or self.images.compat.initial_noise:
                taken[key] = taken.get(key, 0) + batch.particles.size
                chosen.append((key, batch))
        parts: dict[int, PowerSums | None] = {}
        tasks = [
            NoiseTask(particle_batch(self.particles, b.particles, k[0], b.index)) for k, b in chosen
        ]

        def take(index: int, answer: BatchAnswer[PowerSums]) -> None:
            self.quarantine.take(chosen[index][1].particles, answer.flags)
            parts[index] = answer.value

        self.crew.run(tasks, take)
        self.quarantine.write()
        self._count_particles()
        totals: dict[tuple[int, int], PowerSums] = {}
        for index, (key, _) in enumerate(chosen):
            part = parts[index]
            if part is not None:
                totals[key] = totals[key] + part if key in totals else part
        compat = self.images.compat
        averages = halved_averages(totals) if compat.initial_noise else {}
        for (h, g), sums in sorted(totals.items()):
            own_pixel = float(self.particles.optics.pixel_size_angst[g])
            half = self.model.halves[h]
            half.sigma2_noise[g] = initial_sigma2_noise(
                sums, own_pixel, self.model.box_angst, average=averages.get(h), compat=compat
            )
            mine = (self.particles.half == h + 1) & (self.particles.optics_group == g)
            half.optics_particles[g] = (mine & (self.quarantine.flags == 0)).sum()
            mean, deviation = sums.background / sums.n_img
            if h == 0:
                warn_of_background(self.particles.optics.name[g], mean, deviation)

    # One iteration

    def _iterate(self, *, last: bool) -> None:
        self.watch.clear()
        began = time.perf_counter()
        model, schedule = self.model, self.schedule
        is_cc = self.iteration == 1 and self.options.firstiter_cc
        partial, self._partial = self._partial, None
        if partial is None:  # otherwise all this has been decided
            pmax = float(np.mean([h.ave_pmax for h in model.halves]))
            model.current_size = schedule.current_size(
                model.box_size, model.box_angst, model.current_resolution, pmax
            )
            schedule.perturbation = next_perturbation(
                schedule.perturbation, schedule.perturbation_factor, self._random
            )
        precision = "float64" if self.options.precision == "float64" else "float32"
        with self.watch.span("load"):
            maps = {
                f"maps{h}": half.maps.astype(precision)
                for h, half in enumerate(model.halves)
            }
            self.crew.begin(LoadReferences(self._plan(self._orientations(), is_cc=is_cc)), maps)
        if not is_cc and partial is None:
            with self.watch.span("accuracy"):
                self._estimate_accuracy()
        if self.iteration > 1 and not last and partial is None:
            self._refine_sampling()
        orientations = self._orientations()
        self.crew.begin(StartExpectation(self._plan(orientations, is_cc=is_cc)), {})
        sizes = model, self.particles.optics.n_groups, orientations.n_dir
        step = self._expectation(partial, sum_shapes(*sizes))
        partial = None  # the M-step needs the memory of its sums
        with self.watch.span("reduce"):
            statistics, volumes = unpacked_sums(
                step.collect(sum_shapes(*sizes), more_follow=False), *sizes
            )
        with self.watch.span("M-step"):
            maximised = maximisation(
                volumes, statistics, model, self.options, self.group.operators,
                (self.solvent, self.inner), is_cc=is_cc, last=last,
            )  # fmt: skip
        self._conclude(maximised, statistics, orientations, is_cc=is_cc, last=last, began=began)

    def _orientations(self) -> OrientationGrid:
        return orientation_grid(self.schedule, self.group)

    def _plan(self, orientations: OrientationGrid, *, is_cc: bool) -> Plan:
        return make_plan(
            self.iteration, self.model, self.schedule, orientations, self.particles.optics,
            self.images, is_cc=is_cc,
        )  # fmt: skip

    def _estimate_accuracy(self) -> None:
        first = next(b for b in self.batches if b.half == 1)
        group = self.particles.optics_group[first.particles[0]]
        mine = (self.particles.half == 1) & (self.particles.optics_group == group)
        rows = np.flatnonzero(mine)[:ACCURACY_PARTICLES]
        batch = particle_batch(self.particles, rows, 0)
        found: AccuracyResult = self.crew.run_one(AccuracyTask(batch, 0))
        self.model.accuracy = Accuracy(
            np.array([found.rotation_deg]), np.array([found.translation_angst])
        )
        for half in self.model.halves:
            half.orientability[0] = found.orientability

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
        return RunState(columns, self._names_sha256, self._random.bit_generator.state)

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
        maximised: Maximised,
        statistics: list[Statistics],
        orientations: OrientationGrid,
        *,
        is_cc: bool,
        last: bool,
        began: float,
    ) -> None:
        """Update resolution and schedule, report, and hand the files to the writer."""
        model, schedule = self.model, self.schedule
        schedule.note_fsc(maximised.fsc, model.current_size)
        schedule.note_changes(self.changes)
        if not is_cc or self.options.ini_high <= 0:
            found = resolution_from_ssnr(model.halves[0].data_vs_prior, model.box_angst)
            schedule.note_resolution(found, model.current_resolution)
            model.current_resolution = found
        else:
            schedule.note_resolution(model.current_resolution, model.current_resolution)
        with self.watch.span("write"):
            self._submit(None if last else self.iteration, orientations, maximised)
        self.watch.add("total", time.perf_counter() - began)
        self.table.line(
            self.iteration, model, schedule, statistics, self.watch.as_dict(), self._timings
        )

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
            model=copy.deepcopy(self.model),
            schedule=copy.deepcopy(self.schedule),
            orientations=orientations,
            tables=particles_blocks(self.particles),
            group_names=tuple(self.particles.scale_group_names),
            optics_names=tuple(self.particles.optics.name),
            command_line=self.command_line,
            joined_map=maximised.joined[0] if maximised and maximised.joined else None,
            unfiltered=maximised.unfiltered if maximised else None,
            timings=self.watch.as_dict(),
            run=self._run_state(),
        )
        self.writer.submit(record)
        if iteration is not None:
            self.last_optimiser = OutputNames(self.options.o, iteration).optimiser()
