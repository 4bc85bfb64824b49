"""A crew whose workers are killed; rank 0 says whether all is as if they had not been.

python losing.py FOLDER, under `mpiexec --with-ft ulfm`.
"""

from __future__ import annotations

import sys
from collections import Counter

import killing
import numpy as np
from crew_worker import SummingWorker

from relion_mpi.core.log import setup_logging
from relion_mpi.parallel import abort, comm, roll_call
from relion_mpi.parallel.mpi_crew import MPICrew
from relion_mpi.parallel.worker_loop import serve

WEIGHTS = np.arange(6, dtype=np.float32)
N = 24


class ForgettingWorker(SummingWorker):
    """Cannot work any more after it gave its sums away, unless more follow; as `RefineWorker`."""

    more_follow = False

    def begin(self, message, arrays):
        if "more" in message:
            self.more_follow = True
        else:
            super().begin(message, arrays)

    def sums(self):
        found = super().sums()
        if not self.more_follow:
            del self.total, self.count
        else:
            self.more_follow = False
            self.total, self.count = np.zeros_like(self.total), np.zeros_like(self.count)
        return found


class Between:
    """What rank 0 does alone."""

    def do(self):
        pass


def expect(crew, scale, tasks, stop=None):
    """Run tasks, and see that each result comes once."""
    came = Counter()

    def take(index, result):
        assert result == 2 * tasks[index] + 1
        came[index] += 1

    crew.run(tasks, take, stop)
    assert set(came.values()) <= {1}
    if stop is None:
        assert sorted(came) == list(range(len(tasks)))
    return scale * sum(tasks[index] for index in came), len(came)


def master(crew, between):
    for scale in (1, 2, 3):
        crew.begin({"scale": 0}, {"weights": WEIGHTS})
        crew.run(list(range(5)), lambda index, result: None, summed=False)
        between.do()
        crew.begin({"scale": scale}, {"weights": WEIGHTS})
        parts = [expect(crew, scale, list(range(N)))]
        crew.begin({"more": True}, {}, keeps_sums=True)
        found = crew.reduce([(2, 3), ()])
        parts.append(expect(crew, scale, list(range(7))))
        for total, rest in zip(found, crew.reduce([(2, 3), ()]), strict=True):
            total += rest
        between.do()
        total, count = np.sum(parts, axis=0)
        np.testing.assert_array_equal(found[0], WEIGHTS.reshape(2, 3) * total)
        assert found[1] == count
        accounts = crew.accounts()
        assert len(accounts) == crew.n_workers + 1
    crew.close()


setup_logging(comm.world().rank)
job = comm.world()
abort.install(job)
between = Between()
killing.arm(sys.argv[1], ForgettingWorker, (Between, "do"))
n_lanes = int(sys.argv[2])
if job.rank == 0:
    master(MPICrew(job.comm, n_lanes), between)
else:
    serve(job.comm, ForgettingWorker(job.rank), n_lanes)
alive = roll_call.gather(job, job.rank)
if job.rank == 0:
    assert alive == list(range(job.size))
    sys.stdout.write(f"all is well on {job.size} ranks\n")
