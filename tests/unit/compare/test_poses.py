from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.spatial.transform import Rotation

from relion_mpi.compare.frame import MIRROR
from relion_mpi.compare.poses import best_assignment, compare_poses
from relion_mpi.compare.tables import PoseTable
from relion_mpi.core.errors import InputError
from relion_mpi.geometry.symmetry import point_group

C1 = point_group("C1")
FRAME = Rotation.from_rotvec([1.1, -0.7, 0.4]).as_matrix()
SHIFT = np.array([5.0, -3.0, 2.0])


def table(rotation, origin=None, classes=None, path="a.star", **columns):
    n = len(rotation)
    return PoseTable(
        path=Path(path),
        image=pl.Series([f"{i + 1:06d}@some/folder/s.mrcs" for i in range(n)]),
        rotation=rotation,
        origin_angst=np.zeros((n, 2)) if origin is None else origin,
        class_number=np.ones(n, np.int64) if classes is None else classes,
        **columns,
    )


def random_rotations(n, seed=0):
    return Rotation.random(n, rng=np.random.default_rng(seed)).as_matrix()


def wobbled(rotation, sigma_deg, seed=5):
    vectors = np.random.default_rng(seed).normal(size=(len(rotation), 3))
    return Rotation.from_rotvec(np.radians(sigma_deg) * vectors).as_matrix() @ rotation


def mates(rotation, group, seed=7):
    chosen = np.random.default_rng(seed).integers(0, group.n_ops, len(rotation))
    return rotation @ group.operators[chosen]


def other_frame(rotation, origin, frame, translation, mirrored):
    """Return poses and origins in map a, where a's points are M (frame p + translation)."""
    turned = rotation @ frame.T
    moved = origin + (turned @ translation)[:, :2]
    return (MIRROR @ turned @ MIRROR if mirrored else turned), moved


def test_equal_tables_have_no_errors():
    a = table(random_rotations(50))
    result = compare_poses(a, a, C1)
    assert result.within == (1.0, 1.0, 1.0)
    assert result.median_angle_deg < 1e-4
    assert result.median_shift_angst < 1e-9
    assert not result.frame.mirrored
    assert result.n_common == 50


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_known_frame_translation_and_hand_are_found_and_removed(mirrored):
    rotation = random_rotations(300)
    origin = np.random.default_rng(1).normal(0, 4, (300, 2))
    turned, moved = other_frame(rotation, origin, FRAME, SHIFT, mirrored)
    result = compare_poses(table(turned, moved), table(rotation, origin), C1)
    assert result.frame.mirrored == mirrored
    np.testing.assert_allclose(result.frame.rotation, FRAME, atol=1e-6)
    np.testing.assert_allclose(result.translation_angst, SHIFT, atol=1e-5)
    assert result.angle_error_deg.max() < 1e-4
    assert result.shift_error_angst.max() < 1e-4
    assert np.median(result.raw_shift_error_angst) > 2.0


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_frame_is_found_when_poses_are_noisy_and_half_of_them_wrong(mirrored):
    rotation = random_rotations(2000)
    turned, moved = other_frame(rotation, np.zeros((2000, 2)), FRAME, SHIFT, mirrored)
    turned = wobbled(turned, 4.0)
    turned[::2] = random_rotations(1000, seed=9)
    moved = moved + np.random.default_rng(2).normal(0, 2.0, moved.shape)
    result = compare_poses(table(turned, moved), table(rotation), C1)
    assert result.frame.mirrored == mirrored
    left = Rotation.from_matrix(result.frame.rotation.T @ FRAME).magnitude()
    # 1000 right poses, each off by 4 degrees an axis: 0.13 degrees an axis in the mean.
    assert np.degrees(left) < 1.0
    np.testing.assert_allclose(result.translation_angst, SHIFT, atol=0.5)


def test_the_median_error_is_the_size_of_the_wobble():
    rotation = random_rotations(3000)
    result = compare_poses(table(wobbled(rotation, 2.0)), table(rotation), C1)
    # The length of three normal numbers has median 1.538.
    assert result.median_angle_deg == pytest.approx(2.0 * 1.538, rel=0.05)


@pytest.mark.parametrize("name", ["C4", "D2", "D7", "O", "I1"])
def test_symmetry_mates_count_as_equal(name):
    group = point_group(name)
    rotation = wobbled(random_rotations(300), 0.0)
    result = compare_poses(table(mates(rotation, group)), table(rotation), group)
    assert result.angle_error_deg.max() < 1e-4
    assert compare_poses(table(mates(rotation, group)), table(rotation), C1).within[2] < 0.9


def test_a_d2_map_turned_by_a_quarter_is_still_the_same_map():
    group = point_group("D2")
    rotation = random_rotations(300)
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    turned, _ = other_frame(mates(rotation, group), np.zeros((300, 2)), quarter, np.zeros(3), False)
    result = compare_poses(table(wobbled(turned, 1.0)), table(rotation), group)
    assert result.within[2] > 0.98
    assert result.frame.angle_deg == pytest.approx(90.0, abs=0.5)


def test_only_a_translation_along_the_axis_is_removed_for_c4():
    group = point_group("C4")
    rotation = random_rotations(300)
    mated = mates(rotation, group)
    moved = (mated @ np.array([3.0, 0.0, 4.0]))[:, :2]
    result = compare_poses(table(mated, moved), table(rotation), group)
    np.testing.assert_allclose(result.translation_angst, [0, 0, 4], atol=0.6)


def test_rows_are_matched_by_image_in_any_order_and_folder():
    rotation = random_rotations(40)
    a = table(rotation)
    order = np.random.default_rng(3).permutation(40)[:25]
    names = [f"{i + 1}@/elsewhere/s.mrcs" for i in order]
    b = PoseTable(Path("b.star"), pl.Series(names), rotation[order], np.zeros((25, 2)),
                  np.ones(25, np.int64))  # fmt: skip
    result = compare_poses(a, b, C1)
    assert (result.n_a, result.n_b, result.n_common) == (40, 25, 25)
    assert result.angle_error_deg.max() < 1e-4


def test_permuted_classes_are_paired():
    classes = np.random.default_rng(4).integers(1, 4, 300)
    permuted = np.array([0, 3, 1, 2])[classes]
    permuted[:30] = 1 + (permuted[:30] % 3)
    rotation = random_rotations(300)
    result = compare_poses(table(rotation, classes=permuted), table(rotation, classes=classes), C1)
    np.testing.assert_array_equal(result.partner, [1, 2, 0])
    assert result.class_share == pytest.approx(0.9)
    assert result.confusion.sum() == 300


def test_classes_without_a_partner_say_so():
    partner, share = best_assignment(np.array([[5], [20], [1]]))
    np.testing.assert_array_equal(partner, [-1, 0, -1])
    assert share == pytest.approx(20 / 26)


def test_tables_without_a_common_image_are_refused():
    a = table(random_rotations(3))
    b = PoseTable(Path("b.star"), pl.Series(["1@other.mrcs"]), a.rotation[:1], np.zeros((1, 2)),
                  np.ones(1, np.int64))  # fmt: skip
    with pytest.raises(InputError, match="no image in common"):
        compare_poses(a, b, C1)


def test_an_image_that_occurs_twice_is_named():
    a = table(random_rotations(3))
    b = PoseTable(Path("b.star"), pl.Series(["1@s.mrcs"] * 2), a.rotation[:2], np.zeros((2, 2)),
                  np.ones(2, np.int64))  # fmt: skip
    with pytest.raises(InputError, match=r"b\.star: image 1@s\.mrcs occurs more than once"):
        compare_poses(a, b, C1)
