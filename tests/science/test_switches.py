"""Each option does what it promises; searches are local from poses near the truth."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from factories.refinement import (
    LOCAL,
    angle_errors_deg,
    fsc_with_truth,
    near_truth,
    particle_set,
    refine,
)
from scipy.ndimage import gaussian_filter

from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.project import make_projector, project
from relion_mpi.simulate.truth import draw_truth

DIAMETER = 150.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return particle_set(tmp_path_factory.mktemp("set"), n_micrographs=6)


def locally(made, **changes):
    return refine(
        made, particles=near_truth(made), **(LOCAL | {"particle_diameter": DIAMETER} | changes)
    )


@pytest.fixture(scope="module")
def plain(made):
    return locally(made)


def outer_fsc(made, refined):
    """Mean FSC with the truth from 20 to 11 A."""
    volume = np.mean([h.maps[0] for h in refined.halves], axis=0)
    return fsc_with_truth(made, volume)[10:19].mean()


def test_local_searches_from_the_first_iteration_find_the_truth(made):
    refined = locally(made, healpix_order=4, auto_iter_max=8)
    assert refined.record.schedule.local_sigma_deg is not None
    assert (angle_errors_deg(made, refined) < 2.0).mean() > 0.9
    assert outer_fsc(made, refined) > 0.9
    # Poses were 1.5 deg off about each axis, 2.3 deg in the median.
    assert np.median(angle_errors_deg(made, refined)) < 1.0


def test_searches_stay_within_three_widths_of_the_given_poses(made):
    # The images are noise: they pull everywhere. The width is two fine steps of 1.875 deg.
    star = near_truth(made, angle_deg=0.0, offset_angst=0.0)
    blocks = read_star(star)
    noise = np.random.default_rng(2).normal(size=(240, 40, 40))
    write_map(star.with_name("noise.mrcs"), noise, 5.0, stack=True)
    names = [f"{i + 1:06d}@{star.with_name('noise.mrcs')}" for i in range(240)]
    table = blocks["particles"].with_columns(rlnImageName=np.array(names))
    write_star(star.with_name("noise.star"), {**blocks, "particles": table})
    words = LOCAL | {"healpix_order": 4, "auto_iter_max": 1, "perturb": 0.0}
    moved = angle_errors_deg(made, refine(made, particles=star.with_name("noise.star"), **words))
    # Direction and psi are each within 11.25 deg; fine samples are up to 1.9 and 0.94 deg off. Next
    # to the poles a fine sample has another rot than its parent but the same psi (as in RELION).
    assert np.percentile(moved, 98) < np.hypot(11.25 + 1.9, 11.25 + 0.94)
    assert np.percentile(moved, 50) > 10  # the whole window is searched


# Image treatment


def test_noise_filled_masks_give_the_noise_of_unmasked_images(made):
    refined = locally(made, zero_mask=False, auto_iter_max=6)
    box, pixel = 40, 5.0
    inside = soft_sphere(box, DIAMETER / (2 * pixel), 5.0, 2)
    kept, filled = (inside**2).mean(), ((1 - inside) ** 2).mean()
    for half in refined.halves:
        # s = kept v + filled s, on the edge both are damped
        expected = kept / (1 - filled) / (2 * box**2)
        assert half.sigma2_noise[0, 12:20].mean() == pytest.approx(expected, rel=0.05)
    assert (angle_errors_deg(made, refined) < 2.0).mean() > 0.9


def images_without_ctf(folder, made):
    """Rewrite the stack of `made` with projections that no CTF has touched."""
    options = SimulateOptions(o=folder, n=240, box=40, angpix=5.0, sym="D2", snr=0.5, seed=1,
                              n_micrographs=6)  # fmt: skip
    truth, _ = read_map(made.maps[0])
    clean = project(make_projector([truth], 5.0), draw_truth(options, 1), np.arange(240),
                    with_ctf=False)  # fmt: skip
    noise = np.random.default_rng(3).normal(size=clean.shape)
    # As much signal as the CTF would leave.
    write_map(made.stack, 0.5 * clean + noise, 5.0, stack=True)


def test_without_ctf_correction_images_without_a_ctf_are_refined(tmp_path):
    made = particle_set(tmp_path, n_micrographs=6)
    images_without_ctf(tmp_path, made)
    right, wrong = locally(made, ctf=False), locally(made, ctf=True)
    assert (angle_errors_deg(made, right) < 2.0).mean() > 0.9
    assert outer_fsc(made, right) > 0.9
    assert outer_fsc(made, wrong) < outer_fsc(made, right) - 0.2


# Reconstruction


def test_iterated_gridding_gives_the_same_map(made, plain):
    other = locally(made, skip_gridding=False)
    assert outer_fsc(made, other) == pytest.approx(outer_fsc(made, plain), abs=0.03)
    a, b = plain.halves[0].maps[0], other.halves[0].maps[0]
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99


def test_a_mask_and_its_fsc_gain_resolution_and_flatten_the_solvent(made, plain):
    truth, pixel = read_map(made.maps[0])
    smooth = gaussian_filter(np.float64(truth), 2.0)
    mask = np.clip(gaussian_filter((smooth > 0.1 * smooth.max()).astype(float), 1.0), 0, 1)
    path = made.particles.with_name("mask.mrc")
    write_map(path, mask, pixel)
    refined = locally(made, solvent_mask=path, solvent_correct_fsc=True)
    assert 0.02 < mask.mean() < 0.4
    volume = refined.halves[0].maps[0]
    assert np.abs(volume[mask == 0]).max() == 0
    # The corrected FSC leaves out the solvent's noise: higher, by more than chance, where the
    # unmasked one has begun to fall.
    assert refined.halves[0].fsc[12:19].mean() > plain.halves[0].fsc[12:19].mean() + 0.03
    assert refined.resolution_angst <= plain.resolution_angst
    assert outer_fsc(made, refined) > outer_fsc(made, plain)
    assert refined.record.unfiltered is not None


# Intensities


def brightened(made, folder, factor):
    """The same images, those of every other micrograph multiplied; which ones."""
    images, pixel = read_map(made.stack)
    blocks = read_star(near_truth(made))
    table = blocks["particles"]
    bright = table["rlnMicrographName"].str.slice(3, 5).cast(int).to_numpy() % 2 == 0
    images = images.copy()
    images[bright] *= factor
    write_map(folder / "bright.mrcs", images, pixel, stack=True)
    names = [f"{i + 1:06d}@{folder / 'bright.mrcs'}" for i in range(table.height)]
    table = table.with_columns(rlnImageName=np.array(names))
    write_star(folder / "bright.star", {**blocks, "particles": table})
    return folder / "bright.star", bright


def test_scales_of_micrographs_are_found(made, tmp_path):
    star, bright = brightened(made, tmp_path, 1.3)
    refined = refine(made, particles=star, norm=False, particle_diameter=DIAMETER, **LOCAL)
    groups = refined.particles.scale_group
    for half in refined.halves:
        scale = half.scale[groups]
        assert scale[bright].mean() / scale[~bright].mean() == pytest.approx(1.3, rel=0.03)


def test_norms_of_particles_are_found_and_leave_nothing_to_the_scales(made, tmp_path):
    star, bright = brightened(made, tmp_path, 1.3)
    refined = refine(made, particles=star, particle_diameter=DIAMETER, **LOCAL)
    norm = refined.particles.norm_correction
    assert norm[bright].mean() / norm[~bright].mean() == pytest.approx(1.3, rel=0.02)
    groups = refined.particles.scale_group
    scale = refined.halves[0].scale[groups]
    assert scale[bright].mean() / scale[~bright].mean() == pytest.approx(1.0, abs=0.04)


def test_without_both_corrections_nothing_is_corrected(made, tmp_path):
    star, _ = brightened(made, tmp_path, 1.3)
    refined = refine(made, particles=star, norm=False, scale=False, **LOCAL)
    assert (refined.particles.norm_correction == 1).all()
    assert all((half.scale == 1).all() for half in refined.halves)


# Optics groups


@pytest.mark.parametrize(
    ("box", "pixel"), [(50, 4.0), (48, 4.0), (36, 6.0)], ids=["same-side", "smaller", "larger"]
)
def test_optics_groups_of_other_pixel_sizes_and_boxes_are_refined_together(tmp_path, box, pixel):
    first = particle_set(tmp_path / "a", n=120, n_micrographs=3)
    second = particle_set(tmp_path / "b", n=120, box=box, angpix=pixel, n_micrographs=3, seed=7)
    tables = [read_star(near_truth(made, seed=i)) for i, made in enumerate((first, second))]
    optics = [tables[0]["optics"], tables[1]["optics"].with_columns(
        rlnOpticsGroup=np.array([2]), rlnOpticsGroupName=np.array(["opticsGroup2"])
    )]  # fmt: skip
    named = tables[1]["particles"].with_columns(
        rlnOpticsGroup=np.full(120, 2),
        rlnMicrographName="other_" + tables[1]["particles"]["rlnMicrographName"],
    )
    both = tmp_path / "both.star"
    write_star(both, {
        "optics": optics[0].vstack(optics[1].cast(optics[0].schema)),
        "particles": tables[0]["particles"].vstack(named.cast(tables[0]["particles"].schema)),
    })  # fmt: skip
    # A norm counts the shells of the model alone: images of finer pixels have smaller ones, which
    # the scales then undo. Without norms the scales are those of the signal.
    refined = refine(first, particles=both, particle_diameter=DIAMETER, norm=False, **LOCAL)
    p = refined.particles
    for group, made in enumerate((first, second)):
        errors = angle_errors_deg(made, of_rows(refined, p.optics_group == group))
        assert (errors < 2.0 * max(pixel / 5.0, 1.0)).mean() > 0.9, group
    # Transforms are divided by the number of pixels: larger in a smaller box (in Angstrom), which
    # is left to the scales as in RELION.
    expected = projected_mass(second, pixel) / projected_mass(first, 5.0)
    expected *= (40 * 5.0) ** 2 / (box * pixel) ** 2
    scale = refined.halves[0].scale[p.scale_group]
    found = scale[p.optics_group == 1].mean() / scale[p.optics_group == 0].mean()
    assert found == pytest.approx(expected, rel=0.05)
    for half in refined.halves:
        for group, side in enumerate((40, box)):
            own = 5.0 if group == 0 else pixel
            kept = (soft_sphere(side, DIAMETER / (2 * own), 5.0, 2) ** 2).mean()
            assert half.sigma2_noise[group, 12:17].mean() == pytest.approx(
                kept / (2 * side**2), rel=0.05
            )


def projected_mass(made, pixel):
    """Grey values of a projection times its area: the same density gives it on any grid."""
    truth, _ = read_map(made.maps[0])
    return float(truth.sum()) * pixel**2


def of_rows(refined, rows):
    """A refinement as if it had had these particles alone."""
    p = refined.particles
    some = SimpleNamespace(
        rot_deg=p.rot_deg[rows], tilt_deg=p.tilt_deg[rows], psi_deg=p.psi_deg[rows]
    )
    return replace(refined, particles=some)
