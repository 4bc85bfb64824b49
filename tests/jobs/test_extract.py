"""`relion-mpi extract` as a job: the same files on any ranks, and after an interruption."""

from __future__ import annotations

import pytest
from factories.micrographs import micrograph_project
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.io.star import read_star

pytestmark = needs_mpiexec

ENDS_WITHIN = 60.0


def words(out):
    line = ["-m", "relion_mpi.cli.main", "extract", "--extract", "--i", "micrographs.star"]
    line += ["--coord_dir", "Picks", "--coord_suffix", "_pick.star", "--extract_size", "24"]
    line += ["--scale", "16", "--norm", "--bg_radius", "6", "--white_dust", "2.5", "--j", "2"]
    return [*line, "--part_dir", out, "--part_star", f"{out}/particles.star"]


def files(folder, out):
    stacks = {path.name: path.read_bytes() for path in sorted((folder / out).rglob("*.mrcs"))}
    return stacks, read_star(folder / out / "particles.star")["particles"].drop("rlnImageName")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extract")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        micrograph_project(n=7)
    return folder


def done(project, n_ranks, out, *more):
    status, output, _ = finish(mpiexec(n_ranks, *words(out), *more, cwd=project),
                               ENDS_WITHIN)  # fmt: skip
    assert status == 0, output
    return files(project, out)


def test_four_ranks_write_the_same_bytes_as_one(project):
    one, several = done(project, 1, "One"), done(project, 4, "Four")
    assert len(one[0]) == 7
    assert several[0] == one[0]
    assert several[1].equals(one[1])


def test_a_job_that_failed_half_way_goes_on(project):
    whole = done(project, 1, "Whole")
    folder = project / "Broken"
    in_the_way = folder / "Mics" / "mic3.mrcs"
    in_the_way.mkdir(parents=True)
    status, output, _ = finish(mpiexec(2, *words("Broken"), cwd=project), ENDS_WITHIN)
    assert status == 1
    assert "Broken/Mics/mic3.mrcs: could not be written" in output
    assert "Traceback" not in output
    in_the_way.rmdir()
    # What is there is whole; names of unfinished files begin with a dot.
    finished = sorted(folder.rglob("*_extract.star"))
    assert 0 < len(finished) < 7
    for table in finished:
        stack = table.with_name(table.name.replace("_extract.star", ".mrcs"))
        assert stack.read_bytes() == whole[0][stack.name]
    assert not (folder / "particles.star").exists()
    before = finished[0].stat().st_mtime_ns
    again = done(project, 3, "Broken", "--only_do_unfinished")
    assert again[0] == whole[0]
    assert again[1].equals(whole[1])
    assert finished[0].stat().st_mtime_ns == before


def test_a_mistake_is_told_once_and_ends_all_ranks(project):
    line = [*words("Wrong"), "--bg_radius", "99"]
    status, output, _ = finish(mpiexec(3, *line, cwd=project), ENDS_WITHIN)
    assert status == 1
    assert output.count("--bg_radius 99: expected 1 to 8 pixels") == 1
    assert "Traceback" not in output
    assert not (project / "Wrong").exists()
