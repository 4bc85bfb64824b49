"""The table that `relion-mpi plan` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.refine.gpu_memory import GIB
from relion_mpi.refine.gpu_report import limits_text
from relion_mpi.refine.host_memory import peak
from relion_mpi.refine.time_estimate import rests_on

if TYPE_CHECKING:
    from relion_mpi.refine.plan_program import Prediction

_WIDTH = 40


def as_text(found: Prediction) -> str:
    """Lay out a prediction for reading.

    Parameters
    ----------
    found
        What `relion_mpi.refine.plan_program.plan` returned.

    Returns
    -------
    str
        Several lines.
    """
    job = found.job
    lines = [
        f"box {job.box_size}, --pad {job.padding}, {job.n_class} class(es), --precision "
        f"{job.precision}" + (f", {found.n_particles} particles" if found.n_particles else ""),
        *_gpu(found),
        *_host(found),
        *_time(found),
    ]
    if found.largest:
        lines += ["", "largest box by number of classes, pixels"]
        lines += [_row(f"{k} class(es)", f"{box or 'none'}") for k, box in found.largest.items()]
    if found.table:
        lines += _table(found)
    if found.refusal:
        lines += ["", f"A run would be refused: {found.refusal}"]
    return "\n".join(lines)


def _gpu(found: Prediction) -> list[str]:
    need, node = found.need, found.node
    lines = ["", "GPU memory of a rank in the last iteration, GiB"]
    lines += [_row(name, _gib(n_bytes)) for name, n_bytes in need.parts.items()]
    lines += [
        _row("CUDA", _gib(need.context)),
        _row("E-step, all of these", _gib(need.expectation)),
        _row("loading references", _gib(need.load)),
        _row("M-step on rank 0", _gib(need.maximisation)),
    ]
    if node.room is None:
        return [*lines, "There is no GPU here; --gpu_memory tells the memory of another."]
    share = f"{node.n_sharing} rank(s) on each of {node.n_gpus}"
    lines.append(_row("room", f"{_gib(node.room)}  ({node.gpu}, {share})"))
    if found.fit is not None:
        lines.append(f"Batches of {found.fit.job.batch_size} particles; to fit or by default, "
                     f"{limits_text(found.fit.limits)}.")  # fmt: skip
        if not found.fit.mstep_fits:
            lines.append("The CPU does the M-step of the last iterations: the GPU has no room.")
    return lines


def _host(found: Prediction) -> list[str]:
    host, node, room = found.host, found.node, found.room
    processes = {"a worker": host.worker, "rank 0": host.master}
    if room.together:
        processes = {"the process": host.alone}
    lines = ["", "Memory of the host at most, GiB"]
    for name, moments in processes.items():
        moment, total = peak(moments)
        lines.append(_row(name, f"{_gib(total)}  ({moment})"))
        lines += [_row(f"  {part}", _gib(n)) for part, n in moments[moment].items()]
    there = "" if room.capacity_bytes is None else f"  of {room.capacity_bytes / GIB:.1f}"
    total = room.need(host)
    lines.append(_row(f"the node of rank 0, with {node.n_ranks} ranks", _gib(total) + there))
    if found.n_particles:
        images = 4.0 * found.n_particles * found.job.box_size**2
        lines.append(_row("all images, where there is room for them", _gib(images)))
    return lines


def _time(found: Prediction) -> list[str]:
    if found.time is None:
        return []
    return ["", f"Time to convergence: {found.time}; {rests_on(found.time)}."]


def _table(found: Prediction) -> list[str]:
    boxes = list(dict.fromkeys(box for box, _ in found.table))
    classes = list(dict.fromkeys(k for _, k in found.table))
    lines = ["", "GPU memory of a rank by box and classes, GiB"]
    lines.append(f"{'box':>6}" + "".join(f"{f'K = {k}':>9}" for k in classes))
    for box in boxes:
        cells = [found.table[box, k] for k in classes]
        text = "".join(f"{'no' if cell is None else f'{cell / GIB:.1f}':>9}" for cell in cells)
        lines.append(f"{box:>6}{text}")
    return lines


def _row(name: str, value: str) -> str:
    return f"  {name:<{_WIDTH}} {value}"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:7.2f}"
