"""The course of a run: what its model files say of each iteration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.report.gather.job import Job

_NO_ACCURACY = 999.0
_KEPT_FILES = 512


@dataclass(frozen=True, slots=True)
class Step:
    """One iteration.

    Attributes
    ----------
    iteration : number; None for the final one
    resolution_angst : current resolution, infinite where there is none
    ave_pmax : mean over half-sets
    accuracy_rotation_deg, accuracy_translation_angst : of the best class; None before an estimate
    sigma_offset_angst : mean over half-sets
    shares : float64 (n_class,) of the particles
    class_resolution_angst : float64 (n_class,)
    fsc : float64 (n_shell,) of the half-sets, or None in a classification
    ssnr : float64 (n_class, n_shell)
    tau2 : float64 (n_class, n_shell)
    noise : float64 (n_optics, n_shell), sigma2 of the optics groups that have particles
    completeness : float64 (n_class,) of Fourier space
    box_size, pixel_size_angst : grid
    current_size : image size of the iteration
    is_planar : whether classes are images
    maps : names of the references as the file has them
    """

    iteration: int | None
    resolution_angst: float
    ave_pmax: float
    accuracy_rotation_deg: float | None
    accuracy_translation_angst: float | None
    sigma_offset_angst: float
    shares: NDArray[np.float64]
    class_resolution_angst: NDArray[np.float64]
    fsc: NDArray[np.float64] | None
    ssnr: NDArray[np.float64]
    tau2: NDArray[np.float64]
    noise: NDArray[np.float64]
    completeness: NDArray[np.float64]
    box_size: int
    pixel_size_angst: float
    current_size: int
    is_planar: bool
    maps: tuple[str, ...]

    @property
    def n_class(self) -> int:
        """Number of classes."""
        return len(self.shares)

    @property
    def box_angst(self) -> float:
        """Side of the box, Angstrom."""
        return self.box_size * self.pixel_size_angst


def read_history(job: Job) -> tuple[Step, ...]:
    """Read all iterations of a run.

    Parameters
    ----------
    job
        Its files.

    Returns
    -------
    tuple of Step
        In order, the final one last. Files that did not change since they were read are not read
        again.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    return tuple(_step(number, files) for number, files in job.models)


def _step(iteration: int | None, files: tuple[Path, ...]) -> Step:
    halves = [_model(file, *_stamp(file)) for file in files]
    first = halves[0]
    accuracies = [_accuracy(half.classes, first.n_class) for half in halves]
    return Step(
        iteration=iteration,
        resolution_angst=first.resolution_angst,
        ave_pmax=float(np.mean([half.ave_pmax for half in halves])),
        accuracy_rotation_deg=accuracies[0][0],
        accuracy_translation_angst=accuracies[0][1],
        sigma_offset_angst=float(np.mean([half.sigma_offset_angst for half in halves])),
        shares=first.column("rlnClassDistribution"),
        class_resolution_angst=first.column("rlnEstimatedResolution"),
        fsc=first.fsc,
        ssnr=first.ssnr,
        tau2=first.tau2,
        noise=first.noise,
        completeness=first.column("rlnOverallFourierCompleteness"),
        box_size=first.box_size,
        pixel_size_angst=first.pixel_size_angst,
        current_size=first.current_size,
        is_planar=first.is_planar,
        maps=tuple(str(name) for half in halves for name in half.classes["rlnReferenceImage"]),
    )


@dataclass(frozen=True, slots=True)
class _Model:
    """One model file."""

    resolution_angst: float
    ave_pmax: float
    sigma_offset_angst: float
    classes: pl.DataFrame
    fsc: NDArray[np.float64] | None
    ssnr: NDArray[np.float64]
    tau2: NDArray[np.float64]
    noise: NDArray[np.float64]
    box_size: int
    pixel_size_angst: float
    current_size: int
    is_planar: bool

    @property
    def n_class(self) -> int:
        return len(self.classes)

    def column(self, label: str) -> NDArray[np.float64]:
        """Return a column of the table of classes, NaN where there is none."""
        if label not in self.classes.columns:
            return np.full(self.n_class, np.nan)
        return self.classes[label].cast(pl.Float64).to_numpy()


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=_KEPT_FILES)
def _model(file: Path, mtime_ns: int, size: int) -> _Model:
    blocks = read_star(file)
    general = blocks["model_general"]
    assert isinstance(general, dict)
    classes = _table(blocks, "model_classes")
    spectra = [_table(blocks, f"model_class_{k + 1}") for k in range(len(classes))]
    # RELION 3.1 calls the spectra of optics groups what later versions call those of groups
    noise = [
        block["rlnSigma2Noise"].cast(pl.Float64).to_numpy()
        for name, block in blocks.items()
        if name.startswith(("model_optics_group_", "model_group_"))
        and isinstance(block, pl.DataFrame) and "rlnSigma2Noise" in block.columns
    ]  # fmt: skip
    n_shell = int(general["rlnOriginalImageSize"]) // 2 + 1
    fsc = _column(spectra[0], "rlnGoldStandardFsc", n_shell)
    return _Model(
        resolution_angst=_resolution(general),
        ave_pmax=float(general.get("rlnAveragePmax", "nan")),
        sigma_offset_angst=_offset_sigma(general),
        classes=classes,
        fsc=fsc if np.isfinite(fsc).all() and np.any(fsc[1:]) else None,
        ssnr=np.array([_column(one, "rlnSsnrMap", n_shell) for one in spectra]),
        tau2=np.array([_column(one, "rlnReferenceTau2", n_shell) for one in spectra]),
        noise=np.array(noise).reshape(len(noise), -1),
        box_size=int(general["rlnOriginalImageSize"]),
        pixel_size_angst=float(general["rlnPixelSize"]),
        current_size=int(general["rlnCurrentImageSize"]),
        is_planar=int(general["rlnReferenceDimensionality"]) == 2,
    )


def _table(blocks: Mapping[str, object], name: str) -> pl.DataFrame:
    table = blocks[name]
    if isinstance(table, dict):  # a loop of one row, as some programs write it
        return pl.DataFrame({label: [value] for label, value in table.items()})
    assert isinstance(table, pl.DataFrame)
    return table


def _column(table: pl.DataFrame, label: str, n_shell: int) -> NDArray[np.float64]:
    if label not in table.columns:
        return np.full(n_shell, np.nan)
    return table[label].cast(pl.Float64).to_numpy()


def _resolution(general: Mapping[str, str]) -> float:
    value = float(general["rlnCurrentResolution"])
    return value if 0 < value < _NO_ACCURACY else float("inf")


def _offset_sigma(general: Mapping[str, str]) -> float:
    if "rlnSigmaOffsetsAngst" in general:
        return float(general["rlnSigmaOffsetsAngst"])
    return float(general.get("rlnSigmaOffsets", "nan")) * float(general["rlnPixelSize"])


def _accuracy(classes: pl.DataFrame, n_class: int) -> tuple[float | None, float | None]:
    """Return the accuracies of the class where angles are most certain."""
    labels = ("rlnAccuracyRotations", "rlnAccuracyTranslationsAngst")
    if n_class == 0 or any(label not in classes.columns for label in labels):
        return None, None
    found = classes.select(labels).cast(pl.Float64).to_numpy()
    best = found[found[:, 0].argmin()]
    return tuple(float(v) if 0 < v < _NO_ACCURACY else None for v in best)  # type: ignore[return-value]
