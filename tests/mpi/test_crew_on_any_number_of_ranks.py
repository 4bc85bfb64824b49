"""The same tests with 1, 2, 3 and 5 ranks; `tests/jobs` starts them under mpiexec."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter

import numpy as np
import pytest
from crew_worker import SummingWorker

from relion_mpi.parallel import abort, comm, relay, threads
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.parallel.mpi_crew import MPICrew
from relion_mpi.parallel.worker_loop import serve

pytestmark = pytest.mark.mpi

WEIGHTS = np.arange(24, dtype=np.float32).reshape(4, 6)


def on_crew(master, make_worker=SummingWorker):
    """Run `master(crew)` on rank 0 with the other ranks serving; return its value there."""
    job = comm.world()
    worker = make_worker(job.rank)
    if job.rank != 0:
        serve(job.comm, worker)
        return None
    crew = InlineCrew(worker) if job.size == 1 else MPICrew(job.comm)
    with contextlib.closing(crew):
        return master(crew)


def on_rank_0():
    return comm.world().rank == 0


def test_sums_of_integers_are_exact_on_any_number_of_ranks():
    def master(crew):
        crew.begin({"scale": 2}, {"weights": WEIGHTS})
        crew.run(list(range(20)), lambda index, result: None)
        return crew.reduce([(4, 6), ()])

    found = on_crew(master)
    if on_rank_0():
        total, count = found
        # 2 * (0 + ... + 19) = 380; float32 holds integers to 2^24.
        np.testing.assert_array_equal(total, WEIGHTS * 380)
        assert total.dtype == np.float64
        assert count == 20


def test_each_task_is_done_once_and_answered_with_its_own_result():
    answers = []

    def master(crew):
        crew.begin({"scale": 1}, {"weights": WEIGHTS})
        crew.run(list(range(37)), lambda index, result: answers.append((index, result)))

    on_crew(master)
    if on_rank_0():
        assert Counter(answers) == Counter((index, 2 * index + 1) for index in range(37))


def test_run_without_tasks_leaves_sums_at_zero():
    def master(crew):
        crew.begin({"scale": 1}, {"weights": WEIGHTS})
        crew.run([], lambda index, result: None)
        return crew.reduce([(4, 6), ()])

    found = on_crew(master)
    if on_rank_0():
        assert not found[0].any()


def test_a_second_begin_replaces_arrays_and_sums():
    def master(crew):
        crew.begin({"scale": 1}, {"weights": WEIGHTS})
        crew.run([1, 2, 3], lambda index, result: None)
        crew.begin({"scale": 3}, {"weights": WEIGHTS[:2] + 1})
        crew.run([1, 1], lambda index, result: None)
        return crew.reduce([(2, 6), ()])

    found = on_crew(master)
    if on_rank_0():
        np.testing.assert_array_equal(found[0], 6 * (WEIGHTS[:2] + 1))


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1001])
def test_arrays_longer_than_a_chunk_arrive_and_add_up(monkeypatch, n):
    monkeypatch.setattr(relay, "CHUNK_BYTES", 64)
    weights = np.arange(n, dtype=np.float64) - 3

    def master(crew):
        crew.begin({"scale": 1}, {"weights": weights})
        crew.run([5, 6], lambda index, result: None)
        return crew.reduce([(n,), ()])

    found = on_crew(master)
    if on_rank_0():
        np.testing.assert_array_equal(found[0], 11 * weights)


def test_arrays_keep_dtype_shape_and_order_of_elements():
    sent = {
        "strided": np.arange(24).reshape(4, 6)[:, ::2],
        "fortran": np.asfortranarray(np.arange(6, dtype=np.complex64).reshape(2, 3)),
        "scalar": np.array(3.5),
        "weights": WEIGHTS,
    }

    class Checking(SummingWorker):
        def work(self, task, prepared):
            return {
                name: (one.dtype.str, one.shape, one.tolist()) for name, one in self.got.items()
            }

        def begin(self, message, arrays):
            super().begin(message, arrays)
            self.got = arrays

    def master(crew):
        crew.begin({"scale": 1}, sent)
        found = []
        crew.run([0], lambda _, one: found.append(one))
        return found[0]

    found = on_crew(master, Checking)
    if on_rank_0():
        assert found == {n: (a.dtype.str, a.shape, a.tolist()) for n, a in sent.items()}


def test_run_stops_handing_out_tasks_and_sums_hold_exactly_the_answered_ones():
    answered = []

    def master(crew):
        crew.begin({"scale": 1}, {"weights": np.ones(1)})
        crew.run(
            list(range(1, 200)),
            lambda index, result: answered.append(index + 1),
            stop=lambda: len(answered) >= 3,
        )
        return crew.reduce([(1,), ()])

    found = on_crew(master)
    if on_rank_0():
        # In hand when stop turned true: at most two a worker.
        assert 3 <= len(answered) <= 3 + 2 * comm.world().n_workers
        assert found[0][0] == sum(answered)
        assert found[1] == len(answered)


def test_next_task_is_prepared_while_the_present_one_is_worked_on():
    class Slow(SummingWorker):
        def prepare(self, task):
            time.sleep(0.05)

        def work(self, task, prepared):
            time.sleep(0.05)
            return os.times().user

    n_tasks = 8 * comm.world().n_workers

    def master(crew):
        crew.begin({"scale": 1}, {"weights": WEIGHTS})
        crew.run(list(range(n_tasks)), lambda index, result: None)
        return crew.timings()

    found = on_crew(master, Slow)
    if on_rank_0():
        assert len(found) == comm.world().n_workers
        for seconds in found.values():
            assert set(seconds) == {"prepare_wait", "work", "idle"}
            # Only the first of 8 is waited for, 0.05 of 0.4 s. One task at a time would wait for
            # at least 0.6 of the work.
            assert seconds["prepare_wait"] < 0.4 * seconds["work"]


def test_master_and_workers_sleep_while_they_wait():
    class Sleeping(SummingWorker):
        def work(self, task, prepared):
            time.sleep(1.0)
            return self.rank

    before = []

    def master(crew):
        crew.begin({"scale": 1}, {"weights": WEIGHTS})
        before.append(time.process_time())
        crew.run([0], lambda _, one: None)
        return time.process_time() - before[0]

    used = on_crew(master, Sleeping)
    if on_rank_0():
        # Spinning would use the whole second.
        assert used < 0.3


def test_large_results_from_all_workers_do_not_lock_up():
    class Large(SummingWorker):
        def work(self, task, prepared):
            return np.full(300_000, task)

    means = []

    def master(crew):
        crew.begin({"scale": 1}, {"weights": WEIGHTS})
        tasks = [np.full(100_000, index) for index in range(12)]
        crew.run([int(one[0]) for one in tasks], lambda _, result: means.append(result.mean()))

    on_crew(master, Large)
    if on_rank_0():
        assert sorted(means) == list(range(12))


def test_an_agreed_error_stops_every_rank(capsys):
    job = comm.world()
    from relion_mpi.core.errors import InputError

    wrong = InputError("box is odd") if job.rank == job.size - 1 else None
    with pytest.raises(abort.AgreedStop) as stopped:
        abort.agree_or_stop(job.comm, wrong)
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told == ("relion-mpi: error: box is odd\n" if job.rank == job.size - 1 else "")


def test_agreement_without_an_error_goes_on():
    abort.agree_or_stop(comm.world().comm, None)


def test_what_one_rank_makes_is_its_alone_and_its_mistake_is_that_of_all(capsys):
    from relion_mpi.core.errors import InputError

    job = comm.world()
    here = job.rank == job.size - 1
    assert abort.agreed(job.comm, lambda: 7, here=here) == (7 if here else None)

    def refuse():
        raise InputError("box is odd")

    with pytest.raises(abort.AgreedStop):
        abort.agreed(job.comm, refuse, here=here)
    assert capsys.readouterr().err == ("relion-mpi: error: box is odd\n" if here else "")


def test_node_counts_workers_without_the_master():
    job = comm.world()
    found = comm.node(job)
    assert found.n_ranks == job.size
    assert found.n_workers == job.n_workers
    assert found.local_rank == job.rank


def test_workers_share_the_cores():
    job = comm.world()
    cores = len(os.sched_getaffinity(0))
    found = threads.threads_per_rank(ranks=job)
    if job.rank > 0:
        assert found == max(cores // (job.size - 1), 1)
    else:
        assert found == cores


def test_accounts_tell_waiting_for_ranks_from_moving_bytes():
    """The last rank is slow to pack its sums: the others wait, and hardly move bytes longer."""
    job, n, slow = comm.world(), 100_000, comm.world().size - 1

    class SlowToPack(SummingWorker):
        def begin(self, message, arrays):
            super().begin(message, arrays)
            self.total = np.zeros(n, np.float32)

        def sums(self):
            time.sleep(0.5 if job.rank == slow else 0.0)
            return super().sums()

    def master(crew):
        crew.begin({"scale": 1}, {"weights": np.zeros(1000)})
        crew.accounts()
        crew.begin({"scale": 1}, {"weights": np.zeros(1000)})
        crew.run([], print)
        crew.reduce([(n,), ()])
        return crew.accounts(), crew.accounts()

    found = on_crew(master, SlowToPack)
    if not on_rank_0():
        return
    accounts, empty = found
    assert set(accounts) == set(range(job.size))
    assert accounts[slow]["reduce_pack_seconds"] > 0.5
    if job.size == 1:
        return
    for rank, one in accounts.items():
        assert one["reduce_wait_seconds"] > 0.4 or rank == slow
        assert one["reduce_transfer_seconds"] < 0.4
    assert accounts[slow]["reduce_wait_seconds"] < 0.4
    for rank in range(1, job.size):
        assert 8 * (n + 1) <= accounts[rank]["bytes_sent"] < 8 * (n + 1) + 2000
        assert 8000 <= accounts[rank]["bytes_received"] < 8000 + 2000
    received, sent = accounts[0]["bytes_received"], accounts[0]["bytes_sent"]
    assert 8 * (n + 1) <= received < 8 * (n + 1) + 2000
    assert 8000 <= sent < 8000 + 2000 * job.size
    assert all(one.get("reduce_wait_seconds", 0) == 0 for one in empty.values())


def test_bytes_of_tasks_and_results_are_counted_at_both_ends():
    job = comm.world()

    class Talkative(SummingWorker):
        def prepare(self, task):
            return None

        def work(self, task, prepared):
            return b"x" * 50_000

    def master(crew):
        crew.begin({"scale": 1}, {"weights": WEIGHTS})
        crew.accounts()
        crew.run([b"y" * 20_000] * 20, lambda *_: None)
        return crew.accounts()

    found = on_crew(master, Talkative)
    if not on_rank_0() or job.size == 1:
        return
    workers = [found[rank] for rank in range(1, job.size)]
    for there, here, size in (("bytes_received", "bytes_sent", 20_000),
                              ("bytes_sent", "bytes_received", 50_000)):  # fmt: skip
        total = sum(one[there] for one in workers)
        assert 20 * size <= total < 20 * (size + 500) + 1000 * job.size
        assert found[0][here] == total
