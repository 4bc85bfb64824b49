import shutil
import subprocess
from dataclasses import replace

import mrcfile
import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

BOX, ANGPIX = 32, 7.0
needs_project = pytest.mark.skipif(
    shutil.which("relion_project") is None, reason="RELION is not installed"
)
needs_reconstruct = pytest.mark.skipif(
    shutil.which("relion_reconstruct") is None, reason="RELION is not installed"
)


def options(folder, **changes):
    plain = SimulateOptions(o=folder, n=24, box=BOX, angpix=ANGPIX)
    return replace(plain, **changes)


def correlations(a, b):
    pairs = zip(a.astype(np.float64), b.astype(np.float64), strict=True)
    return [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in pairs]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Noise-free images of two optics groups, on a finer grid."""
    folder = tmp_path_factory.mktemp("clean")
    return simulate(options(folder, box=64, angpix=3.5, no_noise=True, n_optics=2, n_micrographs=4))


@pytest.mark.relion
@needs_project
def test_relion_projects_the_truth_to_the_same_images(clean, tmp_path):
    command = ["relion_project", "--i", clean.maps[0], "--ang", clean.truth, "--ctf"]
    done = subprocess.run(
        [*map(str, command), "--o", str(tmp_path / "p"), "--angpix", "3.5"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, theirs = mrcfile.read(clean.stack), mrcfile.read(tmp_path / "p.mrcs")
    assert min(correlations(ours, theirs)) > 0.999
    slope = (ours * theirs).sum() / (theirs * theirs).sum()
    assert slope == pytest.approx(1.0, abs=0.01)  # the truth is on the images' grey scale


@pytest.mark.relion
@needs_reconstruct
def test_relion_reconstructs_the_true_map_from_the_truth(tmp_path):
    made = simulate(options(tmp_path, n=400, snr=1.0))
    done = subprocess.run(
        ["relion_reconstruct", "--i", str(made.truth), "--o", str(tmp_path / "r.mrc"), "--ctf"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fsc = fourier_shell_correlation(mrcfile.read(tmp_path / "r.mrc"), read_map(made.maps[0])[0])
    assert fsc[2:10].min() > 0.95


def test_the_ratio_of_signal_to_noise_is_the_one_asked_for(tmp_path):
    clean = mrcfile.read(simulate(options(tmp_path / "a", n=100, snr=0.2, no_noise=True)).stack)
    # On the scale on which the noise has standard deviation 1 the signal's variance is the ratio.
    assert clean.var(axis=(1, 2)).mean() == pytest.approx(0.2, rel=1e-3)
    noisy = mrcfile.read(simulate(options(tmp_path / "b", n=100, snr=0.2)).stack)
    aligned = (noisy * clean).sum() / (clean * clean).sum()
    assert (noisy - aligned * clean).var() == pytest.approx(1.0, abs=0.03)


def test_the_background_of_every_image_has_mean_0_and_deviation_1(tmp_path):
    images = mrcfile.read(simulate(options(tmp_path)).stack)
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    background = images[:, np.hypot(x, y) > 0.45 * BOX]
    np.testing.assert_allclose(background.mean(axis=1), 0.0, atol=1e-5)
    np.testing.assert_allclose(background.std(axis=1), 1.0, atol=1e-5)


def test_a_seed_gives_the_same_images_whatever_the_batch(tmp_path, monkeypatch):
    first = mrcfile.read(simulate(options(tmp_path / "a")).stack)
    monkeypatch.setattr("relion_mpi.simulate.particle_set.CHUNK_BYTES", 5 * 4 * BOX * BOX)
    second = mrcfile.read(simulate(options(tmp_path / "b")).stack)
    other = mrcfile.read(simulate(options(tmp_path / "c", seed=2)).stack)
    np.testing.assert_array_equal(first, second)
    assert max(np.abs(correlations(first, other))) < 0.9


def test_angles_are_wiped_from_what_refinement_reads(tmp_path):
    made = simulate(options(tmp_path))
    labels = read_star(made.particles)["particles"].columns
    true_labels = read_star(made.truth)["particles"].columns
    hidden = set(true_labels) - set(labels)
    assert hidden == {
        "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst",
        "rlnClassNumber",
    }  # fmt: skip
    assert {"rlnImageName", "rlnMicrographName", "rlnDefocusU"} <= set(labels)


def test_optics_groups_go_by_micrograph(clean):
    blocks = read_star(clean.particles)
    assert blocks["optics"]["rlnOpticsGroup"].to_list() == [1, 2]
    rows = blocks["particles"].select("rlnMicrographName", "rlnOpticsGroup").unique()
    assert rows.height == 4
    assert sorted(rows["rlnOpticsGroup"].to_list()) == [1, 1, 2, 2]


def test_a_stack_of_16_bit_floats_holds_the_same_images(tmp_path):
    wide = mrcfile.read(simulate(options(tmp_path / "a")).stack)
    made = simulate(options(tmp_path / "b", float16=True))
    with mrcfile.open(made.stack) as stack:
        assert stack.header.mode == 12
        assert stack.is_image_stack()
        assert float(stack.voxel_size.x) == pytest.approx(ANGPIX)
        np.testing.assert_allclose(stack.data, wide, atol=5e-3)


def test_coloured_noise_has_the_documented_spectrum(tmp_path):
    image = mrcfile.read(simulate(options(tmp_path, snr=1e-6, noise="coloured", n=400)).stack)
    power = (np.abs(np.fft.rfft2(image)) ** 2).mean(axis=0)
    s2 = np.array([2 * 1**2, 2 * 12**2]) / (BOX * ANGPIX) ** 2
    low, high = 0.4 + 6.0 * np.exp(-0.5 * s2 * 20.0**2)
    # Each power is a mean of 400 exponential numbers: 5 %; four standard deviations of the ratio.
    assert power[1, 1] / power[12, 12] == pytest.approx(low / high, rel=0.28)
    assert image.var() == pytest.approx(1.0, abs=0.1)


def test_two_maps_become_two_classes(tmp_path):
    rng = np.random.default_rng(3)
    paths = tuple(tmp_path / f"{k}.mrc" for k in (1, 2))
    for path in paths:
        write_map(path, rng.normal(size=(BOX,) * 3), ANGPIX)
    made = simulate(options(tmp_path / "o", map=paths, no_noise=True))
    truth = read_star(made.truth)["particles"]
    assert set(truth["rlnClassNumber"].to_list()) == {1, 2}
    for path, saved in zip(paths, made.maps, strict=True):
        fsc = fourier_shell_correlation(read_map(path)[0], read_map(saved)[0])
        assert fsc.min() > 0.9999


def test_a_preferred_view_puts_that_share_into_the_cone(tmp_path):
    truth = read_star(simulate(options(tmp_path, n=600, box=16, preferred=0.7)).truth)
    share = (truth["particles"]["rlnAngleTilt"] < 45.0).mean()
    # 0.7 plus the 15 % of the sphere that the others spread over; four standard deviations.
    assert share == pytest.approx(0.7 + 0.3 * 0.1464, abs=4 * np.sqrt(0.2 / 600))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"box": 33}, "--box: found 33"),
        ({"defocus_max": 100.0}, "--defocus_max: found 100"),
        ({"ini_high": 5.0}, "--ini_high: found 5"),
        ({"sym": "Q3"}, "Q3"),
    ],
)
def test_options_that_cannot_work_are_refused(tmp_path, changes, part):
    with pytest.raises(InputError, match=part):
        simulate(options(tmp_path, **changes))


def test_a_missing_map_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.mrc"):
        simulate(options(tmp_path, map=(tmp_path / "nowhere.mrc",)))
