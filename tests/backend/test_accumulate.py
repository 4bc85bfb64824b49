"""Back-projection and moments against sums over every sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories.maps import blob_map
from factories.pixels import geometry, no_optics
from factories.poses import random_matrices, sums_at
from factories.problem import BOX, N_PSI, BruteForce, problem
from factories.sums import whole

from relion_mpi.fourier.masks import sinc_squared


def summed(backend, made):
    sums = made.new_sums(backend)
    best, moments = made.search(backend, sums)
    return best, moments, backend.fetch_sums(sums)


def padded_transform(volume, r_max):
    """Half of the padded transform as slices see it, z and y centred."""
    box = volume.shape[0]
    padded = np.pad(volume / sinc_squared(box, 2, 3), box // 2)
    full = np.fft.rfftn(np.fft.ifftshift(padded)) / box**2
    index = np.arange(-2 * r_max - 1, 2 * r_max + 2)
    out = full[np.ix_(index, index, np.arange(2 * r_max + 2) % full.shape[2])]
    z, y, x = np.meshgrid(index, index, np.arange(2 * r_max + 2), indexing="ij")
    out[x * x + y * y + z * z > (2 * r_max) ** 2] = 0
    return out


def test_back_projection_is_the_adjoint_of_projection(backend, eps):
    box, n = 16, 12
    rng = np.random.default_rng(1)
    volume, matrices, pixels = blob_map(box, sigma_pix=1.2), random_matrices(n), geometry(box)
    images = rng.normal(size=(n, box, box)).astype(np.float32)
    values = np.fft.fft2(np.fft.ifftshift(images.astype(float), axes=(1, 2))) / box**2
    values = values[:, pixels.y, pixels.x]
    host = sums_at(backend, images, matrices, np.zeros((n, 2)), pixels, no_optics(n))
    sums = whole(host.volume[0]).astype(float)
    data = sums[..., 0] + 1j * sums[..., 1]

    references = backend.load_references(volume[None], box // 2, 2)
    projected = backend.project(references, matrices, pixels)
    forward = (projected.conj() * values).real.sum()
    backward = (padded_transform(volume, box // 2).conj() * data).real.sum()
    size = np.abs(projected.conj() * values).sum()
    assert abs(forward - backward) < 100 * eps * size


def brute_moments(made, backend):
    """Cross, power, class and shift weights as sums over samples."""
    brute, g = BruteForce(made, backend), made.geometry
    images, slices = brute.images_ft(), brute.slices(fine=True)
    n_shell, n_class = g.n_shell, len(made.maps)
    cross, power = np.zeros((2, made.n_img, n_shell))
    classes = np.zeros((made.n_img, n_class))
    shifts = np.zeros((made.n_img, len(made.grid.fine_shift_pix)))
    directions = np.zeros((n_class, made.grid.n_dir))
    lever = made.grid.fine_shift_pix @ np.stack([g.x, g.y])
    phases = np.exp(-2j * np.pi / BOX * lever)
    for i in range(made.n_img):
        weights = brute.weights(i)
        predicted = slices * made.ctf[i] * made.optics.scale[i]
        flat = weights.reshape(n_class, -1, weights.shape[-1])
        total = np.einsum("kot,kop,tp->p", flat, predicted.conj(), images[i] * phases).real
        squares = np.einsum("kot,kop->p", flat, np.abs(predicted) ** 2)
        cross[i] = np.bincount(g.shell, total, n_shell)
        power[i] = np.bincount(g.shell, squares, n_shell)
        classes[i], shifts[i] = weights.sum((1, 2, 3)), weights.sum((0, 1, 2))
        directions += weights.sum((2, 3)).reshape(n_class, made.grid.n_dir, -1).sum(axis=-1)
    return cross, power, classes, shifts, directions


@pytest.mark.parametrize(("n_class", "planar"), [(1, False), (2, False), (3, False), (3, True)])
def test_moments_agree_with_brute_force(backend, eps, n_class, planar):
    made = problem(4, n_class=n_class, snr=0.1, seed=3, planar=planar)
    _, moments, host = summed(backend, made)
    cross, power, classes, shifts, directions = brute_moments(made, backend)
    # A weight is exp(score): it carries the score's absolute rounding error.
    rtol = 1e-6 + made.geometry.n_pix * eps * 30
    for found, expected in (
        (moments.cross, cross), (moments.power, power), (moments.class_weight, classes),
        (moments.shift_weight, shifts), (host.direction_weight, directions),
    ):  # fmt: skip
        np.testing.assert_allclose(found, expected, atol=rtol * np.abs(expected).max())


def test_weights_sum_to_the_adaptive_fraction_or_more(backend):
    made = problem(6, n_class=2, snr=0.03, seed=4)
    _, moments, host = summed(backend, made)
    kept = moments.class_weight.sum(axis=1)
    assert (kept > 0.999 - 1e-5).all()
    assert (kept <= 1 + 1e-5).all()
    np.testing.assert_allclose(moments.shift_weight.sum(axis=1), kept, rtol=1e-5)
    np.testing.assert_allclose(host.direction_weight.sum(), kept.sum(), rtol=1e-5)


def test_keeping_everything_makes_weights_sum_to_one(backend):
    made = problem(3, snr=0.03, seed=4, adaptive_fraction=1.0)
    _, moments, _ = summed(backend, made)
    np.testing.assert_allclose(moments.class_weight.sum(axis=1), 1.0, atol=1e-5)


def test_halves_of_a_batch_add_up_to_the_whole(backend, eps):
    made = problem(6, n_class=2, snr=0.1, seed=5)
    _, whole, host = summed(backend, made)
    sums = made.new_sums(backend)
    parts = [made.only(rows).search(backend, sums)[1] for rows in ([0, 1, 2], [3, 4, 5])]
    joined = backend.fetch_sums(sums)
    for name in ("cross", "power", "class_weight", "shift_weight"):
        both = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(both, getattr(whole, name), rtol=1e-4, atol=1e-6)
    assert sum(part.n_slices for part in parts) == whole.n_slices
    # Single precision: scores differ in the last digits with the shape of the matrix product.
    atol = (1e-12 + 300 * eps) * np.abs(host.volume).max()
    np.testing.assert_allclose(joined.volume, host.volume, atol=atol)
    np.testing.assert_allclose(joined.direction_weight, host.direction_weight, rtol=1e-4)


def test_classes_have_their_own_sums(backend):
    made = problem(6, n_class=2, snr=3.0, seed=2)
    best, _, host = summed(backend, made)
    assert set(best.class_index) == {0, 1}
    for k in (0, 1):
        mine = made.only(np.flatnonzero(best.class_index == k))
        _, _, alone = summed(backend, mine)
        np.testing.assert_allclose(
            alone.volume[k], host.volume[k], rtol=1e-3, atol=1e-4 * np.abs(host.volume).max()
        )
        assert np.abs(alone.volume[1 - k]).max() < 0.02 * np.abs(host.volume).max()


def test_weights_of_the_volume_are_ctf_squared_over_the_noise(backend, eps):
    made = problem(3, snr=0.1, seed=7)
    brute = BruteForce(made, backend)
    _, _, host = summed(backend, made)
    kept = np.array([brute.weights(i).sum() for i in range(made.n_img)])
    each = (made.ctf * made.optics.scale[:, None]) ** 2 / made.sigma2[made.geometry.shell]
    expected = (kept[:, None] * each).sum()
    # Pixels on the last shell scatter a part of their weight beyond it.
    found = host.volume[..., 2].astype(float).sum()
    assert abs(found - expected) < (1e-5 + 1000 * eps) * expected


def test_the_data_of_the_volume_are_weighted_images(backend, eps):
    made = problem(3, snr=0.1, seed=8)
    brute, g = BruteForce(made, backend), made.geometry
    _, _, host = summed(backend, made)
    # Every share of a scattered value adds to one, so the volume's sum is that of the pixels,
    # where those that land on the mirrored side are conjugated: compare real parts.
    phases = np.exp(-2j * np.pi / BOX * (made.grid.fine_shift_pix @ np.stack([g.x, g.y])))
    images = brute.images_ft()
    expected, size = 0.0, 0.0
    for i in range(made.n_img):
        weights = brute.weights(i).sum((0, 1, 2))
        factor = made.ctf[i] * made.optics.scale[i] / made.sigma2[g.shell]
        term = (weights @ (images[i] * phases)) * factor
        expected, size = expected + term.real.sum(), size + np.abs(term).sum()
    found = host.volume[..., 0].astype(float).sum()
    assert abs(found - expected) < (1e-5 + 1000 * eps) * size


def test_slices_are_counted(backend):
    made = problem(3, snr=0.1, seed=9)
    brute = BruteForce(made, backend)
    _, moments, _ = summed(backend, made)
    expected = sum((brute.weights(i) > 0).any(axis=3).sum() for i in range(made.n_img))
    assert moments.n_slices == expected


def test_cross_correlation_weighs_by_the_noise_when_it_accumulates(backend, eps):
    made = problem(2, seed=10, metric="cc")
    _, moments, host = summed(backend, made)
    each = (made.ctf * made.optics.scale[:, None]) ** 2 / made.sigma2[made.geometry.shell]
    found = host.volume[..., 2].astype(float).sum()
    np.testing.assert_allclose(found, each.sum(), rtol=1e-5 + 1000 * eps)
    assert (moments.shift_weight.max(axis=1) == 1).all()


def test_two_current_sizes_give_the_same_inner_sums(backend, eps):
    made = replace(problem(2, snr=1e3, seed=11), prior=problem(2, seed=11).prior)
    _, large, _ = summed(backend, made)
    small = replace(made, geometry=geometry(BOX, 12, 12))
    small = replace(small, ctf=made.ctf[:, : small.geometry.n_pix])
    _, less, _ = summed(backend, small)
    inner = slice(0, 5)  # the last shells of the small one are not complete
    np.testing.assert_allclose(
        less.power[:, inner], large.power[:, inner], rtol=1e-3, atol=1e-6 * large.power.max()
    )


def test_psi_and_direction_share_the_orientation_index(backend):
    made = problem(1, snr=1e3, seed=12)
    best, _, host = summed(backend, made)
    assert host.direction_weight[0].argmax() == best.fine_direction[0] // 2
    assert best.fine_psi[0] < 2 * N_PSI


def test_sums_do_not_depend_on_the_order_of_batches(backend, eps):
    made, found = problem(6, n_class=2, snr=0.1, seed=13), []
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]):
        sums = made.new_sums(backend)
        for i in order:
            made.only([i]).search(backend, sums)
        found.append(backend.fetch_sums(sums))
    # Atomic additions come in any order; elsewhere what is added is rounded so that sums are exact.
    near = 50 * eps if backend.name == "gpu" and not backend.deterministic else 0.0
    for one, other in (
        (found[0].volume, found[1].volume),
        (found[0].direction_weight, found[1].direction_weight),
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=near * np.abs(other).max())
