"""Particle STAR files of made-up rows, in RELION's layout."""

from __future__ import annotations

import numpy as np

OPTICS = (
    "OpticsGroup", "OpticsGroupName", "Voltage", "SphericalAberration", "AmplitudeContrast",
    "ImagePixelSize", "ImageSize", "ImageDimensionality",
)  # fmt: skip
COLUMNS = (
    "ImageName", "MicrographName", "CoordinateX", "CoordinateY", "AngleRot", "AngleTilt",
    "AnglePsi", "OriginXAngst", "OriginYAngst", "OpticsGroup", "ClassNumber", "DefocusU",
)  # fmt: skip


def write_particle_star(path, groups, n=30, seed=1, more=(), n_micrographs=3):
    """Groups are (name, Cs); `more` are labels of further columns of random numbers."""
    rng = np.random.default_rng(seed)
    optics = [
        (k, name, 300, cs, 0.1, 2.0, 32, 2) for k, (name, cs) in enumerate(groups, 1)
    ]  # fmt: skip
    rows = []
    for i in range(n):
        numbers = [*rng.uniform(0, 200, 2), *rng.uniform(-170, 170, 3), *rng.uniform(-5, 5, 2)]
        rows.append((
            f"{i + 1:06d}@{path.stem}.mrcs", f"mic{i * n_micrographs // n}.mrc",
            *(f"{number:.4f}" for number in numbers), rng.integers(1, len(groups) + 1),
            rng.integers(1, 4), f"{rng.uniform(8000, 20000):.2f}",
            *(f"{rng.uniform():.4f}" for _ in more),
        ))  # fmt: skip
    text = ""
    for name, labels, lines in (("optics", OPTICS, optics), ("particles", COLUMNS, rows)):
        labels = (*labels, *more) if name == "particles" else labels
        text += f"\n# version 30001\n\ndata_{name}\n\nloop_\n"
        text += "".join(f"_rln{label} #{k}\n" for k, label in enumerate(labels, 1))
        text += "".join(" ".join(map(str, line)) + "\n" for line in lines) + "\n"
    path.write_text(text)
    return path
