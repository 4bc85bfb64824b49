"""Particles of known pose as cryoSPARC writes them."""

from __future__ import annotations

import mrcfile
import numpy as np
from scipy.spatial.transform import Rotation

from factories.maps import blobs

PIXEL_ANGST = np.float32(1.06)

PARTICLE_FIELDS = [
    ("uid", "<u8"), ("blob/path", "S32"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,)),
    ("blob/psize_A", "<f4"), ("blob/sign", "<f4"), ("alignments3D/pose", "<f4", (3,)),
    ("alignments3D/shift", "<f4", (2,)), ("alignments3D/psize_A", "<f4"),
    ("alignments3D/split", "<u4"), ("alignments3D/class", "<u4"),
    ("alignments3D/class_posterior", "<f4"), ("ctf/exp_group_id", "<u4"), ("ctf/accel_kv", "<f4"),
    ("ctf/cs_mm", "<f4"), ("ctf/amp_contrast", "<f4"), ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4"),
    ("ctf/df_angle_rad", "<f4"), ("ctf/phase_shift_rad", "<f4"), ("ctf/tilt_A", "<f4", (2,)),
]  # fmt: skip
PLACE_FIELDS = [
    ("uid", "<u8"), ("location/micrograph_path", "S48"), ("location/micrograph_shape", "<u4", (2,)),
    ("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4"),
]  # fmt: skip


def particles(n, seed=0, box=32):
    """Records of n particles with random poses, and of their places in another order."""
    rng = np.random.default_rng(seed)
    records = np.zeros(n, PARTICLE_FIELDS)
    records["uid"] = rng.permutation(10 * n)[:n] + 2**60
    records["blob/path"] = b">J3/extract/stack.mrcs"
    records["blob/idx"] = np.arange(n)
    records["blob/shape"], records["blob/psize_A"] = box, PIXEL_ANGST
    records["blob/sign"] = 1
    records["alignments3D/pose"] = Rotation.random(n, rng=rng).as_rotvec()
    records["alignments3D/shift"] = rng.uniform(-4, 4, (n, 2))
    records["alignments3D/psize_A"] = PIXEL_ANGST
    records["alignments3D/split"] = np.arange(n) % 2
    records["alignments3D/class"] = np.arange(n) % 3
    records["ctf/exp_group_id"] = 7 - np.arange(n) % 2
    records["ctf/accel_kv"], records["ctf/cs_mm"] = 300, 2.7
    records["ctf/amp_contrast"] = 0.1
    records["ctf/df1_A"] = rng.uniform(8000, 20000, n)
    records["ctf/df2_A"] = records["ctf/df1_A"] - 300
    records["ctf/df_angle_rad"] = rng.uniform(0, np.pi, n)
    records["ctf/phase_shift_rad"] = np.pi / 2
    places = np.zeros(n, PLACE_FIELDS)
    order = rng.permutation(n)
    places["uid"] = records["uid"][order]
    places["location/micrograph_path"] = [f"J2/mic{row % 4}.mrc" for row in order]
    places["location/micrograph_shape"] = (3000, 4000)  # rows, columns
    places["location/center_x_frac"] = (order + 1) / (n + 2)
    places["location/center_y_frac"] = 0.25
    return records, places


def save(path, records):
    with path.open("wb") as handle:  # numpy would add .npy to the name
        np.save(handle, records)


def write_images(path, records, map_seed):
    """Draw the blobs of a map as each pose says: exp(pose) takes the image's axes to the map's.

    Adding the shift to the content of an image centres it: the content lies at minus that.
    """
    box = int(records["blob/shape"][0, 0])
    centres, weights, sigma = blobs(box, map_seed)
    axis = np.arange(box) - box // 2
    images = np.zeros((len(records), box, box), np.float32)
    for image, pose, shift in zip(
        images, records["alignments3D/pose"], records["alignments3D/shift"], strict=True
    ):
        directions = Rotation.from_rotvec(pose.astype(float)).as_matrix()  # columns: image's axes
        for centre, weight in zip(centres, weights, strict=True):
            x, y = centre @ directions[:, 0] - shift[0], centre @ directions[:, 1] - shift[1]
            # The integral of a Gaussian along the view.
            blob = np.exp(-((axis[:, None] - y) ** 2 + (axis - x) ** 2) / (2 * sigma**2))
            image += weight * np.sqrt(2 * np.pi) * sigma * blob
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, data=images, overwrite=True) as file:
        file.set_image_stack()
        file.voxel_size = float(PIXEL_ANGST)
    return images
