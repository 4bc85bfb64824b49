"""The master's wires to the workers, which keep their names when others die."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from relion_mpi.parallel import abort, lost_ranks, quiet
from relion_mpi.parallel.comm import World, world
from relion_mpi.parallel.heartbeat import PATIENCE, StalledError, Watch
from relion_mpi.parallel.messages import Result, Tag
from relion_mpi.parallel.relay import relay_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI

    from relion_mpi.parallel.messages import Here


class Wires:
    """Send to workers, hear them, and watch that they live. Partner: `worker_loop.serve`.

    Parameters
    ----------
    comm
        Of the crew alone.
    limit
        Seconds of silence that are too long.

    Attributes
    ----------
    comm : of the ranks that live
    relay : for large arrays
    workers : names of those that live: the ranks that they had at the start
    """

    def __init__(self, comm: MPI.Intracomm, limit: float) -> None:
        self.comm = comm
        self.relay = relay_of(comm, share=not lost_ranks.can_go_on())
        self.workers = list(range(1, comm.Get_size()))
        self._has_lost = False
        self._sends: list[MPI.Request] = []
        self._buried: list[MPI.Request] = []
        self._limit = limit
        self._watch = Watch(self.workers, limit)

    def send(self, worker: int, message: object) -> None:
        """Send a command without waiting."""
        place = self.workers.index(worker) + 1
        self._sends.append(self.comm.isend(message, dest=place, tag=Tag.COMMAND))

    def to_all(self, message: object) -> None:
        """Send a command to all workers, and wait until it has left."""
        for worker in self.workers:
            self.send(worker, message)
        self.flush()

    def flush(self) -> None:
        """Wait until every command has left; the partners are receiving in `serve`."""
        for request in self._sends:
            # Large messages progress only while being tested, hence the shorter sleep.
            self._wait(request.Test, longest=1e-4)
        self._sends = []

    def next_result(self) -> tuple[int, Result, int]:
        """Wait for any worker's result, letting our own sends progress.

        Returns
        -------
        tuple
            Worker, result, bytes of the message.
        """
        from mpi4py import MPI

        status = MPI.Status()
        message: MPI.Message | None = None

        def arrived() -> bool:
            nonlocal message
            self._sends = [one for one in self._sends if not one.Test()]
            message = self.comm.improbe(source=MPI.ANY_SOURCE, tag=Tag.RESULT, status=status)
            return message is not None

        self._wait(arrived)
        assert message is not None
        worker = self._name(status.Get_source())
        self._watch.heard(worker)
        return worker, message.recv(), status.Get_count(MPI.BYTE)

    def meet(self) -> None:
        """Wait for all ranks; partner: `worker_loop.serve`."""
        self._wait(self.comm.Ibarrier().Test)

    def hear_all(self) -> None:
        """Take all signs of life."""
        from mpi4py import MPI

        status = MPI.Status()
        while self.comm.iprobe(source=MPI.ANY_SOURCE, tag=Tag.ALIVE, status=status):
            place = status.Get_source()
            self._watch.heard(self._name(place), self.comm.recv(source=place, tag=Tag.ALIVE))
        self._watch.check()

    def gather(self, item: Any) -> dict[int, Any]:
        """Return what every rank says, rank 0 included; partner: a gather on the others."""
        return dict(zip([0, *self.workers], self.comm.gather(item, root=0) or [], strict=True))

    def recover(self) -> tuple[dict[int, str], dict[int, Here]]:
        """Leave out who has died; partner: `worker_loop.serve`, which does the same.

        Returns
        -------
        lost : dict
            Host by name of a worker that has died.
        states : dict
            What the others have in hand.

        Raises
        ------
        AllLostError
            No worker lives.
        """
        before, lost = self.workers, dict[int, str]()
        while True:
            # MPI may still look at their buffers.
            self._buried, self._sends = self._buried + self._sends, []
            names = [0, *self.workers]
            self.comm, places = lost_ranks.without_lost(self.comm, PATIENCE * self._limit)
            self.relay = relay_of(self.comm, share=False)
            self.workers = [names[place] for place in places[1:]]
            self._has_lost = True
            lost = {name: self._watch.host(name) for name in before if name not in self.workers}
            if not self.workers:
                raise lost_ranks.AllLostError(
                    f"all workers have died, the last one(s): {told(lost)}; the cause is in their "
                    "words, or the system ended them (memory?)"
                )
            self._watch.only(self.workers)
            with contextlib.suppress(lost_ranks.RankLostError), lost_ranks.noticed():
                states = self.gather(None)
                del states[0]
                return lost, states

    def close(self) -> None:
        """Give the communicator back, or to the rest of the job if ranks were lost."""
        if self._has_lost:
            world().go_on_with(self.comm)
        else:
            self.relay.close()
            self.comm.Free()

    def _name(self, place: int) -> int:
        return self.workers[place - 1]

    def _wait(self, ready: Callable[[], bool], longest: float = 1e-3) -> None:
        """Wait, and end the job if a worker stalls meanwhile."""

        def is_over() -> bool:
            try:
                self.hear_all()
            except StalledError:
                abort.end_soon(World(self.comm, 0, len(self.workers) + 1))
                raise
            return ready()

        quiet.until(is_over, longest)


def told(lost: dict[int, str]) -> str:
    """Name lost ranks.

    Parameters
    ----------
    lost
        Host by rank.

    Returns
    -------
    str
        Such as "rank 2 on node5, rank 3 on node5".
    """
    return ", ".join(f"rank {rank} on {host}" for rank, host in lost.items())
