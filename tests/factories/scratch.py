"""Stacks, and jobs that copy them to a scratch disk."""

from __future__ import annotations

import os

import numpy as np

from relion_mpi.dataset.scratch_copy import copy_piece
from relion_mpi.dataset.scratch_manifest import (
    Copied,
    ManifestWriter,
    key_of,
)
from relion_mpi.dataset.scratch_plan import make_plan
from relion_mpi.io.mrc import read_header, write_map

BOX = 32


def two_stacks(folder):
    """Write two stacks of 40 random images; return their headers and the images."""
    rng = np.random.default_rng(1)
    images = rng.normal(size=(2, 40, BOX, BOX)).astype(np.float32)
    for k in range(2):
        write_map(folder / f"s{k}.mrcs", images[k], 1.0, stack=True)
    return [read_header(folder / f"s{k}.mrcs") for k in range(2)], images


def arrays(*pairs):
    return tuple(np.array(one, np.int64) for one in zip(*pairs, strict=True))


def copied(headers, pieces, folder):
    """Copy pieces as a rank does, with their manifest."""
    with ManifestWriter(folder, "0") as manifest:
        for piece in pieces:
            header = headers[piece.stack]
            manifest.add(
                key_of(piece, header), Copied(piece.runs, *copy_piece(header, piece.runs, folder))
            )


def planned(disk, headers, pieces, keep_free=0, **how):
    return make_plan(disk, headers, pieces, keep_free, **({"reuse": False, "keep": False} | how))


def interrupted(disk, headers, pieces, n, **how):
    """Leave what a job leaves that was killed after it had copied `n` pieces."""
    plan, folder = planned(disk, headers, pieces, **({"keep": True} | how))
    copied(headers, [pieces[i] for i in plan.to_copy[:n]], folder.path)
    os.close(folder._lock)  # as the end of a process does
    return folder.path
