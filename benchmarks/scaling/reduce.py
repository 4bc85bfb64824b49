"""Time ways to bring sums of real sizes to rank 0, beside RELION's chain of blocking sends.

    mpirun -n 8 python benchmarks/scaling/reduce.py --out reduce.jsonl [--boxes 128,256,360]
        [--classes 1] [--padding 2] [--repeats 3] [--seconds 20] [--memory_gib 0]
    python benchmarks/scaling/reduce.py --table reduce.jsonl

The sums are those of one half-set at the full size of a box: (re, im, weight) within the half ball,
float32 at the ranks, float64 where they add up.

| way | what |
|---|---|
| shared memory | `relion_mpi.parallel.relay`: ranks of a node add up there, MPI between nodes |
| chunked | the same without shared memory: 16 MiB converted and reduced, one after the other |
| one message | everything converted, then one MPI_Reduce |
| double buffer | a chunk is converted while the one before travels by MPI_Ireduce |
| chain | RELION's: rank after rank receives, adds and sends on, then all the way back; blocking |

Each way is checked against the known sum. A case is left out, and said to be, where it would take
more memory than there is or the way's share of the seconds. Times are of the slowest rank,
the best and the median of the repeats; the first one is not counted. Whatever a way needs is in
its time: buffers, conversion to float64. The chain ends with the sum at all ranks, the others at
rank 0.
"""

import argparse
import json
import os
import socket
import statistics
import time
from functools import cache, partial
from pathlib import Path

import numpy as np

from relion_mpi.core.memory import available_bytes
from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.parallel import quiet, relay

PIECE_ITEMS = 1 << 27
"""Of a message of the chain: 1 GiB, as RELION's."""
COPIES = {"shared memory": 8, "chunked": 8, "double buffer": 8, "one message": 16, "chain": 16}
"""Bytes a number beside float32: rank 0's sum, or a float64 each of ours and of what comes in."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", default="128,256,360")
    parser.add_argument("--classes", type=int, default=1)
    parser.add_argument("--padding", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="for all cases of this call")
    parser.add_argument("--memory_gib", type=float, default=0, help="of a node; 0: 0.7 of the free")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="print the table of such a file, and end")
    return parser.parse_args()


def items_of(box, n_class, padding):
    """Numbers in the volumes of a half-set, as `relion_mpi.refine.reduction.sum_shapes`."""
    return 3 * n_class * n_kept(padded_size(box // 2, padding))


@cache
def made_relay(share):
    """Make the relay of all ranks, which a job makes once."""
    from mpi4py import MPI

    return relay.relay_of(MPI.COMM_WORLD, share=share)


def by_relay(comm, mine, share):
    made = made_relay(share)
    if comm.rank == 0:
        return made.sum_at_master(mine.shape)
    made.add_to_sum(mine)
    return None


def one_message(comm, mine):
    from mpi4py import MPI

    if comm.rank == 0:
        total = np.zeros(mine.size)
        quiet.barrier(comm)
        comm.Reduce(MPI.IN_PLACE, total, op=MPI.SUM, root=0)
        return total
    converted = mine.astype(np.float64)
    quiet.barrier(comm)
    comm.Reduce(converted, None, op=MPI.SUM, root=0)
    return None


def double_buffer(comm, mine):
    from mpi4py import MPI

    step = max(relay.CHUNK_BYTES // 8, 1)
    parts = [slice(i, min(i + step, mine.size)) for i in range(0, mine.size, step)]
    is_master = comm.rank == 0
    total = np.zeros(mine.size) if is_master else None
    staging = np.empty((2, 0 if is_master else min(step, mine.size)))
    requests = [MPI.REQUEST_NULL, MPI.REQUEST_NULL]
    quiet.barrier(comm)
    for i, part in enumerate(parts):
        requests[i % 2].Wait()
        if is_master:
            requests[i % 2] = comm.Ireduce(MPI.IN_PLACE, total[part], op=MPI.SUM, root=0)
        else:
            chunk = staging[i % 2, : part.stop - part.start]
            np.copyto(chunk, mine[part])
            requests[i % 2] = comm.Ireduce(chunk, None, op=MPI.SUM, root=0)
    MPI.Request.Waitall(requests)
    return total


def chain(comm, mine):
    """Add along ranks n-1 to 1 to 0, then back; rank 0 takes part with nothing of its own."""
    last = comm.size - 1
    total = mine.astype(np.float64) if comm.rank else np.zeros(mine.size)
    received = np.empty(min(PIECE_ITEMS, mine.size) if comm.rank < last else 0)
    quiet.barrier(comm)
    for start in range(0, mine.size, PIECE_ITEMS):
        piece = total[start : start + PIECE_ITEMS]
        if comm.rank < last:
            buffer = received[: piece.size]
            comm.Recv(buffer, source=comm.rank + 1)
            piece += buffer
        if comm.rank > 0:
            comm.Send(piece, dest=comm.rank - 1)
            comm.Recv(piece, source=comm.rank - 1)
        if comm.rank < last:
            comm.Send(piece, dest=comm.rank + 1)
    return total


WAYS = {
    "shared memory": partial(by_relay, share=True), "chunked": partial(by_relay, share=False),
    "double buffer": double_buffer,
    "one message": one_message, "chain": chain,
}  # fmt: skip


def check(comm, way, total):
    """End the job unless ranks gave their number everywhere, and twice that at the ends."""
    expected = comm.size * (comm.size - 1) / 2
    inside = total[1:-1]
    if not (total[0] == total[-1] == 2 * expected and (inside == expected).all()):
        print(f"{way}: the sum is wrong", flush=True)
        comm.Abort(1)


def timed(comm, way, mine, repeats, most_s):
    """Seconds of the slowest rank, by repeat, at least one within most_s; the first is not counted.

    All ranks do the same number: they see the same seconds.
    """
    from mpi4py import MPI

    seconds = []
    while len(seconds) < 2 or (len(seconds) <= repeats and sum(seconds) < most_s):
        comm.Barrier()
        began = time.perf_counter()
        total = WAYS[way](comm, mine)
        seconds.append(comm.allreduce(time.perf_counter() - began, op=MPI.MAX))
        if comm.rank == 0 and len(seconds) == 1:
            check(comm, way, total)
        del total
    return seconds[1:]


def why_not(comm, fits, expected_s, left_s):
    """Say why a case is left out, on all ranks what rank 0 says; "" if it is not."""
    reason = "seconds" if 2 * expected_s > left_s else ""
    return comm.bcast(reason if fits else "memory", root=0)


def measure(options):
    """Time every way with every box; each way has its share of the seconds."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    options.hosts = comm.allgather(socket.gethostname())
    boxes = [int(word) for word in options.boxes.split(",")]
    sizes = {box: items_of(box, options.classes, options.padding) for box in boxes}
    room = room_of(comm, options)
    largest = max((n for n in sizes.values() if (4 + COPIES["chunked"]) * n < room), default=0)
    spare = room - 4 * largest
    mine = np.full(largest, comm.rank, np.float32)
    began = time.perf_counter()
    for i, way in enumerate(WAYS):
        # What is known of no way yet: hops one after the other, or nothing.
        rate = 2 * (comm.size - 1) * 8 / 4e9 if way == "chain" else 0.0
        for box, items in sizes.items():
            left_s = options.seconds * (i + 1) / len(WAYS) - (time.perf_counter() - began)
            row = {"box": box, "items": items, "way": way}
            fits = items <= largest and COPIES[way] * items <= spare
            reason = why_not(comm, fits, rate * items, left_s)
            if reason:
                write(comm, options, row | {"left_out": reason})
                continue
            part = mine[:items]
            part[[0, -1]] = 2 * comm.rank
            most_s = comm.bcast(left_s / 2, root=0)
            seconds = timed(comm, way, part, options.repeats, most_s)
            part[[0, -1]] = comm.rank
            rate = max(seconds) / items
            found = {
                "best_s": round(min(seconds), 5), "median_s": round(statistics.median(seconds), 5),
                "repeats": len(seconds), "gb": round(8e-9 * items, 4),
                "gb_s": round(8e-9 * items / min(seconds), 3),
            }  # fmt: skip
            write(comm, options, row | found)


