"""RELION's `--gpu`, and which worker gets which GPU."""

from __future__ import annotations

import logging

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.parallel import devices
from relion_mpi.parallel.comm import Node, World

ALONE = World(comm=None, rank=0, size=1)


def chosen(n_workers, n_devices, text=""):
    spec = devices.parse_gpu(text)
    return [devices.assign(worker, n_workers, n_devices, spec) for worker in range(n_workers)]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("", []),
        ("  ", []),
        ('""', []),
        ("0", [[0]]),
        ("0:1:2:3", [[0], [1], [2], [3]]),
        ("0,1:2,3", [[0, 1], [2, 3]]),
        (" 3 : 10, 2 ", [[3], [10, 2]]),
        ("'1:0'", [[1], [0]]),
        ("0,0:1,1", [[0], [1]]),
    ],
)
def test_relion_s_syntax_is_read(text, spec):
    assert devices.parse_gpu(text) == spec


@pytest.mark.parametrize(
    ("text", "found", "worker"),
    [
        ("a", "'a'", 1),
        ("0:x", "'x'", 2),
        ("0:", "nothing", 2),
        (":1", "nothing", 1),
        ("0,,1", "nothing", 1),
        ("0:1,", "nothing", 2),
        ("-1", "'-1'", 1),
        ("0;1", "'0;1'", 1),
        ("0 1", "'0 1'", 1),
        ("1.0", "'1.0'", 1),
        ("²", "'²'", 1),
    ],
)
def test_a_wrong_list_says_what_was_found_for_which_worker(text, found, worker):
    with pytest.raises(InputError) as told:
        devices.parse_gpu(text)
    assert f"found {found} as a device of worker {worker}, expected a whole" in str(told.value)
    assert "0:1:2:3" in str(told.value)


@pytest.mark.parametrize("text", ["0:1:2:3", "0,1:2,3", "7"])
def test_a_list_is_written_as_it_was_read(text):
    assert devices.gpu_text(devices.parse_gpu(text)) == text


@pytest.mark.parametrize(
    ("n_workers", "n_devices", "gpus"),
    [
        (1, 1, [0]),
        (4, 4, [0, 1, 2, 3]),
        (4, 2, [0, 0, 1, 1]),
        (3, 2, [0, 0, 1]),
        (5, 2, [0, 0, 0, 1, 1]),
        (8, 3, [0, 0, 0, 1, 1, 1, 2, 2]),
        (3, 1, [0, 0, 0]),
        (1, 8, [0]),
        (2, 8, [0, 4]),
    ],
)
def test_gpus_are_shared_out_in_blocks(n_workers, n_devices, gpus):
    assert chosen(n_workers, n_devices) == gpus


@pytest.mark.parametrize("n_workers", range(1, 20))
@pytest.mark.parametrize("n_devices", range(1, 9))
def test_no_gpu_has_two_workers_more_than_another(n_workers, n_devices):
    gpus = chosen(n_workers, n_devices)
    each = [gpus.count(gpu) for gpu in range(n_devices)]
    assert sum(each) == n_workers
    assert max(each) - min(each) <= 1


@pytest.mark.parametrize(
    ("text", "n_workers", "gpus"),
    [
        ("0:1:2:3", 4, [0, 1, 2, 3]),
        ("3:1:2:0", 4, [3, 1, 2, 0]),
        ("0:1:2:3", 2, [0, 1]),
        ("0:1", 5, [0, 1, 0, 1, 0]),
        ("2", 3, [2, 2, 2]),
        ("0,1:2,3", 2, [0, 2]),
        ("0,1:2,3", 4, [0, 2, 1, 3]),
        ("0,1:2,3", 6, [0, 2, 1, 3, 0, 2]),
        ("0,1,2,3", 4, [0, 1, 2, 3]),
        ("0:0:1:1", 4, [0, 0, 1, 1]),
    ],
)
def test_a_list_is_followed_and_used_again(text, n_workers, gpus):
    assert chosen(n_workers, 4, text) == gpus


def test_a_device_that_is_not_seen_is_refused():
    with pytest.raises(InputError, match=r"--gpu 0:1:2:3: found device 3, but .* sees 1 GPU"):
        chosen(1, 1, "0:1:2:3")


def test_no_device_is_refused():
    with pytest.raises(InputError, match=r"no GPU is seen on this node.*doctor"):
        chosen(1, 0)


def test_sharing_is_said():
    assert devices.understood([], 3, 2) == (
        "--gpu without a list: worker 0 on GPU 0, worker 1 on GPU 0, worker 2 on GPU 1 of 2 on "
        "this node; 3 workers share 2 GPU(s)"
    )


def test_gpus_that_stay_idle_are_said():
    said = devices.understood([[0, 1], [2, 3]], 2, 4)
    assert said.startswith("--gpu 0,1:2,3: worker 0 on GPU 0, worker 1 on GPU 2 of 4")
    assert said.endswith("2 GPU(s) of the list are not used, for a rank drives one")
    assert devices.understood([], 1, 8).endswith("7 GPU(s) are not used, for a rank drives one")


def test_nothing_is_added_where_every_worker_has_a_gpu():
    assert ";" not in devices.understood([], 4, 4)


@pytest.mark.parametrize(
    ("node", "worker"),
    [
        (Node(local_rank=0, n_ranks=1, n_workers=1), 0),  # alone
        (Node(local_rank=0, n_ranks=3, n_workers=2), 0),  # the master
        (Node(local_rank=1, n_ranks=3, n_workers=2), 0),
        (Node(local_rank=2, n_ranks=3, n_workers=2), 1),
        (Node(local_rank=0, n_ranks=2, n_workers=2), 0),  # a node without the master
        (Node(local_rank=1, n_ranks=2, n_workers=2), 1),
        (Node(local_rank=0, n_ranks=1, n_workers=0), 0),  # the master alone on its node
    ],
)
def test_the_master_shares_the_first_worker_s_gpu(node, worker):
    assert devices.local_worker(node) == worker


def test_a_master_alone_on_its_node_gets_a_gpu():
    assert devices.assign(0, 0, 4, []) == 0


def test_ranks_on_the_same_gpu_are_counted_by_uuid(monkeypatch):
    there = [(0, "GPU-a"), (1, "GPU-a"), (2, "GPU-b"), (3, "")]
    monkeypatch.setattr(devices.comm, "gather_on_node", lambda ranks, uuid: there)
    assert devices.n_sharing(ALONE, "GPU-a") == 2
    assert devices.n_sharing(ALONE, "GPU-b") == 1
    assert devices.n_sharing(ALONE, "") == 1


def test_who_uses_which_gpu_is_written_to_the_log(monkeypatch, caplog):
    found = [
        ("n1", "GPU-a", "H100"),
        ("n1", "GPU-a", "H100"),
        ("n2", "GPU-b", "H100"),
        ("n2", "", ""),
    ]
    monkeypatch.setattr(devices.roll_call, "gather", lambda ranks, item: found)
    with caplog.at_level(logging.INFO, "relion_mpi"):
        devices.tell_bindings(ALONE, "H100", "GPU-a")
    assert [record.getMessage() for record in caplog.records] == [
        "n1: H100 (GPU-a) is used by rank(s) 0, 1",
        "n2: H100 (GPU-b) is used by rank(s) 2",
    ]
