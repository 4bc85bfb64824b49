"""Time the first reading of particle images from their files and the second from shared memory.

Writes a set of images to FOLDER (in the system's file cache afterwards, as a set that was just
copied there), then has 1 and 2 working ranks share the batches out and read them twice. GB/s are of
what the images take in memory, over the time of the slowest rank. The second reading is a view;
what is timed is one pass over it by numpy, as of a program that uses the images.

Run: python benchmarks/io/image_cache.py FOLDER [images] [box]
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from relion_mpi.dataset.batches import Batch
from relion_mpi.dataset.image_cache import ImageCache, make_layout
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.io.mrc import read_header, write_map
from relion_mpi.parallel import comm, quiet, roll_call
from relion_mpi.parallel.shared_memory import share_on_node

log = logging.getLogger("image_cache")
N_STACKS, BATCH = 8, 64
MEASURING = "--measure"
KINDS = {"float32": "float32 files", "float16": "float16 files", "half": "float32 files, kept half"}


def write_set(folder: Path, n: int, box: int) -> None:
    """Write the same images as float32 (mode 2) and as float16 (mode 12)."""
    images = np.random.default_rng(1).normal(size=(n // N_STACKS, box, box)).astype(np.float32)
    for stack in range(N_STACKS):
        path = folder / f"float32_{stack}.mrcs"
        write_map(path, images, 1.0, stack=True)
        header = bytearray(path.read_bytes()[:1024])
        header[12:16] = (12).to_bytes(4, "little")
        data = images.astype("<f2").tobytes()
        (folder / f"float16_{stack}.mrcs").write_bytes(bytes(header) + data)


def measure(folder: Path, kind: str) -> None:
    """Read twice what rank 0 says; collective."""
    job = comm.world()
    files = "float16" if kind == "float16" else "float32"
    headers = [read_header(folder / f"{files}_{stack}.mrcs") for stack in range(N_STACKS)]
    sections = np.concatenate([np.arange(h.nz) for h in headers])
    stacks = np.repeat(np.arange(N_STACKS), [h.nz for h in headers])
    particles = SimpleNamespace(stack_headers=headers, stack_file=stacks)
    cuts = np.array_split(np.arange(stacks.size), -(-stacks.size // BATCH))
    batches = [Batch(i, 0, rows) for i, rows in enumerate(cuts)]
    layout = make_layout(particles, batches, 1 << 40, half=kind == "half")
    with share_on_node(job, layout.n_bytes, layout.n_batch) as memory:
        works = job.size == 1 or job.rank > 0
        n_workers, first = job.n_workers, max(job.rank - 1, 0)
        cache = None
        if works:
            reader = StackReader(headers)
            cache = ImageCache(layout, memory.data, memory.flags, reader, claim=memory.claim)
        for what, touch, shift in (("first", False, 0), ("second", True, 1)):
            # The second time each rank takes what another has read.
            mine = batches[(first + shift) % n_workers :: n_workers] if cache else []
            if job.comm is not None:
                quiet.barrier(job.comm)
            start = time.perf_counter()
            for batch in mine:
                rows = batch.particles
                images = cache.read(batch.index, stacks[rows], sections[rows])
                if touch:
                    images.reshape(-1).view(np.uint64).max()
            seconds = max(roll_call.gather(job, time.perf_counter() - start) or [0])
            if job.rank == 0:
                log.info(
                    "%-24s %d worker(s)  %-6s  %6.3f s  %6.2f GB/s",
                    KINDS[kind], n_workers, what, seconds, layout.n_bytes / seconds / 1e9,
                )  # fmt: skip
        del cache


def main() -> None:
    """Write, then start this program again as 1 process and under mpiexec."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if sys.argv[1] == MEASURING:
        measure(Path(sys.argv[2]), sys.argv[3])
        return
    folder = Path(sys.argv[1])
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 4096
    box = int(sys.argv[3]) if len(sys.argv) > 3 else 256
    folder.mkdir(parents=True, exist_ok=True)
    write_set(folder, n, box)
    os.sync()  # writing to the disk must not disturb the measurement
    log.info("%d images of %d x %d, batches of %d", n, box, box, BATCH)
    mpiexec = str(Path(sys.executable).with_name("mpiexec"))
    for kind in KINDS:
        for launcher in ([], [mpiexec, "-n", "3"]):
            command = [*launcher, sys.executable, __file__, MEASURING, str(folder), kind]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
