"""The model file: spectra, priors and parameters of a half-set."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.refine.outputs.listing import NO_RESOLUTION_ANGST, listing, resolution_angst

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.io.star import Block
    from relion_mpi.model.state import HalfModel, Model
    from relion_mpi.refine.outputs.names import OutputNames
    from relion_mpi.refine.record import IterationRecord

_TRILINEAR = 1
_MIN_RADIUS_NN = 10
_NO_PRIOR, _PRIOR_ON_ANGLES = 0, 1
_INFINITE_SSNR = 999.0


def model_blocks(
    record: IterationRecord, names: OutputNames, half: int | None = None
) -> dict[str, Block]:
    """Describe a model with the tables of RELION 5.

    Parameters
    ----------
    record
        Of the iteration.
    names
        Of its files: the table of classes names the maps.
    half
        1 or 2; None takes the first half-set (the only one, or the joined one at the end).

    Returns
    -------
    dict
        Blocks of `_model.star`.

    Notes
    -----
    Source: RELION 5.0 ml_model.cpp, MlModel::write.
    """
    model = record.model
    state = model.halves[half - 1 if half else 0]
    maps = [
        f"{k + 1:06d}@{names.averages()}" if model.is_planar else str(names.map(k + 1, half))
        for k in range(state.n_class)
    ]
    blocks: dict[str, Block] = {
        "model_general": _general(record, state),
        "model_classes": _classes(model, state, maps),
    }
    frequency = frequency_columns(model)
    for k in range(state.n_class):
        blocks[f"model_class_{k + 1}"] = _class_spectra(state, k, frequency)
    blocks["model_groups"] = _groups(state, record.group_names)
    for g in _optics_groups_with_noise(state):
        noise = pl.Series("rlnSigma2Noise", state.sigma2_noise[g])
        table = frequency.select("rlnSpectralIndex", "rlnResolution", noise)
        blocks[f"model_optics_group_{g + 1}"] = table
    for k in range(state.n_class):
        distribution = pl.DataFrame({"rlnOrientationDistribution": state.pdf_direction[k]})
        blocks[f"model_pdf_orient_class_{k + 1}"] = distribution
    return blocks


def frequency_columns(model: Model) -> pl.DataFrame:
    """Return index, 1/Angstrom and Angstrom (999 at the origin) of every shell."""
    shell = np.arange(model.n_shell)
    per_angst = shell / model.box_angst
    angst = np.full(model.n_shell, NO_RESOLUTION_ANGST)
    angst[1:] = model.box_angst / shell[1:]
    return pl.DataFrame(
        {"rlnSpectralIndex": shell, "rlnResolution": per_angst, "rlnAngstromResolution": angst}
    )


def last_significant_shell(data_vs_prior: NDArray[np.float64]) -> int:
    """Return the last shell before the signal-to-noise ratio first falls below 1.

    Shell 0 is passed over, as for the current resolution: the mean of a masked average may well
    be near 0 while all its detail is there.
    """
    below = np.flatnonzero(data_vs_prior[1:] < 1.0)
    return int(below[0]) if below.size else data_vs_prior.size - 1


def class_resolutions_angst(model: Model, state: HalfModel) -> list[float]:
    """Return the resolution of each class in Angstrom, 999 for none."""
    return [
        resolution_angst(last_significant_shell(ssnr) / model.box_angst)
        for ssnr in state.data_vs_prior
    ]


def overall_completeness(
    coverage: NDArray[np.float64], max_shell: int, *, planar: bool = False
) -> float:
    """Average the coverage of Fourier space over all voxels up to a shell.

    Parameters
    ----------
    coverage : float64 (n_shell,)
    max_shell
        Last shell counted; voxels are those of a cube of `2 max_shell - 1`, as in RELION.
    planar
        Of a square in place of a cube.

    Returns
    -------
    float
        0 to 1.

    Notes
    -----
    Source: RELION ml_model.cpp, calculateTotalFourierCoverage.
    """
    if max_shell < 1:
        return 0.0
    count = _voxels_per_shell(max_shell, planar=planar)
    return float(count @ coverage[: max_shell + 1] / count.sum())


@lru_cache(maxsize=8)
def _voxels_per_shell(max_shell: int, *, planar: bool) -> NDArray[np.int64]:
    """Count the voxels with int(radius) = shell in the cube; one octant stands for all."""
    axis = np.arange(max_shell)
    mates = np.where(axis == 0, 1, 2)
    weight = np.multiply.outer(mates, mates).astype(np.float64).ravel()
    count = np.zeros(max_shell + 1)
    for z in range(1 if planar else max_shell):
        radius = np.sqrt(z**2 + axis[:, None] ** 2 + axis**2).astype(np.int64).ravel()
        shells = np.bincount(radius, weight)[: max_shell + 1]
        count[: shells.size] += mates[z] * shells
    return count.astype(np.int64)


def _general(record: IterationRecord, state: HalfModel) -> Block:
    model = record.model
    sigma_deg = record.schedule.local_sigma_deg or 0.0
    return listing(
        {
            "ReferenceDimensionality": 2 if model.is_planar else 3,
            "DataDimensionality": 2,
            "OriginalImageSize": model.box_size,
            "CurrentResolution": resolution_angst(model.current_resolution),
            "CurrentImageSize": model.current_size,
            "PaddingFactor": float(model.padding),
            "IsHelix": False,
            "FourierSpaceInterpolator": _TRILINEAR,
            "MinRadiusNnInterpolation": _MIN_RADIUS_NN,
            "PixelSize": model.pixel_size_angst,
            "NrClasses": state.n_class,
            "NrBodies": 1,
            "NrGroups": len(record.group_names),
            "NrOpticsGroups": len(record.optics_names),
            "Tau2FudgeFactor": record.options.tau2_fudge,
            "NormCorrectionAverage": state.avg_norm,
            "SigmaOffsetsAngst": np.sqrt(state.sigma2_offset_angst2),
            "OrientationalPriorMode": _PRIOR_ON_ANGLES if sigma_deg else _NO_PRIOR,
            "SigmaPriorRotAngle": sigma_deg,
            "SigmaPriorTiltAngle": sigma_deg,
            "SigmaPriorPsiAngle": sigma_deg,
            "LogLikelihood": state.log_likelihood,
            "AveragePmax": state.ave_pmax,
        }
    )


def _classes(model: Model, state: HalfModel, maps: list[str]) -> pl.DataFrame:
    limits = [last_significant_shell(ssnr) for ssnr in state.data_vs_prior]
    table = pl.DataFrame(
        {
            "rlnReferenceImage": maps,
            "rlnClassDistribution": state.pdf_class,
            "rlnAccuracyRotations": model.accuracy.rotation_deg,
            "rlnAccuracyTranslationsAngst": model.accuracy.translation_angst,
            "rlnEstimatedResolution": class_resolutions_angst(model, state),
            "rlnOverallFourierCompleteness": [
                overall_completeness(coverage, shell, planar=model.is_planar)
                for coverage, shell in zip(state.coverage, limits, strict=True)
            ],
        }
    )
    if not model.is_planar:
        return table
    # RELION asks for these of images; the prior on offsets is centred on each particle's own here
    return table.with_columns(rlnClassPriorOffsetX=pl.lit(0.0), rlnClassPriorOffsetY=pl.lit(0.0))


def _class_spectra(state: HalfModel, k: int, frequency: pl.DataFrame) -> pl.DataFrame:
    ssnr = state.data_vs_prior[k]
    table = frequency.with_columns(
        pl.Series("rlnSsnrMap", np.where(np.isposinf(ssnr), _INFINITE_SSNR, ssnr)),
        pl.Series("rlnGoldStandardFsc", state.fsc),
        pl.Series("rlnFourierCompleteness", state.coverage[k]),
        pl.Series("rlnReferenceSigma2", state.sigma2[k]),
        pl.Series("rlnReferenceTau2", state.tau2[k]),
    )
    # RELION leaves the column out until accuracies have been estimated
    if not state.orientability.any():
        return table
    share = pl.Series("rlnSpectralOrientabilityContribution", state.orientability[k])
    return table.with_columns(share)


def _groups(state: HalfModel, group_names: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "rlnGroupNumber": np.arange(1, len(group_names) + 1),
            "rlnGroupName": pl.Series(group_names, dtype=pl.String),
            "rlnGroupNrParticles": state.group_particles,
            "rlnGroupScaleCorrection": state.scale,
        }
    )


def _optics_groups_with_noise(state: HalfModel) -> list[int]:
    """Return the optics groups that have particles, all of them before particles were counted."""
    counts = state.optics_particles
    return [g for g in range(counts.size) if counts[g] > 0 or not counts.any()]
