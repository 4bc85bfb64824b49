"""The M-step's passes: known truths on every backend, and other backends against the CPU."""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
import pytest
from factories.sums import interleaved, packed, random_sums

from relion_mpi.backend import select_volumes
from relion_mpi.fourier.masks import sinc_squared
from relion_mpi.fourier.shells import padded_size
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.mstep.maximise import MaximisationOptions, maximise_halves, symmetrised

GEOMETRIES = [(16, 1, 8), (16, 2, 5), (20, 2, 10), (18, 3, 9), (32, 1, 12), (32, 2, 16)]
"""Box, padding, last shell: below and at Nyquist."""
TOLERANCE = 1e-12
GRIDDING_TOLERANCE = 1e-9
"""A prior makes the weights of shells without signal thousands of times larger; transforms round
all of them alike, and iterating divides by the small ones. Transforming the axes in another order
changes the CPU's own map by up to 1e-10 of its maximum."""
EDGE_PIX = 3.0

geometries = pytest.mark.parametrize(
    ("box", "padding", "r_max"), GEOMETRIES, ids=lambda value: str(value)
)


def available(name):
    if name == "gpu":
        if importlib.util.find_spec("cupy") is None:
            pytest.skip("CuPy is not installed")
        from relion_mpi.backend.gpu.device import n_devices

        if n_devices() == 0:
            pytest.skip("there is no CUDA device")
    return select_volumes(name)


