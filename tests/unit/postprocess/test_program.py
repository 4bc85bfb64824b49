"""Half-maps of white noise times a known fall-off, plus noise of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import fft

from relion_mpi.cli import main as command_line
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.shells import half_transform_radius
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.postprocess.inputs import other_half
from relion_mpi.postprocess.options import FscOptions, PostprocessOptions
from relion_mpi.postprocess.program import postprocess
from relion_mpi.postprocess.two_maps import correlate

BOX, ANGPIX, BFACTOR = 32, 2.0, 120.0
FREQUENCY = half_transform_radius(BOX, 3) / (BOX * ANGPIX)


def halves(noise=0.0, bfactor=0.0):
    rng = np.random.default_rng(0)
    signal = fft.rfftn(rng.normal(size=(BOX,) * 3)) * np.exp(-bfactor / 4 * FREQUENCY**2)
    signal = fft.irfftn(signal, s=(BOX,) * 3)
    own = noise * fft.irfftn(fft.rfftn(rng.normal(size=(2,) + (BOX,) * 3), axes=(1, 2, 3))
                                * FREQUENCY**2 * 64, s=(BOX,) * 3, axes=(1, 2, 3))  # fmt: skip
    return [signal + one for one in own]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A signal that falls by B = 120, noise that takes over half-way, a mask."""
    monkeypatch.chdir(tmp_path)
    for number, half in enumerate(halves(0.3, BFACTOR), 1):
        write_map(f"run_half{number}_class001_unfil.mrc", half, ANGPIX)
    write_map("mask.mrc", soft_sphere(BOX, 9.0, 4.0, 3), ANGPIX)
    return Path("run_half1_class001_unfil.mrc")


def run(i, **options):
    return postprocess(PostprocessOptions(i=i, **options))


def test_a_b_factor_that_was_put_in_is_found_and_taken_out(tmp_path):
    for number, half in enumerate(halves(1e-3, BFACTOR), 1):
        write_map(tmp_path / f"half{number}.mrc", half, ANGPIX)
    found = run(tmp_path / "half1.mrc", o=tmp_path / "post", auto_bfac=True)
    assert found.bfactor == pytest.approx(-BFACTOR, abs=4.0)
    truth = np.random.default_rng(0).normal(size=(BOX,) * 3)
    sharp, _ = read_map(tmp_path / "post.mrc")
    amplitudes = [np.abs(fft.rfftn(one)) for one in (sharp, truth)]
    inside = (FREQUENCY > 0.05) & (FREQUENCY < 0.2)
    ratio = amplitudes[0][inside] / amplitudes[1][inside]
    assert np.median(np.abs(ratio - 1.0)) < 0.01


def test_the_unmasked_curve_is_that_of_the_maps(job):
    found = run(job, mask=Path("mask.mrc"))
    maps = [read_map(f"run_half{n}_class001_unfil.mrc")[0] for n in (1, 2)]
    np.testing.assert_allclose(found.unmasked, fourier_shell_correlation(*maps), atol=1e-6)
    mask, _ = read_map("mask.mrc")
    masked = fourier_shell_correlation(*(one * mask for one in maps))
    np.testing.assert_allclose(found.masked.masked, masked, atol=1e-6)


