"""A folder with what a refinement reads: stack, tables, reference."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl

from factories.maps import blob_map
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.options import RefineOptions


def noise_project(folder, n=12, box=16, pixel=4.0, seed=0):
    """Images of white noise of three micrographs, tables without poses, a map of blobs."""
    rng = np.random.default_rng(seed)
    stack, reference = folder / "noise.mrcs", folder / "reference.mrc"
    write_map(stack, rng.normal(size=(n, box, box)), pixel, stack=True)
    write_map(reference, blob_map(box), pixel)
    optics = pl.DataFrame({
        "rlnOpticsGroupName": ["a"], "rlnOpticsGroup": [1], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [pixel], "rlnImageSize": [box],
    })  # fmt: skip
    particles = pl.DataFrame({
        "rlnImageName": [f"{i + 1:06d}@{stack}" for i in range(n)],
        "rlnMicrographName": [f"mic{3 * i // n}.mrc" for i in range(n)],
        "rlnOpticsGroup": [1] * n,
        "rlnDefocusU": rng.uniform(8000, 20000, n),
    })  # fmt: skip
    write_star(folder / "particles.star", {"optics": optics, "particles": particles})
    return SimpleNamespace(
        folder=folder, star=folder / "particles.star", stack=stack, reference=reference,
        box=box, pixel=pixel,
    )  # fmt: skip


def refine_options(project, **changes):
    """Options of a refinement of a project, seed 1."""
    values = {
        "i": project.star, "o": project.folder / "out" / "run", "ref": project.reference,
        "random_seed": 1,
    }  # fmt: skip
    return RefineOptions(**(values | changes))


def class3d_options(project, **changes):
    """Options of a classification of a project, seed 1."""
    values = {
        "i": project.star, "o": project.folder / "out" / "run", "ref": project.reference,
        "random_seed": 1,
    }  # fmt: skip
    return Class3DOptions(**(values | changes))


def class2d_options(project, **changes):
    """Options of a 2D classification of a project, seed 1."""
    values = {"i": project.star, "o": project.folder / "out" / "run", "random_seed": 1}
    return Class2DOptions(**(values | changes))
