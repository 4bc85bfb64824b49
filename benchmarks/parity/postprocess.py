"""Post-processing by RELION 3.1.3 and by relion-mpi of the same half-maps, side by side.

    python benchmarks/parity/postprocess.py OUT HALF1 MASK [--name NAME] [--seeds 10] [--lowres 15]
        [--without_locres]

Runs both programs on the half-maps with the mask: once with a fitted B-factor and without FSC
weights, then with FSC weights and several seeds of random phases, then for local resolution with
three seeds. Prints a table of all differences beside what is asked for, and writes it with its
settings to benchmarks/results/postprocess_NAME.json. What RELION wrote in OUT before is not made
again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star

RESULTS = Path(__file__).resolve().parents[1] / "results"
FSC = "rlnFourierShellCorrelation"
LOCRES_SEEDS = (1, 2, 3)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("half1", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--name", default="halves")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--lowres", type=float, default=15.0, help="--autob_lowres of both")
    parser.add_argument("--without_locres", action="store_true")
    return parser.parse_args()


class Pair:
    """Runs both programs with the same words."""

    def __init__(self, options):
        self.options = options
        self.common = ["--i", str(options.half1), "--mask", str(options.mask)]

    def __call__(self, name, *words):
        """Run both; return the roots of their outputs, RELION's first."""
        roots = []
        ours = [sys.executable, "-m", "relion_mpi.cli.main", "postprocess"]
        for side, program in (("relion", ["relion_postprocess"]), ("ours", ours)):
            root = self.options.out.resolve() / side / name
            root.parent.mkdir(parents=True, exist_ok=True)
            roots.append(root)
            end = "_locres_filtered.mrc" if "--locres" in words else ".star"
            if side == "relion" and root.with_name(root.name + end).exists():
                continue
            line = [*program, *self.common, "--o", str(root), *map(str, words)]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"{' '.join(line)}\n{done.stdout}{done.stderr}")
        return roots


def column(block, label):
    return block[label].cast(pl.Float64).to_numpy()


def largest(theirs, ours, table, label):
    return float(np.abs(column(ours[table], label) - column(theirs[table], label)).max())


