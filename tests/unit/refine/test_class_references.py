"""The initial references of a classification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from factories.maps import blob_map
from factories.project import class2d_options, class3d_options, noise_project

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


PIXELS = np.random.default_rng(4).normal(size=(3, 16, 16))


def images(project, name="images.mrcs", values=PIXELS, pixel=4.0):
    """Write a stack beside the maps."""
    path = project.folder / name
    write_map(path, np.asarray(values), pixel, stack=True)
    return path


def load_images(project, **changes):
    options = with_classes(class2d_options(project, **changes))
    return load_references(options, project.box, project.pixel)


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


def test_a_stack_has_an_image_for_each_class(project):
    stack = images(project)
    assert with_classes(class2d_options(project, ref=stack)).K == 3
    assert not is_one_map(class2d_options(project, ref=stack))
    np.testing.assert_allclose(load_images(project, ref=stack), PIXELS, atol=1e-6)
    with pytest.raises(InputError, match=r"--K 2: found 3 reference\(s\)"):
        load_images(project, ref=stack, K=2)


def test_one_image_is_every_class(project):
    one = Path(f"2@{images(project)}")
    assert is_one_map(class2d_options(project, ref=one, K=2))
    found = load_images(project, ref=one, K=2)
    np.testing.assert_allclose(found, PIXELS[[1, 1]], atol=1e-6)
    np.testing.assert_array_equal(found, load_images(
        project, ref=images(project, "one.mrcs", PIXELS[1:2]), K=2
    ))  # fmt: skip


def test_a_star_list_names_images_of_stacks_beside_itself(project):
    images(project)
    images(project, "other.mrcs", PIXELS[:1] + 1)
    names = ("000003@images.mrcs", "other.mrcs", "1@images.mrcs")
    found = load_images(project, ref=star_list(project, names))
    np.testing.assert_allclose(found, [PIXELS[2], PIXELS[0] + 1, PIXELS[0]], atol=1e-6)


def test_without_references_there_are_zeros(project):
    assert with_classes(class2d_options(project, K=2)).K == 2
    np.testing.assert_array_equal(load_images(project, K=2), np.zeros((2, 16, 16)))


def test_images_of_another_grid_keep_their_grey_values(project):
    axis = np.arange(16) - 8
    blob = np.exp(-(axis[:, None] ** 2 + axis**2) / 18)
    fine = np.arange(40) - 20
    finer = np.exp(-((fine[:, None] / 2) ** 2 + (fine / 2) ** 2) / 18)
    stack = images(project, values=finer[None], pixel=2.0)
    np.testing.assert_allclose(load_images(project, ref=stack)[0], blob, atol=0.01)
    other = images(project, values=finer[None], pixel=1.0)
    found = load_images(project, ref=other, ref_angpix=2.0)[0]
    np.testing.assert_allclose(found, blob, atol=0.01)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("4@images.mrcs", None, "found 3 images in the stack, expected 4"),
        ("0@images.mrcs", None, "expected 'index@stack' with an index of 1 or more"),
        ("a.mrc", None, "found 16 sections, expected one image"),
        ("c.mrcs", None, "there is no such file"),
        ("new.mrcs", (2, 16, 12), "12 x 16 pixels, expected a square"),
        ("new.mrcs", (2, 15, 15), "has an odd side of 15 pixels"),
    ],
)
def test_images_that_cannot_be_used_are_named(project, name, shape, message):
    images(project)
    if shape:
        images(project, name, np.random.default_rng(0).normal(size=shape))
    with pytest.raises(InputError, match=message):
        load_images(project, ref=star_list(project, (name,)))


def test_an_empty_image_is_named_with_its_number(project):
    stack = images(project, values=[PIXELS[0], np.zeros((16, 16))])
    with pytest.raises(InputError, match=r"2@.*images\.mrcs: all pixels of the reference are 0"):
        load_images(project, ref=stack)
