"""What is said of the hosts' memory before and after a run, and what is refused."""

from __future__ import annotations

import logging
import re

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.parallel.comm import World
from relion_mpi.refine.gpu_memory import GpuJob
from relion_mpi.refine.host_memory import GIB, HostJob, host_need
from relion_mpi.refine.host_report import NodeRoom, check_host, nodes, say_host_used

HOST = HostJob(GpuJob(128, batch_size=16, n_lanes=1, precision="float64", searches=((4608, 24),)))
NEED = host_need(HOST)


def room(capacity, free=None, n_workers=3, **changes):
    free = capacity if free is None else free
    values = {"with_master": True, "free_bytes": free, "capacity_bytes": capacity} | changes
    return NodeRoom("node1", n_workers, **values)


def total(n_workers=3):
    return NEED.node_bytes(n_workers, with_master=True)


def test_every_node_is_told_its_need(caplog):
    with caplog.at_level(logging.INFO):
        check_host(HOST, [room(99 * GIB), room(99 * GIB, with_master=False)])
    worker = f"a worker {NEED.worker_bytes / GIB:.2f}"
    rank0 = f"rank 0 {NEED.master_bytes / GIB:.2f}"
    assert worker in caplog.messages[0]
    assert rank0 in caplog.messages[0]
    assert f"node1: 3 worker(s) and rank 0 will need {total() / GIB:.2f} GiB" in caplog.messages[1]
    assert "node1: 3 worker(s) will need" in caplog.messages[2]
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


@pytest.mark.parametrize(
    ("capacity", "free"), [(99, 0.9), (0.95, 0.95)], ids=["others hold it", "short by a little"]
)
def test_less_than_needed_is_warned_of(caplog, capacity, free):
    with caplog.at_level(logging.WARNING):
        check_host(HOST, [room(capacity * total(), free * total())])
    assert "that is more than is free" in caplog.text


def test_what_never_fits_is_refused_with_what_would():
    with pytest.raises(InputError) as caught:
        check_host(HOST, [room(0.8 * total())])
    said = str(caught.value)
    assert f"needs {total() / GIB:.1f} GiB" in said
    for way in ("2 worker(s) on the node", "--pad 1", "images binned to"):
        assert way in said
    binned = int(re.search(r"binned to (\d+)", said)[1])
    assert 64 < binned < 128


def test_one_process_is_told_as_one(caplog):
    alone = room(99 * GIB, n_workers=1, together=True)
    with caplog.at_level(logging.INFO):
        check_host(HOST, [alone])
        say_host_used(HOST, [int(1.5 * GIB)])
    assert f"this process {NEED.alone_bytes / GIB:.2f} GiB" in caplog.messages[0]
    assert "this process used 1.50 GiB at most" in caplog.messages[-1]


def test_the_end_tells_what_was_used_beside_the_prediction(caplog):
    with caplog.at_level(logging.INFO):
        say_host_used(HOST, [int(3 * GIB), int(1 * GIB), int(2 * GIB)])
        say_host_used(HOST, [])
        say_host_used(HOST, [0, 0])
    assert caplog.messages == [
        f"Host memory: a worker used 2.00 GiB at most, {NEED.worker_bytes / GIB:.2f} predicted; "
        f"rank 0 3.00, {NEED.master_bytes / GIB:.2f} predicted"
    ]


def test_this_node_is_found():
    (mine,) = nodes(World(None, 0, 1))
    assert mine.together
    assert mine.free_bytes is None or 0 < mine.free_bytes
