import numpy as np
import pytest
from factories.maps import blob_image
from factories.pixels import geometry, images_from, no_optics
from factories.poses import in_plane_matrices, sums_at

from relion_mpi.backend import select_backend
from relion_mpi.backend.half_plane import n_rows
from relion_mpi.core.errors import NumericalError
from relion_mpi.fourier.masks import sinc_squared
from relion_mpi.mstep.maximise import MaximisationOptions
from relion_mpi.mstep.planes import average_planes, maximise_planes, prior_of_planes

BOX = 24
SIZE = 2 * (BOX + 1) + 1


def true_rows(n=100, noise=0.0, seed=1):
    """An image, and the sums of its noisy copies turned at random."""
    backend = select_backend("cpu", "float64")
    image, pixels, matrices = blob_image(BOX, 2, spread=0.15), geometry(BOX), in_plane_matrices(n)
    references = backend.load_references(image[None], BOX // 2, 2)
    images = images_from(backend.project(references, matrices, pixels), pixels.x, pixels.y, BOX)
    images += noise * np.random.default_rng(seed).normal(size=images.shape)
    host = sums_at(backend, images, matrices, np.zeros((n, 2)), pixels, no_optics(n), planar=True)
    return image, host.volume


def uniform_rows(weight, seed=0):
    """Random data, the same weight everywhere, Friedel mates not yet added."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((SIZE, SIZE // 2 + 1, 3))
    rows[..., :2] = rng.normal(size=rows[..., :2].shape)
    rows[..., 2] = weight
    rows[:, 0] /= 2
    rows[SIZE // 2, 0] *= 2
    y, x = np.arange(SIZE) - SIZE // 2, np.arange(SIZE // 2 + 1)
    rows[y[:, None] ** 2 + x**2 > BOX**2] = 0.0
    return rows.reshape(1, -1, 3)


def power(image):
    """Half the mean squared modulus per shell of the transform divided by the pixels."""
    axis = np.fft.fftfreq(BOX, 1 / BOX)
    shell = np.rint(np.hypot(axis[:, None], axis)).astype(int).ravel()
    squared = np.abs(np.fft.fft2(image)).ravel() ** 2 / BOX**4
    return 0.5 * np.bincount(shell, squared)[: BOX // 2 + 1] / np.bincount(shell)[: BOX // 2 + 1]


def test_the_prior_is_the_power_of_the_reference():
    images = np.stack([blob_image(BOX, s, spread=0.1) for s in range(2)])
    tau2 = prior_of_planes(images, 9, 2)
    assert tau2.shape == (2, 13)
    assert not tau2[:, 10:].any()
    for one, image in zip(tau2, images, strict=True):
        assert one[:10].sum() == pytest.approx(power(image)[:10].sum(), rel=0.15)


def test_the_prior_has_the_units_of_the_noise_of_images():
    rng = np.random.default_rng(3)
    white = rng.normal(size=(40, BOX, BOX)) * 3.0
    tau2 = prior_of_planes(white, BOX // 2, 1).mean(axis=0)
    corrected = 9.0 * (1 / sinc_squared(BOX, 1, 2) ** 2).mean() / (2 * BOX**2)
    np.testing.assert_allclose(tau2[2:], corrected, rtol=0.15)


@pytest.mark.parametrize("skip_gridding", [True, False])
def test_averages_without_a_prior_are_the_image(skip_gridding):
    image, rows = true_rows()
    found = average_planes(rows, BOX, BOX // 2, 2, skip_gridding=skip_gridding)
    assert np.corrcoef(found[0].ravel(), image.ravel())[0, 1] > 0.999
    assert np.abs(found[0] - image).max() < 0.05 * image.max()


def test_a_class_is_its_regularised_average():
    noise = 8.0
    image, rows = true_rows(noise=noise)
    rows = rows * (2 * BOX**2 / noise**2)  # of images whose noise is 1
    options = MaximisationOptions()
    prior = prior_of_planes(image[None], BOX // 2, 2)
    found = maximise_planes(rows, prior, BOX // 2, 2, options)
    plain = average_planes(rows, BOX, BOX // 2, 2)[0]
    error, plain_error = (np.abs(one - image).std() for one in (found.maps[0], plain))
    assert error < plain_error
    assert np.corrcoef(found.maps[0].ravel(), image.ravel())[0, 1] > 0.95
    np.testing.assert_array_equal(found.spectra[0].tau2, prior[0])


def test_noise_spectra_tell_the_weights():
    rows = uniform_rows(5.0)
    prior = np.full((1, 13), 0.3)
    found = maximise_planes(rows, prior, BOX // 2, 2, MaximisationOptions(tau2_fudge=2.0))
    spectra = found.spectra[0]
    # 4 entries of the padded plane make a pixel of the image.
    np.testing.assert_allclose(spectra.sigma2, 1 / 20)
    np.testing.assert_allclose(spectra.data_vs_prior, 0.6 * 20)
    np.testing.assert_allclose(spectra.coverage, 1.0)


@pytest.mark.parametrize("skip_gridding", [True, False])
def test_a_prior_as_strong_as_the_noise_halves_an_average(skip_gridding):
    rows = uniform_rows(5.0, seed=5)
    options = MaximisationOptions(tau2_fudge=4.0, skip_gridding=skip_gridding)
    found = maximise_planes(rows, np.full((1, 13), 1 / 80), BOX // 2, 2, options)
    np.testing.assert_allclose(found.spectra[0].data_vs_prior, 1.0)
    plain = average_planes(rows, BOX, BOX // 2, 2, skip_gridding=skip_gridding)
    ratio = power(found.maps[0]) / power(plain[0])
    np.testing.assert_allclose(ratio[7:11], 0.25, rtol=0.1)
    np.testing.assert_allclose(ratio[1:4], 1.0, rtol=0.15)  # shells below 5 have no prior


def test_an_empty_class_is_zero_and_the_others_stay():
    image, rows = true_rows()
    three = np.zeros((3, n_rows(SIZE), 3))
    three[1] = rows[0]
    prior = np.repeat(prior_of_planes(image[None], BOX // 2, 2), 3, axis=0)
    found = maximise_planes(three, prior, BOX // 2, 2, MaximisationOptions())
    alone = maximise_planes(rows, prior[:1], BOX // 2, 2, MaximisationOptions())
    np.testing.assert_array_equal(found.maps[1], alone.maps[0])
    for k in (0, 2):
        assert not found.maps[k].any()
        assert not found.spectra[k].data_vs_prior.any()
        np.testing.assert_array_equal(found.spectra[k].tau2, prior[k])
    assert not average_planes(three, BOX, BOX // 2, 2)[[0, 2]].any()


def test_an_image_of_zeros_as_prior_is_no_error():
    _, rows = true_rows()
    found = maximise_planes(rows, np.zeros((1, 13)), BOX // 2, 2, MaximisationOptions())
    assert np.isfinite(found.maps[0]).all()
    assert not found.spectra[0].data_vs_prior.any()


def test_sums_that_are_not_finite_are_refused():
    _, rows = true_rows()
    rows[0, 5, 2] = np.inf
    with pytest.raises(NumericalError, match="infinite"):
        average_planes(rows, BOX, BOX // 2, 2)
