import logging
import sys
import types

import pytest

from relion_mpi.backend import select, select_volumes, volumes_that_fit
from relion_mpi.backend.gpu import device
from relion_mpi.core.errors import InputError


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)
    select._say_once.cache_clear()
    return caplog


def a_gpu(monkeypatch, free_bytes, kind_bytes=0):
    monkeypatch.setattr(device, "why_no_device", lambda: "")
    monkeypatch.setattr(device, "bytes_free", lambda: free_bytes)
    monkeypatch.setattr(device, "room_of_kind", lambda: kind_bytes)
    module = types.ModuleType("made_up_volumes")
    module.create = lambda: "on the GPU"
    monkeypatch.setitem(sys.modules, "made_up_volumes", module)
    monkeypatch.setitem(select.VOLUMES, "gpu", "made_up_volumes")


def chosen(name, box=128, *, deterministic=False):
    return volumes_that_fit(
        name, box, box // 2, 2, skip_gridding=True, n_operators=4, deterministic=deterministic
    )


def test_the_cpu_is_taken_without_a_word_where_it_is_asked_for(said):
    assert chosen("cpu").name == "cpu"
    assert said.messages == []


def test_a_missing_gpu_is_told_once(said, monkeypatch):
    monkeypatch.setattr(device, "why_no_device", lambda: "there is none")
    assert [chosen("gpu").name for _ in range(3)] == ["cpu"] * 3
    assert said.messages == ["The M-step is done on the CPU: there is none"]


def test_a_gpu_with_room_is_taken(said, monkeypatch):
    a_gpu(monkeypatch, 2 * 2**30)
    assert chosen("gpu") == "on the GPU"
    assert said.messages == []


def test_a_gpu_without_room_is_not_taken(said, monkeypatch):
    a_gpu(monkeypatch, 2**30)
    assert chosen("gpu").name == "cpu"
    assert "1.6 GiB of the GPU, 1.0 GiB are free" in said.messages[0]


def test_a_box_that_transforms_cannot_count_is_done_on_the_cpu(said, monkeypatch):
    a_gpu(monkeypatch, 2**60)
    assert chosen("gpu", box=1024).name == "cpu"
    assert "padded box of 2048" in said.messages[0]


def test_a_deterministic_choice_is_that_of_the_kind_of_gpu(said, monkeypatch):
    a_gpu(monkeypatch, free_bytes=8 * 2**30, kind_bytes=2**30)
    assert chosen("gpu", deterministic=True).name == "cpu"
    assert chosen("gpu") == "on the GPU"
    a_gpu(monkeypatch, free_bytes=2**30, kind_bytes=8 * 2**30)
    with pytest.raises(InputError, match=r"1\.6 GiB of the GPU, of which 1\.0 are free"):
        chosen("gpu", deterministic=True)


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="choose one of cpu, gpu"):
        select_volumes("tpu")
