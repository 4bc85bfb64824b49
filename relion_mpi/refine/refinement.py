"""The master's loop: one method per step of the algorithm."""

from __future__ import annotations

import copy
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend import volumes_that_fit
from relion_mpi.core.progress import Progress
from relion_mpi.core.timing import Stopwatch
from relion_mpi.dataset.particles import particles_blocks
from relion_mpi.estep.initial_noise import MAX_PARTICLES, initial_sigma2_noise
from relion_mpi.estep.plan import HalfPlan, Plan
from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.masks import lowpass, lowpass_profile
from relion_mpi.fourier.shells import padded_size
from relion_mpi.model.state import Accuracy
from relion_mpi.model.statistics import Statistics
from relion_mpi.mstep.maximise import MaximisationOptions, maximise_halves, symmetrised
from relion_mpi.mstep.parameters import update_parameters
from relion_mpi.mstep.solvent import flatten
from relion_mpi.refine.background import warn_of_background
from relion_mpi.refine.hidden import ExpectationTasks, HiddenVariables, particle_batch
from relion_mpi.refine.messages import (
    AccuracyTask,
    LoadReferences,
    NoiseTask,
    Setup,
    StartExpectation,
)
from relion_mpi.refine.pipeline_control import end_if_asked
from relion_mpi.refine.record import IterationRecord
from relion_mpi.refine.schedule import resolution_from_ssnr
from relion_mpi.refine.start import start_spectra
from relion_mpi.refine.table import IterationTable
from relion_mpi.sampling.orientations import make_orientation_grid
from relion_mpi.sampling.perturbation import next_perturbation
from relion_mpi.sampling.translations import make_translation_grid