@pytest.fixture(scope="module", params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def volumes(request):
    return available(request.param)


@pytest.fixture(scope="module", params=[pytest.param("gpu", marks=pytest.mark.gpu)])
def other(request):
    return available(request.param)


@pytest.fixture(scope="module")
def cpu():
    return select_volumes("cpu")


def host(array):
    return array.get() if hasattr(array, "get") else array


def made(backend, volume, box, padding, r_max):
    return backend.upload(packed(volume), box, r_max, padding).sums


def random_volume(box, padding, r_max, seed, *, gaps=True):
    sums = random_sums(box, r_max, seed, padding)
    if gaps:
        sums.weight[np.random.default_rng(seed).uniform(size=sums.weight.shape) < 0.2] = 0.0
    return interleaved(sums)


def close(found, expected, tolerance=TOLERANCE):
    """Compare relative to the largest number."""
    found, expected = host(found), host(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# Known truths


def test_what_is_uploaded_is_split(volumes):
    volume = random_volume(16, 2, 5, 1)
    found = volumes.upload(packed(volume), 16, 5, 2)
    assert (found.finite, found.any_weight) == (True, True)
    np.testing.assert_array_equal(host(found.sums.data), volume[..., 0] + 1j * volume[..., 1])
    np.testing.assert_array_equal(host(found.sums.weight), volume[..., 2])


@pytest.mark.parametrize(("part", "value"), [(0, np.nan), (1, np.inf), (2, -np.inf)])
def test_a_number_that_is_not_finite_is_seen(volumes, part, value):
    volume = random_volume(16, 2, 8, 1)
    volume[20, 3, 4, part] = value
    assert not volumes.upload(packed(volume), 16, 8, 2).finite


def test_sums_without_weights_are_seen(volumes):
    volume = random_volume(16, 2, 8, 1)
    volume[..., 2] = 0.0
    found = volumes.upload(packed(volume), 16, 8, 2)
    assert (found.finite, found.any_weight) == (True, False)
    volume[20, 3, 4, 2] = 1e-300
    assert volumes.upload(packed(volume), 16, 8, 2).any_weight


def one_coefficient(volumes, box, padding, r_max, k, value):
    """Map of one coefficient at padded indices k = (x, y, z)."""
    size = padded_size(r_max, padding)
    volume = np.zeros((size, size, size // 2 + 1, 3))
    volume[..., 2] = 2.0
    o = size // 2
    volume[o + k[2], o + k[1], k[0], :2] = 2.0 * value.real, 2.0 * value.imag
    sums = made(volumes, volume, box, padding, r_max)
    transform = volumes.divide(sums, volumes.regularised(sums, None, 0), np.zeros(r_max))
    return volumes.to_map(transform, sums, EDGE_PIX)


@geometries
def test_the_origin_alone_gives_a_constant(volumes, box, padding, r_max):
    found = one_coefficient(volumes, box, padding, r_max, (0, 0, 0), 3.0 + 0j)
    expected = 3.0 * box**2 / sinc_squared(box, padding, 3) / (padding * box) ** 3
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@geometries
def test_one_coefficient_gives_a_wave(volumes, box, padding, r_max):
    k, value = (3, -2, 4), 0.5 - 1.5j
    found = one_coefficient(volumes, box, padding, r_max, k, value)
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    phase = 2 * np.pi * (k[0] * x + k[1] * y + k[2] * z) / (padding * box)
    wave = 2 * (value * np.exp(1j * phase)).real * box**2 / (padding * box) ** 3
    inside = x**2 + y**2 + z**2 < (box // 2) ** 2
    expected = wave / sinc_squared(box, padding, 3)
    np.testing.assert_allclose(
        found[inside], expected[inside], atol=1e-12 * np.abs(expected).max()
    )


@geometries
def test_shells_count_their_voxels(volumes, box, padding, r_max):
    size = padded_size(r_max, padding)
    volume = np.zeros((size, size, size // 2 + 1, 3))
    volume[..., 2] = 5.0
    sums = made(volumes, volume, box, padding, r_max)
    prior = np.full(box // 2 + 1, 1.0 / (5 * padding**3))
    prior[::2] /= 2
    total, count, above = volumes.shell_sums(sums, prior)
    radius2 = sums.radius2()
    shell = (np.sqrt(radius2) / padding + 0.5).astype(int)[radius2 < sums.reach**2]
    expected = np.bincount(shell, minlength=prior.size)
    np.testing.assert_array_equal(count, expected)
    np.testing.assert_array_equal(total, expected * 5.0 * padding**3)
    np.testing.assert_array_equal(above, np.where(np.arange(prior.size) % 2, expected, 0))
    np.testing.assert_array_equal(volumes.mean_weight(sums, sums.weight), 5.0)


@geometries
def test_averages_of_bins_are_data_over_weights(volumes, box, padding, r_max):
    volume = random_volume(box, padding, r_max, 2, gaps=False)
    volume[..., 0], volume[..., 1] = 3 * volume[..., 2], -4 * volume[..., 2]
    first = made(volumes, volume, box, padding, r_max)
    volume[..., 1] *= -1
    second = made(volumes, volume, box, padding, r_max)
    cross, power, other = volumes.shell_powers(first, second)
    # Where bins reach beyond the data, those at the edge may be empty: not among the inner shells.
    axis = np.arange(-r_max, r_max + 1)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis[r_max:] ** 2)
    inner = np.bincount((radius + 0.5).astype(int).ravel())[: r_max - 1]
    np.testing.assert_allclose(power[: r_max - 1], 25.0 * inner, rtol=1e-12)
    np.testing.assert_allclose(other[: r_max - 1], 25.0 * inner, rtol=1e-12)
    np.testing.assert_allclose(cross[: r_max - 1], (9 - 16.0) * inner, rtol=1e-12)


def whole_power(volume, padding, r_max):
    """Power per shell of the whole padded transform, from numpy alone."""
    box = volume.shape[0]
    big = padding * box
    padded = np.zeros((big,) * 3)
    padded[:box, :box, :box] = volume / sinc_squared(box, padding, 3)
    power = 0.5 * np.abs(np.fft.rfftn(padded)) ** 2 / float(box) ** 4
    k = np.arange(big)
    k = np.where(2 * k > big, k - big, k) ** 2
    radius2 = k[:, None, None] + k[:, None] + np.arange(big // 2 + 1) ** 2
    shell = np.floor(np.sqrt(radius2) / padding + 0.5).astype(int)
    found = np.zeros(box // 2 + 1)
    for s in range(r_max + 1):
        found[s] = power[(shell == s) & (radius2 <= (padding * r_max) ** 2)].mean()
    return found


@geometries
def test_the_power_of_a_reference_is_that_of_its_padded_transform(volumes, box, padding, r_max):
    volume = np.random.default_rng(box).normal(size=(box,) * 3)
    found = volumes.map_power(volume, r_max, padding)
    close(found, whole_power(volume, padding, r_max))
    assert not found[r_max + 1 :].any()


def test_the_power_of_a_reference_is_found_in_parts(volumes, monkeypatch):
    volume = np.random.default_rng(1).normal(size=(20,) * 3)
    name = {"cpu": "CHUNK_BYTES", "gpu": "SLAB_BYTES"}[volumes.name]
    module = importlib.import_module(f"relion_mpi.backend.{volumes.name}.map_power")
    monkeypatch.setattr(module, name, 3 * 16 * 40 * 21)
    close(volumes.map_power(volume, 10, 2), whole_power(volume, 2, 10))


def test_a_map_is_rounded_once_it_is_finished(volumes):
    sums = made(volumes, random_volume(32, 2, 16, 3), 32, 2, 16)
    double, single = (
        volumes.to_map(
            volumes.divide(sums, sums.weight, np.full(16, 0.1)), sums, EDGE_PIX, dtype
        )
        for dtype in (np.float64, np.float32)
    )
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(single, double.astype(np.float32))


@pytest.mark.parametrize("padding", [1, 2])
def test_the_power_of_a_map_in_single_precision_is_that_of_its_values(volumes, padding):
    volume = np.random.default_rng(5).normal(size=(24, 24, 24)).astype(np.float32)
    close(volumes.map_power(volume, 9, padding),
          volumes.map_power(volume.astype(np.float64), 9, padding))  # fmt: skip


def test_a_repeated_pass_gives_the_same_bits(volumes):
    first, second = (made(volumes, random_volume(32, 2, 16, s), 32, 2, 16) for s in (3, 4))
    for call in (
        lambda: volumes.shell_powers(first, second),
        lambda: volumes.shell_sums(first, np.ones(17)),
        lambda: volumes.mean_weight(first, first.weight),
        lambda: volumes.to_map(
            volumes.divide(first, first.weight, np.full(16, 0.1)), first, EDGE_PIX
        ),
    ):
        np.testing.assert_array_equal(call(), call())


# Against the CPU


@geometries
@pytest.mark.gpu
def test_friedel_mates_are_those_of_the_cpu(cpu, other, box, padding, r_max):
    volume = random_volume(box, padding, r_max, 5)
    a, b = (made(one, volume, box, padding, r_max) for one in (cpu, other))
    cpu.enforce_friedel(a)
    other.enforce_friedel(b)
    np.testing.assert_array_equal(host(b.data), a.data)
    np.testing.assert_array_equal(host(b.weight), a.weight)


@geometries
@pytest.mark.parametrize("sym", ["C1", "C3", "D2", "O"])
@pytest.mark.gpu
def test_symmetry_is_that_of_the_cpu(cpu, other, box, padding, r_max, sym):
    volume = random_volume(box, padding, r_max, 6)
    a, b = (
        symmetrised(packed(volume), point_group(sym).operators, box, r_max, padding, one)
        for one in (cpu, other)
    )
    close(b.data, a.data)
    close(b.weight, a.weight)


@geometries
@pytest.mark.gpu
def test_joined_and_added_sums_are_those_of_the_cpu(cpu, other, box, padding, r_max):
    halves = [random_volume(box, padding, r_max, seed) for seed in (7, 8)]
    found = []
    for one in (cpu, other):
        first, second = (made(one, half, box, padding, r_max) for half in halves)
        one.join_low_resolution(first, second, r_max - 2)
        found.append([host(x).copy() for s in (first, second) for x in (s.data, s.weight)])
        one.add(first, second)
        found[-1] += [host(first.data), host(first.weight)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(b, a)


@geometries
@pytest.mark.gpu
def test_shells_are_those_of_the_cpu(cpu, other, box, padding, r_max):
    halves = [random_volume(box, padding, r_max, seed) for seed in (9, 10)]
    prior = np.random.default_rng(11).uniform(0, 1, box // 2 + 1)
    found = []
    for one in (cpu, other):
        first, second = (made(one, half, box, padding, r_max) for half in halves)
        found.append((
            one.shell_powers(first, second),
            one.shell_sums(first, prior),
            one.mean_weight(first, first.weight),
        ))  # fmt: skip
    for a, b in zip(*found, strict=True):
        for row_a, row_b in zip(np.atleast_2d(a), np.atleast_2d(b), strict=True):
            close(row_b, row_a)


@geometries
@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.gpu
def test_weights_are_those_of_the_cpu(cpu, other, box, padding, r_max, with_prior):
    volume = random_volume(box, padding, r_max, 12)
    prior = np.random.default_rng(13).uniform(0, 1, box // 2 + 1)
    prior[::3] = 0.0
    a, b = (
        one.regularised(
            made(one, volume, box, padding, r_max), prior if with_prior else None, 3
        )
        for one in (cpu, other)
    )
    np.testing.assert_allclose(host(b), a, rtol=TOLERANCE)


@geometries
@pytest.mark.parametrize("way", ["divide", "grid"])
@pytest.mark.gpu
def test_maps_are_those_of_the_cpu(cpu, other, box, padding, r_max, way):
    volume = random_volume(box, padding, r_max, 14, gaps=way == "divide")
    blob = np.exp(-np.linspace(0, 2, 10000))
    floor = np.linspace(0.6, 0.0, r_max)
    found = []
    for one in (cpu, other):
        sums = made(one, volume, box, padding, r_max)
        one.enforce_friedel(sums)
        weight = one.regularised(sums, None, 0)
        if way == "divide":
            transform = one.divide(sums, weight, floor)
        else:
            transform = one.grid(sums, weight, blob, 3)
        found.append(one.to_map(transform, sums, EDGE_PIX))
    close(found[1], found[0])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("skip_gridding", [True, False], ids=["divide", "gridding"])
@pytest.mark.parametrize("sym", ["C1", "D2"])
@pytest.mark.gpu
def test_an_m_step_is_that_of_the_cpu(cpu, other, sym, skip_gridding, last):
    box, padding, r_max = 24, 2, 11
    operators = point_group(sym).operators
    switches = MaximisationOptions(skip_gridding=skip_gridding)
    found = []
    for one in (cpu, other):
        halves = [
            symmetrised(
                packed(random_volume(box, padding, r_max, seed, gaps=False)), operators, box,
                r_max, padding, one,
            )
            for seed in (15, 16)
        ]  # fmt: skip
        result = maximise_halves(*halves, 0.02, 3.0, switches, last=last)
        spectra = [*result.spectra, *([result.joined[1]] if result.joined else [])]
        found.append([
            result.fsc, *result.maps, *(result.unfiltered or ()),
            *([result.joined[0]] if result.joined else []),
            *(x for s in spectra for x in (s.tau2, s.sigma2, s.data_vs_prior, s.coverage)),
        ])  # fmt: skip
        one.release()
    for a, b in zip(*found, strict=True):
        close(b, a, TOLERANCE if skip_gridding else GRIDDING_TOLERANCE)
