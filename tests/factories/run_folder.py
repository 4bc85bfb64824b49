"""Folders as a run leaves them, written without the programs that write them."""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star

BOX, PIXEL = 24, 3.0
N_SHELL = BOX // 2 + 1


def body(shift=0.0):
    """Return a box of two blobs, the larger one off the axes."""
    z, y, x = np.indices((BOX, BOX, BOX)) - BOX // 2
    one = np.exp(-((z**2 + y**2 + (x - shift) ** 2) / 18.0))
    two = np.exp(-(((z - 4) ** 2 + (y + 5) ** 2 + (x - 6) ** 2) / 8.0))
    return (one + two).astype(np.float32)


def even_angles(n, seed=0):
    """Return rot and tilt of views drawn evenly on the sphere, degrees."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-180, 180, n), np.degrees(np.arccos(rng.uniform(-1, 1, n)))


def particle_table(n=300, **columns):
    """Make a particle table without anything odd; columns replace or add, None leaves out."""
    rng = np.random.default_rng(5)
    rot, tilt = even_angles(n)
    made = {
        "rlnImageName": [f"{i + 1:06d}@p.mrcs" for i in range(n)],
        "rlnMicrographName": [f"mic{i % 4}.mrc" for i in range(n)],
        "rlnCoordinateX": 300.0 * np.arange(n),
        "rlnCoordinateY": 200.0 * np.arange(n),
        "rlnOpticsGroup": np.ones(n, np.int64),
        "rlnAngleRot": rot,
        "rlnAngleTilt": tilt,
        "rlnAnglePsi": rng.uniform(-180, 180, n),
        "rlnOriginXAngst": rng.normal(0, 3, n),
        "rlnOriginYAngst": rng.normal(0, 3, n),
        "rlnDefocusU": rng.uniform(8e3, 2e4, n) + 300.0,
        "rlnDefocusV": rng.uniform(8e3, 2e4, n),
        "rlnClassNumber": np.ones(n, np.int64),
        "rlnRandomSubset": 1 + np.arange(n) % 2,
        "rlnMaxValueProbDistribution": rng.uniform(0.2, 1.0, n),
    } | columns
    return pl.DataFrame({name: values for name, values in made.items() if values is not None})


def falling_fsc(at=0.5):
    """Return an FSC that falls once, at a share of Nyquist, and is 0 after."""
    shell = np.arange(N_SHELL) / (N_SHELL - 1)
    return np.where(shell < at + 0.2, 1 / (1 + np.exp(25 * (shell - at))), 0.0)


class RunFolder:
    """A run in a folder; every part may be replaced before `write`."""

    def __init__(self, folder, *, kind="refine3d", n_class=1, iterations=(0, 1, 2), final=None):
        self.folder, self.kind, self.n_class = folder, kind, n_class
        self.iterations = [*iterations, *([None] if final or (final is None and self.auto) else [])]
        self.particles = particle_table()
        self.fsc = falling_fsc()
        self.shares = np.full(n_class, 1.0 / n_class)
        self.symmetry, self.pmax, self.changed_classes = "C1", 0.5, 0.01
        self.command_line = f"relion-mpi {kind} --i p.star --o {folder}/run"
        self.converged, self.timings = True, {"E-step": 30.0, "M-step": 3.0, "load": 1.0}
        self.ranks = {
            0: {"particles": 0, "mstep_seconds": 3.0},
            1: {
                "particles": 600, "read_wait_seconds": 1.0, "estep_seconds": 28.0,
                "idle_seconds": 1.0, "reduce_wait_seconds": 0.25, "broadcast_transfer_seconds": 0.5,
            },
        }  # fmt: skip
        self.last_iteration = 2 if not self.auto else 999

    @property
    def auto(self):
        return self.kind == "refine3d"

    @property
    def root(self):
        return self.folder / "run"

    def name(self, iteration, end):
        return self.folder / f"run{'' if iteration is None else f'_it{iteration:03d}'}{end}"

    def write(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for i, iteration in enumerate(self.iterations):
            self._write_iteration(iteration)
            lines.append(json.dumps(self._metrics(i, iteration)))
        (self.folder / "run_metrics.jsonl").write_text("\n".join(lines) + "\n")
        return self

    def _write_iteration(self, iteration):
        halves = ["_half1", "_half2"] if self.auto and iteration is not None else [""]
        optics = pl.DataFrame({"rlnOpticsGroup": [1], "rlnImagePixelSize": [PIXEL]})
        tables = {"optics": optics, "particles": self.particles}
        write_star(self.name(iteration, "_data.star"), tables)
        sampling = {"rlnSymmetryGroup": self.symmetry, "rlnHealpixOrder": "2"}
        write_star(self.name(iteration, "_sampling.star"), {"sampling_general": sampling})
        for half in halves:
            write_star(self.name(iteration, f"{half}_model.star"), self.model_blocks(iteration))
            if self.kind == "class2d":
                continue
            for k in range(self.n_class):
                path = self.name(iteration, f"{half}_class{k + 1:03d}.mrc")
                write_map(path, body(float(k)), PIXEL)
        if self.kind == "class2d":
            images = np.stack([body(float(k))[BOX // 2] for k in range(self.n_class)])
            write_map(self.name(iteration, "_classes.mrcs"), images, PIXEL, stack=True)
        if iteration is not None:
            general = {
                "rlnDoAutoRefine": int(self.auto), "rlnNumberOfIterations": self.last_iteration,
                "rlnHasConverged": int(self.converged), "rlnParticleDiameter": 60.0,
                "rlnSolventMaskName": "None",
            }  # fmt: skip
            comments = ("RELION optimiser; version relion_mpi 0.1.0", self.command_line)
            path = self.name(iteration, "_optimiser.star")
            write_star(path, {"optimiser_general": general}, comments)

    def model_blocks(self, iteration):
        n = 99 if iteration is None else iteration
        resolution = max(60.0 / (n + 1), 10.0)
        general = {
            "rlnReferenceDimensionality": 2 if self.kind == "class2d" else 3,
            "rlnOriginalImageSize": BOX, "rlnCurrentResolution": resolution,
            "rlnCurrentImageSize": BOX, "rlnPixelSize": PIXEL, "rlnAveragePmax": self.pmax,
            "rlnSigmaOffsetsAngst": 4.0,
        }  # fmt: skip
        classes = pl.DataFrame(
            {
                "rlnReferenceImage": [f"run_class{k + 1:03d}.mrc" for k in range(self.n_class)],
                "rlnClassDistribution": self.shares,
                "rlnAccuracyRotations": np.full(self.n_class, 2.0),
                "rlnAccuracyTranslationsAngst": np.full(self.n_class, 1.0),
                "rlnEstimatedResolution": np.full(self.n_class, resolution),
                "rlnOverallFourierCompleteness": np.ones(self.n_class),
            }
        )
        blocks = {"model_general": general, "model_classes": classes}
        for k in range(self.n_class):
            blocks[f"model_class_{k + 1}"] = pl.DataFrame(
                {
                    "rlnSpectralIndex": np.arange(N_SHELL),
                    "rlnSsnrMap": 1000.0 * np.exp(-np.arange(N_SHELL)),
                    "rlnGoldStandardFsc": self.fsc if self.auto else np.zeros(N_SHELL),
                    "rlnReferenceTau2": np.exp(-np.arange(N_SHELL)),
                }
            )
        blocks["model_optics_group_1"] = pl.DataFrame(
            {"rlnSpectralIndex": np.arange(N_SHELL), "rlnSigma2Noise": np.full(N_SHELL, 1e-3)}
        )
        return blocks

    def _metrics(self, i, iteration):
        return {
            "iteration": iteration, "written": f"2026-01-01T00:{i:02d}:00+00:00",
            "healpix_order": 2, "oversampling": 1, "changes_orientations_deg": 9.0 / (i + 1),
            "changes_offsets_angst": 3.0 / (i + 1), "changes_classes": self.changed_classes,
            "timings": self.timings, "ranks": self.ranks,
        }  # fmt: skip


def write_postprocess(folder, *, random_at_end=0.0, resolution=12.0):
    """Write what a post-processing leaves; phases are random from 20 Angstrom on."""
    folder.mkdir(parents=True, exist_ok=True)
    shell = np.arange(N_SHELL)
    frequency = shell / (BOX * PIXEL)
    fsc = falling_fsc()
    random = np.where(frequency > 1 / 20.0, random_at_end, fsc)
    general = {
        "rlnFinalResolution": resolution, "rlnBfactorUsedForSharpening": -120.0,
        "rlnRandomiseFrom": 20.0, "rlnMaskName": "mask.mrc",
        "rlnFittedSlopeGuinierPlot": -30.0, "rlnFittedInterceptGuinierPlot": -3.0,
    }  # fmt: skip
    curves = pl.DataFrame(
        {
            "rlnSpectralIndex": shell, "rlnResolution": frequency,
            "rlnFourierShellCorrelationCorrected": fsc,
            "rlnFourierShellCorrelationUnmaskedMaps": fsc * 0.9,
            "rlnFourierShellCorrelationMaskedMaps": fsc,
            "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": random,
        }
    )  # fmt: skip
    guinier = pl.DataFrame(
        {
            "rlnResolutionSquared": frequency**2,
            "rlnLogAmplitudesOriginal": np.where(shell > 0, -3.0 - 30.0 * frequency**2, -99.0),
            "rlnLogAmplitudesSharpened": np.full(N_SHELL, -3.0),
        }
    )
    blocks = {"general": general, "fsc": curves, "guinier": guinier}
    write_star(folder / "postprocess.star", blocks)
    write_map(folder / "postprocess.mrc", body(), PIXEL)
    write_map(folder / "postprocess_masked.mrc", body(), PIXEL)
