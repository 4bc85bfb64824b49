"""From `--gpu` to a bound GPU, with devices made here."""

from __future__ import annotations

import logging

import pytest

from relion_mpi.backend.gpu import binding, device
from relion_mpi.backend.gpu.binding import Room
from relion_mpi.backend.gpu.device import DeviceInfo
from relion_mpi.parallel import abort
from relion_mpi.parallel.comm import Node, World

ALONE = World(comm=None, rank=0, size=1)


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs; yields the list of those that were bound, and limits that were set."""
    done = []

    def bind(index):
        done.append(index)
        return DeviceInfo(index, "H100", f"GPU-{index}", "0", 80, 80, "9.0")

    monkeypatch.setattr(device, "why_no_device", lambda: "")
    monkeypatch.setattr(device, "n_devices", lambda: 2)
    monkeypatch.setattr(device, "bind", bind)
    monkeypatch.setattr(device, "limit_memory", lambda n: done.append(f"1/{n}"))
    return done


@pytest.mark.parametrize(("text", "gpu"), [("", 0), ("1", 1), ("1,0", 1)])
def test_a_lone_process_is_bound_to_one_gpu(two_gpus, text, gpu, caplog):
    with caplog.at_level(logging.INFO):
        bound = binding.bind_rank(text, ALONE)
    assert (bound.info.index, bound.n_sharing) == (gpu, 1)
    assert two_gpus == [gpu]
    assert f"worker 0 on GPU {gpu} of 2" in caplog.text
    assert f"(GPU-{gpu}) is used by rank(s) 0" in caplog.text


def test_ranks_that_share_a_gpu_are_kept_to_their_part(two_gpus, monkeypatch):
    monkeypatch.setattr(binding.devices, "n_sharing", lambda ranks, uuid: 3)
    assert binding.bind_rank("", ALONE).n_sharing == 3
    assert two_gpus == [0, "1/3"]


@pytest.mark.parametrize("text", ["x", "2"])
@pytest.mark.usefixtures("two_gpus")
def test_a_wrong_list_stops_all_ranks_with_one_message(text, capsys):
    with pytest.raises(abort.AgreedStop):
        binding.bind_rank(text, ALONE)
    assert capsys.readouterr().err.startswith("relion-mpi: error: --gpu ")


def test_a_worker_without_a_gpu_stops_the_job(monkeypatch, capsys):
    monkeypatch.setattr(device, "why_no_device", lambda: "there is none")
    with pytest.raises(abort.AgreedStop):
        binding.bind_rank("", ALONE)
    assert "no GPU can be used: there is none" in capsys.readouterr().err


def test_a_master_without_a_gpu_does_without(monkeypatch):
    monkeypatch.setattr(device, "why_no_device", lambda: "there is none")
    node = Node(local_rank=0, n_ranks=1, n_workers=0)
    assert binding._bind("", node, is_master=True, master_too=True) is None


@pytest.mark.parametrize(("master_too", "gpus"), [(True, [0]), (False, [])])
def test_a_master_shares_the_first_worker_s_gpu_if_asked_to(two_gpus, master_too, gpus):
    node = Node(local_rank=0, n_ranks=3, n_workers=2)
    binding._bind("", node, is_master=True, master_too=master_too)
    assert two_gpus == gpus


# Free memory


def test_a_worker_alone_on_a_gpu_gets_all_that_is_free_but_what_is_left_to_others(
    two_gpus, monkeypatch
):
    monkeypatch.setattr(device, "bytes_free", lambda n: 40 * 10**9 // n)
    bound = binding.bind_rank("", ALONE)
    (room,) = binding.rooms(ALONE, bound, 10**9)
    assert room.n_bytes == 39 * 10**9 + device.CONTEXT_BYTES
    assert (room.uuid, room.name, room.n_sharing) == ("GPU-0", "H100", 1)
    assert room.total_bytes == 80


def test_the_least_of_those_who_share_a_gpu_counts(monkeypatch):
    told = [
        None,  # the master, which works while the others wait
        Room("a", "GPU-0", "H100", 2, 30), Room("a", "GPU-0", "H100", 2, 20),
        Room("b", "GPU-0", "H100", 1, 50),
    ]  # fmt: skip
    monkeypatch.setattr(binding.roll_call, "gather", lambda ranks, mine: told)
    found = binding.rooms(ALONE, None)
    assert [(one.host, one.n_bytes) for one in found] == [("a", 20), ("b", 50)]


def test_a_master_of_others_takes_no_share(two_gpus, monkeypatch):
    asked = []

    def n_sharing(ranks, uuid):
        asked.append(uuid)
        return 1

    master = World(comm=None, rank=0, size=2)
    monkeypatch.setattr(binding.devices, "n_sharing", n_sharing)
    monkeypatch.setattr(binding.devices, "tell_bindings", lambda *said: None)
    bound = binding.bind_rank("", master)
    assert asked == [""]
    monkeypatch.setattr(device, "bytes_free", lambda n: 10**9)
    monkeypatch.setattr(binding.roll_call, "gather", lambda ranks, mine: [mine])
    assert binding.rooms(master, bound) == []
