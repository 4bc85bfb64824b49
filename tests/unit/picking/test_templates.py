"""Templates: their norms, their independence of grey scales, their width."""

from __future__ import annotations

import numpy as np
import pytest
from factories import picked_micrographs as made

from relion_mpi.backend.picking import Contrast
from relion_mpi.core.errors import InputError
from relion_mpi.optics.ctf import ctf, ctf_coefficients
from relion_mpi.picking.grid import make_grid
from relion_mpi.picking.templates import (
    automatic_diameter_pix,
    blob_templates,
    image_templates,
)

RADIUS = 15.0


def test_the_weight_is_one_over_the_norm_of_what_is_correlated():
    params = made.optics((30000.0, 30000.0, 0.0))
    grid = make_grid((200, 200), made.ANGPIX, lowpass_angst=15.0)
    how = Contrast(1.0, 0.0, ctf_coefficients(params)[0], False, made.ANGPIX)
    found = image_templates(made.templates(), RADIUS, grid.limit, 2, 12).weights(grid, how)
    half = made.BOX // 2
    disc = np.hypot(*np.mgrid[-half:half, -half:half]) < RADIUS
    f = np.hypot(np.fft.fftfreq(200)[:, None], np.fft.fftfreq(200)[None, :])
    for image, weight in zip(made.templates().astype(float), found, strict=True):
        sheet = np.zeros((200, 200))
        sheet[: made.BOX, : made.BOX] = np.where(
            disc, (image - image[disc].mean()) / image[disc].std(), 0.0
        )
        values = ctf(params, f.ravel() / made.ANGPIX, 0 * f.ravel())[0].reshape(f.shape)
        squares = np.abs(np.fft.fft2(sheet) * values * (f <= grid.limit)) ** 2
        assert weight == pytest.approx(1.0 / np.sqrt(squares.sum() / 200**2), rel=0.02)


def test_a_constant_template_is_refused():
    images = made.templates()
    images[1] = 2.0
    with pytest.raises(InputError, match="template 2"):
        image_templates(images, RADIUS, 0.5, 2, 1)


def test_filters_that_leave_nothing_are_refused():
    grid = make_grid((200, 200), made.ANGPIX, lowpass_angst=50.0, highpass_angst=12.0)
    templates = image_templates(made.templates(), RADIUS, grid.limit, 2, 1)
    with pytest.raises(InputError, match="--highpass"):
        templates.weights(grid, Contrast(1.0, 0.0, None, False, made.ANGPIX))


def test_the_width_of_masked_images_is_found():
    half = made.BOX // 2
    inside = np.hypot(*np.mgrid[-half:half, -half:half]) < 12
    images = np.where(inside, made.templates(), -0.3).astype(np.float32)
    assert automatic_diameter_pix(images) == 23
    noise = np.random.default_rng(0).normal(size=(2, 40, 40)).astype(np.float32)
    assert automatic_diameter_pix(noise) >= 38


def test_a_blob_scores_the_contrast_of_a_disc_of_its_diameter():
    diameters = np.array([60.0, 100.0, 160.0])
    n, pixel = 256, 2.0
    templates = blob_templates(diameters, pixel, 0.2, n, 160.0)
    y, x = np.mgrid[-n // 2 : n // 2, -n // 2 : n // 2]
    origin = templates.planes.shape[1] // 2
    for k, diameter in enumerate(diameters):
        disc = 0.7 * (np.hypot(y, x) <= diameter / 2 / pixel)
        transform = np.fft.rfft2(np.fft.ifftshift(disc))
        reach = min(origin - 1, n // 2 - 1)
        half = np.zeros_like(transform)
        rows = np.arange(-reach, reach + 1)
        half[rows, : reach + 1] = templates.planes[k][rows + origin, : reach + 1]
        response = np.fft.irfft2(transform * half, s=(n, n))
        assert response[0, 0] == pytest.approx(0.7, rel=0.03)