def test_all_files_are_written_with_relion_s_tables(job):
    found = run(job, mask=Path("mask.mrc"), o=Path("new/post"), auto_bfac=True, molweight=10.0)
    names = {path.name for path in Path("new").iterdir()}
    assert names == {
        "post.mrc", "post_masked.mrc", "post.star", "post_fsc.xml", "post_fsc.png",
        "post_guinier.png",
    }  # fmt: skip
    blocks = read_star("new/post.star")
    assert list(blocks) == ["general", "fsc", "guinier"]
    assert float(blocks["general"]["rlnFinalResolution"]) == pytest.approx(found.resolution_angst)
    assert blocks["fsc"].columns == [
        "rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution",
        "rlnFourierShellCorrelationCorrected", "rlnFourierShellCorrelationParticleMaskFraction",
        "rlnFourierShellCorrelationParticleMolWeight", "rlnFourierShellCorrelationUnmaskedMaps",
        "rlnFourierShellCorrelationMaskedMaps",
        "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
    ]  # fmt: skip
    assert blocks["guinier"].columns == [
        "rlnResolutionSquared", "rlnLogAmplitudesOriginal", "rlnLogAmplitudesWeighted",
        "rlnLogAmplitudesSharpened", "rlnLogAmplitudesIntercept",
    ]  # fmt: skip
    map_, angpix = read_map("new/post.mrc")
    np.testing.assert_allclose(
        read_map("new/post_masked.mrc")[0], map_ * read_map("mask.mrc")[0], atol=1e-6
    )
    assert angpix == pytest.approx(ANGPIX)


def test_the_low_pass_at_the_resolution_leaves_nothing_beyond(job):
    found = run(job, mask=Path("mask.mrc"), low_pass=-1.0, skip_fsc_weighting=True)
    shell = round(BOX * ANGPIX / found.resolution_angst)
    assert 3 < shell < 14
    power = np.abs(fft.rfftn(read_map("postprocess.mrc")[0]))
    radius = half_transform_radius(BOX, 3)
    assert power[radius > shell + 1].max() < 1e-4 * power[radius < shell - 1].mean()


def test_half_maps_are_treated_as_the_map(job):
    run(job, half_maps=True, adhoc_bfac=-50.0)
    halves = [read_map(f"postprocess_half{n}.mrc")[0] for n in (1, 2)]
    np.testing.assert_allclose(np.mean(halves, 0), read_map("postprocess.mrc")[0], atol=1e-5)


def test_the_seed_decides_the_random_phases_only(job):
    one, same, other = (
        run(job, mask=Path("mask.mrc"), random_seed=seed).masked for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.randomised, same.randomised)
    assert not np.array_equal(one.randomised, other.randomised)
    np.testing.assert_array_equal(one.masked, other.masked)


def test_an_mtf_is_divided_out(job):
    curve = pl.DataFrame({"rlnResolutionInversePixel": [0.0, 0.5], "rlnMtfValue": [0.5, 0.5]})
    write_star("mtf.star", {"": curve})
    run(job, o=Path("plain"), skip_fsc_weighting=True)
    found = run(job, o=Path("divided"), skip_fsc_weighting=True, mtf=Path("mtf.star"))
    np.testing.assert_allclose(
        found.guinier.mtf_corrected[:-1] - found.guinier.original[:-1], np.log(2.0), atol=1e-6
    )


def test_a_mask_that_leaves_less_than_no_mask_is_not_used(job, caplog):
    corner = np.roll(soft_sphere(BOX, 2.0, 1.0, 3), 12, (0, 1, 2))
    write_map("corner.mrc", corner, ANGPIX)
    found = run(job, mask=Path("corner.mrc"))
    forced = run(job, mask=Path("corner.mrc"), force_mask=True)
    np.testing.assert_array_equal(found.fsc, found.unmasked)
    np.testing.assert_array_equal(forced.fsc, forced.masked.corrected)
    assert "the mask is not used" in caplog.text


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a/run_half1_class001_unfil.mrc", "a/run_half2_class001_unfil.mrc"),
        ("half2.mrc", "half1.mrc"),
        ("half1/half2.mrc", "half1/half1.mrc"),
    ],
)
def test_the_other_half_is_found_by_name(name, other):
    assert other_half(Path(name)) == Path(other)


def test_a_name_without_half_is_told(job):
    with pytest.raises(InputError, match="neither half1 nor half2"):
        run(Path("mask.mrc"))


def test_a_map_of_density_is_no_mask(job):
    write_map("wrong.mrc", 3.0 * soft_sphere(BOX, 9.0, 4.0, 3), ANGPIX)
    with pytest.raises(InputError, match="from 0 to 3, expected a mask"):
        run(job, mask=Path("wrong.mrc"))


