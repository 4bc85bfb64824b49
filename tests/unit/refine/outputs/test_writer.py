import json
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import starfile

from relion_mpi.core.errors import InputError
from relion_mpi.io.atomic import replacing
from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star
from relion_mpi.refine.outputs import writer
from relion_mpi.refine.outputs.writer import OutputWriter, write_iteration
from relion_mpi.refine.rank_times import FIELDS


def endings(paths, record):
    return [str(path).removeprefix(str(record.root)) for path in paths]


def on_disk(record):
    return {path.name for path in record.root.parent.iterdir()}


def test_an_iteration_of_two_half_sets_has_relions_files(make_record):
    record = make_record()
    written = write_iteration(record)
    assert endings(written, record) == [
        "_it003_data.star",
        "_it003_sampling.star",
        "_it003_half1_class001.mrc",
        "_it003_half2_class001.mrc",
        "_it003_half1_model.star",
        "_it003_half1_class001_angdist.bild",
        "_it003_half2_model.star",
        "_it003_half2_class001_angdist.bild",
        "_metrics.jsonl",
        "_it003_optimiser.star",
    ]
    assert on_disk(record) == {path.name for path in written}


def test_the_final_files_have_no_number(make_record):
    joined = np.ones((16, 16, 16))
    final = {"joined_map": joined, "unfiltered": (joined * 2, joined * 3), "last_iteration": 12}
    record = make_record(iteration=None, **final)
    written = write_iteration(record)
    assert endings(written, record) == [
        "_data.star",
        "_sampling.star",
        "_class001.mrc",
        "_half1_class001_unfil.mrc",
        "_half2_class001_unfil.mrc",
        "_model.star",
        "_class001_angdist.bild",
        "_metrics.jsonl",
        "_optimiser.star",
    ]
    optimiser = read_star(f"{record.root}_optimiser.star")["optimiser_general"]
    assert optimiser["rlnModelStarFile"] == f"{record.root}_model.star"
    assert "rlnModelStarFile2" not in optimiser
    assert optimiser["rlnCurrentIteration"] == "12"
    assert [read_map(path)[0].flat[0] for path in written[2:5]] == [1.0, 2.0, 3.0]
    classes = read_star(f"{record.root}_model.star")["model_classes"]
    assert classes["rlnReferenceImage"].to_list() == [f"{record.root}_class001.mrc"]


def test_the_final_files_need_the_joined_map(make_record):
    with pytest.raises(ValueError, match="joined map"):
        write_iteration(make_record(iteration=None))


def test_unfiltered_half_maps_of_an_iteration_are_written_where_made(make_record):
    volume = np.zeros((16, 16, 16))
    written = write_iteration(record := make_record(unfiltered=(volume, volume)))
    assert "_it003_half2_class001_unfil.mrc" in endings(written, record)


def test_a_classification_has_relions_files_and_a_picture(make_class_record):
    record = make_class_record(n_class=3)
    assert endings(write_iteration(record), record) == [
        "_it003_data.star",
        "_it003_sampling.star",
        *(f"_it003_class00{k}.mrc" for k in (1, 2, 3)),
        "_it003_model.star",
        *(f"_it003_class00{k}_angdist.bild" for k in (1, 2, 3)),
        "_it003_classes.png",
        "_metrics.jsonl",
        "_it003_optimiser.star",
    ]


def test_directions_that_were_not_searched_are_not_drawn(make_class_record):
    record = make_class_record(skip_align=True)
    assert not [name for name in endings(write_iteration(record), record) if "bild" in name]


def test_an_empty_class_has_files_too(make_class_record):
    record = make_class_record()
    state = record.model.halves[0]
    for values in (
        state.maps, state.pdf_class, state.pdf_direction, state.data_vs_prior, state.coverage,
    ):  # fmt: skip
        values[1] = 0.0
    write_iteration(record)
    assert not read_map(f"{record.root}_it003_class002.mrc")[0].any()
    classes = read_star(f"{record.root}_it003_model.star")["model_classes"]
    assert classes["rlnEstimatedResolution"].to_list()[1] == 999.0
    assert classes["rlnClassDistribution"].to_list()[1] == 0.0


def test_maps_are_float32_with_the_pixel_size(make_record):
    record = make_record()
    write_iteration(record)
    volume, pixel_size = read_map(f"{record.root}_it003_half2_class001.mrc")
    np.testing.assert_array_equal(volume, record.model.halves[1].maps[0].astype(np.float32))
    assert pixel_size == 3.0


def test_starfile_reads_every_table_with_its_rows(make_record):
    written = write_iteration(make_record())
    for path in (path for path in written if path.suffix == ".star"):
        ours = read_star(path)
        theirs = starfile.read(path, always_dict=True)
        assert list(theirs) == list(ours)
        for name, block in ours.items():
            if isinstance(block, pl.DataFrame) and block.height > 1:
                assert list(theirs[name].columns) == block.columns
                assert len(theirs[name]) == block.height


@pytest.mark.skipif(
    shutil.which("relion_star_printtable") is None, reason="RELION is not installed"
)
@pytest.mark.relion
def test_relion_prints_every_table_of_ours(make_record):
    printed = 0
    for path in (path for path in write_iteration(make_record()) if path.suffix == ".star"):
        loops = {k: v for k, v in read_star(path).items() if isinstance(v, pl.DataFrame)}
        # the script prints no lists, and no row that holds "loop_": mind the name of this test
        for name, table in loops.items():
            command = ["relion_star_printtable", str(path), f"data_{name}"]
            command += [f"_{column}" for column in table.columns]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert len(text.splitlines()) == table.height, f"{path.name} {name}"
            assert len(text.split()) == table.height * table.width, f"{path.name} {name}"
            printed += 1
    # optics, particles; directions; five of each half's model
    assert printed == 13


