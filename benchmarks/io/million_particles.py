"""Time rank 0 with a million made-up particles: start, an iteration's work on tables, continuing.

Runs the real program (`make_start`, `Refinement`, its writer) with a crew that does no arithmetic:
what is left is what rank 0 does beside the E-step. The stacks are sparse files with real headers,
so that they take no room. Each stage runs in a process of its own, on the cores it is given
(`taskset -c 0,1`), and prints wall seconds, processor seconds and the peak of its memory.

Run: python benchmarks/io/million_particles.py FOLDER [--n 1000000] [--micrographs 22000]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import os
import pickle
import pstats
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from relion_mpi.cli import refine3d
from relion_mpi.core.memory import used_bytes
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace
from relion_mpi.dataset.image_cache import make_layout
from relion_mpi.estep.initial_noise import PowerSums
from relion_mpi.estep.plan import BatchResult
from relion_mpi.io.mrc import HEADER_BYTES, header_bytes, write_map
from relion_mpi.io.star import write_star
from relion_mpi.refine import refinement as refinement_module
from relion_mpi.refine.host_job import host_job
from relion_mpi.refine.messages import BatchAnswer, ExpectationTask, NoiseTask
from relion_mpi.refine.outputs import writer as writer_module
from relion_mpi.refine.outputs.writer import OutputWriter
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.start import make_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

log = logging.getLogger("million_particles")
BOX, PIXEL_ANGST, N_OPTICS = 64, 3.0, 9
STAGES = ("start", "continue")


def pad_like_relion(source: Path, target: Path) -> None:
    """Widen every value to 12 characters, the layout that RELION itself writes."""
    with source.open() as lines, target.open("w") as out:
        for line in lines:
            words = line.split()
            wide = len(words) > 2
            out.write(" ".join(f"{word:>12}" for word in words) + " \n" if wide else line)


class Stages:
    """Wall and processor seconds of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds[name][0] += time.perf_counter() - wall
        self.seconds[name][1] += time.process_time() - cpu


