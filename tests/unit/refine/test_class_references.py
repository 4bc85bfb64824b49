"""The initial references of a classification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from factories.maps import blob_map
from factories.project import class3d_options, noise_project

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.refine.class_references import (
    is_one_map,
    load_references,
    reference_files,
    with_classes,
)


@pytest.fixture
def project(tmp_path):
    """A project with maps a.mrc and b.mrc besides."""
    made = noise_project(tmp_path)
    for seed, name in ((1, "a.mrc"), (2, "b.mrc")):
        write_map(tmp_path / name, blob_map(made.box, seed), made.pixel)
    return made


def load(project, **changes):
    options = with_classes(class3d_options(project, **changes))
    return load_references(options, project.box, project.pixel)


def commas(project):
    return Path(f"{project.folder / 'a.mrc'},{project.folder / 'b.mrc'}")


def star_list(project, names=("a.mrc", "b.mrc"), label="rlnReferenceImage"):
    path = project.folder / "references.star"
    write_star(path, {"model_classes": pl.DataFrame({label: list(names)})})
    return path


def test_one_map_is_every_class(project):
    maps = load(project, K=3)
    assert maps.shape == (3, 16, 16, 16)
    np.testing.assert_array_equal(maps[0], maps[2])
    assert is_one_map(class3d_options(project))


def test_maps_separated_by_commas_are_a_class_each(project):
    maps = load(project, ref=commas(project))
    np.testing.assert_allclose(maps[1], blob_map(16, 2), atol=1e-5)
    assert not is_one_map(class3d_options(project, ref=commas(project)))


def test_a_star_list_names_maps_beside_itself(project):
    maps = load(project, ref=star_list(project))
    np.testing.assert_allclose(maps[0], blob_map(16, 1), atol=1e-5)
    np.testing.assert_allclose(maps[1], blob_map(16, 2), atol=1e-5)


def test_several_maps_say_how_many_classes_there_are(project):
    assert with_classes(class3d_options(project, ref=commas(project))).K == 2
    assert with_classes(class3d_options(project, ref=commas(project), K=2)).K == 2
    with pytest.raises(InputError, match=r"--K 3: found 2 reference\(s\)"):
        with_classes(class3d_options(project, ref=commas(project), K=3))


def test_a_list_without_references_is_refused(project):
    path = star_list(project, label="rlnImageName")
    with pytest.raises(InputError, match="found no column rlnReferenceImage"):
        reference_files(class3d_options(project, ref=path))


def test_a_map_that_is_missing_is_named(project):
    with pytest.raises(InputError, match=r"c\.mrc"):
        load(project, ref=star_list(project, names=("a.mrc", "c.mrc")))
