"""One iteration of RELION 3.1.3 and of relion-mpi from the same state, and how far they agree."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from factories.refinement import ANGLES, near_truth, particle_set
from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.sampling.orientations import make_orientation_grid

MPIRUN = "/usr/bin/mpirun"
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")


@dataclass(frozen=True)
class State:
    """A particle set in a folder of its own, and the options of both programs."""

    folder: Path
    words: tuple[str, ...]


def make_state(folder, *, local, healpix_order, n, box, angpix, sym, seed, snr=0.1, groups=3):
    """Simulate particles with given half-sets and old poses near the truth.

    Every micrograph is an optics group, so that RELION 3.1's noise groups are ours.
    """
    made = particle_set(
        folder, n=n, box=box, angpix=angpix, sym=sym, seed=seed, snr=snr,
        n_optics=groups, n_micrographs=groups,
    )  # fmt: skip
    near_truth(made, angle_deg=2.0, offset_angst=angpix, seed=seed)
    blocks = read_star(folder / "near_truth.star")
    table = in_asymmetric_unit(blocks["particles"], sym)
    halves = 1 + np.random.default_rng(seed).permutation(n) % 2
    names = [f"{name.split('@')[0]}@particles.mrcs" for name in table["rlnImageName"]]
    micrographs = [f"mic{g:02d}.mrc" for g in table["rlnOpticsGroup"]]
    table = table.with_columns(
        pl.Series("rlnRandomSubset", halves), pl.Series("rlnImageName", names),
        pl.Series("rlnMicrographName", micrographs),
    )  # fmt: skip
    write_star(folder / "state.star", {**blocks, "particles": table})
    words = [
        "--i", "state.star", "--ref", made.reference.name, "--sym", sym, "--ini_high", 30,
        "--particle_diameter", round(0.8 * box * angpix), "--healpix_order", healpix_order,
        "--auto_local_healpix_order", healpix_order if local else 9, "--offset_range", 3,
        "--offset_step", 2, "--perturb", 0, "--low_resol_join_halves", 40, "--random_seed", 1,
        "--pad", 2, "--auto_iter_max", 1,
    ]  # fmt: skip
    return State(folder, tuple(str(word) for word in words))


def in_asymmetric_unit(table, sym):
    """Replace angles by those of the mate that a search could have found."""
    group = point_group(sym)
    views = make_orientation_grid(3, group).coarse_directions()[:, 2]
    mates = euler_to_matrix(*(table[name].to_numpy() for name in ANGLES))[:, None] @ group.operators
    nearness = np.einsum("nrc,dc->nrd", mates[:, :, 2], views).max(axis=2)
    chosen = mates[np.arange(len(mates)), nearness.argmax(axis=1)]
    angles = zip(ANGLES, matrix_to_euler(chosen).T, strict=True)
    return table.with_columns(pl.Series(name, values) for name, values in angles)


def run_relion(state):
    """Run relion_refine_mpi for one iteration."""
    command = [
        MPIRUN, "--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1",
        "-n", "3", "relion_refine_mpi", "--o", "relion/run", *state.words, "--auto_refine",
        "--split_random_halves", "--ctf", "--ctf_corrected_ref", "--flatten_solvent",
        "--zero_mask", "--norm", "--scale", "--oversampling", "1", "--skip_gridding",
        "--dont_combine_weights_via_disc", "--dont_check_norm", "--pool", "3", "--j", "1",
    ]  # fmt: skip
    # RELION's MPI must not find that of this interpreter's environment.
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != own)
    _run(state.folder, "relion", command, {**os.environ, "PATH": path})


def run_ours(state, *words, name="ours"):
    """Run relion-mpi for one iteration."""
    program = [sys.executable, "-m", "relion_mpi.cli.main", "refine3d"]
    own = "--o", f"{name}/run", "--no-firstiter_cc", "--no-report"
    command = [*program, *state.words, *own, *words]
    _run(state.folder, name, command, dict(os.environ))


def _run(folder, name, command, environment):
    (folder / name).mkdir(exist_ok=True)
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    (folder / f"{name}.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def agreement(state, name="ours"):
    """Compare what both programs wrote; a value for each line of the table."""
    theirs, ours = (particles(state.folder / f) for f in ("relion", name))
    found = poses_and_weights(theirs, ours)
    halves = [[model(state.folder / f, 1, h) for f in ("relion", name)] for h in (1, 2)]
    before = [[model(state.folder / f, 0, h) for f in ("relion", name)] for h in (1, 2)]
    found["first noise, relative"] = max(noise_difference(a, b) for a, b in before)
    found["first SSNR, relative"] = max(
        float(apart(curve(a, "rlnSsnrMap"), curve(b, "rlnSsnrMap"))[1:7].max()) for a, b in before
    )
    found["noise, relative"] = max(noise_difference(a, b) for a, b in halves)
    found["tau2, relative where FSC > 0.1, without shell S/2"] = max(
        spectrum_difference(a, b, "rlnReferenceTau2") for a, b in halves
    )
    found["FSC, largest difference"] = max(
        float(np.abs(curve(a, "rlnGoldStandardFsc") - curve(b, "rlnGoldStandardFsc")).max())
        for a, b in halves
    )
    for label, name_in_file in (
        ("average norm, relative", "rlnNormCorrectionAverage"),
        ("sigma_offset, relative", "rlnSigmaOffsetsAngst"),
        ("log-likelihood, relative", "rlnLogLikelihood"),
        ("current resolution, relative", "rlnCurrentResolution"),
        ("image size, relative", "rlnCurrentImageSize"),
    ):
        pairs = [[scalar(one, name_in_file) for one in pair] for pair in halves]
        found[label] = max(float(apart(a, b)) for a, b in pairs)
    scales = [[column(one["model_groups"], "rlnGroupScaleCorrection") for one in pair]
              for pair in halves]  # fmt: skip
    found["scale, relative"] = max(float(apart(a, b).max()) for a, b in scales)
    found |= maps(state, name, halves)
    return found


def particles(folder):
    return read_star(folder / "run_it001_data.star")["particles"].sort("rlnImageName")


def poses_and_weights(theirs, ours):
    assert (theirs["rlnImageName"] == ours["rlnImageName"]).all()
    rotations = [euler_to_matrix(*(t[a].to_numpy() for a in ANGLES)) for t in (theirs, ours)]
    turned = np.linalg.norm(rotations[0] - rotations[1], axis=(1, 2))
    moved = np.linalg.norm([theirs[o].to_numpy() - ours[o].to_numpy() for o in ORIGINS], axis=0)

    def difference(name):
        return np.abs(ours[name].to_numpy() - theirs[name].to_numpy().astype(float))

    norm = difference("rlnNormCorrection") / theirs["rlnNormCorrection"].to_numpy()
    pmax = difference("rlnMaxValueProbDistribution")
    return {
        "same best pose, share": float(((turned < 1e-3) & (moved < 1e-3)).mean()),
        "Pmax within 0.01, share": float((pmax <= 0.01).mean()),
        "Pmax, largest difference": float(pmax.max()),
        "same number of significant samples, share": float(
            (difference("rlnNrOfSignificantSamples") == 0).mean()
        ),
        "norm, relative": float(norm.max()),
        "log-likelihood of a particle, largest difference": float(
            difference("rlnLogLikeliContribution").max()
        ),
    }


def model(folder, iteration, half):
    return read_star(folder / f"run_it{iteration:03d}_half{half}_model.star")


def column(table, name):
    return table[name].to_numpy().astype(float)


def scalar(blocks, name):
    table = blocks["model_general"]
    return float(table[name] if isinstance(table, dict) else table[name][0])


def noise(blocks):
    """Noise spectra of the groups, (n_group, n_shell); 3.1 and later name them differently."""
    names = [name for name in blocks if name.startswith(("model_group_", "model_optics_group_"))]
    return np.stack([column(blocks[name], "rlnSigma2Noise") for name in sorted(names)])


def noise_difference(theirs, ours):
    return float(apart(noise(theirs), noise(ours)).max())


def apart(theirs, ours):
    """Relative difference beyond the rounding of RELION's files (6 decimals from 0.001 on)."""
    size = np.abs(theirs)
    beyond = np.maximum(np.abs(ours - theirs) - 5e-7 * (size >= 1e-3), 0)
    return beyond / np.maximum(size, 1e-30)


