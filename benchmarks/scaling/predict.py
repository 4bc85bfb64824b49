"""Predict iterations on 1 to 1024 GPUs from measured ones, beside what was measured.

    python benchmarks/scaling/predict.py [--out FOLDER] [--gpus 1,2,4,...] [--weak]
        [--measured runs.jsonl] [--intra_gb_s 5] [--infiniband_gb_s 11] [--ethernet_gb_s 2.8]
        [--per_node 8]

Jobs are the runs of `study.py` in the file after `--measured`, from the fewest workers of each:
100,000 particles of 128 px at order 2 and 3 on H200s, and 6,000 of 64 px on CPU ranks
(`results/h200x4_scaling.jsonl`) if it is left out, and then also 105,247 of 360 px with six classes
(one H100, `results/h100_classes.jsonl`, measured when sums still went along a tree within a node).

Links. What the ranks of a node share was measured (`results/h200x4_reduce.jsonl`). Between nodes:
100 Gb/s InfiniBand and 25 Gb/s Ethernet, nine tenths of the wire. The rest of the assumptions is in
`model.py`.

Every table has the program as it is (a tree, the batch size of one GPU), what RELION's chain would
take for the same sums, and what smaller batches and a reduction in segments would give.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from model import STAGES, Job, Links, best_batch, chain_s, efficiency, grown, predict

from relion_mpi.refine.batch_size import batch_size_for

RESULTS = Path(__file__).parents[1] / "results"
MEASURED = RESULTS / "h200x4_scaling.jsonl"
GPUS = tuple(2**i for i in range(11))


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def classes_job(path=RESULTS / "h100_classes.jsonl"):
    """Return the job of six classes of 360 px."""
    row = next(row for row in lines_of(path) if row.get("classes") == 6)
    seconds = {name: row["seconds"][name] for name in STAGES if name in row["seconds"]}
    seconds["other"] = row["seconds"]["total"] - sum(seconds.values())
    return Job(
        name="105,247 x 360 px, six classes, order 2", n_particles=row["n"], box=row["box"],
        n_class=6, n_half=1, current_size=typical(row["current_size"][3:]),
        batch=batch_size_for(row["n"], row["box"], on_gpu=True), seconds=seconds,
        source="one H100, mean of iterations 3 to 25",
    )  # fmt: skip


def study_jobs(path):
    """Return jobs by (name, workers) of a file that `study.py` wrote; the last of equal ones."""
    jobs = {}
    for row in lines_of(path):
        seconds = {name: row["seconds"].get(name, 0.0) for name in STAGES[:5]}
        seconds["other"] = max(0.0, row["seconds"]["total"] - sum(seconds.values()))
        seconds["write"] = row["rank_0_s"]["write"]
        # Batches of half-sets and optics groups end apart: count them as they were.
        jobs[row["name"], row["workers"]] = Job(
            name=row["name"], n_particles=row["n"], box=row["box"], n_class=row["classes"],
            n_half=row["halves"], current_size=typical(row["current_size"]),
            batch=row["batch"], batches=round(row["batches"]), workers=row["workers"],
            seconds=seconds,
            source=path.name, **({} if row["where"] == "gpu" else {"start_s": 0.0, "batch_s": 0.0}),
        )  # fmt: skip
    return jobs


def typical(sizes):
    """Return the even current size whose volume is the mean volume."""
    return 2 * round(float(np.mean(np.array(sizes, float) ** 3)) ** (1 / 3) / 2)


def beside(jobs, links):
    """Return a table of predictions for the workers that were measured as well."""
    head = "| job | workers | | total | E-step | reduce | M-step | load, accuracy, other |"
    lines = [head, "|---" * 8 + "|"]
    for name in dict.fromkeys(key for key, _ in jobs):
        mine = sorted(workers for key, workers in jobs if key == name)
        base = jobs[name, mine[0]]
        for workers in mine[1:]:
            found = predict(base, workers, links)
            truth = {k: v for k, v in jobs[name, workers].seconds.items() if k != "write"}
            for said, one in (("predicted", found.seconds), ("measured", truth)):
                rest = sum(one.get(k, 0.0) for k in ("load", "accuracy", "other", "write"))
                cells = [base.name, str(workers), said, f"{sum(one.values()):.3f}"]
                cells += [f"{one[k]:.3f}" for k in ("E-step", "reduce", "M-step")]
                lines.append("| " + " | ".join([*cells, f"{rest:.3f}"]) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def rows_of(job, counts, links, *, weak):
    """Return predictions for every number of GPUs, as JSON takes them."""
    rows = []
    for n in counts:
        mine = grown(job, n) if weak else job
        found = predict(mine, n, links)
        better = best_batch(mine, n, links, way="segments")
        shares = [
            (job_total(job) / one.total_s if weak else efficiency(mine, one))
            for one in (found, better)
        ]
        rows.append({
            "gpus": n, "seconds": {k: round(v, 4) for k, v in found.seconds.items()},
            "total_s": round(found.total_s, 4), "efficiency": round(shares[0], 4),
            "limit": found.limit, "chain_s": round(chain_s(job.sum_bytes, n, job.n_half, links), 4),
            "better": {"batch": better.batch, "total_s": round(better.total_s, 4),
                       "efficiency": round(shares[1], 4), "limit": better.limit},
        })  # fmt: skip
    return rows


def job_total(job):
    return sum(seconds for name, seconds in job.seconds.items() if name != "write")


def table(rows):
    names = [name for name in STAGES if any(row["seconds"][name] for row in rows)]
    head = ["GPUs", *names, "total s", "efficiency", "limit", "RELION's chain"]
    head += ["best batch", "total s then", "efficiency then", "limit then"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        better = row["better"]
        cells = [str(row["gpus"]), *(f"{row['seconds'][name]:.3f}" for name in names)]
        cells += [f"{row['total_s']:.3f}", f"{row['efficiency']:.3f}", row["limit"]]
        cells += [f"{row['chain_s']:.3f}", f"{better['batch']:.0f}", f"{better['total_s']:.3f}"]
        cells += [f"{better['efficiency']:.3f}", better["limit"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(path, tables):
    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from scaling_plot import stack

    figure, axes = plt.subplots(
        2, len(tables), figsize=(4.6 * len(tables), 7), layout="constrained", squeeze=False
    )
    for (above, below), (title, rows) in zip(axes.T, tables.items(), strict=True):
        n = [row["gpus"] for row in rows]
        above.loglog(n, [row["total_s"] for row in rows], "o-", label="as it is")
        above.loglog(n, [row["better"]["total_s"] for row in rows], "s--",
                     label="best batch, segments")  # fmt: skip
        above.loglog(n, [rows[0]["total_s"] / k for k in n], ":", color="#999999", label="ideal")
        above.set(xlabel="GPUs", ylabel="seconds an iteration")
        above.set_title(title, fontsize=9)
        above.legend(fontsize=8)
        stack(below, [str(k) for k in n], [row["seconds"] for row in rows])
        below.set_xlabel("GPUs")
        below.tick_params("x", labelsize=6)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--gpus", default=",".join(map(str, GPUS)))
    parser.add_argument("--weak", action="store_true", help="as many particles for each GPU")
    parser.add_argument("--measured", type=Path, help="runs.jsonl of study.py")
    parser.add_argument("--intra_gb_s", type=float, default=Links().intra_gb_s)
    parser.add_argument("--infiniband_gb_s", type=float, default=11.0)
    parser.add_argument("--ethernet_gb_s", type=float, default=2.8)
    parser.add_argument("--per_node", type=int, default=Links().per_node)
    return parser.parse_args()


def main():
    options = arguments()
    links = Links(intra_gb_s=options.intra_gb_s, per_node=options.per_node)
    jobs = study_jobs(options.measured or MEASURED)
    text = "Predicted from the fewest workers, beside what was measured, seconds:\n\n"
    text += beside(jobs, links) + "\n"
    bases = [jobs[name, min(w for key, w in jobs if key == name)]
             for name in dict.fromkeys(key for key, _ in jobs)]  # fmt: skip
    bases += [] if options.measured else [classes_job()]
    counts = [int(word) for word in options.gpus.split(",")]
    tables, rows = {}, []
    for job in bases:
        for name, speed in (
            ("InfiniBand", options.infiniband_gb_s), ("Ethernet", options.ethernet_gb_s)
        ):  # fmt: skip
            wanted = [n for n in counts if n >= job.workers]
            found = rows_of(job, wanted, replace(links, inter_gb_s=speed), weak=options.weak)
            title = f"{job.name}{' a GPU' if options.weak else ''}, {name} {speed:g} GB/s"
            tables[title] = found
            rows += [{"job": job.name, "source": job.source, "link": name, "inter_gb_s": speed,
                      "weak": options.weak, **row} for row in found]  # fmt: skip
            text += f"{title} ({job.source})\n\n{table(found)}\n"
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        kind = "weak" if options.weak else "strong"
        (options.out / f"predicted_{kind}.md").write_text(text, encoding="utf-8")
        with (options.out / f"predicted_{kind}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        draw(options.out / f"predicted_{kind}.png", tables)


if __name__ == "__main__":
    main()
