import numpy as np

from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.outputs.sampling_star import sampling_blocks
from relion_mpi.sampling.orientations import make_orientation_grid

LABELS = """Is3DSampling Is3DTranslationalSampling HealpixOrder SymmetryGroup TiltAngleLimit PsiStep
OffsetRange OffsetStep HelicalOffsetStep SamplingPerturbInstance SamplingPerturbFactor
HealpixOrderOriginal PsiStepOriginal OffsetRangeOriginal OffsetStepOriginal"""


def test_labels_are_those_of_relion_in_its_order(make_record):
    general = sampling_blocks(make_record())["sampling_general"]
    assert list(general) == [f"rln{word}" for word in LABELS.split()]


def test_offsets_are_in_angstrom(make_record):
    general = sampling_blocks(make_record())["sampling_general"]
    assert float(general["rlnOffsetRange"]) == 9.0
    # 5 and 2 pixels of 3 Angstrom, the defaults
    assert float(general["rlnOffsetRangeOriginal"]) == 15.0
    assert float(general["rlnOffsetStepOriginal"]) == 6.0


def test_the_grid_is_the_one_that_was_used_not_the_next(make_record):
    record = make_record(orientations=make_orientation_grid(1, point_group("D2")))
    record.schedule.healpix_order = 2
    blocks = sampling_blocks(record)
    assert blocks["sampling_general"]["rlnHealpixOrder"] == "1"
    assert blocks["sampling_general"]["rlnSymmetryGroup"] == "D2"
    assert float(blocks["sampling_general"]["rlnPsiStep"]) == 30.0


def test_directions_are_unperturbed_and_in_the_order_of_the_distribution(make_record):
    grid = make_orientation_grid(1, point_group("C1"), perturbation=0.3)
    table = sampling_blocks(make_record(orientations=grid))["sampling_directions"]
    assert table.columns == ["rlnAngleRot", "rlnAngleTilt"]
    # first two pixels of HEALPix order 1
    np.testing.assert_allclose(table.row(0), (45.0, 70.528779), atol=1e-6)
    np.testing.assert_allclose(table.row(1), (67.5, 48.189685), atol=1e-6)
