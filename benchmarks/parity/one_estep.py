"""One iteration of RELION 3.1.3 and of relion-mpi from the same state, side by side.

    python benchmarks/parity/one_estep.py OUT [--n 200] [--box 64] [--sym C1 D2]
        [--precision float32] [--state global local] [--without_compat]

Simulates particles with old poses near the truth and given half-sets, runs both programs without
perturbation for one iteration, globally and locally, and writes OUT/one_estep.json with all
differences; a table goes to standard output. What is already in OUT is not run again.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from factories.one_estep import agreement, make_state, run_ours, run_relion

STATES = {
    "global": {"local": False, "healpix_order": 2},
    "local": {"local": True, "healpix_order": 4},
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--angpix", type=float, default=3.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sym", nargs="+", default=["C1", "D2"])
    parser.add_argument("--state", nargs="+", default=list(STATES), choices=STATES)
    parser.add_argument("--precision", default="float32", choices=("float32", "float64"))
    parser.add_argument("--without_compat", action="store_true", help="as refinements do it")
    parser.add_argument("--order", type=int, help="HEALPix order of the global search")
    return parser.parse_args()


def one(options, sym, name):
    folder = options.out.resolve() / f"{sym}_{name}"
    how = dict(STATES[name])
    if options.order is not None and not how["local"]:
        how["healpix_order"] = options.order
    state = make_state(
        folder,
        n=options.n,
        box=options.box,
        angpix=options.angpix,
        sym=sym,
        seed=options.seed,
        **how,
    )
    if not (folder / "relion" / "run_it001_data.star").exists():
        run_relion(state)
    words = ["--precision", options.precision]
    run_ours(state, *words, *([] if options.without_compat else ["--compat", "relion3"]))
    return agreement(state)


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    columns = {
        f"{sym} {name}": one(options, sym, name) for sym in options.sym for name in options.state
    }
    rows = list(next(iter(columns.values())))
    print("| |", " | ".join(columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    for row in rows:
        print(f"| {row} |", " | ".join(f"{found[row]:.6g}" for found in columns.values()), "|")
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    result = {"options": settings, "differences": columns}
    (options.out / "one_estep.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
