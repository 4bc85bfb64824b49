"""Run the same iterations on several numbers of ranks, and fit what does not shrink with them.

    python benchmarks/scaling/study.py --folder /tmp/sets --out scaling --n 100000 --box 128
        [--kind strong | weak] [--ranks 2,3,5 | --gpus 1,2] [--per_node 0] [--order 2]
        [--iterations 4] [--mpirun "mpirun --bind-to none"] [--seconds 0] [--more "--j 1"]
        [and all options of benchmarks/end_to_end/iterations.py]

`--ranks` counts rank 0, which hands out the work: the workers are one fewer (`--ranks 1` is one
process). `--gpus` are as many workers and rank 0. Without `--gpus` the work is done on CPUs. For
several nodes `--per_node` workers share one, and `{ranks}`, `{nodes}` and `{per_node}` in the
launcher are filled in: under Slurm `--per_node 8 --mpirun "srun --nodes {nodes} --exclusive"`.

Strong scaling: `--n` particles for every number of workers. Weak: `--n` for each worker, the first
rows of one set. The set is made on the spot; give `--folder` a place that all nodes see.

A line of `<out>/runs.jsonl` is a run: means over its iterations from the second one on, as long as
the grid is the same. `seconds` are rank 0's stages; `worker_s` means over the workers, of which
`idle_most_s` is the largest; `rank_0_s` what it waited for and moved. `idle_us_per_batch` is the
idle time of all workers by batch: what handing out costs them, and the last batches.
`<out>/fits.jsonl` has the fits (`amdahl` or `gustafson` of whole iterations, `communication` of
load and reduce; `doubling_s` is what twice as many workers add), `<out>/table.md` all runs there,
`<out>/<name>.png` those of this call. `predict.py --measured <out>/runs.jsonl` predicts the others
from the one on fewest workers.
"""

import json
import math
import os
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
from scaling_plot import draw

sys.path.insert(0, str(Path(__file__).parents[1] / "end_to_end"))
from fits import communication, strong, weak
from iterations import option_parser, particle_set, refine

from relion_mpi.io.star import read_star, write_star
from relion_mpi.refine.batch_size import batch_size_for

WORKER = ("estep_seconds", "read_wait_seconds", "idle_seconds", "begin_seconds",
          "reduce_pack_seconds", "reduce_wait_seconds", "reduce_transfer_seconds")  # fmt: skip
RANK_0 = ("broadcast_wait_seconds", "broadcast_transfer_seconds", "reduce_wait_seconds",
          "reduce_transfer_seconds", "mstep_seconds", "write_seconds")  # fmt: skip


def arguments():
    parser = option_parser(__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("strong", "weak"), default="strong")
    parser.add_argument("--ranks", default="2,3,5", help="ranks, rank 0 included")
    parser.add_argument("--gpus", default="", help="GPUs, a worker each, in place of --ranks")
    parser.add_argument("--per_node", type=int, default=0, help="workers of a node; 0: all on one")
    parser.add_argument("--seconds", type=float, default=0, help="begin no run that lasts beyond")
    parser.add_argument("--only_set", action="store_true", help="make the set and end")
    options = parser.parse_args()
    options.cpu = not options.gpus
    if options.out is None:
        parser.error("--out FOLDER is needed")
    return options


def filled(options, workers):
    """Return the options of a run on so many workers."""
    per_node = options.per_node or max(workers, 1)
    nodes = max(1, math.ceil(workers / per_node))
    mpirun = options.mpirun.format(ranks=workers + 1, nodes=nodes, per_node=per_node)
    n = options.n * max(workers, 1) if options.kind == "weak" else options.n
    return Namespace(**vars(options) | {"workers": workers, "mpirun": mpirun, "n": n}), nodes


def part_of(folder, n):
    """Make a folder with the first n particles of a set, whose images stay where they are."""
    part = folder / f"first_{n}"
    part.mkdir(exist_ok=True)
    blocks = read_star(folder / "particles.star")
    blocks["particles"] = blocks["particles"].head(n)
    write_star(part / "particles.star", blocks)
    if not (part / "reference.mrc").exists():
        (part / "reference.mrc").symlink_to((folder / "reference.mrc").resolve())
    return part


