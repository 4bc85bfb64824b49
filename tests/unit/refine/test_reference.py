"""The initial reference and masks: what is read, resampled, refused."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from factories.maps import blob_map, blobs
from factories.project import refine_options

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.masks import lowpass
from relion_mpi.io.mrc import write_map
from relion_mpi.refine.reference import load_mask, load_reference, solvent_masks

BOX, PIXEL = 24, 4.0


@pytest.fixture
def options(tmp_path):
    project = SimpleNamespace(
        folder=tmp_path, star=tmp_path / "p.star", reference=tmp_path / "ref.mrc"
    )
    write_map(project.reference, blob_map(BOX), PIXEL)
    return refine_options(project)


def gaussians(box, pixel, seed=0):
    """The blobs of `blob_map(BOX)` as seen on any grid; the sum along an axis keeps its scale."""
    centres, weights, sigma = blobs(BOX, seed, sigma_pix=2.0)
    axis = (np.arange(box) - box // 2) * pixel / PIXEL
    out = np.zeros((box,) * 3)
    for (x, y, z), weight in zip(centres, weights, strict=True):
        parts = [np.exp(-((axis - c) ** 2) / (2 * sigma**2)) for c in (z, y, x)]
        out += weight * np.einsum("i,j,k->ijk", *parts)
    return out * pixel / PIXEL


def test_a_fitting_reference_is_taken_as_it_is(options):
    found = load_reference(options, BOX, PIXEL)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, blob_map(BOX), rtol=1e-6)


@pytest.mark.parametrize(("own_box", "own_pixel"), [(36, 3.0), (32, 3.0), (20, 6.0)])
def test_a_reference_of_another_pixel_size_keeps_place_and_scale_of_projections(
    options, caplog, own_box, own_pixel
):
    write_map(options.ref, gaussians(own_box, own_pixel), own_pixel)
    with caplog.at_level(logging.WARNING):
        found = load_reference(options, BOX, PIXEL)
    assert "it is resampled" in caplog.text
    truth = lowpass(gaussians(BOX, PIXEL), PIXEL, 14.0)  # what both grids can hold
    seen = lowpass(found, PIXEL, 14.0)
    # Frequencies map to the nearest of the new grid at worst: a few per mille at the edge.
    assert np.abs(seen - truth).max() < 0.03 * truth.max()


@pytest.mark.parametrize("own_box", [16, 32])
def test_a_reference_of_another_box_is_cropped_or_padded_about_its_centre(options, caplog, own_box):
    volume = np.zeros((own_box,) * 3)
    volume[own_box // 2 + 1, own_box // 2 - 2, own_box // 2 + 3] = 1.0
    write_map(options.ref, volume, PIXEL)
    with caplog.at_level(logging.WARNING):
        found = load_reference(options, BOX, PIXEL)
    assert "cropped or padded" in caplog.text
    assert found[BOX // 2 + 1, BOX // 2 - 2, BOX // 2 + 3] == 1.0
    assert found.sum() == 1.0


def test_ref_angpix_outranks_the_header(options, caplog):
    from dataclasses import replace

    write_map(options.ref, blob_map(BOX), 1.0)
    with caplog.at_level(logging.WARNING):
        found = load_reference(replace(options, ref_angpix=PIXEL), BOX, PIXEL)
    assert not caplog.records
    np.testing.assert_allclose(found, blob_map(BOX), rtol=1e-6)


def broken(kind):
    volume = blob_map(BOX)
    if kind == "nan":
        volume[3, 4, 5:7] = np.nan
    return {
        "nan": volume, "odd": blob_map(15), "flat": np.full((BOX,) * 3, 2.5),
        "slab": volume[:8],
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "the reference has 2 voxels that are NaN or infinite"),
        ("odd", "the reference has an odd side of 15 voxels"),
        ("flat", "all voxels of the reference are 2.5"),
        ("slab", r"has shape \(8, 24, 24\), expected a cube"),
    ],
)
def test_a_useless_reference_is_refused_by_name(options, kind, message):
    write_map(options.ref, broken(kind), PIXEL)
    with pytest.raises(InputError, match=message) as told:
        load_reference(options, BOX, PIXEL)
    assert str(told.value).startswith(str(options.ref))


def test_a_reference_without_a_pixel_size_must_be_given_one(options):
    write_map(options.ref, blob_map(BOX), 0.0)
    with pytest.raises(InputError, match="--ref_angpix"):
        load_reference(options, BOX, PIXEL)


# Masks


def sphere(box=BOX, radius=8):
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return (x**2 + y**2 + z**2 < radius**2).astype(float)


def test_a_mask_is_read_and_clipped(tmp_path):
    path = tmp_path / "mask.mrc"
    write_map(path, sphere() * 1.0005, PIXEL)
    assert load_mask(path, BOX, PIXEL).max() == 1.0


@pytest.mark.parametrize(
    ("mask", "pixel", "message"),
    [
        (sphere(32), PIXEL, "the mask has a box of 32 voxels, the particles 24"),
        (sphere(), 3.0, "the mask's pixel size is 3 A, the particles' 4 A"),
        (2 * sphere(), PIXEL, "mask values go from 0 to 2, expected 0 to 1"),
        (sphere() - 0.5, PIXEL, "mask values go from -0.5 to 0.5"),
        (0 * sphere(), PIXEL, "the mask is empty"),
        (np.where(sphere() > 0, np.nan, 0), PIXEL, "the mask has .* NaN"),
    ],
)
def test_an_unfit_mask_is_refused_by_name(tmp_path, mask, pixel, message):
    path = tmp_path / "mask.mrc"
    write_map(path, mask, pixel)
    with pytest.raises(InputError, match=message) as told:
        load_mask(path, BOX, PIXEL)
    assert str(told.value).startswith(str(path))


def test_the_default_solvent_mask_is_a_soft_sphere_of_the_diameter(options):
    mask, inner = solvent_masks(options, BOX, PIXEL, 48.0)
    assert inner is None
    centre = BOX // 2
    line = mask[centre, centre, centre:]
    assert (line[:7] == 1).all()  # 6 pixels of 4 A
    assert ((line[7:11] > 0) & (line[7:11] < 1)).all()  # an edge of 5 pixels
    assert line[11] == pytest.approx(0.0)


def test_both_masks_are_read(options, tmp_path):
    from dataclasses import replace

    write_map(tmp_path / "a.mrc", sphere(radius=8), PIXEL)
    write_map(tmp_path / "b.mrc", sphere(radius=4), PIXEL)
    both = replace(options, solvent_mask=tmp_path / "a.mrc", solvent_mask2=tmp_path / "b.mrc")
    mask, inner = solvent_masks(both, BOX, PIXEL, 48.0)
    np.testing.assert_array_equal(mask, sphere(radius=8))
    np.testing.assert_array_equal(inner, sphere(radius=4))