def map_fsc(roots, end=".mrc"):
    """FSC of both maps in every shell that neither has cut off."""
    maps = [read_map(f"{root}{end}")[0] for root in roots]
    power = [np.abs(np.fft.rfftn(one)) ** 2 for one in maps]
    n = maps[0].shape[0]
    k, kx = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    radius = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + kx**2)
    shells = np.floor(radius + 0.5).astype(int).ravel()
    totals = [np.bincount(shells, one.ravel())[: n // 2 + 1] for one in power]
    there = np.all([one > 1e-8 * one.max() for one in totals], axis=0)
    return fourier_shell_correlation(*maps)[there]


def sharpened(pair):
    """All that random phases do not reach."""
    roots = pair("sharpened", "--auto_bfac", "--autob_lowres", pair.options.lowres,
                 "--skip_fsc_weighting")  # fmt: skip
    theirs, ours = (read_star(f"{root}.star") for root in roots)
    b_factors = [float(one["general"]["rlnBfactorUsedForSharpening"]) for one in (theirs, ours)]
    guinier = [label for label in theirs["guinier"].columns if label.startswith("rlnLog")]
    return {
        "unmasked FSC, largest difference": (
            largest(theirs, ours, "fsc", f"{FSC}UnmaskedMaps"), 1e-4,
        ),
        "masked FSC, largest difference": (
            largest(theirs, ours, "fsc", f"{FSC}MaskedMaps"), 1e-4,
        ),
        "Guinier points, largest difference": (
            max(largest(theirs, ours, "guinier", label) for label in guinier), 1e-3,
        ),
        "B-factor, difference (A^2)": (abs(b_factors[1] - b_factors[0]), 2.0),
        "1 - FSC of the sharpened maps, largest": (float(1.0 - map_fsc(roots).min()), 1e-4),
    }  # fmt: skip


def weighted(pair):
    """Curves and maps that depend on random phases, over seeds."""
    curves, resolutions, losses = [], [], []
    for seed in range(1, pair.options.seeds + 1):
        roots = pair(f"seed{seed}", "--adhoc_bfac", -100, "--random_seed", seed)
        found = [read_star(f"{root}.star") for root in roots]
        curves.append([column(one["fsc"], f"{FSC}Corrected") for one in found])
        resolutions.append([float(one["general"]["rlnFinalResolution"]) for one in found])
        losses.append(float(1.0 - map_fsc(roots).min()))
        first = float(found[0]["general"]["rlnRandomiseFrom"])
    curves = np.array(curves)
    box_angst = float(found[0]["fsc"]["rlnAngstromResolution"][1])
    beyond = slice(int(box_angst / first + 0.5) + 2, None)
    theirs, ours = curves[:, 0, beyond], curves[:, 1, beyond]
    scatter = np.sqrt(theirs.var(axis=0, ddof=1) + ours.var(axis=0, ddof=1))
    difference = np.abs(theirs.mean(axis=0) - ours.mean(axis=0))
    n = len(curves)
    median = np.median(resolutions, axis=0)
    return {
        "corrected FSC, difference of means over scatter, largest": (
            float((difference / scatter).max()), 1.0,
        ),
        "the same in standard errors, root mean square": (
            float(np.sqrt(np.mean(difference**2 / (scatter**2 / n)))), None,
        ),
        "corrected FSC, difference of means, largest": (float(difference.max()), None),
        "corrected FSC, scatter of RELION, mean": (float(theirs.std(axis=0, ddof=1).mean()), None),
        "corrected FSC, scatter of relion-mpi, mean": (
            float(ours.std(axis=0, ddof=1).mean()), None,
        ),
        "median resolution, difference (A)": (float(abs(median[1] - median[0])), None),
        "1 - FSC of the weighted maps, largest": (max(losses), 1e-4),
    }  # fmt: skip


def local(pair):
    """Local resolution, means of seeds, where windows lie within the mask."""
    inside = read_map(pair.options.mask)[0] > 0.5
    logs, losses = [], []
    for seed in LOCRES_SEEDS:
        roots = pair(f"local{seed}", "--locres", "--adhoc_bfac", -100, "--random_seed", seed)
        maps = [read_map(f"{root}_locres.mrc")[0] for root in roots]
        inside &= (maps[0] > 0) & (maps[1] > 0)
        logs.append(maps)
        losses.append(map_fsc(roots, "_locres_filtered.mrc"))
    logs = np.log([[one[inside] for one in maps] for maps in logs])
    theirs, ours = logs[:, 0], logs[:, 1]
    means = theirs.mean(axis=0), ours.mean(axis=0)
    by_seed = np.sqrt(2.0 * theirs.var(axis=0, ddof=1).mean() / len(LOCRES_SEEDS))
    return {
        "local resolution, median of RELION (A)": (float(np.exp(np.median(means[0]))), None),
        "local resolution, median of relion-mpi (A)": (float(np.exp(np.median(means[1]))), None),
        "local resolution, median relative difference of a voxel": (
            float(np.median(np.abs(means[1] - means[0]))), None,
        ),
        "local resolution, rms relative difference": (
            float(np.sqrt(np.mean((means[1] - means[0]) ** 2))), None,
        ),
        "the same, from RELION's seeds alone": (float(by_seed), None),
        "local resolution, mean relative difference": (float(np.mean(means[1] - means[0])), None),
        "filtered maps, FSC at the median resolution": (
            float(at_median(pair, losses[0], means)), None,
        ),
    }  # fmt: skip


def at_median(pair, fsc, means):
    volume, pixel = read_map(pair.options.half1)
    return fsc[min(int(volume.shape[0] * pixel / np.exp(np.median(means[0]))), fsc.size - 1)]


def main():
    options = arguments()
    pair = Pair(options)
    found = {**sharpened(pair), **weighted(pair)}
    if not options.without_locres:
        found |= local(pair)
    print("| | found | at most |\n|---|---|---|")
    for name, (value, most) in found.items():
        print(f"| {name} | {value:.4g} | {'' if most is None else f'{most:g}'} |")
    result = {
        "half1": options.half1.name, "mask": options.mask.name, "seeds": options.seeds,
        "found": {name: value for name, (value, _) in found.items()},
        "at_most": {name: most for name, (_, most) in found.items() if most is not None},
    }  # fmt: skip
    path = RESULTS / f"postprocess_{options.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    missed = [name for name, (value, most) in found.items() if most is not None and value > most]
    raise SystemExit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
