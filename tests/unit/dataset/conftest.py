from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from factories.scratch import two_stacks

from relion_mpi.dataset import scratch_pieces
from relion_mpi.dataset.scratch_pieces import pieces_of
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star

BOX = 8


def make_project(folder, n_per_stack=(5, 3, 4)):
    """Write stacks whose images are constants (100 * stack + index) and their STAR file."""
    names, micrographs = [], []
    for stack, n in enumerate(n_per_stack):
        values = 100.0 * stack + np.arange(n)
        images = np.broadcast_to(values[:, None, None], (n, BOX, BOX))
        write_map(folder / f"s{stack}.mrcs", images, 2.0, stack=True)
        names += [f"{i + 1:06d}@s{stack}.mrcs" for i in range(n)]
        micrographs += [f"mic{stack}.mrc"] * n
    n = len(names)
    rng = np.random.default_rng(2)
    optics = pl.DataFrame(
        {
            "rlnOpticsGroupName": ["a", "b"],
            "rlnOpticsGroup": [1, 4],
            "rlnVoltage": [300.0, 200.0],
            "rlnSphericalAberration": [2.7, 1.4],
            "rlnAmplitudeContrast": [0.1, 0.07],
            "rlnImagePixelSize": [2.0, 2.0],
        }
    )
    particles = pl.DataFrame(
        {
            "rlnImageName": names,
            "rlnMicrographName": micrographs,
            "rlnDefocusU": rng.uniform(5000, 30000, n),
            "rlnOpticsGroup": [1 if i % 2 else 4 for i in range(n)],
            "rlnOriginXAngst": rng.normal(size=n),
        }
    )
    return SimpleNamespace(folder=folder, path=folder / "p.star", optics=optics, table=particles)


@pytest.fixture
def project(tmp_path):
    """A project with `write()` to (re)write its STAR file from two editable tables."""
    made = make_project(tmp_path)

    def write():
        write_star(made.path, {"optics": made.optics, "particles": made.table})
        return made.path

    made.write = write
    write()
    return made


@pytest.fixture
def stacks(tmp_path):
    """Two stacks of 40 random images."""
    return two_stacks(tmp_path)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def pieces(stacks, monkeypatch):
    headers, _ = stacks
    monkeypatch.setattr(scratch_pieces, "PIECE_BYTES", 10 * headers[0].image_bytes)
    return pieces_of(headers, np.repeat([0, 1], 40), np.tile(np.arange(40), 2))