def curve(blocks, name):
    return column(blocks["model_class_1"], name)


def spectrum_difference(theirs, ours, name):
    """Largest relative difference of the shells that say something about the map."""
    told = curve(theirs, "rlnGoldStandardFsc") > 0.1
    told[0] = False
    told[round(scalar(theirs, "rlnCurrentImageSize")) // 2] = False
    return float(apart(curve(theirs, name), curve(ours, name))[told].max(initial=0.0))


def maps(state, name, halves):
    """Compare the new half-maps, to the current resolution and in the last shell apart."""
    inside, last_shell, largest = 1.0, 1.0, 0.0
    for half, (theirs, _) in enumerate(halves, 1):
        file = f"run_it001_half{half}_class001.mrc"
        a, b = (read_map(state.folder / f / file)[0].astype(float) for f in ("relion", name))
        side_angst = a.shape[0] * scalar(theirs, "rlnPixelSize")
        resolved = round(side_angst / scalar(theirs, "rlnCurrentResolution"))
        edge = round(scalar(theirs, "rlnCurrentImageSize")) // 2
        fsc = fourier_shell_correlation(a, b)
        inside = min(inside, float(fsc[: min(resolved, edge - 1) + 1].min()))
        last_shell = min(last_shell, float(fsc[edge]))
        largest = max(largest, float(np.abs(a - b).max() / np.abs(a).max()))
    return {
        "map FSC to the current resolution, lowest": inside,
        "map FSC in shell S/2": last_shell,
        "map, of the largest voxel": largest,
    }
