"""Images of a run on the scratch disks of its nodes: copied once a node, by all of its ranks."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.dataset.scratch_copy import check_piece, copy_piece
from relion_mpi.dataset.scratch_folder import check_scratch
from relion_mpi.dataset.scratch_images import scratch_images
from relion_mpi.dataset.scratch_manifest import Copied, ManifestWriter, key_of
from relion_mpi.dataset.scratch_pieces import pieces_of
from relion_mpi.dataset.scratch_plan import ScratchPlan, free_bytes, make_plan
from relion_mpi.parallel import abort, roll_call
from relion_mpi.parallel.comm import gather_on_node
from relion_mpi.refine.scratch_share import Share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.dataset.image_cache import CacheLayout
    from relion_mpi.dataset.scratch_folder import ScratchFolder
    from relion_mpi.dataset.scratch_images import ScratchImages
    from relion_mpi.io.mrc import MrcHeader
    from relion_mpi.parallel.comm import World
    from relion_mpi.parallel.shared_memory import NodeMemory
    from relion_mpi.refine.common_options import CommonOptions
    from relion_mpi.refine.start import Start

log = logging.getLogger(__name__)

ROUND_SECONDS = 3.0
"""Ranks copy for so long, then tell each other how far they are and whether to go on."""
_GB = 1e9
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Used:
    """Images that the run uses, in the order of its batches.

    Attributes
    ----------
    headers : of all stacks
    stacks, sections : int32 (n,) stack of each image, and place in it from 0
    first : int64 (n_batch + 1,) where the images of each batch begin
    """

    headers: tuple[MrcHeader, ...]
    stacks: NDArray[np.int32]
    sections: NDArray[np.int32]
    first: NDArray[np.int64]

    @classmethod
    def of(cls, start: Start) -> Used:
        """List the images of a run."""
        rows = [batch.particles for batch in start.batches]
        joined = np.concatenate(rows)
        return cls(
            tuple(start.particles.stack_headers),
            start.particles.stack_file[joined].astype(np.int32),
            start.particles.image_index[joined].astype(np.int32),
            np.cumsum([0, *(one.size for one in rows)]),
        )


@contextlib.contextmanager
def images_on_scratch(
    options: CommonOptions,
    ranks: World,
    start: Start | None,
    kept: tuple[CacheLayout, NodeMemory],
    stop: Callable[[], bool],
) -> Iterator[ScratchImages | None]:
    """Copy images to --scratch_dir and remove them after the block; collective over all ranks.

    Parameters
    ----------
    options
        Of the run.
    ranks
        The job.
    start
        On rank 0.
    kept
        Which batches this node's memory keeps: they are read once in any case, and are copied only
        where the copies are kept for other jobs.
    stop
        Asked on rank 0 whether the run is to end: what is not copied by then is read in place.

    Yields
    ------
    ScratchImages or None
        What was copied on this node; None without --scratch_dir.

    Raises
    ------
    AgreedStop
        The folder cannot be used on some node; one rank has said so.
    InputError
        A stack cannot be read.
    """
    if options.scratch_dir is None:
        yield None
        return
    used: Used = roll_call.tell(ranks, None if start is None else Used.of(start))
    node = _Node(options, ranks, used)
    node.plan_copies(*kept)
    try:
        yield node.copied(stop if ranks.rank == 0 else lambda: False)
    except BaseException:
        node.fail()
        raise
    gather_on_node(ranks, None)  # nobody reads any more
    node.close()


class _Node:
    """The copies of this rank's node, as this rank sees them."""

    def __init__(self, options: CommonOptions, ranks: World, used: Used) -> None:
        assert options.scratch_dir is not None
        self._options, self._ranks, self._used = options, ranks, used
        self._root = options.scratch_dir
        self._folder: ScratchFolder | None = None
        self._plan = ScratchPlan()
        self._place, self._n_ranks = 0, 1
        self._copied: dict[int, Copied] = {}
        self._lock = threading.Lock()

    @property
    def _headers(self) -> Sequence[MrcHeader]:
        return self._used.headers

    def plan_copies(self, layout: CacheLayout, memory: NodeMemory) -> None:
        """Have the first rank of each node plan, and tell the others of its node."""
        here = gather_on_node(self._ranks, memory.data.size)
        numbers = [rank for rank, _ in here]
        self._place, self._n_ranks = numbers.index(self._ranks.rank), len(numbers)
        works = self._ranks.size == 1 or any(rank != 0 for rank in numbers)
        mistake: InputError | None = None
        if self._place == 0 and works:
            try:
                check_scratch(self._root)
            except InputError as error:
                mistake = error
        abort.agree_or_stop(self._ranks.comm, mistake)
        if self._place == 0 and works:
            try:
                self._make_plan(layout.first_in(max(size for _, size in here)))
            except InputError as error:
                mistake = error
        try:
            abort.agree_or_stop(self._ranks.comm, mistake)
        except abort.AgreedStop:
            self.close()
            raise
        self._plan = gather_on_node(self._ranks, self._plan)[0][1]
        mine = self._plan if self._place == 0 and works else None
        for plan in roll_call.gather(self._ranks, mine):
            if plan is not None:
                log.info("scratch: %s", plan.told(self._headers))

    def _make_plan(self, n_kept: int) -> None:
        used, options = self._used, self._options
        first = 0 if options.keep_scratch else int(used.first[min(n_kept, used.first.size - 1)])
        wanted = used.stacks[first:].astype(np.int64), used.sections[first:].astype(np.int64)
        self._plan, self._folder = make_plan(
            self._root, used.headers, pieces_of(used.headers, *wanted),
            options.keep_free_scratch * _GB, reuse=options.reuse_scratch, keep=options.keep_scratch,
        )  # fmt: skip

    def copied(self, stop: Callable[[], bool]) -> ScratchImages | None:
        """Check what is there, copy what is not, check that; collective over all ranks."""
        began = time.monotonic()
        plan = self._plan
        self._copied = dict(plan.there)
        earlier = self._do("checking copies of an earlier job", list(plan.there), self._check, stop)
        again = self._of_node(earlier.failed)
        with ManifestWriter(self._folder_path(), f"{os.getpid()}_{self._place}") as manifest:
            copying = self._do(
                "copying to scratch", sorted(plan.to_copy + again),
                lambda i: self._copy(i, manifest), stop, goes_on=False,
            )  # fmt: skip
        checked = self._do("checking the copies", copying.good, self._check, stop, mine=True)
        self._complain("copying ended early", copying)
        self._complain("copies are not what was written", checked)
        n_new = plan.n_bytes(self._headers, checked.good)
        totals = roll_call.gather(self._ranks, n_new)
        if totals and sum(totals):
            seconds = max(time.monotonic() - began, 1e-9)
            log.info(
                "scratch: %.1f MB were copied and checked in %.1f s (%.0f MB/s)",
                sum(totals) / 1e6, seconds, sum(totals) / seconds / 1e6,
            )  # fmt: skip
        good = self._of_node(earlier.good + checked.good)
        if plan.folder is None:
            return None
        return scratch_images(plan.folder, self._headers, (plan.pieces[i] for i in sorted(good)))

    def _of_node(self, mine: list[int]) -> list[int]:
        """Join what the ranks of this node have; collective over all ranks."""
        return [i for _, theirs in gather_on_node(self._ranks, mine) for i in theirs]

    def _folder_path(self) -> Path:
        return self._plan.folder or self._root

    def _do(
        self, label: str, pieces: Sequence[int], action: Callable[[int], None],
        stop: Callable[[], bool], *, goes_on: bool = True, mine: bool = False,
    ) -> Share:  # fmt: skip
        """Have pieces of all nodes done by their ranks, in rounds."""
        chosen = pieces if mine else list(pieces)[self._place :: self._n_ranks]
        share = Share(chosen, action, goes_on=goes_on)
        n_bytes = self._plan.n_bytes(self._headers, chosen)
        total = sum(-(-one // _MIB) for one in roll_call.everybody(self._ranks, n_bytes))
        if not total:
            return share
        enabled = self._ranks.rank == 0
        with Progress(total, f"{label} (MiB)", enabled=enabled) as progress:
            while True:
                share.go_on(ROUND_SECONDS)
                done = self._plan.n_bytes(self._headers, share.good)
                states = roll_call.everybody(self._ranks, (done, share.is_done, stop()))
                progress.update(sum(-(-state[0] // _MIB) for state in states) - progress.done)
                if all(state[1] for state in states) or any(state[2] for state in states):
                    break
        share.stop()
        return share

    def _copy(self, index: int, manifest: ManifestWriter) -> None:
        piece = self._plan.pieces[index]
        header, folder = self._headers[piece.stack], self._folder_path()
        room = free_bytes(folder) - self._options.keep_free_scratch * _GB
        if piece.disk_bytes(header) > room:
            raise OSError(errno.ENOSPC, "others fill the disk to --keep_free_scratch")
        copied = Copied(piece.runs, *copy_piece(header, piece.runs, folder))
        with self._lock:
            self._copied[index] = copied
            manifest.add(key_of(piece, header), copied)

    def _check(self, index: int) -> None:
        copied = self._copied[index]
        header = self._headers[self._plan.pieces[index].stack]
        check_piece(header, copied.runs, self._folder_path(), copied.checksum)

    def _complain(self, what: str, share: Share) -> None:
        """Warn once a node."""
        troubles = [one for _, one in gather_on_node(self._ranks, share.trouble) if one]
        if troubles and self._place == 0:
            log.warning(
                "scratch: %s: %s (%s); what is not there is read in place",
                self._plan.host, what, troubles[0],
            )  # fmt: skip

    def fail(self) -> None:
        """Remove the copies; while others wait for this job's end, a process beside it does so."""
        if self._folder is not None and self._ranks.size > 1:
            self._folder.abandon()
        else:
            self.close()

    def close(self) -> None:
        """Remove the copies, unless they are to be kept."""
        if self._folder is not None:
            self._folder.close()
