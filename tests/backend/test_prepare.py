"""From images to transforms: recentring, mask, norm, power, CTF."""

from __future__ import annotations

import numpy as np
import pytest
from factories.pixels import geometry, no_optics
from factories.plane import back_projected, prepared_power
from factories.poses import no_mask
from factories.stars import ctf_parameters

from relion_mpi.backend.protocol import ImageMask
from relion_mpi.fourier.masks import mask_outside_to_mean, soft_sphere
from relion_mpi.optics.ctf import ctf, ctf_coefficients

BOX = 24
PIXELS = geometry(BOX)
ONE = no_optics(1)


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, BOX, BOX)).astype(np.float32)


def transform(images):
    """Transforms of images centred at BOX // 2, on the listed pixels."""
    full = np.fft.fft2(np.fft.ifftshift(images.astype(float), axes=(-2, -1))) / BOX**2
    return full[..., PIXELS.y, PIXELS.x]


def spectrum(images):
    """Power per shell of independent pixels, by a loop over the whole transform."""
    full = np.abs(np.fft.fft2(images.astype(float))) ** 2 / BOX**4
    out = np.zeros((len(images), BOX // 2 + 1))
    for y in range(-BOX // 2 + 1, BOX // 2 + 1):
        for x in range(BOX // 2 + 1):
            shell = int(np.hypot(x, y) + 0.5)
            if shell <= BOX // 2 and not (x == 0 and y < 0):
                out[:, shell] += full[:, y, x]
    return out


def test_the_transform_is_divided_by_the_number_of_pixels(backend, eps):
    image = noise(1)[0]
    data, weight = back_projected(backend, image, PIXELS, ONE)
    expected = transform(image)
    np.testing.assert_allclose(data, expected, atol=50 * eps * np.abs(expected).max())
    np.testing.assert_allclose(weight, 1.0, rtol=10 * eps)


def test_power_spectra_are_sums_over_independent_pixels(backend, eps):
    images = noise(3)
    power = prepared_power(backend, images, PIXELS, no_optics(3))
    np.testing.assert_allclose(power, spectrum(images), rtol=200 * eps)


def test_power_spectra_do_not_depend_on_the_current_size(backend, eps):
    images = noise(3)
    small = prepared_power(backend, images, geometry(BOX, 10), no_optics(3))
    large = prepared_power(backend, images, PIXELS, no_optics(3))
    np.testing.assert_allclose(small, large, rtol=200 * eps)


def test_content_moves_by_the_offset_and_zeros_enter(backend, eps):
    image = noise(1)[0]
    moved = np.zeros_like(image)
    moved[:-3, 2:] = image[3:, :-2]  # x by +2, y by -3
    power = prepared_power(backend, image[None], PIXELS, ONE, moved=np.array([[2, -3]]))
    expected = spectrum(moved[None])
    np.testing.assert_allclose(power, expected, atol=200 * eps * expected.max())


def test_half_precision_images_give_what_their_values_give_in_float32(backend):
    images = noise(11).astype(np.float16)
    images.flags.writeable = False
    rng = np.random.default_rng(4)
    moved, factor = rng.integers(-4, 5, (11, 2)), rng.uniform(0.5, 2, 11)
    powers = [
        backend.power_spectra(
            backend.prepare(given, moved, factor, no_mask(BOX), PIXELS, no_optics(11))
        )
        for given in (images, images.astype(np.float32))
    ]
    # A GPU adds in any order.
    np.testing.assert_allclose(*powers, rtol=0 if backend.name == "cpu" else 1e-12)


def test_an_image_moved_out_of_its_box_leaves_nothing(backend):
    power = prepared_power(backend, noise(1), PIXELS, ONE, moved=np.array([[BOX, 0]]))
    assert (power == 0).all()


def test_shifting_in_fourier_space_moves_content_the_same_way(backend, eps):
    image = np.zeros((BOX, BOX), np.float32)
    image[8:14, 9:16] = noise(1)[0, :6, :7]
    moved = np.roll(image, (-3, 2), axis=(0, 1))
    data, _ = back_projected(backend, image, PIXELS, ONE, shift=(2, -3))
    expected = transform(moved)
    inside = np.hypot(PIXELS.x, PIXELS.y) < BOX // 2
    np.testing.assert_allclose(
        data[inside], expected[inside], atol=200 * eps * np.abs(expected).max()
    )


def test_the_norm_factor_multiplies_images(backend, eps):
    images, factor = noise(2), np.array([0.5, 3.0])
    one = prepared_power(backend, images, PIXELS, no_optics(2))
    scaled = prepared_power(backend, images, PIXELS, no_optics(2), factor=factor)
    np.testing.assert_allclose(scaled, one * factor[:, None] ** 2, rtol=100 * eps)


def test_the_solvent_fades_to_its_mean(backend, eps):
    images = noise(2) + 1.5
    masked = np.stack([mask_outside_to_mean(i.astype(float), 6.0, 3.0) for i in images])
    power = prepared_power(backend, images, PIXELS, no_optics(2), mask=ImageMask(6.0, 3.0))
    np.testing.assert_allclose(power, spectrum(masked), rtol=500 * eps, atol=50 * eps)


def test_the_solvent_fades_to_a_given_image(backend, eps):
    images, fill = noise(2), noise(2, seed=1)
    inside = soft_sphere(BOX, 6.0, 3.0, 2)
    power = prepared_power(backend, images, PIXELS, no_optics(2), mask=ImageMask(6.0, 3.0, fill))
    np.testing.assert_allclose(
        power, spectrum(inside * images + (1 - inside) * fill), rtol=500 * eps
    )


def test_back_projection_takes_the_unmasked_image(backend, eps):
    from dataclasses import replace

    from factories.problem import problem

    made = problem(1, seed=2)
    volumes = []
    for mask in (made.mask, replace(made.mask, radius_pix=7.0, edge_pix=1.0)):
        # One allowed sample, so that the mask cannot change the pose.
        grid = replace(
            made.grid, coarse_direction=made.grid.coarse_direction[:1],
            coarse_psi_rad=np.zeros(1), coarse_shift_pix=np.zeros((1, 2)),
            fine_direction=made.grid.coarse_direction[:1], fine_psi_rad=np.zeros(1),
            fine_shift_pix=np.zeros((1, 2)),
        )  # fmt: skip
        prior = replace(made.prior, direction=np.zeros((1, 1)), shift=np.zeros((1, 1)))
        chosen = replace(made, mask=mask, grid=grid, prior=prior)
        sums = chosen.new_sums(backend)
        chosen.search(backend, sums)
        volumes.append(backend.fetch_sums(sums).volume)
    np.testing.assert_allclose(volumes[0], volumes[1], atol=100 * eps * np.abs(volumes[0]).max())


FLAGS = [
    {},
    {"intact_until_first_peak": True},
    {"phase_flipped": True},
    {"only_flip_phases": True},
    {"gamma_offset": True},
]


@pytest.mark.parametrize("flags", FLAGS, ids=lambda f: next(iter(f), "plain"))
def test_the_transfer_function_is_that_of_the_optics_package(backend, eps, flags):
    params, image = ctf_parameters(1, 4), noise(1)[0]
    if "gamma_offset" in flags:
        flags = {"gamma_offset": np.random.default_rng(1).normal(size=PIXELS.n_pix)}
    expected = ctf(params, PIXELS.freq_x, PIXELS.freq_y, **flags)[0]
    optics = no_optics(1, ctf_coefficients=ctf_coefficients(params), **flags)
    data, weight = back_projected(backend, image, PIXELS, optics)
    np.testing.assert_allclose(weight, expected**2, atol=20 * eps)
    signal = expected * transform(image)
    np.testing.assert_allclose(data, signal, atol=100 * eps * np.abs(signal).max())


def test_the_intensity_scale_belongs_to_the_projection(backend, eps):
    image = noise(1)[0]
    data, weight = back_projected(backend, image, PIXELS, no_optics(1, scale=np.array([2.5])))
    np.testing.assert_allclose(weight, 2.5**2, rtol=10 * eps)
    expected = 2.5 * transform(image)
    np.testing.assert_allclose(data, expected, atol=100 * eps * np.abs(expected).max())


def test_premultiplied_images_are_not_multiplied_again(backend, eps):
    params, image = ctf_parameters(1, 4), noise(1)[0]
    values = ctf(params, PIXELS.freq_x, PIXELS.freq_y)[0]
    optics = no_optics(1, ctf_coefficients=ctf_coefficients(params), premultiplied=True)
    data, weight = back_projected(backend, image, PIXELS, optics)
    expected = transform(image)
    np.testing.assert_allclose(weight, values**2, atol=20 * eps)
    np.testing.assert_allclose(data, expected, atol=100 * eps * np.abs(expected).max())


def test_antisymmetric_phases_are_multiplied_in(backend, eps):
    image = noise(1)[0]
    phase = np.exp(1j * np.random.default_rng(2).normal(size=PIXELS.n_pix))
    data, _ = back_projected(backend, image, PIXELS, no_optics(1, phase=phase))
    expected = phase * transform(image)
    np.testing.assert_allclose(data, expected, atol=100 * eps * np.abs(expected).max())
