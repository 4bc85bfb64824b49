"""Picking on every backend against the plain formula: correlations pixel by pixel in float64."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from factories import picked_micrographs as made
from scipy import ndimage

from relion_mpi.backend import select_picking
from relion_mpi.backend.picking import Area, Contrast, PickingGrid, Rotations
from relion_mpi.optics.ctf import ctf, ctf_coefficients
from relion_mpi.picking.grid import make_grid, ring_transform
from relion_mpi.picking.templates import image_templates

SIZE = (90, 122)
PARTICLES = made.placed(SIZE, seed=3)
RADIUS = 15.0


@pytest.fixture(
    scope="module", params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)]
)
def picking(request):
    if request.param == "gpu":
        if importlib.util.find_spec("cupy") is None:
            pytest.skip("CuPy is not installed")
        from relion_mpi.backend.gpu.device import n_devices

        if n_devices() == 0:
            pytest.skip("there is no CUDA device")
    backend = select_picking(request.param)
    backend.attach()
    return backend


def contrast(params=None, **changes):
    values = {"sign": -1.0, "outlier_z": 0.0, "ctf": None, "intact_until_first_peak": False,
              "pixel_size_angst": made.ANGPIX}  # fmt: skip
    if params is not None:
        values["ctf"] = ctf_coefficients(params)[0]
    return Contrast(**values | changes)


def scored(backend, image, grid, how, rotations, images=None):
    """Score a micrograph; returns what to fetch, the templates and their weights."""
    templates = image_templates(
        made.templates() if images is None else images, RADIUS, grid.limit, 4, rotations.n
    )
    loaded = backend.load_templates(templates.planes, templates.box_size, templates.padding)
    film = backend.prepare(image, grid, ring_transform(grid, RADIUS), how)
    weights = templates.weights(grid, how)
    return backend.search(film, loaded, rotations, weights), weights


def normalised(image, grid, outlier_z=np.inf):
    x = -(image.astype(float) - image.mean()) / image.std()
    x[np.abs(x) > outlier_z] = 0
    (n_y, n_x), (p_y, p_x) = grid.shape, grid.padded
    return np.pad(x, ((0, p_y - n_y), (0, p_x - n_x)), mode="reflect")


def local(x, inner):
    """Mean and deviation over a ring around every pixel, cyclically."""
    y, z = (np.minimum(np.arange(n), n - np.arange(n)) for n in x.shape)
    radius2 = y[:, None] ** 2 + z[None, :] ** 2
    ring = ((radius2 >= inner**2) & (radius2 < 4 * inner**2)).astype(float)
    kernel = np.fft.rfft2(ring / ring.sum())
    mean, square = (np.fft.irfft2(np.fft.rfft2(v) * kernel, s=x.shape) for v in (x, x * x))
    return mean, np.sqrt(square - mean**2)


def plain(image, grid, n_psi, weights, params=None):
    """Scores of every pixel: transforms of turned templates are summed pixel by pixel."""
    x = normalised(image, grid)
    transform = np.fft.rfft2(x)
    fy, fx = np.fft.fftfreq(x.shape[0])[:, None], np.fft.rfftfreq(x.shape[1])[None, :]
    inside = fy**2 + fx**2 <= grid.limit**2
    if params is not None:
        y, u = np.broadcast_arrays(fy / made.ANGPIX, fx / made.ANGPIX)
        transform = transform * ctf(params, u.ravel(), y.ravel())[0].reshape(u.shape)
    best = np.full(x.shape, -np.inf)
    index = np.zeros(x.shape, int)
    half = made.BOX // 2
    pixel = np.arange(-half, half)
    disc = np.hypot(pixel[:, None], pixel[None, :]) < RADIUS
    for k, drawn in enumerate(made.templates().astype(float)):
        flat = np.where(disc, (drawn - drawn[disc].mean()) / drawn[disc].std(), 0.0)
        for j in range(n_psi):
            c, s = np.cos(2 * np.pi * j / n_psi), np.sin(2 * np.pi * j / n_psi)
            # The frequency (fx, fy) of the turned template is A^T (fx, fy) of the template.
            along_x = np.exp(-2j * np.pi * (c * fx - s * fy)[..., None] * pixel)
            along_y = np.exp(-2j * np.pi * (s * fx + c * fy)[..., None] * pixel)
            turned = np.einsum("abx,aby,yx->ab", along_x, along_y, flat, optimize=True)
            product = np.conj(turned) * transform * inside
            value = np.fft.irfft2(product, s=x.shape) * weights[k]
            better = value > best
            best[better], index[better] = value[better], k * n_psi + j
    mean, deviation = local(x, RADIUS)
    return best / deviation, index, mean, deviation


@pytest.mark.parametrize("n_psi", [12, 5, 1])
def test_scores_are_those_of_the_formula(picking, n_psi):
    image = made.micrograph(PARTICLES, SIZE, noise=0.5)
    grid = make_grid(SIZE, made.ANGPIX)
    assert grid.work == grid.padded == (90, 126)  # rows fit, columns are mirrored
    scores, weights = scored(picking, image, grid, contrast(), Rotations(n_psi))
    found = picking.fetch(scores)
    best, index, mean, deviation = plain(image, grid, n_psi, weights)
    # The micrograph's mean is taken off in float32: 100 * 2^-24 of a deviation of 4.
    np.testing.assert_allclose(found.mean, mean, atol=5e-6)
    np.testing.assert_allclose(found.deviation, deviation, rtol=2e-5)
    # Between the pixels of a transform padded four times is interpolated: 1 %.
    assert np.abs(found.score - best).max() < 0.01 * best.max()
    clear = best > 0.5 * best.max()
    assert (found.index == index)[clear].mean() > 0.95


def test_scores_with_a_ctf_are_those_of_the_formula(picking):
    params = made.optics((40000.0, 30000.0, 25.0))
    image = made.micrograph(PARTICLES, SIZE, noise=0.1, params=params)
    grid = make_grid(SIZE, made.ANGPIX)
    how = contrast(params)
    scores, weights = scored(picking, image, grid, how, Rotations(12))
    best, *_ = plain(image, grid, 12, weights, params)
    assert np.abs(picking.fetch(scores).score - best).max() < 0.01 * best.max()


@pytest.mark.parametrize("lowpass", [14.0, 25.0])
def test_a_coarser_grid_has_the_same_scores_where_both_have_pixels(picking, lowpass):
    image = made.micrograph(PARTICLES, (96, 128), noise=0.5)
    fine = make_grid((96, 128), made.ANGPIX, lowpass_angst=lowpass, shrink=1.0)
    coarse = PickingGrid(fine.shape, fine.padded, (48, 64), fine.limit)
    assert fine.work == (96, 128)
    maps = [
        picking.fetch(scored(picking, image, grid, contrast(), Rotations(8))[0])
        for grid in (fine, coarse)
    ]
    # The local deviation is cropped as well: its squares have frequencies that are lost.
    products = [one.score * one.deviation for one in maps]
    np.testing.assert_allclose(products[0][::2, ::2], products[1], atol=2e-5 * products[0].max())
    np.testing.assert_allclose(maps[0].score[::2, ::2], maps[1].score, rtol=0.02, atol=0.02)


def test_outliers_become_the_mean(picking):
    image = made.micrograph(PARTICLES, SIZE, noise=0.5)
    image[40, 60] = 1e5
    grid = make_grid(SIZE, made.ANGPIX)
    scores, _ = scored(picking, image, grid, contrast(outlier_z=8.0), Rotations(2))
    mean, deviation = local(normalised(image, grid, 8.0), RADIUS)
    found = picking.fetch(scores)
    np.testing.assert_allclose(found.mean, mean, atol=5e-5)  # of one pixel of 1e5
    np.testing.assert_allclose(found.deviation, np.maximum(deviation, 1e-3), rtol=1e-3)


def test_a_highpass_leaves_out_low_frequencies_only(picking):
    slope = np.linspace(0, 30.0, SIZE[1], dtype=np.float32)[None, :]
    image = made.micrograph(PARTICLES, SIZE, noise=0.3) + slope
    grid = make_grid(SIZE, made.ANGPIX, highpass_angst=150.0)
    film = picking.prepare(image, grid, ring_transform(grid, RADIUS), contrast())
    transform = film.transform if picking.name == "cpu" else film.transform.get()
    fy, fx = grid.frequencies()
    radius = np.hypot(fy[:, None], fx[None, :])
    low = radius < made.ANGPIX / 150.0 - 1.0 / 126
    assert low.sum() > 3
    assert np.abs(transform[low]).max() == 0
    assert np.abs(transform[(radius > 0.05) & (radius < 0.1)]).min() > 0


@pytest.mark.parametrize("reach", [1, 4])
def test_peaks_are_the_highest_within_their_reach(picking, reach):
    image = made.micrograph(PARTICLES, SIZE, noise=0.5)
    grid = make_grid(SIZE, made.ANGPIX)
    scores, _ = scored(picking, image, grid, contrast(), Rotations(6))
    maps = picking.fetch(scores)
    area = Area(7, 80, 9, 110)
    peaks = picking.peaks(scores, area, reach)
    highest = ndimage.maximum_filter(maps.score, 2 * reach + 1, mode="constant", cval=-np.inf)
    y, x = np.nonzero(maps.score == highest)
    kept = (y >= area.y0) & (y < area.y1) & (x >= area.x0) & (x < area.x1)
    assert set(zip(peaks.y.tolist(), peaks.x.tolist(), strict=True)) == set(
        zip(y[kept].tolist(), x[kept].tolist(), strict=True)
    )
    assert (np.diff(peaks.score) <= 0).all()
    at = peaks.y, peaks.x
    assert (maps.score[at] == peaks.score).all()
    assert (maps.index[at] == peaks.index).all()
    assert (maps.mean[at] == peaks.mean).all()
    assert (maps.deviation[at] == peaks.deviation).all()
    assert (maps.score[peaks.y - 1, peaks.x] == peaks.around[:, 0]).all()
    assert (maps.score[peaks.y, peaks.x + 1] == peaks.around[:, 3]).all()


def test_of_equal_neighbours_one_is_a_peak_and_nan_is_none(picking):
    image = np.zeros(SIZE, np.float32)
    grid = make_grid(SIZE, made.ANGPIX)
    scores, _ = scored(picking, image, grid, contrast(), Rotations(2))
    assert picking.peaks(scores, Area(1, 1, 1, 1), 2).score.size == 0
    image[20, 20] = np.nan
    scores, _ = scored(picking, image, grid, contrast(), Rotations(2))
    assert picking.peaks(scores, Area(5, 80, 5, 100), 2).score.size == 0


@pytest.mark.gpu
def test_cpu_and_gpu_find_the_same(tmp_path):
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    from relion_mpi.backend.gpu.device import n_devices

    if n_devices() == 0:
        pytest.skip("there is no CUDA device")
    size = (512, 600)
    particles, params = made.placed(size, seed=5), made.optics()
    image = made.micrograph(particles, size, noise=0.1, params=params)
    grid, how = make_grid(size, made.ANGPIX, lowpass_angst=12.0), contrast(params, outlier_z=8.0)
    found = []
    for name in ("cpu", "gpu"):
        backend = select_picking(name)
        backend.attach()
        scores, _ = scored(backend, image, grid, how, Rotations(36))
        found.append(backend.peaks(scores, Area(10, grid.work[0] - 10, 10, grid.work[1] - 10), 4))
    best = [(one.y[:40].tolist(), one.x[:40].tolist(), one.index[:40].tolist()) for one in found]
    assert best[0] == best[1]
    np.testing.assert_allclose(found[0].score[:40], found[1].score[:40], rtol=1e-4)
