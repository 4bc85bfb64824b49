"""Refine one particle set with relion_mpi and with an installed RELION, side by side.

    python benchmarks/end_to_end/beside_relion.py SET OUT [--sym D2] [--particle_diameter 210]
        [--ini_high 40] [--ranks 3] [--limit N] [--only ours|relion] [--iterations N]
        [--class_iterations N [--classes K] [--planar] [--ref FILE]] [--times 2] [--relion_times 1]

SET holds particles.star, its stack, a reference (reference.mrc or truth_class001.mrc) and, for the
comparison, truth.star. Both programs get the same options; the second one starts when the first has
finished. Wall time (the best of so many runs), iterations and shares of poses near the truth are
written as JSON. With --class_iterations both do so many iterations of a classification with one
class, or K, instead of an auto-refinement; with --planar of a 2D classification without reference,
for which mean resolutions of the classes and shares of particles in good ones are written. RELION
yields its core where a rank waits. Ours is run once before the clock counts, since a fresh
installation compiles its kernels.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sym", default="C1")
    parser.add_argument("--particle_diameter", type=float, default=200)
    parser.add_argument("--ini_high", type=float, default=40)
    parser.add_argument("--healpix_order", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="first N particles only")
    parser.add_argument("--iterations", type=int, default=0, help="stop after so many")
    parser.add_argument("--class_iterations", type=int, default=0)
    parser.add_argument("--classes", type=int, default=1)
    parser.add_argument("--planar", action="store_true", help="2D classification")
    parser.add_argument("--good_angst", type=float, default=20, help="of a good 2D class")
    parser.add_argument("--ref", type=Path, help="a map, or a STAR file of one a class")
    parser.add_argument("--times", type=int, default=2, help="runs of ours")
    parser.add_argument("--relion_times", type=int, default=1, help="runs of RELION")
    parser.add_argument("--only", choices=("ours", "relion"))
    parser.add_argument("--relion_mpirun", default="/usr/bin/mpirun")
    return parser.parse_args()


def particle_table(options, out):
    """Write the first N particles with stack names that hold from `out`; return the table."""
    source = (options.set / "particles.star").read_text().splitlines()
    rows, kept = [], 0
    for line in source:
        if "@" in line:
            kept += 1
            if options.limit and kept > options.limit:
                continue
            line = re.sub(r"@(\S+)", lambda m: "@" + Path(m[1]).name, line)
        rows.append(line)
    table = out / "particles.star"
    table.write_text("\n".join(rows) + "\n")
    for stack in options.set.glob("*.mrcs"):
        link = out / stack.name
        if not link.exists():
            link.symlink_to(stack.resolve())
    return table


def common(options, reference):
    words = ["--i", "particles.star", "--particle_diameter", options.particle_diameter]
    words += ["--offset_range", 5, "--offset_step", 2, "--random_seed", 1, "--pad", 2]
    if options.class_iterations:
        words += ["--K", options.classes, "--iter", options.class_iterations]
        words += ["--tau2_fudge", 2 if options.planar else 4]
    if options.planar:
        return [str(word) for word in [*words, "--psi_step", 12]]
    words += ["--ref", str(reference), "--ini_high", options.ini_high, "--sym", options.sym]
    words += ["--healpix_order", options.healpix_order, "--firstiter_cc"]
    if not options.class_iterations:
        words += ["--low_resol_join_halves", 40]
    return [str(word) for word in words]


def ours(options, words):
    mpiexec = Path(sys.executable).with_name("mpiexec")
    program = Path(sys.executable).with_name("relion-mpi")
    job = "class2d" if options.planar else "class3d" if options.class_iterations else "refine3d"
    command = [mpiexec, "-n", options.ranks, program, job, "--o", "ours/run", *words]
    if options.iterations:
        command += ["--auto_iter_max", options.iterations]
    return [str(word) for word in command]


def relion(options, words):
    command = [options.relion_mpirun, "--allow-run-as-root", "--oversubscribe", "--mca"]
    command += ["mpi_yield_when_idle", "1", "-n", options.ranks, "relion_refine_mpi"]
    command += ["--o", "relion/run", *words, "--ctf", "--ctf_corrected_ref", "--flatten_solvent"]
    command += ["--zero_mask", "--norm", "--scale", "--oversampling", "1", "--skip_gridding"]
    command += ["--dont_combine_weights_via_disc", "--pool", "3", "--j", "1"]
    if not options.class_iterations:
        command += ["--auto_refine", "--split_random_halves", "--auto_local_healpix_order", "4"]
    if options.iterations:
        command += ["--auto_iter_max", options.iterations]
    return [str(word) for word in command]


def best_of(times, name, command, out):
    """Run so many times; return what the fastest run gave, and the seconds of all."""
    results = []
    for _ in range(times):
        shutil.rmtree(out / name, ignore_errors=True)
        results.append(run(name, command, out))
    best = min(results, key=lambda one: one["seconds"])
    return best | {"all_seconds": [one["seconds"] for one in results]}


def run(name, command, out):
    (out / name).mkdir()
    # Each program gets its own MPI: the wheel's library must not be found by the system's.
    path = os.environ["PATH"]
    if name == "relion":
        path = os.pathsep.join(p for p in path.split(os.pathsep) if "venv" not in p)
    began = time.perf_counter()
    with (out / f"{name}.log").open("w") as log:
        done = subprocess.run(
            command, cwd=out, stdout=log, stderr=log, check=False, env={**os.environ, "PATH": path}
        )
    seconds = time.perf_counter() - began
    tables = sorted((out / name).glob("run_it*_data.star"))
    final = out / name / "run_data.star"
    result = {"seconds": round(seconds, 1), "status": done.returncode}
    result["iterations"] = len(tables) - 1 + final.exists()
    last = final if final.exists() else tables[-1]
    truth = options_truth(out)
    model = last.with_name(last.name.replace("_data", "_model"))
    if (out / "good_angst").exists():
        result.update(of_classes(model, float((out / "good_angst").read_text())))
    elif truth:
        result.update(compare(last, truth, out))
    return result


def of_classes(model, good_angst):
    """Say how good the averages of a 2D classification are."""
    import numpy as np
    import starfile

    table = starfile.read(model, always_dict=True)["model_classes"]
    share = table["rlnClassDistribution"].to_numpy(float)
    angst = table["rlnEstimatedResolution"].to_numpy(float)
    there = share > 0.002
    return {
        "classes_above_0.2_percent": int(there.sum()),
        "mean_resolution_angst": round(float(angst[there].mean()), 2),
        "mean_over_particles_angst": round(float((share * np.minimum(angst, 999)).sum()), 2),
        f"share_below_{good_angst:g}_A": round(float(share[angst < good_angst].sum()), 3),
    }


def options_truth(out):
    truth = out / "truth.star"
    return truth if truth.exists() else None


def compare(table, truth, out):
    from relion_mpi.compare.poses import compare_poses
    from relion_mpi.compare.tables import read_pose_table
    from relion_mpi.geometry.symmetry import point_group

    group = point_group((out / "sym").read_text())
    found = compare_poses(read_pose_table(table), read_pose_table(truth), group)
    return {
        "median_deg": round(float(found.median_angle_deg), 3),
        **{
            f"within_{d}_deg": round(100 * share, 1)
            for d, share in zip((1, 2, 5), found.within, strict=True)
        },
    }


def main() -> None:
    options = arguments()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    reference = options.set / "reference.mrc"
    if not reference.exists():
        reference = options.set / "truth_class001.mrc"
    particle_table(options, out)
    (out / "sym").write_text(options.sym)
    if (options.set / "truth.star").exists():
        shutil.copy(options.set / "truth.star", out / "truth.star")
    if options.planar:
        (out / "good_angst").write_text(str(options.good_angst))
    words = common(options, (options.ref or reference).resolve())
    result = {"set": options.set.name, "machine": platform.processor() or platform.machine()}
    result |= {"cores": os.cpu_count(), "ranks": options.ranks, "limit": options.limit}
    result |= {"classes": options.classes, "planar": options.planar}
    if options.only in (None, "ours"):
        command = ours(options, words)
        best_of(1, "ours", command, out)  # compiles
        result["ours"] = best_of(options.times, "ours", command, out)
    if options.only in (None, "relion"):
        result["relion"] = best_of(options.relion_times, "relion", relion(options, words), out)
    if "ours" in result and "relion" in result:
        ratio = result["relion"]["seconds"] / result["ours"]["seconds"]
        result["times_faster"] = round(ratio, 2)
    text = json.dumps(result, indent=1)
    (out / "beside_relion.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