def room_of(comm, options):
    """Return the bytes that a rank may take, the least of all nodes."""
    from mpi4py import MPI

    free = available_bytes() or float("inf")
    room = options.memory_gib * 2**30 or 0.7 * free
    # Rank 0 has a sum more than the others.
    share = room / (options.hosts.count(socket.gethostname()) + 1)
    return comm.allreduce(share, op=MPI.MIN)


def write(comm, options, row):
    if comm.rank != 0:
        return
    from mpi4py import MPI

    told = {
        "ranks": comm.size, "nodes": len(set(options.hosts)), "classes": options.classes,
        "padding": options.padding, **row, "cores": os.cpu_count(),
        "mpi": MPI.Get_library_version().splitlines()[0].split(",")[0][:40],
    }  # fmt: skip
    print(json.dumps(told), flush=True)
    if options.out:
        with options.out.open("a") as file:
            file.write(json.dumps(told) + "\n")


def table(path):
    """Seconds by box and ranks, a column a way, and what a chain takes of the first way."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    print(f"| box | GB | ranks | {' | '.join(WAYS)} | chain / shared memory |")
    print("|---" * (len(WAYS) + 4) + "|")
    for box, ranks in dict.fromkeys((row["box"], row["ranks"]) for row in rows):
        mine = {row.get("way"): row for row in rows if (row["box"], row["ranks"]) == (box, ranks)}
        seconds = [mine.get(way, {}).get("best_s") for way in WAYS]
        gb = next((row["gb"] for row in mine.values() if "gb" in row), None)
        first, last = seconds[0], seconds[-1]
        cells = [f"{one:.3f}" if one else "-" for one in seconds]
        times = f"{last / first:.1f}" if first and last else "-"
        print(f"| {box} | {gb or '-'} | {ranks} | {' | '.join(cells)} | {times} |")


if __name__ == "__main__":
    chosen = arguments()
    if chosen.table:
        table(chosen.table)
    else:
        measure(chosen)
