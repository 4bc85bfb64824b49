"""Half-maps whose noise takes over at known frequencies in known places."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import fft

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.masks import half_transform_radius, soft_sphere
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star
from relion_mpi.postprocess.locres import memory
from relion_mpi.postprocess.locres.layout import make_layout
from relion_mpi.postprocess.locres.memory import GIB
from relion_mpi.postprocess.locres.program import local_resolution
from relion_mpi.postprocess.options import PostprocessOptions

BOX, ANGPIX = 96, 2.0
COARSE, FINE = 16, 34
"""Shells at which the FSC is 0.143 in the left and in the right half of the box (along x)."""
RADIUS = half_transform_radius(BOX, 3)
SMALL = {"locres_sampling": 32.0, "locres_randomize_at": 30.0}
"""Windows of 48 voxels across."""


def white(rng):
    return fft.rfftn(rng.normal(size=(BOX,) * 3))


def real(transform):
    return fft.irfftn(transform, s=(BOX,) * 3)


def of_two_regions():
    """A white signal, and noise whose power grows so that FSC = 1 / (1 + 6 (s / shell)^4).

    It grows no further than to 0.03, or what masks smear from there would hide the rest.
    """
    rng = np.random.default_rng(3)
    signal = real(white(rng))
    left = (np.arange(BOX) < BOX // 2).astype(float)
    halves = []
    for _ in range(2):
        coarse, fine = (
            real(white(rng) * np.sqrt(np.minimum(6.0 * (RADIUS / shell) ** 4, 30.0)))
            for shell in (COARSE, FINE)
        )
        halves.append(signal + left * coarse + (1.0 - left) * fine)
    return halves


def write_halves(folder, halves, angpix=ANGPIX):
    for number, half in enumerate(halves, 1):
        write_map(folder / f"run_half{number}_unfil.mrc", half, angpix)
    return PostprocessOptions(
        i=folder / "run_half1_unfil.mrc", o=folder / "post", locres=True, random_seed=1
    )


@pytest.fixture(scope="module")
def two_regions(tmp_path_factory):
    options = write_halves(tmp_path_factory.mktemp("locres"), of_two_regions())
    return options, local_resolution(replace(options, **SMALL))


def test_two_regions_show_the_resolutions_that_were_put_in(two_regions):
    _, found = two_regions
    inner = np.s_[24:72, 24:72]
    left = found.resolution[(*inner, slice(20, 28))]
    right = found.resolution[(*inner, slice(68, 76))]
    for region, shell in ((left, COARSE), (right, FINE)):
        shells = BOX * ANGPIX / region
        # The FSC within a window is uncertain by 0.1; the curve falls from 0.24 to 0.08 between
        # 0.85 and 1.2 times the shell.
        assert np.median(shells) == pytest.approx(shell, rel=0.15)


def test_the_map_is_filtered_to_the_resolution_of_its_place(two_regions):
    _, found = two_regions
    power = {}
    for name, x in (("left", 24), ("right", 72)):
        window = np.roll(soft_sphere(BOX, 8.0, 8.0, 3), x - BOX // 2, 2)
        power[name] = np.abs(fft.rfftn(found.filtered * window)) ** 2
    between = (RADIUS > COARSE + 5) & (RADIUS < FINE - 4)
    below = (RADIUS > 2) & (RADIUS < COARSE - 3)
    share = {name: one[between].mean() / one[below].mean() for name, one in power.items()}
    assert share["left"] < 0.1
    assert share["right"] > 0.5


def test_a_map_without_noise_comes_back_as_the_sum_of_the_halves(tmp_path):
    rng = np.random.default_rng(5)
    signal = real(white(rng) * (RADIUS < 30))
    found = local_resolution(replace(write_halves(tmp_path, [signal, signal]), **SMALL))
    inner = np.s_[36:60, 36:60, 36:60]
    difference = found.filtered[inner] - 2.0 * signal[inner]
    # Faces of the windows' boxes leave ripples.
    assert difference.std() < 0.03 * 2.0 * signal[inner].std()
    assert found.resolution[inner].max() < BOX * ANGPIX / 30


def test_a_b_factor_reaches_the_filtered_map_only(tmp_path):
    options = replace(write_halves(tmp_path, of_two_regions()), **SMALL)
    plain = local_resolution(options)
    blurred = local_resolution(replace(options, adhoc_bfac=200.0))
    np.testing.assert_array_equal(plain.resolution, blurred.resolution)
    powers = [np.abs(fft.rfftn(one.filtered)) ** 2 for one in (plain, blurred)]
    shell = (RADIUS > 9.5) & (RADIUS < 10.5)
    falls = np.sqrt(powers[1][shell].mean() / powers[0][shell].mean())
    assert falls == pytest.approx(np.exp(-200.0 / 4 * (10 / (BOX * ANGPIX)) ** 2), rel=0.02)


def test_windows_in_the_whole_box_give_the_plain_fsc_of_masked_maps(tmp_path):
    halves = of_two_regions()
    options = write_halves(tmp_path, halves)
    # Boxes around spheres of 25 voxels with an edge of 20 would have 120.
    wide = {"locres_maskrad": 50.0, "locres_edgwidth": 40.0}
    found = local_resolution(replace(options, **wide, **SMALL))
    layout = found.layout
    assert layout.window_size == BOX
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    middle = int(np.flatnonzero((layout.centres == 0).all(axis=1))[0])
    assert len(layout.centres) > 1
    for number in (0, middle):
        c = layout.centres[number]
        radius = np.sqrt((z - c[0]) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2)
        edge = 0.5 + 0.5 * np.cos(np.pi * (radius - layout.radius_pix) / layout.edge_pix)
        outer = layout.radius_pix + layout.edge_pix
        mask = np.where(radius < layout.radius_pix, 1.0, np.where(radius > outer, 0.0, edge))
        plain = fourier_shell_correlation(*(half * mask for half in halves))
        np.testing.assert_allclose(found.curves[number].masked, plain, atol=1e-4)


def test_small_windows_give_nearly_the_curve_of_the_whole_box(two_regions):
    options, found = two_regions
    layout = found.layout
    assert layout.window_size < BOX
    halves = [read_map(options.i.with_name(f"run_half{n}_unfil.mrc"))[0] for n in (1, 2)]
    mask = soft_sphere(BOX, layout.radius_pix, layout.edge_pix, 3)
    middle = int(np.flatnonzero((layout.centres == 0).all(axis=1))[0])
    plain = fourier_shell_correlation(*(half * mask for half in halves))
    assert np.abs(found.curves[middle].masked - plain).mean() < 0.03


def test_neither_threads_nor_repetition_change_a_bit_but_the_seed_does(tmp_path):
    options = replace(write_halves(tmp_path, of_two_regions()), **SMALL)
    one, four = (local_resolution(replace(options, j=j)) for j in (1, 4))
    np.testing.assert_array_equal(one.resolution, four.resolution)
    np.testing.assert_array_equal(one.filtered, four.filtered)
    other = local_resolution(replace(options, random_seed=2))
    assert not np.array_equal(one.resolution, other.resolution)


def test_files_have_relion_s_names(two_regions):
    options, found = two_regions
    names = {path.name for path in options.o.parent.glob("post*")}
    assert names == {
        "post_locres.mrc", "post_locres_filtered.mrc", "post_locres_fscs.star",
        "post_locres_histogram.png", "post_locres_slices.png",
    }  # fmt: skip
    local, angpix = read_map(f"{options.o}_locres.mrc")
    np.testing.assert_array_equal(local, found.resolution)
    assert angpix == pytest.approx(ANGPIX)
    blocks = read_star(f"{options.o}_locres_fscs.star")
    windows = blocks["windows"]
    assert windows.height == len(blocks) - 1 == len(found.curves)
    place = windows.select("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ").row(5)
    x, y, z = (int(c) - BOX // 2 for c in place)
    block = blocks[f"fsc_{x:05d}_{y:05d}_{z:05d}"]
    corrected = block["rlnFourierShellCorrelationCorrected"].to_numpy()
    np.testing.assert_allclose(corrected, found.curves[5].corrected, atol=1e-6)
    for name in ("histogram", "slices"):
        assert Path(f"{options.o}_locres_{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_mask_says_which_voxels_to_tell_about(tmp_path, caplog):
    caplog.set_level("INFO")
    options = write_halves(tmp_path, of_two_regions())
    mask = np.roll(soft_sphere(BOX, 8.0, 2.0, 3), -24, 2)
    write_map(tmp_path / "mask.mrc", mask, ANGPIX)
    found = local_resolution(replace(options, mask=tmp_path / "mask.mrc", **SMALL))
    median = np.median(found.resolution[read_map(tmp_path / "mask.mrc")[0] > 0.5])
    assert f"within the mask: median {median:.3f} A" in caplog.text


def test_resolutions_are_cut_where_asked(tmp_path):
    rng = np.random.default_rng(1)
    noise = [rng.normal(size=(BOX,) * 3) for _ in range(2)]
    found = local_resolution(replace(write_halves(tmp_path, noise), locres_minres=30.0, **SMALL))
    assert found.resolution.max() == pytest.approx(30.0, rel=1e-5)


def test_the_grid_is_that_of_relion():
    options = PostprocessOptions(i=Path("half1.mrc"))
    layout = make_layout(options, 64, 3.0)
    # relion_postprocess 3.1.3 tells 179 curves for 64 voxels of 3 A.
    assert len(layout.centres) == 179
    assert (layout.radius_pix, layout.edge_pix, layout.first_random) == (4, 8, 7)
    layout = make_layout(replace(options, locres_maskrad=30.0, locres_edgwidth=6.0), 64, 3.0)
    assert (layout.radius_pix, layout.edge_pix) == (10, 2)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"auto_bfac": True}, "--adhoc_bfac"),
        ({"locres_maskrad": 70.0}, "choose a smaller radius"),
        ({"locres_sampling": 0.5}, "less than a voxel"),
        ({"locres_randomize_at": 500.0}, "--locres_randomize_at 500: found shell 0"),
    ],
)
def test_what_cannot_be_done_is_told_before_work(tmp_path, changed, told):
    halves = [np.random.default_rng(n).normal(size=(16,) * 3) for n in (1, 2)]
    options = write_halves(tmp_path, halves, 4.0)
    with pytest.raises(InputError, match=told):
        local_resolution(replace(options, **changed))
    assert not list(tmp_path.glob("post*"))


def test_too_little_memory_is_told_before_work(tmp_path, monkeypatch):
    options = write_halves(tmp_path, of_two_regions())
    monkeypatch.setattr(memory, "available_bytes", lambda: 0.1 * GIB)
    with pytest.raises(InputError, match=r"needs 0\.\d GiB of memory, of which 0\.1 GiB are free"):
        local_resolution(options)


def test_the_command_knows_it_and_predicts_its_memory(tmp_path):
    options = write_halves(tmp_path, of_two_regions())
    line = f"postprocess --i {options.i} --locres --locres_sampling 40 --o {tmp_path}/job --verb 1"
    words = [sys.executable, "-m", "relion_mpi.cli.main", *line.split(), "--j", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "job_locres.mrc").exists()
    assert not (tmp_path / "job.star").exists()
    used, predicted = map(float, re.search(
        r"used ([\d.]+) GiB at most, ([\d.]+) predicted", done.stdout).groups())  # fmt: skip
    assert 0.6 * predicted < used < 1.2 * predicted