def steady(folder):
    """Lines of the metrics from the second iteration on that are on the first one's grid."""
    text = (folder / "iterations" / "run_metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    first = next(line for line in lines if line["iteration"] == 1)
    return [
        line for line in lines if line["iteration"] is not None and line["iteration"] > 1
        and line["healpix_order"] == first["healpix_order"] and line["local_sigma_deg"] is None
    ]  # fmt: skip


def mean(values):
    return round(float(np.mean(list(values))), 6)


def summary(lines):
    """Means over iterations of what ranks and stages took."""
    stages = dict.fromkeys(name for line in lines for name in line["timings"])
    seconds = {name: mean(line["timings"].get(name, 0.0) for line in lines) for name in stages}
    at_work = [
        [rank for rank in line["ranks"].values() if rank["particles"] > 0] for line in lines
    ]
    idle = [sum(rank["idle_seconds"] for rank in ranks) for ranks in at_work]
    batches = [sum(rank["batches"] for rank in ranks) for ranks in at_work]
    return {
        "iterations": [line["iteration"] for line in lines],
        "current_size": [line["current_size"] for line in lines],
        "seconds": seconds,
        "worker_s": {
            name.removesuffix("_seconds"): mean(rank[name] for ranks in at_work for rank in ranks)
            for name in WORKER
        },
        "idle_most_s": mean(max(rank["idle_seconds"] for rank in ranks) for ranks in at_work),
        "workers_with_batches": mean(map(len, at_work)),
        "rank_0_s": {
            name.removesuffix("_seconds"): mean(line["ranks"]["0"][name] for line in lines)
            for name in RANK_0
        },
        "bytes_sent_by_rank_0": mean(line["ranks"]["0"]["bytes_sent"] for line in lines),
        "bytes_received_by_rank_0": mean(line["ranks"]["0"]["bytes_received"] for line in lines),
        "batches": mean(batches),
        "idle_us_per_batch": round(1e6 * sum(idle) / sum(batches), 1),
    }


def run(options, workers, folder):
    """Run; return a line of runs.jsonl."""
    chosen, nodes = filled(options, workers)
    if options.kind == "weak":
        folder = part_of(folder, chosen.n)
    began = time.perf_counter()
    refine(chosen, folder)
    wall_s = time.perf_counter() - began
    return {
        "name": name_of(options), "kind": options.kind, "where": "cpu" if options.cpu else "gpu",
        "workers": max(workers, 1), "ranks": workers + 1, "nodes": nodes, "n": chosen.n,
        "box": options.box, "classes": 1, "halves": 2, "order": options.order,
        "precision": options.precision, "half": options.half, "more": options.more,
        "batch": batch_size_for(chosen.n, options.box, on_gpu=not options.cpu),
        **summary(steady(folder)), "wall_s": round(wall_s, 1), "cores": os.cpu_count(),
    }  # fmt: skip


def name_of(options):
    where = "cpu" if options.cpu else "gpu"
    return f"{options.kind}_{where}_{options.n}x{options.box}_order{options.order}"


def fitted(rows):
    """Fit whole iterations; return the fit beside the share that is outside the E-step."""
    workers = [row["workers"] for row in rows]
    seconds = [row["seconds"]["total"] for row in rows]
    first = min(rows, key=lambda row: row["workers"])
    outside = 1 - first["seconds"]["E-step"] / first["seconds"]["total"]
    found = {"name": rows[0]["name"], "workers": workers, "outside_estep_share": round(outside, 4)}
    if rows[0]["kind"] == "strong":
        fit = strong(workers, seconds)
        found["amdahl"] = {
            "serial_share": round(fit.serial_share, 4), "serial_s": round(fit.serial_s, 4),
            "parallel_s": round(fit.parallel_s, 4), "doubling_s": fit.doubling_s,
        }  # fmt: skip
    else:
        fit = weak(workers, seconds)
        found["gustafson"] = {
            "serial_share": round(fit.serial_share, 4), "base_s": round(fit.base_s, 4),
            "doubling_s": round(fit.doubling_s, 4),
        }  # fmt: skip
    moved = [row["seconds"]["load"] + row["seconds"]["reduce"] for row in rows]
    base_s, doubling_s = communication(workers, moved)
    found["communication"] = {"base_s": round(base_s, 4), "doubling_s": round(doubling_s, 4)}
    return found | {"residuals_s": [round(one, 4) for one in fit.residuals_s]}, fit


def efficiency(row, rows):
    """Particles a second a worker, of those with the fewest workers."""
    first = min((one for one in rows if one["name"] == row["name"]), key=lambda r: r["workers"])
    speeds = [r["n"] / r["seconds"]["total"] / r["workers"] for r in (row, first)]
    return speeds[0] / speeds[1]


def table(rows):
    """Return all runs as markdown."""
    stages = ("total", "load", "accuracy", "E-step", "reduce", "M-step")
    head = ["run", "workers", "nodes", "efficiency", *(f"{name} s" for name in stages)]
    head += ["idle s", "read wait s", "idle us a batch", "broadcast s", "reduce s moved"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row["name"], str(row["workers"]), str(row["nodes"])]
        cells += [f"{efficiency(row, rows):.2f}"]
        cells += [f"{row['seconds'].get(name, 0.0):.3f}" for name in stages]
        cells += [f"{row['worker_s'][name]:.3f}" for name in ("idle", "read_wait")]
        cells += [f"{row['idle_us_per_batch']:.0f}"]
        cells += [
            f"{row['rank_0_s'][name]:.3f}" for name in ("broadcast_transfer", "reduce_transfer")
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def append(path, row):
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def main():
    options = arguments()
    began = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    words = (options.gpus or options.ranks).split(",")
    counts = [int(word) if options.gpus else int(word) - 1 for word in words]
    largest = options.n * max(1, *counts) if options.kind == "weak" else options.n
    folder, simulate_s = particle_set(Namespace(**vars(options) | {"n": largest}))
    print(f"the set took {simulate_s:.1f} s", flush=True)
    if options.only_set:
        return
    rows, longest = [], 0.0
    for workers in counts:
        left = options.seconds - (time.perf_counter() - began)
        if options.seconds and longest > left:
            print(f"{workers} workers are left out: {left:.0f} s are left", flush=True)
            continue
        rows.append(run(options, workers, folder))
        longest = rows[-1]["wall_s"]
        append(options.out / "runs.jsonl", rows[-1])
        print(json.dumps(rows[-1]), flush=True)
    lines = (options.out / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    text = table([json.loads(line) for line in lines])
    (options.out / "table.md").write_text(text, encoding="utf-8")
    print(text)
    if len({row["workers"] for row in rows}) > 1:
        found, fit = fitted(rows)
        append(options.out / "fits.jsonl", found)
        print(json.dumps(found))
        draw(options.out / f"{rows[0]['name']}.png", rows, fit)


if __name__ == "__main__":
    main()
