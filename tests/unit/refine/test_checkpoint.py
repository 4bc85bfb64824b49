"""The state of a run: the same bits back, or a word about the one before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from factories.project import noise_project, refine_options

from relion_mpi.core.errors import InputError
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.refine.checkpoint import read_options, read_state, write_state
from relion_mpi.refine.outputs.names import OutputNames, states_of
from relion_mpi.refine.outputs.writer import write_iteration
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.start import make_start
from relion_mpi.refine.worker import RefineWorker


class Notes:
    def __init__(self):
        self.records = []

    def submit(self, record):
        self.records.append(record)

    def check(self):
        pass

    def wait(self):
        pass


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Iterations 0 to 3 of a coarse run."""
    project = noise_project(tmp_path_factory.mktemp("run"))
    options = refine_options(project, healpix_order=0, offset_range=2.0, auto_iter_max=3)
    crew, notes = InlineCrew(RefineWorker()), Notes()
    Refinement(make_start(options), crew, notes, "relion-mpi refine3d").run()
    crew.close()
    return notes.records


def at(record, folder):
    return dataclasses.replace(record, root=folder / "run")


def written(record, folder):
    path = OutputNames(folder / "run", record.iteration).state()
    write_state(path, at(record, folder))
    return path


def same(a, b):
    """Compare to the last bit, types included."""
    if dataclasses.is_dataclass(a):
        assert type(a) is type(b)
        for field in dataclasses.fields(a):
            same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()
    else:
        assert type(a) is type(b)
        assert a == b


def test_a_state_comes_back_to_the_last_bit(records, tmp_path):
    record = records[2]
    saved = read_state(written(record, tmp_path))
    same(record.model, saved.model)
    same(record.schedule, saved.schedule)
    assert saved.iteration == 2
    assert saved.run.random == record.run.random
    assert saved.run.names_sha256 == record.run.names_sha256
    assert saved.run.particles.keys() == record.run.particles.keys()
    for name, column in record.run.particles.items():
        same(column, saved.run.particles[name])


def test_options_can_be_read_alone(records, tmp_path):
    options = read_options(written(records[2], tmp_path))
    assert options["healpix_order"] == 0
    assert options["ref"] == str(records[2].options.ref)
    assert "continue_" not in options


def test_a_flipped_bit_is_noticed_and_the_state_before_is_named(records, tmp_path):
    written(records[1], tmp_path)
    path = written(records[2], tmp_path)
    with h5py.File(path, "r+") as file:
        file["half1/maps"][0, 3, 4, 5] += 1e-9
    with pytest.raises(InputError) as told:
        read_state(path)
    assert f"{path}: the state is broken: its content" in str(told.value)
    assert f"--continue {tmp_path / 'run_it001_optimiser.star'}" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("size", [0, 700, 20_000])
def test_a_truncated_state_is_noticed(records, tmp_path, size):
    path = written(records[2], tmp_path)
    with path.open("r+b") as handle:
        handle.truncate(size)
    for read in (read_state, read_options):
        with pytest.raises(InputError, match="the state is broken: it cannot be read"):
            read(path)


def test_a_state_of_a_later_format_is_refused(records, tmp_path):
    path = written(records[2], tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 99
    with pytest.raises(InputError, match="the state is of format 99, expected 2"):
        read_state(path)


def test_the_last_two_states_are_kept(records, tmp_path):
    for record, kept in zip(records, [[0], [0, 1], [1, 2], [2, 3]], strict=True):
        write_iteration(at(record, tmp_path))
        assert [number for number, _ in states_of(tmp_path / "run")] == kept


def test_states_of_another_run_are_left_alone(records, tmp_path):
    other = Path(tmp_path / "run_ct1_it000_state.h5")
    other.touch()
    for record in records:
        write_iteration(at(record, tmp_path))
    assert other.exists()


def test_an_old_state_stays_where_a_new_one_cannot_be_written(records, tmp_path, monkeypatch):
    for record in records[:2]:
        write_iteration(at(record, tmp_path))

    def fail(path, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("relion_mpi.refine.outputs.writer.write_state", fail)
    with pytest.raises(InputError, match="No space left"):
        write_iteration(at(records[2], tmp_path))
    assert [number for number, _ in states_of(tmp_path / "run")] == [0, 1]
