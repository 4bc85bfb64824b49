from pathlib import Path

from relion_mpi.io.star import read_star
from relion_mpi.refine.outputs.names import OutputNames
from relion_mpi.refine.outputs.optimiser_star import optimiser_blocks
from relion_mpi.refine.outputs.writer import write_iteration

LABELS = """OutputRootName ModelStarFile ModelStarFile2 ExperimentalDataStarFile
OrientSamplingStarFile CurrentIteration NumberOfIterations DoSplitRandomHalves
JoinHalvesUntilThisResolution AdaptiveOversampleOrder AdaptiveOversampleFraction RandomSeed
ParticleDiameter WidthMaskEdge DoZeroMask DoSolventFlattening DoSolventFscCorrection SolventMaskName
SolventMask2Name BodyStarFile TauSpectrumName MaximumCoarseImageSize HighresLimitExpectation
LowresLimitExpectation IncrementImageSize DoMapEstimation DoFastSubsetOptimisation
DoExternalReconstruct DoStochasticGradientDescent DoStochasticEM SgdInitialIterations
SgdFinalIterations SgdInBetweenIterations SgdInitialResolution SgdFinalResolution
SgdInitialSubsetSize SgdFinalSubsetSize SgdMuFactor SgdSigma2FudgeInitial SgdSigma2FudgeHalflife
SgdSkipAnneal SgdSubsetSize SgdWriteEverySubset SgdStepsize DoAutoRefine
AutoLocalSearchesHealpixOrder NumberOfIterWithoutResolutionGain BestResolutionThusFar
NumberOfIterWithoutChangingAssignments DoSkipAlign DoSkipRotate OverallAccuracyRotations
OverallAccuracyTranslationsAngst ChangesOptimalOrientations ChangesOptimalOffsets
ChangesOptimalClasses SmallestChangesOrientations SmallestChangesOffsets SmallestChangesClasses
LocalSymmetryFile DoHelicalRefine IgnoreHelicalSymmetry FourierMask HelicalTwistInitial
HelicalRiseInitial HelicalCentralProportion NrHelicalNStart HelicalMaskTubeInnerDiameter
HelicalMaskTubeOuterDiameter HelicalSymmetryLocalRefinement HelicalSigmaDistance
HelicalKeepTiltPriorFixed HasConverged HasHighFscAtResolLimit HasLargeSizeIncreaseIterationsAgo
DoCorrectNorm DoCorrectScale DoCorrectCtf DoIgnoreCtfUntilFirstPeak CtfDataArePhaseFlipped
DoOnlyFlipCtfPhases RefsAreCtfCorrected FixSigmaNoiseEstimates FixSigmaOffsetEstimates
MaxNumberOfPooledParticles"""


def general_of(record):
    names = OutputNames(record.root, record.iteration)
    return optimiser_blocks(record, names)["optimiser_general"]


def test_labels_are_those_of_relion_in_its_order(make_record):
    assert list(general_of(make_record())) == [f"rln{word}" for word in LABELS.split()]


def test_one_set_of_all_data_has_one_model(make_record):
    general = general_of(make_record(n_half=1))
    assert "rlnModelStarFile2" not in general
    assert general["rlnModelStarFile"].endswith("run_it003_model.star")
    assert general["rlnDoSplitRandomHalves"] == "0"


def test_labels_of_a_classification_are_those_of_relion_in_its_order(make_class_record):
    expected = [f"rln{word}" for word in LABELS.split() if word != "ModelStarFile2"]
    assert list(general_of(make_class_record())) == expected


def test_options_of_a_classification_are_written_as_relion_writes_them(make_class_record):
    # Values of RELION 3.1.3 for --iter 25 --skip_align --strict_highres_exp 20 --tau2_fudge 4
    general = general_of(
        make_class_record(iter=25, skip_align=True, strict_highres_exp=20.0, fast_subsets=True)
    )
    found = {
        label: float(general[f"rln{label}"])
        for label in (
            "NumberOfIterations", "DoAutoRefine", "DoSplitRandomHalves", "DoSkipAlign",
            "HighresLimitExpectation", "DoFastSubsetOptimisation", "DoSolventFscCorrection",
            "JoinHalvesUntilThisResolution", "AutoLocalSearchesHealpixOrder", "HasConverged",
        )
    }  # fmt: skip
    assert list(found.values()) == [25, 0, 0, 1, 20, 1, 0, -1, 4, 0]


def test_state_of_the_schedule_is_written(make_record):
    record = make_record()
    record.schedule.has_converged = True
    record.schedule.incr_size = 17
    record.schedule.smallest.orientations_deg = 1.25
    general = general_of(record)
    assert general["rlnHasConverged"] == "1"
    assert general["rlnIncrementImageSize"] == "17"
    assert general["rlnSmallestChangesOrientations"] == "1.25"
    assert general["rlnBestResolutionThusFar"] == "0.08"


def test_counts_are_written_without_a_decimal_point(make_record):
    general = general_of(make_record())
    counts = ("rlnWidthMaskEdge", "rlnSmallestChangesClasses", "rlnCurrentIteration")
    assert all(general[label].isdigit() for label in counts)


def test_named_files_are_read_back_from_the_file(make_record):
    record = make_record()
    write_iteration(record)
    general = read_star(f"{record.root}_it003_optimiser.star")["optimiser_general"]
    files = [value for label, value in general.items() if label.endswith(("StarFile", "File2"))]
    named = [Path(name) for name in files if name != "None"]
    assert len(named) == 4
    assert all(path.is_file() for path in named)


def test_command_line_stands_in_a_comment(make_record):
    record = make_record(command_line="relion-mpi refine3d\n--o run")
    write_iteration(record)
    lines = Path(f"{record.root}_it003_optimiser.star").read_text().splitlines()
    assert lines[1] == "# relion-mpi refine3d --o run"
