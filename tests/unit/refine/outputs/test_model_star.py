import dataclasses

import numpy as np
import pytest

from relion_mpi.io.star import read_star, write_star
from relion_mpi.refine.outputs.model_star import (
    last_significant_shell,
    model_blocks,
    overall_completeness,
)
from relion_mpi.refine.outputs.names import OutputNames

GENERAL = """ReferenceDimensionality DataDimensionality OriginalImageSize CurrentResolution
CurrentImageSize PaddingFactor IsHelix FourierSpaceInterpolator MinRadiusNnInterpolation PixelSize
NrClasses NrBodies NrGroups NrOpticsGroups Tau2FudgeFactor NormCorrectionAverage SigmaOffsetsAngst
OrientationalPriorMode SigmaPriorRotAngle SigmaPriorTiltAngle SigmaPriorPsiAngle LogLikelihood
AveragePmax"""
CLASSES = """ReferenceImage ClassDistribution AccuracyRotations AccuracyTranslationsAngst
EstimatedResolution OverallFourierCompleteness"""
SPECTRA = """SpectralIndex Resolution AngstromResolution SsnrMap GoldStandardFsc FourierCompleteness
ReferenceSigma2 ReferenceTau2 SpectralOrientabilityContribution"""
GROUPS = "GroupNumber GroupName GroupNrParticles GroupScaleCorrection"


def labels(text):
    return [f"rln{word}" for word in text.split()]


def blocks_of(record, half=None):
    return model_blocks(record, OutputNames(record.root, record.iteration), half)


def test_tables_are_those_of_relion_5_in_its_order(make_record):
    names = list(blocks_of(make_record(n_half=1, n_class=2)))
    assert names == [
        "model_general",
        "model_classes",
        "model_class_1",
        "model_class_2",
        "model_groups",
        "model_optics_group_1",
        "model_pdf_orient_class_1",
        "model_pdf_orient_class_2",
    ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("model_general", GENERAL),
        ("model_classes", CLASSES),
        ("model_class_1", SPECTRA),
        ("model_groups", GROUPS),
        ("model_optics_group_1", "SpectralIndex Resolution Sigma2Noise"),
        ("model_pdf_orient_class_1", "OrientationDistribution"),
    ],
)
def test_labels_are_those_of_relion_5_in_its_order(make_record, table, expected):
    block = blocks_of(make_record(), 1)[table]
    assert list(block if isinstance(block, dict) else block.columns) == labels(expected)


def test_each_half_writes_its_own_parameters_and_names_its_own_map(make_record):
    record = make_record()
    record.model.halves[1].avg_norm = 0.5
    blocks = blocks_of(record, 2)
    assert float(blocks["model_general"]["rlnNormCorrectionAverage"]) == 0.5
    expected = f"{record.root}_it003_half2_class001.mrc"
    assert blocks["model_classes"]["rlnReferenceImage"].to_list() == [expected]


def test_small_spectra_survive_the_file(make_record, tmp_path):
    record = make_record()
    write_star(tmp_path / "m.star", blocks_of(record, 1))
    table = read_star(tmp_path / "m.star")["model_class_1"]
    np.testing.assert_array_equal(table["rlnReferenceTau2"], record.model.halves[0].tau2[0])
    assert table["rlnReferenceTau2"].min() > 0


def test_resolution_columns_agree_and_are_finite_at_the_origin(make_record):
    table = blocks_of(make_record(), 1)["model_class_1"]
    assert table["rlnAngstromResolution"][0] == 999.0
    assert table["rlnSsnrMap"][0] == 999.0
    assert table["rlnAngstromResolution"][4] == 12.0
    np.testing.assert_allclose(table["rlnResolution"][4], 1 / 12)


def test_no_resolution_yet_is_written_as_999(make_record):
    record = make_record()
    record.model.current_resolution = 0.0
    assert float(blocks_of(record, 1)["model_general"]["rlnCurrentResolution"]) == 999.0


def test_local_searches_are_written_as_priors(make_record):
    record = make_record()
    record.schedule.local_sigma_deg = 3.75
    general = blocks_of(record, 1)["model_general"]
    assert general["rlnOrientationalPriorMode"] == "1"
    assert float(general["rlnSigmaPriorTiltAngle"]) == 3.75


def test_every_noise_spectrum_is_written_before_particles_were_counted(make_record):
    record = make_record()
    record.model.halves[0].optics_particles[:] = 0
    assert "model_optics_group_2" in blocks_of(record, 1)


def test_orientability_is_left_out_before_accuracies_were_estimated(make_record):
    record = make_record()
    record.model.halves[0].orientability[:] = 0
    table = blocks_of(record, 1)["model_class_1"]
    assert table.columns == labels(SPECTRA)[:-1]


def test_group_names_that_look_like_numbers_stay_text(make_record, tmp_path):
    record = dataclasses.replace(make_record(), group_names=("001", "002"))
    write_star(tmp_path / "m.star", blocks_of(record, 1))
    assert read_star(tmp_path / "m.star")["model_groups"]["rlnGroupName"].to_list() == [
        "001",
        "002",
    ]


def test_estimated_resolution_is_the_last_shell_before_the_first_below_one(make_record):
    # shells 0 to 4 are above 1, shell 6 is so again
    classes = blocks_of(make_record(), 1)["model_classes"]
    assert classes["rlnEstimatedResolution"][0] == 12.0


def test_shell_is_the_last_one_if_the_ssnr_never_falls_below_one():
    assert last_significant_shell(np.full(9, 2.0)) == 8


def test_shell_is_zero_without_signal():
    assert last_significant_shell(np.zeros(9)) == 0


def test_a_mean_without_signal_does_not_hide_the_detail():
    # as of a 2D class whose positive ring and negative surroundings cancel
    assert last_significant_shell(np.array([0.02, 50.0, 20.0, 3.0, 0.5, 2.0])) == 3


def test_completeness_agrees_with_a_count_of_all_voxels():
    coverage, last = np.random.default_rng(5).uniform(size=12), 7
    axis = np.arange(-last + 1, last)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).astype(int)
    expected = coverage[radius[radius <= last]].mean()
    # the same sum in another order
    np.testing.assert_allclose(overall_completeness(coverage, last), expected, rtol=1e-13)


def test_completeness_is_zero_without_a_significant_shell():
    assert overall_completeness(np.ones(9), 0) == 0.0


def test_classes_have_a_row_and_spectra_each(make_class_record):
    record = make_class_record()
    state = record.model.halves[0]
    state.pdf_class[:] = 0.3, 0.7
    state.data_vs_prior[1, 2:] = 0.5
    state.tau2[1] *= 2
    blocks = blocks_of(record)
    classes = blocks["model_classes"]
    assert classes["rlnClassDistribution"].to_list() == [0.3, 0.7]
    # shells 4 and 1 of a box of 48 Angstrom are the last ones with signal
    assert classes["rlnEstimatedResolution"].to_list() == [12.0, 48.0]
    maps = [f"{record.root}_it003_class00{k}.mrc" for k in (1, 2)]
    assert classes["rlnReferenceImage"].to_list() == maps
    first, second = (blocks[f"model_class_{k}"]["rlnReferenceTau2"] for k in (1, 2))
    np.testing.assert_allclose(second / first, 2.0)
    assert blocks["model_general"]["rlnNrClasses"] == "2"
    assert float(blocks["model_general"]["rlnTau2FudgeFactor"]) == 4.0
