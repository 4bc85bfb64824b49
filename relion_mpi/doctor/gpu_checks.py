"""Judge GPUs from what the ranks say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.doctor.checks import by_host, rank_list
from relion_mpi.doctor.table import Line, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.doctor.facts import Facts


def gpus(facts: Sequence[Facts], wanted: bool) -> list[Line]:
    """Judge driver, GPUs, who uses them, and whether MPI takes their pointers.

    Parameters
    ----------
    facts
        Of all ranks.
    wanted
        Whether `--gpu` was given: then a missing GPU is a problem.

    Returns
    -------
    list of Line
        One line without GPUs, several with.
    """
    lines = _mistakes(facts)
    without = [one for one in facts if one.gpu.missing]
    if len(without) == len(facts):
        return [*lines, _none(without, wanted)]
    if without:
        # The master alone may do without: it has work for a GPU, but not by itself.
        lines.append(_none(without, any(one.is_worker for one in without)))
    first = next(one.gpu for one in facts if not one.gpu.missing)
    driver = f"driver {first.driver or 'of unknown version'}, CUDA up to {first.driver_cuda}"
    lines.append(Line("GPU programs", State.OK, f"{first.cupy or 'CuPy'}, {driver}"))
    for host, ranks in by_host(facts).items():
        lines += _on_host(host, ranks)
    lines += _assignment(facts)
    return [*lines, _awareness(facts)]


def _mistakes(facts: Sequence[Facts]) -> list[Line]:
    wrong = [one for one in facts if one.gpu.mistake]
    if not wrong:
        return []
    return [Line("--gpu", State.PROBLEM, wrong[0].gpu.mistake)]


def _none(without: Sequence[Facts], wanted: bool) -> Line:
    first = without[0]
    assert first.gpu.missing is not None
    found = f"none on {first.host} ({rank_list([one.rank for one in without])}): "
    found += first.gpu.missing.why
    if first.gpu.driver:
        found += f"; driver {first.gpu.driver} is loaded"
    return Line("GPU", State.PROBLEM if wanted else State.NOTE, found, first.gpu.missing.mend)


def _on_host(host: str, ranks: Sequence[Facts]) -> list[Line]:
    """Tell GPUs apart by UUID: ranks may each see another one as number 0."""
    names: dict[str, str] = {}
    users: dict[str, list[int]] = {}
    faults: dict[str, str] = {}
    for one in ranks:
        for info in one.gpu.seen:
            names.setdefault(info.uuid, str(info))
        if one.gpu.chosen is not None:
            uuid = one.gpu.seen[one.gpu.chosen].uuid
            users.setdefault(uuid, []).append(one.rank)
            if one.gpu.fault:
                faults[uuid] = one.gpu.fault
    lines = []
    for uuid, name in names.items():
        used = f"used by {rank_list(users[uuid])}" if uuid in users else "not used"
        found = f"{host}: {name}; {used}"
        if uuid in faults:
            mend = (
                "install relion-mpi[cuda13] or relion-mpi[cuda12] as the driver's CUDA asks, with "
                "NVIDIA's libraries; look at nvidia-smi for other jobs on this GPU"
            )
            lines.append(Line("GPU", State.PROBLEM, f"{found}; {faults[uuid]}", mend))
        else:
            lines.append(Line("GPU", State.OK, found))
    return lines


def _assignment(facts: Sequence[Facts]) -> list[Line]:
    lines = []
    for host, ranks in by_host(facts).items():
        seen = {tuple(info.uuid for info in one.gpu.seen) for one in ranks if one.gpu.seen}
        told = [one.gpu.understood for one in ranks if one.gpu.understood]
        if len(seen) > 1:
            text = f"{host}: each rank sees GPUs of its own (the scheduler hides the others)"
            lines.append(Line("--gpu", State.OK, text))
        elif told:
            lines.append(Line("--gpu", State.OK, f"{host}: {told[0]}"))
    return lines


def _awareness(facts: Sequence[Facts]) -> Line:
    if all(one.cuda_aware for one in facts):
        return Line("CUDA-aware MPI", State.OK, "yes, the library says so")
    return Line("CUDA-aware MPI", State.OK, "no: data are staged through the host")
