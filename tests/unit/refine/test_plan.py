"""`relion-mpi plan`: what it finds and what it prints."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from factories.project import noise_project

from relion_mpi.cli.main import main
from relion_mpi.core.errors import InputError
from relion_mpi.refine import plan_program
from relion_mpi.refine.gpu_fit import least
from relion_mpi.refine.gpu_memory import GIB
from relion_mpi.refine.host_memory import peak
from relion_mpi.refine.plan_options import PlanOptions
from relion_mpi.refine.plan_program import Node, plan
from relion_mpi.refine.plan_text import as_text
from relion_mpi.refine.time_estimate import TimeEstimate


def row(text, name):
    """Return the first number of a row."""
    line = next(line for line in text.splitlines() if line.strip().startswith(name))
    return float(line.strip()[len(name):].split()[0])


def test_the_rows_add_up():
    text = as_text(plan(PlanOptions(box=128, gpu_memory=80.0)))
    parts = ("references", "sums", "temporary arrays", "images", "tables", "CUDA")
    total = sum(row(text, name) for name in parts)
    assert row(text, "E-step, all of these") == pytest.approx(total, abs=0.04)
    assert row(text, "room") < 80


def test_the_box_and_number_of_particles_come_from_a_star_file(tmp_path):
    project = noise_project(tmp_path, n=12, box=16)
    found = plan(PlanOptions(i=project.star, gpu_memory=8.0))
    assert (found.job.box_size, found.n_particles) == (16, 12)


@pytest.mark.parametrize("box", [0, 63])
def test_a_box_is_needed(box):
    with pytest.raises(InputError, match="even number of pixels, or a STAR file"):
        plan(PlanOptions(box=box, gpu_memory=8.0))


def test_a_small_gpu_shrinks_the_batch():
    large, small = (plan(PlanOptions(box=256, gpu_memory=gib)) for gib in (80.0, 9.0))
    assert small.fit.job.batch_size < large.fit.job.batch_size
    assert small.need.working <= small.node.room


def test_too_small_a_gpu_is_refused_with_what_would_fit(capsys):
    status = main(["plan", "--box", "400", "--K", "4", "--gpu_memory", "16"])
    assert status == 1
    told = capsys.readouterr().out.split("A run would be refused", 1)[1]
    assert "--pad 1" in told


def test_a_run_that_fits_ends_with_0():
    assert main(["plan", "--box", "64", "--gpu_memory", "16"]) == 0


def test_the_table_has_every_box_and_class_and_says_no():
    found = plan(PlanOptions(box=64, gpu_memory=24.0, table=True))
    assert len(found.table) == len(plan_program.BOXES) * len(plan_program.CLASSES)
    assert found.table[512, 16] is None
    assert found.table[64, 1] <= 24 * GIB
    lines = as_text(found).splitlines()
    assert next(line for line in lines if line.split()[:1] == ["512"]).split()[-1] == "no"


def test_the_largest_boxes_are_those_that_fit():
    found = plan(PlanOptions(box=64, gpu_memory=24.0))
    assert list(found.largest) == [1, 2, 4, 8]
    for k, box in found.largest.items():
        assert plan(PlanOptions(box=box, n_class=k, gpu_memory=24.0)).fit is not None


def test_without_a_gpu_the_hosts_memory_is_that_of_a_cpu_run(monkeypatch):
    monkeypatch.setattr(plan_program.device, "n_devices", lambda: 0)
    found = plan(PlanOptions(box=64))
    assert found.node.room is None
    assert found.largest == {}
    assert "There is no GPU here" in as_text(found)
    assert found.host.worker_bytes != plan(PlanOptions(box=64, gpu_memory=8.0)).host.worker_bytes


def test_the_gpu_here_is_asked(monkeypatch):
    seen = SimpleNamespace(name="H100", free_bytes=int(78 * GIB))
    monkeypatch.setattr(plan_program.device, "n_devices", lambda: 4)
    monkeypatch.setattr(plan_program.device, "describe", lambda index, ask_free: seen)
    node = plan(PlanOptions(box=64)).node
    assert (node.gpu, node.n_gpus, node.n_ranks, node.n_sharing) == ("H100", 4, 5, 1)


def test_ranks_on_one_gpu_share_it():
    one, two = Node("", 1, 2, int(40 * GIB)), Node("", 1, 3, int(40 * GIB))
    assert (one.n_sharing, two.n_sharing) == (1, 2)
    assert two.room == pytest.approx(one.room / 2, rel=0.03)
    assert Node("", 1, 1, int(40 * GIB)).room > one.room


def test_more_ranks_need_more_of_the_host():
    texts = [as_text(plan(PlanOptions(box=256, gpu_memory=40.0, ranks=n))) for n in (2, 5)]
    few, many = (
        row(text, f"the node of rank 0, with {n} ranks")
        for text, n in zip(texts, (2, 5), strict=True)
    )
    assert few < many < few + 3 * row(texts[0], "a worker")


def test_the_parts_of_a_process_add_up():
    found = plan(PlanOptions(box=128, ranks=3, time=False, host_memory=64.0))
    text = as_text(found)
    name, total = peak(found.host.worker)
    assert sum(found.host.worker[name].values()) == total
    assert row(text, "a worker") == pytest.approx(total / GIB, abs=0.006)


def test_too_little_memory_of_the_node_is_refused_with_what_would_fit():
    found = plan(PlanOptions(box=400, ranks=5, time=False, host_memory=48.0))
    assert "the node: box 400" in found.refusal
    assert "--pad 1" in found.refusal
    assert plan(PlanOptions(box=400, ranks=5, time=False, host_memory=640.0)).refusal == ""


def test_memory_that_is_short_by_less_than_the_margin_is_not_refused():
    need = plan(PlanOptions(box=128, ranks=2, time=False, host_memory=99.0))
    total = need.room.need(need.host) / GIB
    for share, refused in ((0.9, False), (0.8, True)):
        options = PlanOptions(box=128, ranks=2, time=False, host_memory=share * total)
        assert bool(plan(options).refusal) == refused


def test_the_time_is_estimated_for_this_machine_only(monkeypatch):
    asked = []
    monkeypatch.setattr(
        plan_program, "plan_time", lambda *a, **k: asked.append(a) or TimeEstimate(600, 15)
    )
    monkeypatch.setattr(plan_program.device, "n_devices", lambda: 0)
    assert "about 10 min (7 min to 20 min)" in as_text(plan(PlanOptions(box=64, n=1000)))
    assert plan(PlanOptions(box=64, n=1000, gpu_memory=40.0)).time is None
    assert plan(PlanOptions(box=64, n=1000, time=False)).time is None
    assert len(asked) == 1


def test_the_prediction_is_what_a_run_would_use():
    found = plan(PlanOptions(box=128, gpu_memory=7.0, n=100_000))
    assert found.need == found.fit.need
    assert least(found.job).working <= found.need.working
