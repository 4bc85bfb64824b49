"""What is said of GPU memory before, during and after a run."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from factories.project import noise_project, refine_options

from relion_mpi.backend.gpu.binding import Room
from relion_mpi.backend.limits import Limits
from relion_mpi.core.errors import InputError
from relion_mpi.refine.gpu_fit import fit, least
from relion_mpi.refine.gpu_memory import GIB, GpuJob
from relion_mpi.refine.gpu_report import say_used
from relion_mpi.refine.start import make_start
from relion_mpi.refine.worker import RefineWorker


def room(n_bytes, host="node1", n_sharing=1):
    return Room(host, f"GPU-{host}", "H100", n_sharing, int(n_bytes))


@pytest.fixture
def options(tmp_path):
    return refine_options(noise_project(tmp_path, n=200, box=32), gpu="")


def test_a_start_tells_the_prediction_for_each_gpu(options, caplog):
    with caplog.at_level(logging.INFO):
        start = make_start(options, [room(40 * GIB), room(20 * GIB, "node2", 2)])
    lines = [line for line in caplog.messages if "at work will need" in line]
    assert len(lines) == 2
    assert f"node1: H100 (GPU-node1): each of 1 rank(s) at work will need " \
        f"{start.predicted_bytes / GIB:.2f} GiB of 40.00 GiB" in lines[0]  # fmt: skip
    assert "references 0.0" in lines[1]
    assert start.gpu.room == 20 * GIB
    assert start.limits == Limits()


def test_a_start_makes_batches_that_fit(options):
    plenty = make_start(options, [room(40 * GIB)])
    tight = make_start(options, [room(least(plenty.gpu.job).working)])
    assert max(batch.particles.size for batch in plenty.batches) > 16
    assert max(batch.particles.size for batch in tight.batches) <= 16
    assert tight.limits != Limits()


def test_a_start_is_refused_where_nothing_fits(options):
    with pytest.raises(InputError, match="What would make it fit"):
        make_start(options, [room(40 * GIB), room(GIB / 2, "node2")])


def test_the_end_tells_what_was_used_beside_the_prediction(caplog):
    found = fit(int(40 * GIB), GpuJob(128))
    with caplog.at_level(logging.INFO):
        say_used(found, [0, int(3 * GIB), int(5 * GIB)])
    assert f"5.00 GiB used at most, {found.need.working / GIB:.2f} GiB predicted" in caplog.text


def test_ranks_without_a_gpu_used_nothing(caplog):
    with caplog.at_level(logging.INFO):
        say_used(fit(int(40 * GIB), GpuJob(128)), [0, 0])
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("used", "warnings"), [([2.0], 0), ([2.19], 0), ([2.3], 1), ([2.3, 2.3, 2.4], 1), ([2.3, 3], 2)]
)
def test_use_beyond_the_prediction_is_warned_of_once_for_each_height(used, warnings, caplog):
    worker = RefineWorker()
    worker._setup = SimpleNamespace(predicted_bytes=int(2 * GIB))
    for gib in used:
        worker._backend = SimpleNamespace(memory_used=lambda gib=gib: int(gib * GIB))
        worker._check_memory()
    assert len(caplog.messages) == warnings


def test_without_a_prediction_nothing_is_warned_of(caplog):
    worker = RefineWorker()
    worker._setup = SimpleNamespace(predicted_bytes=0)
    worker._backend = SimpleNamespace(memory_used=lambda: int(GIB))
    worker._check_memory()
    assert caplog.messages == []
