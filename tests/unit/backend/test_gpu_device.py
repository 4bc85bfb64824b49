"""Memory of a shared GPU, and what is said where there is none."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from relion_mpi.backend.gpu import device
from relion_mpi.backend.select import select_backend
from relion_mpi.core.errors import InputError

GIB = 2**30


def cupy_with(count, driver=13000):
    """Return a CuPy that counts GPUs; count may be an error."""

    def count_devices():
        if isinstance(count, Exception):
            raise count
        return count

    runtime = SimpleNamespace(getDeviceCount=count_devices, driverGetVersion=lambda: driver)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))


def test_a_share_of_what_is_free_leaves_a_reserve():
    assert device.fair_share(40 * GIB, 0, 0, 0, 4) == 10 * GIB - device.RESERVE_BYTES


def test_memory_kept_by_this_rank_s_pool_is_its_own():
    one = device.fair_share(40 * GIB, 0, 0, 0, 4)
    assert device.fair_share(40 * GIB, 3 * GIB, 0, 0, 4) == one + 3 * GIB


def test_a_limit_counts_what_is_used():
    assert device.fair_share(80 * GIB, 0, 6 * GIB, 8 * GIB, 1) == 2 * GIB


def test_a_full_gpu_has_nothing_left():
    assert device.fair_share(GIB // 4, 0, 0, 0, 1) == 0


def test_gpus_of_a_kind_have_the_same_room_whatever_their_drivers_keep():
    one, other = device.room_of_kind(81559 * 2**20), device.room_of_kind(81079 * 2**20)
    assert one == other == 67 * GIB
    assert device.room_of_kind(24 * GIB) == 20 * GIB


def test_a_uuid_is_written_as_nvidia_smi_does():
    raw = bytes.fromhex("5a0fb1c2d3e4f5061728394a5b6c7d8e")
    assert device.uuid_text(raw) == "GPU-5a0fb1c2-d3e4-f506-1728-394a5b6c7d8e"


def test_a_uuid_with_a_zero_byte_is_the_driver_s(monkeypatch):
    raw = bytes(range(16))

    def get_uuid(found, handle):
        found[:] = raw
        return 0

    driver = SimpleNamespace(
        cuInit=lambda flags: 0, cuDeviceGet=lambda handle, index: 0, cuDeviceGetUuid_v2=get_uuid
    )
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: driver)
    assert device._uuid_bytes(0, b"") == raw
    driver.cuDeviceGet = lambda handle, index: 101
    assert device._uuid_bytes(0, b"\x07") == b"\x07" + bytes(15)


@pytest.mark.parametrize(
    ("there", "why", "mend"),
    [
        (None, "CuPy cannot be imported", "relion-mpi[cuda13]"),
        (cupy_with(0, driver=0), "there is no NVIDIA driver", "a machine with a GPU"),
        (cupy_with(RuntimeError("cudaErrorUnknown\nmore")), "(cudaErrorUnknown)", "nvidia-smi"),
        (cupy_with(0), "CUDA sees no GPU", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_what_is_missing_is_said_with_its_cure(monkeypatch, there, why, mend):
    monkeypatch.setitem(sys.modules, "cupy", there)
    found = device.missing()
    assert why in found.why
    assert mend in found.mend
    assert device.n_devices() == 0
    with pytest.raises(InputError, match="no GPU can be used"):
        device.bind(0)
    with pytest.raises(InputError, match=r"backend 'gpu': no GPU can be used"):
        select_backend("gpu", "float32")


def test_gpus_are_counted(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(2))
    assert device.n_devices() == 2
    assert device.why_no_device() == ""


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(2))
    with pytest.raises(InputError, match=r"GPU 2, but this process sees 2 \(0 to 1\)"):
        device.bind(2)


@pytest.fixture
def _gpu():
    reason = device.why_no_device()
    if reason:
        pytest.skip(reason)


@pytest.mark.gpu
@pytest.mark.usefixtures("_gpu")
def test_a_gpu_is_bound_and_tells_its_memory():
    info = device.bind(0)
    assert info.uuid.startswith("GPU-")
    assert 0 < info.free_bytes <= info.total_bytes
    assert 0 < device.bytes_free(2) < device.bytes_free(1) < info.total_bytes


@pytest.mark.gpu
@pytest.mark.usefixtures("_gpu")
def test_pinned_memory_is_like_its_model():
    import cupy
    import numpy as np

    model = np.zeros((3, 5), np.complex64)
    pinned = device.pinned_like(model)
    assert (pinned.shape, pinned.dtype) == (model.shape, model.dtype)
    pinned[:] = 2
    assert cupy.asarray(pinned).sum().item() == 30


@pytest.mark.gpu
@pytest.mark.usefixtures("_gpu")
def test_a_working_gpu_passes_the_trial():
    from relion_mpi.backend.gpu.trial import trial

    assert trial(0) == ""


def test_the_trial_says_what_fails(monkeypatch):
    from relion_mpi.backend.gpu import trial

    def fails(index):
        raise OSError("libnvrtc.so.13: cannot open\nmore")

    monkeypatch.setattr(trial, "_kernel", fails)
    assert trial.trial(0) == "a kernel fails: libnvrtc.so.13: cannot open"
