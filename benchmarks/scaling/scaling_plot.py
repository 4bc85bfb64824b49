"""Draw scaling runs and predictions."""

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

COLOURS = {
    "E-step": "#0072b2", "load": "#56b4e9", "accuracy": "#009e73", "reduce": "#d55e00",
    "M-step": "#cc79a7", "other": "#999999", "write": "#f0e442",
}  # fmt: skip


def draw(path, rows, fit):
    """Draw whole iterations with their fit, and the stages of each run.

    Parameters
    ----------
    path
        PNG.
    rows
        Lines of runs.jsonl, of one name.
    fit
        `fits.Strong` or `fits.Weak`.
    """
    rows = sorted(rows, key=lambda row: row["workers"])
    n = np.array([row["workers"] for row in rows], float)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    axes[0].plot(n, [row["seconds"]["total"] for row in rows], "o", label="measured")
    many = np.geomspace(n[0], n[-1], 50)
    if hasattr(fit, "parallel_s"):
        axes[0].plot(many, [fit.seconds(one) for one in many], label="Amdahl and tree")
    else:
        fitted = fit.base_s + fit.doubling_s * np.log2(many / n[0])
        axes[0].plot(many, fitted, label="constant and tree")
    axes[0].set(xlabel="workers", ylabel="seconds an iteration", title=rows[0]["name"])
    axes[0].set_xscale("log", base=2)
    axes[0].set_ylim(0, None)
    axes[0].legend()
    stack(axes[1], [f"{one:g}" for one in n], [row["seconds"] for row in rows])
    figure.savefig(path, dpi=120)
    plt.close(figure)


def stack(axes, names, seconds):
    """Draw stages as shares of a whole, a bar for each of `names`.

    Parameters
    ----------
    axes
        Of matplotlib.
    names
        Below the bars.
    seconds
        By stage, for each bar; "total" is not drawn.
    """
    below = np.zeros(len(names))
    whole = np.array([sum(s for key, s in one.items() if key != "total") for one in seconds])
    for stage, colour in COLOURS.items():
        share = 100 * np.array([one.get(stage, 0.0) for one in seconds]) / whole
        if share.any():
            axes.bar(names, share, bottom=below, color=colour, label=stage)
            below += share
    axes.set(xlabel="workers", ylabel="share of an iteration (%)", ylim=(0, 100))
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
