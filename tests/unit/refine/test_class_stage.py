"""What is special about the first iterations of a classification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories.project import class2d_options, class3d_options, noise_project

from relion_mpi.io.mrc import write_map
from relion_mpi.refine.class_stage import class_stage
from relion_mpi.refine.planning import Stage


@pytest.fixture
def project(tmp_path):
    """A project with images.mrcs of two images besides."""
    made = noise_project(tmp_path)
    write_map(tmp_path / "images.mrcs", np.random.default_rng(0).normal(size=(2, 16, 16)), 4.0,
              stack=True)  # fmt: skip
    return made


def stages(options):
    return [class_stage(options, iteration) for iteration in (1, 2, 3)]


def image(project, index):
    return Path(f"{index}@{project.folder / 'images.mrcs'}")


SEEDED = [Stage(is_cc=True, one_class=True), Stage(seeded=True), Stage()]


def test_classes_of_one_image_begin_with_one_class_and_are_seeded_next(project):
    assert stages(class2d_options(project, K=2, ref=image(project, 2))) == SEEDED
    assert stages(class3d_options(project, K=2)) == SEEDED


def test_without_cross_correlation_the_first_iteration_is_seeded(project):
    found = stages(class2d_options(project, K=2, ref=image(project, 1), firstiter_cc=False))
    assert found == [Stage(seeded=True), Stage(), Stage()]


def test_an_image_for_each_class_is_not_seeded(project):
    found = stages(class2d_options(project, K=2, ref=project.folder / "images.mrcs"))
    assert found == [Stage(is_cc=True), Stage(), Stage()]


def test_averages_of_the_particles_are_on_their_grey_scale(project):
    assert stages(class2d_options(project, K=2)) == [Stage()] * 3
