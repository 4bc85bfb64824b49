"""Tables with known differences."""

from pathlib import Path

import numpy as np
import polars as pl
from scipy.spatial.transform import Rotation

from relion_mpi.compare.frame import MIRROR
from relion_mpi.compare.tables import PoseTable


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