def test_the_data_table_is_written_as_given(make_record):
    record = make_record()
    write_iteration(record)
    particles = read_star(f"{record.root}_it003_data.star")["particles"]
    assert particles.equals(record.tables["particles"])


def test_metrics_grow_by_a_line_an_iteration(make_record):
    write_iteration(make_record(iteration=1))
    record = make_record(iteration=2)
    record.model.current_resolution = 0.0
    record.model.halves[1].log_likelihood = float("nan")
    write_iteration(record)
    lines = Path(f"{record.root}_metrics.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["iteration"], second["iteration"]) == (1, 2)
    assert first["resolution_angst"] == pytest.approx(12.0)
    assert first["ave_pmax"] == [0.36, 0.36]
    assert first["timings"] == {"expectation": 1.5}
    assert second["resolution_angst"] == 999.0
    assert second["log_likelihood"][1] is None


def test_metrics_tell_of_every_rank_and_how_long_rank_0_wrote(make_record):
    ranks = {0: dict.fromkeys(FIELDS, 0.0), 1: dict.fromkeys(FIELDS, 1.5)}
    write_iteration(record := make_record(ranks=ranks))
    (line,) = Path(f"{record.root}_metrics.jsonl").read_text().splitlines()
    found = json.loads(line)["ranks"]
    assert 0 < found["0"].pop("write_seconds") < 60
    assert all(value == 0 for value in found["0"].values())
    assert found["1"] == dict.fromkeys(FIELDS, 1.5)


def test_metrics_of_a_new_run_replace_those_of_an_old_one(make_record):
    for iteration in (0, 1, 0):
        write_iteration(record := make_record(iteration=iteration))
    assert len(Path(f"{record.root}_metrics.jsonl").read_text().splitlines()) == 1


def fail_in_the_middle(path, volume, pixel_size_angst, *, stack):
    """Stand in for `write_map`: the disk is full after some bytes."""
    with replacing(path) as temporary:
        temporary.write_bytes(b"half a map")
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_reported_and_leaves_no_partial_file(make_record, monkeypatch):
    monkeypatch.setattr(writer, "write_map", fail_in_the_middle)
    record = make_record()
    with pytest.raises(InputError, match=r"half1_class001\.mrc.*No space left"):
        write_iteration(record)
    left = on_disk(record)
    assert {"run_it003_data.star", "run_it003_sampling.star"} <= left
    assert not any(name.endswith((".mrc", ".tmp", "_optimiser.star")) for name in left)


def test_an_old_optimiser_does_not_survive_a_failed_rewrite(make_record, monkeypatch):
    record = make_record()
    write_iteration(record)
    monkeypatch.setattr(writer, "write_map", fail_in_the_middle)
    with pytest.raises(InputError):
        write_iteration(record)
    assert "run_it003_optimiser.star" not in on_disk(record)


def test_records_are_written_in_order_in_another_thread(make_record, monkeypatch):
    seen = []
    monkeypatch.setattr(
        writer, "write_iteration", lambda r: seen.append((r.iteration, threading.get_ident()))
    )
    with OutputWriter() as output:
        for iteration in range(6):
            output.submit(make_record(iteration=iteration))
        output.wait()
        assert [iteration for iteration, _ in seen] == list(range(6))
    assert {thread for _, thread in seen}.isdisjoint({threading.get_ident()})
    assert len({thread for _, thread in seen}) == 1


def test_a_record_is_taken_once_the_one_before_is_written(make_record, monkeypatch):
    gate, second_accepted = threading.Event(), threading.Event()
    monkeypatch.setattr(writer, "write_iteration", lambda r: gate.wait(10))
    record = make_record()
    with OutputWriter() as output:
        output.submit(record)  # is being written
        caller = threading.Thread(
            target=lambda: (output.submit(record), second_accepted.set()), daemon=True
        )
        caller.start()
        blocked = not second_accepted.wait(0.1)
        gate.set()
        assert second_accepted.wait(10)
        caller.join()
    assert blocked


def failing_at(iteration, seen):
    def write(record):
        if record.iteration == iteration:
            raise InputError("the disk is full")
        seen.append(record.iteration)

    return write


def test_a_failure_is_raised_by_wait_and_by_every_later_call(make_record, monkeypatch):
    monkeypatch.setattr(writer, "write_iteration", failing_at(1, []))
    output = OutputWriter()
    output.submit(make_record(iteration=1))
    with pytest.raises(InputError, match="disk is full"):
        output.wait()
    with pytest.raises(InputError, match="disk is full"):
        output.submit(make_record(iteration=2))


def test_nothing_is_written_after_a_failure(make_record, monkeypatch):
    seen = []
    monkeypatch.setattr(writer, "write_iteration", failing_at(1, seen))
    output = OutputWriter()

    def run():
        for iteration in range(8):
            output.submit(make_record(iteration=iteration))
        output.wait()

    with pytest.raises(InputError):
        run()
    assert seen == [0]


def test_leaving_the_block_waits_and_raises_a_failure(make_record, monkeypatch):
    monkeypatch.setattr(writer, "write_iteration", failing_at(1, []))
    with pytest.raises(InputError), OutputWriter() as output:
        output.submit(make_record(iteration=1))


def test_an_error_of_the_block_is_not_hidden_and_waiting_records_are_written(make_record):
    record = make_record()

    def run():
        with OutputWriter() as output:
            output.submit(record)
            raise KeyError("of the block")

    with pytest.raises(KeyError):
        run()
    assert "run_it003_optimiser.star" in on_disk(record)