class IdleCrew:
    """A crew whose workers find something at once: answers of the right shapes.

    What would travel by MPI is pickled, as it would be.
    """

    def __init__(self, stages: Stages) -> None:
        self.n_workers = 1
        self.sent_bytes = 0
        self._stages = stages
        self._random = np.random.default_rng(1)

    def begin(self, message: Any, arrays: Any, *, keeps_sums: bool = False) -> None:
        """Pickle the message."""
        with self._stages.span(f"send {type(message).__name__}"):
            self.sent_bytes = len(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def run(
        self, tasks: Sequence[Any], on_result: Any, stop: Any = None, *, summed: bool = True
    ) -> None:
        """Pickle each task, make up its result and take it in."""
        for index in range(len(tasks)):
            with self._stages.span("hand out batches"):
                task = tasks[index]
                packed = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
            self.sent_bytes += len(packed)
            answer = self._answer(task)
            with self._stages.span("take results in"):
                on_result(index, answer)

    def reduce(self, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
        """Return sums that an M-step can divide by."""
        return [np.ones(shape) for shape in shapes]

    def timings(self) -> dict[int, dict[str, float]]:
        """Return nothing: nobody worked."""
        return {}

    def accounts(self) -> dict[int, dict[str, float]]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Have nothing to close."""

    def _answer(self, task: Any) -> Any:
        n = task.batch.n_img
        if isinstance(task, NoiseTask):
            return BatchAnswer(np.zeros(n, np.uint8), _flat_power(n))
        assert isinstance(task, ExpectationTask)
        draw = self._random.uniform
        euler = np.stack([draw(-180, 180, n), draw(0, 180, n), draw(-180, 180, n)], axis=1)
        ones = np.ones(n)
        return BatchAnswer(
            None,
            BatchResult(
                euler, draw(-9, 9, (n, 2)), np.ones(n, np.int64), ones, 1e5 * draw(1, 2, n),
                draw(0, 1, n), self._random.integers(1, 300, n), 10 * n,
            ),
        )  # fmt: skip


def _flat_power(n: int) -> PowerSums:
    shells = BOX // 2 + 1
    return PowerSums(
        np.full(shells, 1e-3 * n), np.zeros((BOX, BOX)), n, np.array([0.0, float(n)])
    )


class NoMaximisation:
    """A programme without its M-step: that does not grow with the particles."""

    def __init__(self, programme: Any) -> None:
        self._programme = programme

    def __getattr__(self, name: str) -> Any:
        return getattr(self._programme, name)

    def maximise(self, *_: Any) -> None:
        """Leave the model as it is."""


def make_set(folder: Path, n: int, n_micrographs: int, *, padded: bool) -> None:
    """Write the table, the sparse stacks and a reference; what is there already stays."""
    star = folder / "particles.star"
    if star.exists():
        return
    rng = np.random.default_rng(1)
    (folder / "Extract").mkdir(parents=True, exist_ok=True)
    micrograph = np.sort(rng.integers(0, n_micrographs, n))
    counts = np.bincount(micrograph, minlength=n_micrographs)
    for i, count in enumerate(counts.tolist()):
        shape = (max(count, 1), BOX, BOX)
        with (folder / "Extract" / f"mic_{i:06d}.mrcs").open("wb") as handle:
            handle.write(header_bytes(shape, 2, PIXEL_ANGST, (0, 0, 0, 0), stack=True))
            handle.truncate(HEADER_BYTES + 4 * int(np.prod(shape)))
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    frame = pl.DataFrame({"m": micrograph, "i": np.arange(n) - first[micrograph] + 1})
    name = pl.col("m").cast(pl.String).str.zfill(6)
    number = pl.col("i").cast(pl.String).str.zfill(6)
    frame = frame.select(
        rlnImageName=pl.concat_str(number, pl.lit(f"@{folder.resolve()}/Extract/mic_"), name,
                                   pl.lit(".mrcs")),
        rlnMicrographName=pl.concat_str(pl.lit("MotionCorr/job002/Movies/mic_"), name,
                                        pl.lit(".mrc")),
    )  # fmt: skip
    defocus = np.round(rng.uniform(8000, 25000, n), 6)
    floats = {
        "rlnCoordinateX": rng.uniform(0, 4000, n), "rlnCoordinateY": rng.uniform(0, 4000, n),
        "rlnDefocusU": defocus, "rlnDefocusV": defocus - 200, "rlnDefocusAngle":
        rng.uniform(0, 180, n), "rlnCtfMaxResolution": rng.uniform(3, 5, n),
        "rlnCtfFigureOfMerit": rng.uniform(0, 1, n), "rlnAutopickFigureOfMerit":
        rng.uniform(0, 9, n),
    }  # fmt: skip
    frame = frame.with_columns(
        rlnOpticsGroup=micrograph * N_OPTICS // n_micrographs + 1,
        **{label: np.round(values, 6) for label, values in floats.items()},
    )
    groups = np.arange(1, N_OPTICS + 1)
    optics = pl.DataFrame(
        {
            "rlnOpticsGroup": groups, "rlnOpticsGroupName": [f"opticsGroup{g}" for g in groups],
            "rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1,
            "rlnImagePixelSize": PIXEL_ANGST, "rlnImageSize": BOX, "rlnImageDimensionality": 2,
        }
    )  # fmt: skip
    z, y, x = (axis - BOX // 2 for axis in np.ogrid[:BOX, :BOX, :BOX])
    ball = np.exp(-(x**2 + 2 * y**2 + 3 * z**2) / 200.0)
    write_map(folder / "reference.mrc", ball, PIXEL_ANGST)
    write_star(star, {"optics": optics, "particles": frame})
    if padded:
        pad_like_relion(star, folder / "padded.star")
        (folder / "padded.star").replace(star)


def run_stage(folder: Path, stage: str, n_iterations: int, batch: int) -> Stages:
    """Begin or continue a run, and do some of its iterations without arithmetic."""
    stages = Stages()
    _time_files(stages)
    line = ["--random_seed", "1", "--j", "2", "--preread_images", "--batch", str(batch)]
    line += ["--auto_iter_max", str(n_iterations if stage == "start" else n_iterations + 1)]
    if stage == "start":
        line += ["--i", str(folder / "particles.star"), "--ref", str(folder / "reference.mrc")]
        line += ["--o", str(folder / "run")]
    else:
        line += ["--continue", str(folder / f"run_it{n_iterations:03d}_optimiser.star")]
    with stages.span("options"):
        parser = OptionParser("relion-mpi refine3d")
        add_to_parser(parser, refine3d.Options)
        options = from_namespace(refine3d.Options, parser.read(refine3d.spelt(line)))
    with stages.span("make_start"):
        start = make_start(options)
    with stages.span("host memory, image layout"):
        host_job(start, n_workers_here=1)
        make_layout(start.particles, start.batches, sys.maxsize)
    log.info("%d batches", len(start.batches))
    with OutputWriter() as writer:
        with stages.span("Refinement"):
            refinement = Refinement(start, IdleCrew(stages), writer, "million_particles")  # type: ignore[arg-type]
        _time_method(stages, refinement, "_submit", "hand the record to the writer")
        _time_method(stages, refinement, "_count_particles", "count particles")
        refinement.programme = NoMaximisation(refinement.programme)  # type: ignore[assignment]
        refinement_module.estimate_accuracy = lambda *_: None
        with stages.span("run, all of it"):
            refinement.run()
    return stages


def _time_method(stages: Stages, owner: Any, method: str, name: str) -> None:
    action = getattr(owner, method)

    def timed(*given: Any, **named: Any) -> Any:
        with stages.span(name):
            return action(*given, **named)

    setattr(owner, method, timed)


def _time_files(stages: Stages) -> None:
    """Time the files of each record, by kind; several files of a kind add up."""
    files = writer_module._files

    def timed(write: Callable[[Path], None], kind: str) -> Callable[[Path], None]:
        def action(path: Path) -> None:
            with stages.span(f"file {kind}"):
                write(path)

        return action

    def listed(*given: Any) -> Iterator[tuple[Path, Callable[[Path], None]]]:
        found = files(*given)
        while True:
            with stages.span("file tables made"):
                one = next(found, None)
            if one is None:
                return
            kind = "_".join(part for part in one[0].name.split("_") if not part.startswith("it"))
            yield one[0], timed(one[1], kind)

    writer_module._files = listed


def main() -> None:
    """Make the set, then run each stage in a process of its own; or one stage, if it is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--micrographs", type=int, default=22_000)
    parser.add_argument("--batch", type=int, default=0, help="as of refine3d; GPUs have up to 2048")
    parser.add_argument("--padded", action="store_true", help="rows in RELION's wide columns")
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--stage", choices=STAGES)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.stage is None:
        make_set(given.folder, given.n, given.micrographs, padded=given.padded)
        for stage in STAGES:
            command = [sys.executable, __file__, *sys.argv[1:], "--stage", stage]
            subprocess.run(command, check=True, env=os.environ)
        return
    profile = cProfile.Profile() if given.profile else None
    before = used_bytes("VmHWM")
    if profile:
        profile.enable()
    stages = run_stage(given.folder, given.stage, given.iterations, given.batch)
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    peak = used_bytes("VmHWM")
    for name, (wall, cpu) in stages.seconds.items():
        log.info("%-9s %-36s %7.2f s wall %7.2f s cpu", given.stage, name, wall, cpu)
    log.info("%-9s peak %.2f GB, %.2f GB of it the program", given.stage, peak / 1e9, before / 1e9)
    print(json.dumps({"stage": given.stage, "n": given.n, "peak_gb": peak / 1e9,
                      "seconds": stages.seconds}))  # fmt: skip


if __name__ == "__main__":
    main()
