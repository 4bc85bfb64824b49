"""Predict the seconds of an iteration on many GPUs from those of a job that was measured.

A stage on n GPUs is what was measured on n0, plus what the terms below say of n, less what they say
of n0: a prediction for n0 is the measurement itself.

- E-step: the larger of what the busiest GPU does (a start in which nothing is prepared, then
  ceil(batches / GPUs) batches one after the other) and what rank 0 does to hand batches out and
  take results, which is serial.
- load: references to all ranks, reduce: sums to rank 0; both through memory that the ranks of a
  node share, and between nodes along a tree (levels one after the other), in segments (a
  reduce-scatter and a gather, or a scatter and an allgather), or, for comparison, all the way along
  RELION's chain of blocking sends.
- accuracy, M-step, other: as measured; rank 0 does them, or one piece of work that is not shared.
- write: a thread beside the next iteration; what it takes longer than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.shells import padded_size

STAGES = ("load", "accuracy", "E-step", "reduce", "M-step", "other", "write")
COMMANDS = 6
"""Commands to every rank in an iteration: three beginnings, a reduction, two tellings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """How fast numbers travel; GB are 1e9 bytes.

    Attributes
    ----------
    intra_gb_s : what one rank copies from and to the memory that a node's ranks share
    node_gb_s : what all ranks of a node copy and add up there together
    message_gb_s : a message between two ranks of a node, received and added up
    inter_gb_s : between nodes
    add_gb_s : adding up float64 at a rank that receives from another node
    per_node : GPUs of a node
    meet_s : a meeting of all ranks, who sleep up to a millisecond between two looks
    command_s : a pickled command of rank 0 to one rank

    Those within a node fit `results/h200x4_reduce.jsonl`, 2 to 32 ranks, within 12 %.
    """

    intra_gb_s: float = 5.0
    node_gb_s: float = 89.0
    message_gb_s: float = 3.0
    inter_gb_s: float = 11.0
    add_gb_s: float = 5.0
    per_node: int = 8
    meet_s: float = 1e-3
    command_s: float = 2e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank0:
    """What rank 0 does for batches, from `benchmarks/io/million_particles.py`.

    2 us a particle with batches of 64, 0.4 to 1.0 (here 0.7) with 2048.
    """

    particle_s: float = 0.66e-6
    batch_s: float = 86e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job and the seconds of its stages in an iteration on `workers` GPUs of one node.

    Attributes
    ----------
    n_particles, box, n_class, n_half, current_size, padding : what is refined
    batch, batches : particles in a batch; batches of an iteration, 0: as many as that makes
    seconds : by stage, see `STAGES`; what is left out counts as 0
    start_s : of the E-step, whatever the number of GPUs: fitted to 1, 2 and 4 H200s
        (`results/h200x4_scaling.jsonl`); a time line shows 0.03 s until the first batches are done,
        the rest is in batches, which take the longer the more GPUs there are
    batch_s : of a batch whatever its size (half as many particles in a batch lost 3 % at order 3)
    source : where the seconds were measured
    """

    name: str
    n_particles: int
    box: int
    n_class: int
    n_half: int
    current_size: int
    batch: int
    seconds: dict[str, float]
    padding: int = 2
    batches: int = 0
    workers: int = 1
    start_s: float = 0.2
    batch_s: float = 1.8e-3
    source: str = ""

    @property
    def n_batches(self) -> int:
        """Batches of an iteration."""
        return self.batches or math.ceil(self.n_particles / self.batch)

    @property
    def map_bytes(self) -> int:
        """Bytes of the references that rank 0 tells all: float32."""
        return 4 * self.n_half * self.n_class * self.box**3

    @property
    def sum_bytes(self) -> int:
        """Bytes of the sums that a rank gives: float64 (re, im, weight) within the half ball."""
        size = padded_size(self.current_size // 2, self.padding)
        return 24 * self.n_half * self.n_class * n_kept(size)


def levels(n: int) -> int:
    """Return the levels of a binary tree of n ranks."""
    return math.ceil(math.log2(n)) if n > 1 else 0


def on_node_s(n_bytes: float, n_gpu: int, links: Links) -> float:
    """Seconds of n_bytes through the memory that the ranks of a node share, rank 0 among them.

    Parameters
    ----------
    n_bytes
        Of the array.
    n_gpu
        A rank each.
    links
        Their speeds.
    """
    here = min(n_gpu, links.per_node) + 1
    return n_bytes / 1e9 * (1 / links.intra_gb_s + here / links.node_gb_s)


def tree_s(n_bytes: float, n_gpu: int, links: Links, *, add: bool) -> float:
    """Seconds of n_bytes along a tree of nodes to or from rank 0, a rank more on the first node.

    Parameters
    ----------
    n_bytes
        Of the array.
    n_gpu
        A rank each.
    links
        Their speeds.
    add
        Whether it is a sum, which is added up at every level.
    """
    gb, nodes = n_bytes / 1e9, math.ceil(n_gpu / links.per_node)
    between = gb / links.inter_gb_s + (gb / links.add_gb_s if add else 0.0)
    return on_node_s(n_bytes, n_gpu, links) + levels(nodes) * between + links.meet_s


def segments_s(n_bytes: float, n_gpu: int, links: Links, *, add: bool) -> float:
    """Seconds of the same in segments: every node works on one, then they are gathered.

    Parameters
    ----------
    n_bytes, n_gpu, links, add
        See `tree_s`.
    """
    gb, nodes = n_bytes / 1e9, math.ceil(n_gpu / links.per_node)
    each = 2 / links.inter_gb_s + (1 / links.add_gb_s if add else 0.0)
    between = (nodes - 1) / nodes * gb * each
    return on_node_s(n_bytes, n_gpu, links) + between + links.meet_s


def chain_s(n_bytes: float, n_gpu: int, n_half: int, links: Links) -> float:
    """Seconds of RELION's reduction: along the ranks of a half-set and all the way back.

    Parameters
    ----------
    n_bytes
        Of all half-sets, whose chains run side by side.
    n_gpu
        A rank each.
    n_half
        Half-sets.
    links
        Their speeds.

    Notes
    -----
    2 (n - 1) hops of blocking sends, one after the other, for the n ranks of a half-set.
    """
    n = max(1, n_gpu // n_half)
    gb = n_bytes / n_half / 1e9
    outside = min(math.ceil(n_gpu / links.per_node), n) - 1
    hop = gb / links.inter_gb_s + gb / links.add_gb_s / 2  # only the way there adds up
    return 2 * ((n - 1 - outside) * gb / links.message_gb_s + outside * hop)


class Way(Protocol):
    """How an array gets from or to rank 0."""

    def __call__(self, n_bytes: float, n_gpu: int, links: Links, *, add: bool) -> float:
        """Return seconds."""


WAYS: dict[str, Way] = {"tree": tree_s, "segments": segments_s}


@dataclass(frozen=True, slots=True)
class Prediction:
    """An iteration on n_gpu GPUs.

    Attributes
    ----------
    seconds : by stage
    batch : particles in a batch
    limit : in words, what keeps it from being faster
    """

    n_gpu: int
    seconds: dict[str, float]
    batch: int
    limit: str

    @property
    def total_s(self) -> float:
        """Seconds of the iteration."""
        return sum(self.seconds.values())


def batches_of(job: Job, batch: int) -> int:
    """Return the number of batches of such a size."""
    return job.n_batches if batch == job.batch else math.ceil(job.n_particles / batch)


def estep_parts(job: Job, n_gpu: int, batch: int, rank_0: Rank0) -> tuple[float, float]:
    """Seconds of the busiest GPU and of rank 0 in an E-step.

    Parameters
    ----------
    job
        Measured.
    n_gpu, batch
        GPUs, particles in a batch.
    rank_0
        Its speed.
    """
    rounds = math.ceil(job.n_batches / job.workers)
    measured_batch_s = (job.seconds["E-step"] - job.start_s) / rounds
    fixed = min(job.batch_s, measured_batch_s)
    n_batches = batches_of(job, batch)
    batch_s = fixed + (measured_batch_s - fixed) * batch / job.batch
    gpu_s = job.start_s + math.ceil(n_batches / n_gpu) * batch_s
    return gpu_s, job.n_particles * rank_0.particle_s + n_batches * rank_0.batch_s


def predict(
    job: Job,
    n_gpu: int,
    links: Links | None = None,
    *,
    way: str = "tree",
    batch: int | None = None,
    rank_0: Rank0 | None = None,
) -> Prediction:
    """Predict an iteration.

    Parameters
    ----------
    job
        Measured.
    n_gpu
        GPUs, a rank each, on nodes of `Links.per_node`.
    links, rank_0
        Speeds.
    way
        "tree", "segments", or "chain" for the reduction of RELION.
    batch
        Particles in a batch; as measured if left out.
    """
    links, rank_0 = links or Links(), rank_0 or Rank0()
    batch = batch or job.batch

    gpu_s, dispatch_s = estep_parts(job, n_gpu, batch, rank_0)
    found = {name: job.seconds.get(name, 0.0) for name in STAGES}
    found["E-step"] = max(gpu_s, dispatch_s)
    commands_s = COMMANDS * links.command_s
    found["other"] += commands_s * (n_gpu - job.workers)
    found["load"] = _moved(job, n_gpu, links, "load", WAYS.get(way, tree_s))
    if way == "chain":
        found["reduce"] = chain_s(job.sum_bytes, n_gpu, job.n_half, links)
    else:
        found["reduce"] = _moved(job, n_gpu, links, "reduce", WAYS[way])
    visible = sum(seconds for name, seconds in found.items() if name != "write")
    found["write"] = max(0.0, found["write"] - visible)
    return Prediction(n_gpu, found, batch, _limit(job, found, gpu_s, dispatch_s, n_gpu, batch))


def _moved(job: Job, n_gpu: int, links: Links, stage: str, way: Way) -> float:
    """Seconds of load or reduce on n_gpu; what was measured ran along a tree."""
    add = stage == "reduce"
    n_bytes = job.sum_bytes if add else job.map_bytes
    before_s = tree_s(n_bytes, job.workers, links, add=add)
    if stage not in job.seconds:  # it is within "other"
        return max(0.0, way(n_bytes, n_gpu, links, add=add) - before_s)
    measured_s = job.seconds[stage]
    # A node that was faster than it is said to be stays so.
    ours = min(1.0, measured_s / before_s)
    links = replace(
        links, intra_gb_s=links.intra_gb_s / max(ours, 1e-9),
        node_gb_s=links.node_gb_s / max(ours, 1e-9), meet_s=links.meet_s * ours,
    )  # fmt: skip
    return max(0.0, measured_s - before_s) + way(n_bytes, n_gpu, links, add=add)


def best_batch(
    job: Job, n_gpu: int, links: Links | None = None, *, way: str = "tree"
) -> Prediction:
    """Predict with the batch size, a power of two from 64 to the measured one, that is fastest.

    Parameters
    ----------
    job, n_gpu, links, way
        See `predict`.
    """
    sizes = [size for size in (64, 128, 256, 512, 1024, 2048) if size < job.batch] + [job.batch]
    tried = [predict(job, n_gpu, links, way=way, batch=size) for size in reversed(sizes)]
    return min(tried, key=lambda one: one.total_s)


def efficiency(job: Job, found: Prediction) -> float:
    """Return how much of n times the measured speed a prediction has."""
    measured = sum(job.seconds.get(name, 0.0) for name in STAGES if name != "write")
    return measured * job.workers / (found.n_gpu * found.total_s)


def grown(job: Job, times: int) -> Job:
    """Return the job with so many times the particles, for weak scaling.

    Parameters
    ----------
    job
        Measured.
    times
        Batches stay as large as they are.
    """
    more = {
        name: job.seconds[name] * times for name in ("E-step", "write") if name in job.seconds
    }
    more["E-step"] -= job.start_s * (times - 1)
    return replace(
        job, n_particles=job.n_particles * times, batches=job.batches * times,
        seconds={**job.seconds, **more},
    )  # fmt: skip


def _limit(
    job: Job, found: dict[str, float], gpu_s: float, dispatch_s: float, n_gpu: int, batch: int
) -> str:
    """Say what limits: the stage that takes longest."""
    longest = max(found, key=lambda name: found[name])
    n_batches = batches_of(job, batch)
    said = {
        "load": "references travel to all ranks",
        "accuracy": "expected accuracies, which are not shared",
        "reduce": "sums travel to rank 0",
        "M-step": "M-step, on rank 0's GPU alone",
        "other": "rank 0's own work and commands to ranks",
        "write": "files of the iteration before",
        "E-step": "the work of the E-step",
    }
    if longest == "E-step" and dispatch_s > gpu_s:
        return "rank 0 hands out batches"
    if longest == "E-step" and n_batches < n_gpu:
        return f"{n_batches} batches for {n_gpu} GPUs"
    if longest == "E-step" and gpu_s < 3 * job.start_s:
        return "start of the E-step"
    return said[longest]
