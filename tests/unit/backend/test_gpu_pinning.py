"""Registering memory with CUDA, with a CuPy that only takes notes."""

from __future__ import annotations

import contextlib
import sys
import threading
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from relion_mpi.backend.gpu.pinning import PinnedMemory


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        super().__init__(f"error {status}")
        self.status = status


class Runtime:
    CUDARuntimeError = CUDARuntimeError

    def __init__(self):
        self.registered, self.calls, self.refusal = {}, 0, 0

    def hostRegister(self, address, n_bytes, flags):  # noqa: N802 - CUDA's name
        self.calls += 1
        assert flags == 1  # for all contexts
        if self.refusal:
            raise CUDARuntimeError(self.refusal)
        self.registered[address] = n_bytes

    def hostUnregister(self, address):  # noqa: N802
        if self.registered.pop(address, None) is None:
            raise CUDARuntimeError(713)

    def deviceSynchronize(self):  # noqa: N802
        pass


class Device(contextlib.nullcontext):
    used: ClassVar = []

    def __init__(self, number=2):
        super().__init__()
        self.id = number

    def __enter__(self):
        self.used.append(self.id)


@pytest.fixture
def runtime(monkeypatch):
    made = Runtime()
    monkeypatch.setattr(Device, "used", [])
    cuda = SimpleNamespace(runtime=made, Device=Device)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    return made


def test_each_array_is_registered_once(runtime):
    pins, a, b = PinnedMemory(), np.empty(100), np.empty(50)
    for array in (a, b, a, a[:]):
        pins.pin(array)
    assert runtime.registered == {a.ctypes.data: 800, b.ctypes.data: 400}
    assert runtime.calls == 2
    assert pins.n_bytes == 1200


def test_another_thread_registers_for_the_device_this_one_was_bound_to(runtime):
    pins, a = PinnedMemory(), np.empty(100)
    thread = threading.Thread(target=pins.pin, args=(a,))
    thread.start()
    thread.join()
    assert list(runtime.registered) == [a.ctypes.data]
    assert Device.used == [2]


def test_nothing_stays_registered(runtime):
    pins, a, b = PinnedMemory(), np.empty(100), np.empty(50)
    pins.pin(a)
    pins.pin(b)
    pins.unpin_all()
    pins.unpin_all()
    assert runtime.registered == {}
    assert pins.n_bytes == 0


def test_a_failure_is_told_once_and_ends_the_trying(runtime, caplog):
    pins = PinnedMemory()
    runtime.refusal = 2
    for _ in range(3):
        pins.pin(np.empty(100))
    assert runtime.calls == 1
    assert len(caplog.records) == 1
    assert "error 2" in caplog.text


def test_memory_that_is_registered_already_is_fine(runtime, caplog):
    pins, a, b = PinnedMemory(), np.empty(100), np.empty(50)
    runtime.refusal = 712
    pins.pin(a)
    runtime.refusal = 0
    pins.pin(b)
    pins.unpin_all()
    assert runtime.calls == 2
    assert caplog.text == ""


def test_nothing_is_registered_for_an_empty_array(runtime):
    PinnedMemory().pin(np.empty(0))
    assert runtime.calls == 0
