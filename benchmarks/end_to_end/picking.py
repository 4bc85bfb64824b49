"""Score picks on real micrographs, beside an installed RELION: the paper's table 1.

    python benchmarks/end_to_end/picking.py MICROGRAPHS MAP OUT [--sym O] [--lowpass -1 10 20 30]
        [--programs ours relion] [--ang 15] [--min_distance 60]
        [--templates projections classes blobs] [--cutoff 30] [--border 64] [--name picking_table]

MICROGRAPHS is a folder with micrographs_ctf.star and coords/*_truth.star, MAP a reconstruction.
Three kinds of templates: four projections of the map; averages of 2D classes of the particles that
a first search for blobs found; and none (blobs). relion_autopick needs templates on the grey scale
of the particles: it gets the projections in several and is reported at its best. Both programs are
reported at the threshold whose F1 is best. OUT keeps what was made; results go to
benchmarks/results/NAME.json and to the screen.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.picking.references import projections

RESULTS = Path(__file__).parent.parent / "results"
GREY_SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
BLOBS = {"LoG_diam_min": 110, "LoG_diam_max": 140}
SHARE = 0.1
"""Of the particles, that makes a class a template."""
EACH = 50
"""Particles of a micrograph that are averaged, at most."""
CLASSES = {"K": 4, "iter": 8, "psi_step": 12, "particle_diameter": 160, "random_seed": 1}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("micrographs", type=Path)
    parser.add_argument("map", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sym", default="O")
    parser.add_argument("--lowpass", type=float, nargs="+", default=[-1.0, 10.0, 20.0, 30.0])
    parser.add_argument("--programs", nargs="+", default=["ours", "relion"])
    parser.add_argument("--ang", type=float, default=15.0)
    parser.add_argument("--min_distance", type=float, default=60.0)
    parser.add_argument("--cutoff", type=float, default=30.0)
    parser.add_argument("--border", type=float, default=64.0)
    kinds = ["projections", "classes", "blobs"]
    parser.add_argument("--templates", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--name", default="picking_table")
    return parser.parse_args()


def ours(command):
    return [sys.executable, "-m", "relion_mpi.cli.main", command]


def run(words, folder):
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def flags(options):
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def score(options, out):
    """Precision, recall and F1 at the best threshold."""
    truth = sorted((options.micrographs / "coords").glob("*.star"))
    words = [*ours("pick-score"), "--truth", *truth, "--picks", out, "--cutoff",
             options.cutoff, "--border", options.border, "--i", "micrographs_ctf.star",
             "--best"]  # fmt: skip
    lines = run(words, options.micrographs).splitlines()
    found = next(line for line in lines if line.startswith("precision")).split()
    at = [float(line.split()[-1]) for line in lines if line.startswith("best threshold")]
    return {"threshold": at[0] if at else None,
            **{found[k]: float(found[k + 1]) for k in range(0, len(found), 2)}}  # fmt: skip


def pick(options, program, out, more):
    """Run a program; returns its scores and seconds."""
    folder = options.out.resolve() / out
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if program == "ours":
        words = [*ours("autopick"), "--threshold", "-0.5", "--j", "1", "--pictures", "0"]
    else:
        words = ["relion_autopick", "--threshold", "0", "--shrink", "0"]
    words += ["--i", "micrographs_ctf.star", "--odir", f"{folder}/", *more]
    start = time.perf_counter()
    run(words, options.micrographs)
    return {**score(options, folder), "seconds": round(time.perf_counter() - start, 1)}


def with_templates(options, program, name, stack, lowpass):
    more = ["--ref", stack, "--angpix_ref", angpix(stack), "--invert", "--ctf", "--ang",
            options.ang, "--lowpass", lowpass, "--min_distance", options.min_distance]  # fmt: skip
    return pick(options, program, f"{program}_{name}_{lowpass:g}", more)


def angpix(stack):
    return read_map(stack)[1]


def write_projections(options):
    """Write four projections, and the same on several grey scales for RELION."""
    volume, pixel_size = read_map(options.map)
    images = projections(volume, 2, options.sym)
    images = images[:: max(len(images) // 4, 1)][:4]
    half = images.shape[1] // 2
    disc = np.hypot(*np.mgrid[-half:half, -half:half]) < half
    images = np.stack([(one - one[~disc].mean()) / one[disc].std() for one in images])
    paths = {}
    for scale in (1.0, *GREY_SCALES):
        paths[scale] = options.out.resolve() / f"projections_{scale:g}.mrcs"
        write_map(paths[scale], images * scale, pixel_size, stack=True)
    return paths


def write_classes(options):
    """Average the particles of a first search for blobs in 2D classes; returns the averages."""
    folder = options.out.resolve() / "first"
    averages = folder / "classes.mrcs"
    if averages.exists():
        return averages
    pick(options, "ours", "first", ["--LoG", *flags(BLOBS)])
    # `pick` scores everything; what is averaged are the picks above the default threshold.
    rows, images = [], []
    optics, table = (read_star(options.micrographs / "micrographs_ctf.star")[k]
                     for k in ("optics", "micrographs"))  # fmt: skip
    listed = read_star(folder / "autopick.star")["coordinate_files"]
    files = dict(zip(listed["rlnMicrographName"], listed["rlnMicrographCoordinates"], strict=True))
    pixel_size, box = 1.5, 128
    for row in table.iter_rows(named=True):
        image = -read_map(options.micrographs / row["rlnMicrographName"])[0][0]
        picks = next(iter(read_star(files[row["rlnMicrographName"]]).values()))
        picks = picks.filter(pl.col("rlnAutopickFigureOfMerit") >= 0.25)[:EACH]
        for x, y in picks.select("rlnCoordinateX", "rlnCoordinateY").iter_rows():
            x, y = round(x) - box // 2, round(y) - box // 2
            part = image[y : y + box, x : x + box]
            if part.shape != (box, box) or min(x, y) < 0:
                continue
            small = part.reshape(box // 2, 2, box // 2, 2).mean((1, 3))
            edge = np.hypot(*np.mgrid[-32:32, -32:32]) > 28
            images.append((small - small[edge].mean()) / small[edge].std())
            rows.append(row)
    write_map(folder / "particles.mrcs", np.array(images, np.float32), 2 * pixel_size, stack=True)
    names = [f"{k:06d}@{folder / 'particles.mrcs'}" for k in range(1, len(images) + 1)]
    particles = pl.DataFrame(rows).drop("rlnCtfFigureOfMerit").with_columns(
        pl.Series("rlnImageName", names)
    )
    optics = optics.with_columns(
        rlnImagePixelSize=pl.lit(2 * pixel_size), rlnImageSize=pl.lit(box // 2),
        rlnImageDimensionality=pl.lit(2),
    )  # fmt: skip
    write_star(folder / "particles.star", {"optics": optics, "particles": particles})
    run([*ours("class2d"), "--i", "particles.star", "--o", "run", *flags(CLASSES)], folder)
    model = read_star(folder / f"run_it{CLASSES['iter']:03d}_model.star")["model_classes"]
    shares = model["rlnClassDistribution"].to_numpy()
    found, size = read_map(folder / f"run_it{CLASSES['iter']:03d}_classes.mrcs")
    write_map(averages, found[shares > SHARE], size, stack=True)
    return averages


def main():
    options = arguments()
    options.micrographs, options.map = options.micrographs.resolve(), options.map.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    lines, stacks = [], write_projections(options)
    RESULTS.mkdir(exist_ok=True)

    def tell(program, templates, lowpass, found, **more):
        line = {"program": program, "templates": templates, "lowpass": lowpass}
        lines.append({**line, **found, **more})
        print(json.dumps(lines[-1]), flush=True)
        text = json.dumps(lines, indent=1)
        (RESULTS / f"{options.name}.json").write_text(text + "\n", encoding="utf-8")

    grey = None
    if "relion" in options.programs and "projections" in options.templates:
        tried = {
            scale: with_templates(options, "relion", f"projections{scale:g}", stacks[scale], 20.0)
            for scale in GREY_SCALES
        }
        grey = max(tried, key=lambda scale: tried[scale]["f1"])
        print(json.dumps({"relion at 20 A by grey scale": {k: v["f1"] for k, v in tried.items()}}))
    for kind in options.templates:
        if kind == "blobs":
            continue
        for lowpass in options.lowpass:
            for program in options.programs:
                mine = stacks[1.0 if program == "ours" else grey] if kind == "projections" else None
                found = with_templates(
                    options, program, kind, mine or write_classes(options), lowpass
                )
                scaled = program == "relion" and mine is not None
                tell(program, kind, lowpass, found, **({"grey_scale": grey} if scaled else {}))
    for program in options.programs if "blobs" in options.templates else ():
        more = ["--LoG", *flags(BLOBS)]
        if program == "relion":
            # Blobs of low figures of merit as well, so that there is a threshold to choose.
            more += ["--lowpass", "20", "--LoG_adjust_threshold", "-1"]
        tell(program, "none (blobs)", None, pick(options, program, f"{program}_blobs", more))


if __name__ == "__main__":
    main()