def test_a_mask_of_another_box_is_told(job):
    write_map("small.mrc", soft_sphere(16, 5.0, 2.0, 3), ANGPIX)
    with pytest.raises(InputError, match="found a box of 16 voxels, expected 32"):
        run(job, mask=Path("small.mrc"))


def test_a_map_without_a_pixel_size_needs_one(job):
    for number in (1, 2):
        write_map(f"bare_half{number}.mrc", halves()[0], 0.0)
    with pytest.raises(InputError, match="give --angpix"):
        run(Path("bare_half1.mrc"))
    assert run(Path("bare_half1.mrc"), angpix=3.0).pixel_size_angst == 3.0


def test_two_b_factors_contradict_each_other(job):
    with pytest.raises(InputError, match="expected one of them"):
        run(job, auto_bfac=True, adhoc_bfac=-10.0)


def test_halves_that_never_disagree_need_a_resolution_to_randomise_from(tmp_path):
    for number in (1, 2):
        write_map(tmp_path / f"half{number}.mrc", halves()[0], ANGPIX)
    write_map(tmp_path / "mask.mrc", soft_sphere(BOX, 9.0, 4.0, 3), ANGPIX)
    options = {"mask": tmp_path / "mask.mrc", "o": tmp_path / "post"}
    with pytest.raises(InputError, match="--randomize_at_A"):
        run(tmp_path / "half1.mrc", **options)
    assert run(tmp_path / "half1.mrc", **options, randomize_at=10.0).masked.first_random == 6


def test_a_line_of_relion_s_interface_is_understood(job, capsys):
    Path("job").mkdir()
    line = (
        f"postprocess --mask mask.mrc --i {job} --o job/postprocess --angpix 2 --adhoc_bfac -50 "
        "--low_pass -1 --randomize_at_A -1 --pipeline_control job/"
    )
    assert command_line.main(line.split()) == 0
    assert (Path("job") / "RELION_JOB_EXIT_SUCCESS").exists()
    assert "FINAL RESOLUTION" in "".join(capsys.readouterr())


def test_fsc_finds_the_shell_where_two_maps_part(tmp_path):
    rng = np.random.default_rng(5)
    first, other = (fft.rfftn(rng.normal(size=(BOX,) * 3)) for _ in range(2))
    second = np.where(half_transform_radius(BOX, 3) < 8.5, first, other)
    for name, one in (("a.mrc", first), ("b.mrc", second)):
        write_map(tmp_path / name, fft.irfftn(one, s=(BOX,) * 3), ANGPIX)
    write_map(tmp_path / "mask.mrc", soft_sphere(BOX, 10.0, 4.0, 3), ANGPIX)
    found = correlate(
        FscOptions(a=tmp_path / "a.mrc", b=tmp_path / "b.mrc", o=tmp_path / "new" / "fsc",
                   mask=tmp_path / "mask.mrc")
    )  # fmt: skip
    np.testing.assert_allclose(found.unmasked[:9], 1.0, atol=1e-6)
    strict, half = found.resolutions_angst(found.unmasked)
    assert BOX * ANGPIX / 9 < strict < half < BOX * ANGPIX / 8
    assert found.masked[9] > found.unmasked[9]  # the mask mixes shells
    table = read_star(tmp_path / "new" / "fsc.star")["fsc"]
    np.testing.assert_allclose(
        table["rlnFourierShellCorrelationMaskedMaps"].to_numpy(), found.masked, atol=1e-6
    )
    rows = pl.read_csv(tmp_path / "new" / "fsc.csv")
    assert rows.columns == table.columns
    assert rows.height == BOX // 2 + 1
    assert (tmp_path / "new" / "fsc.xml").read_text().count("<coordinate>") == BOX // 2 + 1
    assert (tmp_path / "new" / "fsc.png").read_bytes()[:4] == b"\x89PNG"


def test_fsc_takes_two_names(job):
    assert command_line.main(["fsc", str(job), str(other_half(job)), "--o", "both"]) == 0
    assert Path("both.star").exists()
