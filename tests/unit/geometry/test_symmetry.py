"""Point groups and their asymmetric units."""

from __future__ import annotations

import math
import shutil
import subprocess

import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.euler import directions
from relion_mpi.geometry.symmetry import axis_rotation, in_asymmetric_unit, point_group

ORDERS = {
    "C1": 1, "C2": 2, "C7": 7, "D1": 2, "D2": 4, "D5": 10, "T": 12, "O": 24,
    "I1": 60, "I2": 60, "I3": 60, "I4": 60,
}  # fmt: skip


@pytest.mark.parametrize(("name", "n_ops"), ORDERS.items())
def test_group_has_its_order_and_is_closed(name: str, n_ops: int):
    operators = point_group(name).operators
    assert operators.shape == (n_ops, 3, 3)
    assert np.array_equal(operators[0], np.eye(3))
    assert np.allclose(np.linalg.det(operators), 1.0)
    products = (operators[:, None] @ operators[None]).reshape(-1, 9)
    nearest = np.abs(products[:, None] - operators.reshape(1, -1, 9)).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-12


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed")
@pytest.mark.parametrize("name", [*ORDERS, "I"])
def test_operators_are_those_of_relion(name: str, tmp_path):
    command = ["relion_refine", "--sym", name, "--print_symmetry_ops", "--i", "x", "--o", "y"]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    rows = [block.split("=")[1].split("Euler")[0].split() for block in text.split("R(")[1:]]
    theirs = np.array(rows, np.float64).reshape(-1, 9)
    ours = point_group(name).operators.reshape(-1, 9)
    assert len(theirs) == len(ours)
    # RELION's axes have six digits and it prints five
    assert np.abs(theirs[:, None] - ours).max(axis=2).min(axis=0).max() < 2e-5


@pytest.mark.parametrize(
    ("name", "canonical"), [("c3", "C3"), (" d02 ", "D2"), ("i", "I2"), ("i1", "I1"), ("o", "O")]
)
def test_names_are_case_insensitive(name: str, canonical: str):
    assert point_group(name).name == canonical


@pytest.mark.parametrize("name", ["C0", "", "X", "C", "D", "I5", "C-1", "3", "C1.5", "octahedral"])
def test_unknown_names_are_refused_with_the_choices(name: str):
    with pytest.raises(InputError, match=r"expected one of C1, C2"):
        point_group(name)


@pytest.mark.parametrize("name", ["CI", "CS", "C2v", "C3h", "D2h", "S4", "Th", "Td", "Oh", "Ih"])
def test_groups_with_mirrors_are_refused_with_the_reason(name: str):
    with pytest.raises(InputError, match="mirror planes"):
        point_group(name)


@pytest.mark.parametrize(("name", "n_ops"), ORDERS.items())
def test_every_direction_has_one_mate_in_the_asymmetric_unit(name: str, n_ops: int):
    rng = np.random.default_rng(3)
    n = 10000
    rot, tilt = rng.uniform(-180, 180, n), np.degrees(np.arccos(rng.uniform(-1, 1, n)))
    group = point_group(name)
    mates = np.einsum("nj,rjk->nrk", directions(rot, tilt), group.operators).reshape(-1, 3)
    mate_rot = np.degrees(np.arctan2(mates[:, 1], mates[:, 0]))
    mate_tilt = np.degrees(np.arccos(np.clip(mates[:, 2], -1, 1)))
    inside = in_asymmetric_unit(group, mate_rot, mate_tilt).reshape(n, n_ops)
    assert (inside.sum(axis=1) >= 1).all()
    assert (inside.sum(axis=1) > 1).mean() < 1e-3  # borders only
    p = 1 / n_ops
    sigma = math.sqrt(max(p * (1 - p), 1e-12) / n)
    assert abs(in_asymmetric_unit(group, rot, tilt).mean() - p) < 3.5 * sigma


@pytest.mark.parametrize("name", ["C4", "D1", "D2", "T", "O", "I1", "I2", "I3", "I4"])
def test_symmetry_axes_and_poles_have_a_mate_in_the_unit(name: str):
    group = point_group(name)
    axes = [np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, -1.0])]
    for operator in group.operators[1:]:
        values, vectors = np.linalg.eig(operator)
        axis = vectors[:, np.argmin(np.abs(values - 1))].real
        axes += [axis, -axis]
    for axis in axes:
        mates = axis @ group.operators
        rot = np.degrees(np.arctan2(mates[:, 1], mates[:, 0]))
        tilt = np.degrees(np.arccos(np.clip(mates[:, 2], -1, 1)))
        assert in_asymmetric_unit(group, rot, tilt).any()


def test_axis_rotation_turns_points_counter_clockwise():
    assert np.allclose(axis_rotation((0, 0, 2), 90.0) @ [1, 0, 0], [0, 1, 0])
