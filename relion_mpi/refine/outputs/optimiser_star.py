"""The optimiser file: options, convergence and the names of an iteration's other files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.class_options import ClassOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.outputs.listing import listing
from relion_mpi.refine.schedule import Changes

if TYPE_CHECKING:
    from relion_mpi.io.star import Block
    from relion_mpi.refine.common_options import CommonOptions
    from relion_mpi.refine.outputs.names import OutputNames
    from relion_mpi.refine.record import IterationRecord

_NO_LIMIT = -1.0
_RELIONS_LOCAL_ORDER = 4
"""RELION writes it where auto-refine is off, too."""

# Methods that this program does not offer: RELION's values for "off", which it expects to find.
_GRADIENT_DESCENT_OFF: dict[str, object] = {
    "DoStochasticGradientDescent": False,
    "DoStochasticEM": False,
    "SgdInitialIterations": 50,
    "SgdFinalIterations": 50,
    "SgdInBetweenIterations": 200,
    "SgdInitialResolution": 35.0,
    "SgdFinalResolution": 15.0,
    "SgdInitialSubsetSize": 100,
    "SgdFinalSubsetSize": 500,
    "SgdMuFactor": 0.0,
    "SgdSigma2FudgeInitial": 8.0,
    "SgdSigma2FudgeHalflife": -1,
    "SgdSkipAnneal": False,
    "SgdSubsetSize": -1,
    "SgdWriteEverySubset": 1,
    "SgdStepsize": 0.5,
}
_HELICES_OFF: dict[str, object] = {
    "LocalSymmetryFile": None,
    "DoHelicalRefine": False,
    "IgnoreHelicalSymmetry": False,
    "FourierMask": None,
    "HelicalTwistInitial": 0.0,
    "HelicalRiseInitial": 0.0,
    "HelicalCentralProportion": 0.3,
    "NrHelicalNStart": 1,
    "HelicalMaskTubeInnerDiameter": -1.0,
    "HelicalMaskTubeOuterDiameter": -1.0,
    "HelicalSymmetryLocalRefinement": False,
    "HelicalSigmaDistance": -1.0,
    "HelicalKeepTiltPriorFixed": False,
}


def optimiser_blocks(record: IterationRecord, names: OutputNames) -> dict[str, Block]:
    """Describe the state of a run, so that it can be continued.

    Parameters
    ----------
    record
        Of the iteration.
    names
        Of its files.

    Returns
    -------
    dict
        Blocks of `_optimiser.star`, labels in the order of RELION 3.1.

    Notes
    -----
    Source: RELION 3.1 ml_optimiser.cpp, MlOptimiser::write.
    """
    values = (
        _files(record, names)
        | _options(record)
        | _GRADIENT_DESCENT_OFF
        | _convergence(record)
        | _HELICES_OFF
        | _flags(record)
    )
    return {"optimiser_general": listing(values)}


def keeps_poses(options: CommonOptions) -> bool:
    """Whether poses are not searched, so that nothing is found about them."""
    return isinstance(options, ClassOptions) and options.skip_align


def _files(record: IterationRecord, names: OutputNames) -> dict[str, object]:
    # The final files have one model, of all particles.
    split = len(record.model.halves) > 1 and names.iteration is not None
    values: dict[str, object] = {"OutputRootName": record.root}
    values["ModelStarFile"] = names.model(1 if split else None)
    if split:
        values["ModelStarFile2"] = names.model(2)
    return values | {
        "ExperimentalDataStarFile": names.data(),
        "OrientSamplingStarFile": names.sampling(),
    }


def _options(record: IterationRecord) -> dict[str, object]:
    options, schedule = record.options, record.schedule
    auto = options if isinstance(options, RefineOptions) else None
    classes = options if isinstance(options, ClassOptions) else None
    return {
        "CurrentIteration": (
            record.last_iteration if record.iteration is None else record.iteration
        ),
        "NumberOfIterations": options.last_iteration,
        "DoSplitRandomHalves": len(record.model.halves) > 1,
        "JoinHalvesUntilThisResolution": auto.low_resol_join_halves if auto else _NO_LIMIT,
        "AdaptiveOversampleOrder": schedule.oversampling,
        "AdaptiveOversampleFraction": options.adaptive_fraction,
        "RandomSeed": options.random_seed,
        "ParticleDiameter": options.particle_diameter,
        "WidthMaskEdge": round(options.maskedge),
        "DoZeroMask": options.zero_mask,
        "DoSolventFlattening": options.flatten_solvent,
        "DoSolventFscCorrection": auto is not None and auto.solvent_correct_fsc,
        "SolventMaskName": options.solvent_mask,
        "SolventMask2Name": options.solvent_mask2,
        "BodyStarFile": None,
        "TauSpectrumName": None,
        "MaximumCoarseImageSize": -1,
        "HighresLimitExpectation": classes.strict_highres_exp if classes else _NO_LIMIT,
        "LowresLimitExpectation": _NO_LIMIT,
        "IncrementImageSize": schedule.incr_size,
        "DoMapEstimation": True,
        "DoFastSubsetOptimisation": (
            isinstance(options, Class3DOptions) and options.fast_subsets
        ),
        "DoExternalReconstruct": False,
    }


def _convergence(record: IterationRecord) -> dict[str, object]:
    schedule, accuracy = record.schedule, record.model.accuracy
    changes, smallest = schedule.changes or Changes(), schedule.smallest or Changes()
    auto = len(record.model.halves) > 1
    return {
        "DoAutoRefine": auto,
        "AutoLocalSearchesHealpixOrder": schedule.local_order if auto else _RELIONS_LOCAL_ORDER,
        "NumberOfIterWithoutResolutionGain": schedule.iterations_without_resolution_gain,
        "BestResolutionThusFar": schedule.best_resolution,
        "NumberOfIterWithoutChangingAssignments": schedule.iterations_without_changes,
        "DoSkipAlign": keeps_poses(record.options),
        "DoSkipRotate": False,
        "OverallAccuracyRotations": accuracy.best_rotation_deg,
        "OverallAccuracyTranslationsAngst": accuracy.best_translation_angst,
        "ChangesOptimalOrientations": changes.orientations_deg,
        "ChangesOptimalOffsets": changes.offsets_angst,
        "ChangesOptimalClasses": float(changes.classes),
        "SmallestChangesOrientations": smallest.orientations_deg,
        "SmallestChangesOffsets": smallest.offsets_angst,
        "SmallestChangesClasses": round(smallest.classes),
    }


def _flags(record: IterationRecord) -> dict[str, object]:
    options, schedule = record.options, record.schedule
    return {
        "HasConverged": schedule.has_converged,
        "HasHighFscAtResolLimit": schedule.has_high_fsc_at_limit,
        "HasLargeSizeIncreaseIterationsAgo": 0,
        "DoCorrectNorm": options.norm,
        "DoCorrectScale": options.scale,
        "DoCorrectCtf": options.ctf,
        "DoIgnoreCtfUntilFirstPeak": options.ctf_intact_first_peak,
        "CtfDataArePhaseFlipped": options.ctf_phase_flipped,
        "DoOnlyFlipCtfPhases": options.only_flip_phases,
        "RefsAreCtfCorrected": options.ctf,
        "FixSigmaNoiseEstimates": False,
        "FixSigmaOffsetEstimates": False,
        "MaxNumberOfPooledParticles": max(options.batch, 1),
    }
