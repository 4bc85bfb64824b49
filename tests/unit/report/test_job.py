from __future__ import annotations

import pytest
from factories.run_folder import RunFolder, write_postprocess

from relion_mpi.core.errors import InputError
from relion_mpi.report.gather.job import find_job


def test_a_folder_a_root_and_a_file_name_the_same_run(folder):
    made = folder().write()
    one = find_job(made.folder)
    assert one.name == "run"
    assert one == find_job(made.root) == find_job(made.folder / "run_it001_optimiser.star")
    assert one == find_job(made.folder / "run_it002_half1_model.star")


def test_iterations_are_in_order_and_the_final_one_is_last(folder):
    job = find_job(folder(iterations=(0, 1, 2, 10)).write().folder)
    assert [number for number, _ in job.models] == [0, 1, 2, 10, None]
    assert [len(files) for _, files in job.models] == [2, 2, 2, 2, 1]


def test_of_two_runs_the_one_that_wrote_last_is_taken(folder, tmp_path):
    folder().write()
    (tmp_path / "other").mkdir()
    later = RunFolder(tmp_path / "other", iterations=(3,)).write()
    for path in later.folder.glob("run_*"):
        path.rename(tmp_path / "job" / path.name.replace("run", "run_ct2", 1))
    for path in (tmp_path / "job").glob("run_ct2_*"):
        path.touch()
    job = find_job(tmp_path / "job")
    assert (job.name, job.others) == ("run_ct2", ("run",))
    assert find_job(tmp_path / "job" / "run").name == "run"


def test_a_run_can_be_seen_as_it_was(folder):
    job = find_job(folder().write().folder).until(1)
    assert [number for number, _ in job.models] == [0, 1]
    assert job.data[-1][0] == 1


def test_an_iteration_that_is_not_there_is_refused(folder):
    with pytest.raises(InputError, match="--iteration 7: found files of iterations 0, 1, 2"):
        find_job(folder().write().folder).until(7)


def test_a_post_processing_alone_is_found(tmp_path):
    write_postprocess(tmp_path / "post")
    job = find_job(tmp_path / "post")
    assert job.name == "postprocess"
    assert not job.is_run


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"found neither a _model\.star"):
        find_job(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        find_job(tmp_path / "none" / "run")