if TYPE_CHECKING:
    from relion_mpi.estep.accuracy import AccuracyResult
    from relion_mpi.estep.initial_noise import PowerSums
    from relion_mpi.mstep.maximise import Maximised
    from relion_mpi.parallel.crew import Crew
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
    """

    def __init__(self, start: Start, crew: Crew, writer: OutputWriter, command_line: str) -> None:
        self.options, self.particles = start.options, start.particles
        self.group, self.images = start.group, start.images
        self.model, self.schedule = start.model, start.schedule
        self.solvent, self.inner = start.solvent, start.inner
        self.crew, self.writer, self.command_line = crew, writer, command_line
        self.iteration = 0
        self.batches = start.batches
        self._allowance = start.limits, start.predicted_bytes, start.mstep_bytes
        self.watch = Stopwatch()
        self.table = IterationTable()
        self._random = np.random.default_rng([self.options.random_seed, 1])

    def run(self) -> None:
        """Refine until convergence or --auto_iter_max, and write the final files."""
        self._set_up_workers()
        self._estimate_noise()
        start_spectra(self.model, self.options)
        self.writer.submit(self._record(self.iteration, self._orientations()))
        while self.iteration < self.options.auto_iter_max:
            self.iteration += 1
            last = self.schedule.check_convergence()
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
            *self._allowance,
        )  # fmt: skip
        self.crew.begin(setup, {})

    def _estimate_noise(self) -> None:
        """Estimate each half-set's noise from at most MAX_PARTICLES per optics group."""
        taken: dict[tuple[int, int], int] = {}
        chosen = []
        for batch in self.batches:
            key = batch.half - 1, int(self.particles.optics_group[batch.particles[0]])
            if taken.get(key, 0) < MAX_PARTICLES:
                taken[key] = taken.get(key, 0) + batch.particles.size
                chosen.append((key, batch))
        parts: dict[int, PowerSums] = {}
        tasks = [
            NoiseTask(particle_batch(self.particles, b.particles, k[0], b.index)) for k, b in chosen
        ]
        self.crew.run(tasks, parts.__setitem__)
        totals: dict[tuple[int, int], PowerSums] = {}
        for index, (key, _) in enumerate(chosen):
            totals[key] = totals[key] + parts[index] if key in totals else parts[index]
        for (h, g), sums in sorted(totals.items()):
            own_pixel = float(self.particles.optics.pixel_size_angst[g])
            half = self.model.halves[h]
            half.sigma2_noise[g] = initial_sigma2_noise(sums, own_pixel, self.model.box_angst)
            mine = (self.particles.half == h + 1) & (self.particles.optics_group == g)
            half.optics_particles[g] = mine.sum()
            mean, deviation = sums.background / sums.n_img
            if h == 0:
                warn_of_background(self.particles.optics.name[g], mean, deviation)

    # One iteration

    def _iterate(self, *, last: bool) -> None:
        self.watch.clear()
        began = time.perf_counter()
        model, schedule = self.model, self.schedule
        is_cc = self.iteration == 1 and self.options.firstiter_cc
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
        if not is_cc:
            with self.watch.span("accuracy"):
                self._estimate_accuracy()
        if self.iteration > 1 and not last:
            self._refine_sampling()
        orientations = self._orientations()
        plan = self._plan(orientations, is_cc=is_cc)
        self.crew.begin(StartExpectation(plan), {})
        with self.watch.span("E-step"):
            self._expectation()
        with self.watch.span("reduce"):
            statistics, volumes = self._reduce(orientations.n_dir)
        with self.watch.span("M-step"):
            maximised = self._maximisation(volumes, statistics, is_cc=is_cc, last=last)
        self._conclude(maximised, statistics, orientations, is_cc=is_cc, last=last, began=began)

    def _orientations(self) -> OrientationGrid:
        return make_orientation_grid(
            self.schedule.healpix_order,
            self.group,
            oversampling=self.schedule.oversampling,
            perturbation=self.schedule.perturbation,
        )

    def _plan(self, orientations: OrientationGrid, *, is_cc: bool) -> Plan:
        model, schedule = self.model, self.schedule
        halves = tuple(
            HalfPlan(
                h.sigma2_noise, h.scale, h.avg_norm, h.pdf_direction, h.sigma2_offset_angst2,
                h.data_vs_prior, int(h.group_particles.sum()),
            )
            for h in model.halves
        )
        coarse = schedule.coarse_size(
            model.box_size, model.box_angst, model.current_size, self.options.particle_diameter
        )
        translations = make_translation_grid(
            schedule.offset_range_angst,
            schedule.offset_step_angst,
            oversampling=schedule.oversampling,
            perturbation=schedule.perturbation,
        )
        return Plan(
            self.iteration, model.box_size, model.pixel_size_angst, model.padding,
            model.current_size, coarse, "cc" if is_cc else "gauss", orientations, translations,
            schedule.local_sigma_deg, self.particles.optics, halves, self.images,
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

    def _expectation(self) -> None:
        hidden = HiddenVariables(self.particles, self.group.operators)
        tasks = ExpectationTasks(self.particles, self.batches)
        label = f"iteration {self.iteration}"
        with Progress(self.particles.n_particles, label) as progress:

            def take(index: int, result: Any) -> None:
                rows = self.batches[index].particles
                hidden.take(rows, result)
                progress.update(rows.size)
                self.writer.check()  # a full disk ends the run now, not after the iteration
                end_if_asked(self.options.pipeline_control)

            self.crew.run(tasks, take)
        self.changes = hidden.changes()

    def _reduce(self, n_dir: int) -> tuple[list[Statistics], list[Any]]:
        """Collect the sums of both half-sets in float64."""
        model, optics = self.model, self.particles.optics
        size = padded_size(model.current_size // 2, model.padding)
        volume_shape = (model.n_class, n_kept(size), 3)
        statistics = [
            Statistics.empty(
                optics.n_groups, model.n_shell, half.scale.size, model.n_class, n_dir
            )
            for half in model.halves
        ]
        shapes: list[tuple[int, ...]] = []
        for mine in statistics:
            shapes += [volume_shape, mine.packed().shape]
        arrays = self.crew.reduce(shapes)
        for mine, vector in zip(statistics, arrays[1::2], strict=True):
            mine.fill_from(vector)
        return statistics, arrays[0::2]

    # Maximisation

    def _maximisation(
        self, volumes: list[Any], statistics: list[Statistics], *, is_cc: bool, last: bool
    ) -> Maximised:
        model, options = self.model, self.options
        r_max = model.current_size // 2
        operators, geometry = self.group.operators, (model.box_size, r_max, model.padding)
        backend = volumes_that_fit(
            "cpu" if options.gpu is None else "gpu", *geometry,
            skip_gridding=options.skip_gridding, n_operators=operators.shape[0],
        )  # fmt: skip
        sums = []
        while volumes:  # each reduced volume is freed as soon as it is symmetrised
            sums.append(symmetrised(volumes.pop(0)[0], operators, *geometry, backend))
        switches = MaximisationOptions(
            tau2_fudge=options.tau2_fudge,
            skip_gridding=options.skip_gridding,
            join_below_angst=options.low_resol_join_halves,
            fsc_mask=self.solvent if options.solvent_correct_fsc else None,
            random_seed=options.random_seed,
        )
        maximised = maximise_halves(
            sums[0], sums[1], model.current_resolution, model.pixel_size_angst, switches, last=last
        )
        sums.clear()
        backend.release()
        for h, half in enumerate(model.halves):
            update_parameters(
                half, statistics[h], model.box_size,
                after_cc=is_cc, correct_norm=options.norm, correct_scale=options.scale,
            )  # fmt: skip
            spectra = maximised.joined[1] if maximised.joined else maximised.spectra[h]
            half.fsc = maximised.fsc
            half.tau2[0], half.sigma2[0] = spectra.tau2, spectra.sigma2
            half.data_vs_prior[0], half.coverage[0] = spectra.data_vs_prior, spectra.coverage
            if not last:
                self._take_map(h, maximised, is_cc=is_cc)
        return maximised

    def _take_map(self, h: int, maximised: Maximised, *, is_cc: bool) -> None:
        """Make a half-set's new map the next reference."""
        model, options, half = self.model, self.options, self.model.halves[h]
        volume = maximised.maps[h]
        if is_cc and options.ini_high > 0:
            # Cross-correlation says little about high resolution: stay at the reference's.
            volume = lowpass(volume, model.pixel_size_angst, options.ini_high)
            cutoff = model.box_angst / options.ini_high
            damp = lowpass_profile(np.arange(model.n_shell, dtype=float), cutoff) ** 2
            half.tau2[0] *= damp
            half.data_vs_prior[0] *= damp
        if options.flatten_solvent:
            volume = flatten(volume, self.solvent, self.inner)
        half.maps[0] = volume

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
            self.writer.submit(
                self._record(None if last else self.iteration, orientations, maximised)
            )
        self.watch.add("total", time.perf_counter() - began)
        self.table.line(
            self.iteration, model, schedule, statistics, self.watch.as_dict(), self.crew.timings()
        )

    def _record(
        self,
        iteration: int | None,
        orientations: OrientationGrid,
        maximised: Maximised | None = None,
    ) -> IterationRecord:
        """Freeze everything the files of an iteration say."""
        return IterationRecord(
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
        )
