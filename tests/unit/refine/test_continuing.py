"""Going on with a run: which words are needed, taken, refused."""

from __future__ import annotations

import logging
import os
import shutil
import time
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from factories.project import noise_project, refine_options

from relion_mpi.core.errors import InputError
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.refine.continuing import state_to_read, with_saved_options, words_to_go_on
from relion_mpi.refine.ending import EndAsked
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.outputs.writer import OutputWriter
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.relion_line import LineOptions, translate
from relion_mpi.refine.start import make_start
from relion_mpi.refine.worker import RefineWorker

COARSE = {
    "healpix_order": 0, "offset_range": 2.0, "auto_iter_max": 2, "firstiter_cc": False,
    "gpu": None, "pipeline_control": None,
}  # fmt: skip


def run(options, stop=None):
    crew = InlineCrew(RefineWorker())
    try:
        with OutputWriter() as writer:
            one = Refinement(make_start(options), crew, writer, "relion-mpi refine3d", stop)
            one.run()
    finally:
        crew.close()
    return one


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run of two iterations on disk."""
    project = noise_project(tmp_path_factory.mktemp("project"))
    options = refine_options(project, **COARSE)
    run(options)
    return SimpleNamespace(
        project=project, options=options, out=options.o.parent,
        optimiser=options.o.parent / "run_it002_optimiser.star",
    )  # fmt: skip


def read(*words):
    words = with_saved_options([str(word) for word in words], RefineOptions)
    parser = OptionParser("relion-mpi refine3d")
    add_to_parser(parser, RefineOptions)
    return from_namespace(RefineOptions, parser.read(words))


def read_line(*words):
    words = with_saved_options([str(word) for word in words], LineOptions)
    parser = OptionParser("relion-mpi refine")
    add_to_parser(parser, LineOptions)
    return translate(from_namespace(LineOptions, parser.read(words)))


def test_a_line_without_continue_stays_as_it_is():
    words = ["--i", "p.star", "--ini_high", "-1"]
    assert with_saved_options(words, RefineOptions) == words


def test_all_options_are_those_of_the_run(ended):
    found = read("--continue", ended.optimiser)
    assert found.continue_ == ended.optimiser
    for name in ("i", "o", "ref", "healpix_order", "offset_range", "firstiter_cc", "sym"):
        assert getattr(found, name) == getattr(ended.options, name), name
    assert found.random_seed == ended.options.random_seed
    assert found.particle_diameter == pytest.approx(44.0)  # what was chosen then


def test_options_given_anew_take_the_place_of_the_run_s(ended):
    found = read("--continue", ended.optimiser, "--o", "there/run", "--j", "3", "--gpu",
                 "--auto-iter-max=9", "--tau2_fudge", "2.5", "--no-preread_images")  # fmt: skip
    assert (str(found.o), found.j, found.gpu, found.auto_iter_max) == ("there/run", 3, "", 9)
    assert (found.tau2_fudge, found.preread_images) == (2.5, False)


def test_an_option_can_be_taken_back(ended):
    assert read("--continue", ended.optimiser, "--gpu", "None").gpu is None


def test_a_line_of_the_interface_needs_no_more_than_it_has(ended):
    found = read_line(
        "--continue", ended.optimiser, "--o", "there/run_ct2", "--pool", "30", "--pad", "2",
        "--dont_combine_weights_via_disc", "--particle_diameter", "44", "--j", "6",
        "--auto_iter_max", "4", "--pipeline_control", "there/",
    )  # fmt: skip
    same = read(
        "--continue", ended.optimiser, "--o", "there/run_ct2", "--j", "6", "--auto_iter_max", "4",
        "--pipeline_control", "there/",
    )  # fmt: skip
    assert found == same


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sym", "C2"), "--sym: found C2, but the run that is continued has C1"),
        (("--random_seed", "7"), "--random_seed: found 7, but the run that is continued has 1"),
        (("--firstiter_cc",), "--firstiter_cc: found True"),
        (("--auto_iter_max", "2"), "iteration 2 was the last one of --auto_iter_max 2"),
    ],
)
def test_what_would_make_it_another_run_is_refused_by_name(ended, words, message):
    options = read("--continue", ended.optimiser, "--auto_iter_max", "4", *words)
    with pytest.raises(InputError) as told:
        make_start(options)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run_it002_data.star", "expected one that ends with _itNNN_optimiser.star"),
        ("run_optimiser.star", "expected one that ends with _itNNN_optimiser.star"),
        ("run_it009_optimiser.star", "there is no such file and no run_it009_state.h5"),
        ("run_it000_optimiser.star", "found no run_it000_state.h5 beside it"),
    ],
)
def test_what_cannot_be_continued_is_told_with_what_can(ended, name, message):
    with pytest.raises(InputError) as told:
        state_to_read(ended.out / name)
    assert message in str(told.value)
    if "state.h5" in message:
        assert f"go on from {ended.out / 'run_it001_optimiser.star'} or" in str(told.value)


def test_a_file_of_relion_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "run_it005_optimiser.star").touch()
    with pytest.raises(InputError, match="a run of RELION is continued by relion_refine"):
        state_to_read(tmp_path / "run_it005_optimiser.star")


def changed(ended, tmp_path, change):
    blocks = read_star(ended.project.star)
    write_star(tmp_path / "particles.star", {**blocks, "particles": change(blocks["particles"])})
    start = read("--continue", ended.optimiser, "--auto_iter_max", "4")
    text = (tmp_path / "particles.star").read_text()
    before = ended.project.star.read_text()
    ended.project.star.write_text(text)
    try:
        with pytest.raises(InputError) as told:
            make_start(start)
    finally:
        ended.project.star.write_text(before)
    return str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.head(11), "found 11 particles, expected 12"),
        (lambda t: t[[1, 0, *range(2, 12)]], "found other image names, or another order"),
        (
            lambda t: t.with_columns(pl.lit("one.mrc").alias("rlnMicrographName")),
            "found other optics groups or micrographs",
        ),
    ],
)
def test_other_particles_are_refused(ended, tmp_path, change, message):
    told = changed(ended, tmp_path, change)
    assert message in told
    assert f"{ended.project.star}: " in told


def test_a_finished_run_says_that_it_is_finished(ended, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("relion_mpi"), "propagate", True)
    final = ended.out / "run_data.star"
    final.touch()
    with caplog.at_level(logging.WARNING):
        make_start(read("--continue", ended.optimiser, "--auto_iter_max", "4"))
    final.unlink()
    assert f"{final} is there: a run of this name has finished" in caplog.text


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    """Stopped within iteration 2, whose sums are dropped; an unusable image stays left out."""
    project = noise_project(tmp_path, n=120)
    images, pixel = read_map(project.stack)
    images = images.copy()
    images[7, 3, 3] = np.nan
    write_map(project.stack, images, pixel, stack=True)
    both = [
        refine_options(project, **(COARSE | {"auto_iter_max": 3, "batch": 20}), o=tmp_path / name)
        for name in ("whole", "stopped")
    ]
    whole = run(both[0])
    asked = iter([False] * 11 + [True] * 99)
    with pytest.raises(EndAsked):
        run(both[1], lambda: next(asked))
    assert (tmp_path / "stopped_it001_optimiser.star").exists()
    assert not (tmp_path / "stopped_it002_data.star").exists()
    again = run(read("--continue", tmp_path / "stopped_it001_optimiser.star", "--j", "2"))
    for a, b in zip(whole.model.halves, again.model.halves, strict=True):
        np.testing.assert_array_equal(a.maps, b.maps)
        np.testing.assert_array_equal(a.sigma2_noise, b.sigma2_noise)
        assert a.log_likelihood == b.log_likelihood
    assert whole.schedule == again.schedule
    assert whole.quarantine.n_bad == again.quarantine.n_bad == 1
    np.testing.assert_array_equal(whole.particles.origin_angst, again.particles.origin_angst)
    lines = [(tmp_path / f"{name}_metrics.jsonl").read_text() for name in ("whole", "stopped")]
    numbers = [[line.split(",")[0] for line in text.splitlines()] for text in lines]
    assert numbers[0] == numbers[1]


def test_the_words_to_go_on_name_the_new_root_where_there_is_one(tmp_path):
    optimiser = tmp_path / "run_it012_optimiser.star"
    assert words_to_go_on(optimiser, tmp_path / "run") == ["--continue", str(optimiser)]
    new = tmp_path / "run_ct12"
    assert words_to_go_on(optimiser, new) == ["--continue", str(optimiser), "--o", str(new)]


# --continue auto: the same line begins a run and goes on with it


def line_of(ended, *words):
    options = ended.options
    return ("--i", options.i, "--ref", options.ref, "--o", options.o, "--random_seed", 1, *words)


def test_auto_begins_anew_where_there_is_no_state(ended, tmp_path):
    for flag in (("--continue", "auto"), ("--continue=auto",)):
        words = ("--i", "p.star", "--ref", "r.mrc", "--o", tmp_path / "run", *flag, "--j", 2)
        found = read(*words)
        assert found.continue_ is None
        assert (found.o, found.j) == (tmp_path / "run", 2)


def test_auto_goes_on_with_the_line_of_the_run(ended):
    words = [f"--{name}={value}" for name, value in COARSE.items() if isinstance(value, float)]
    found = read(*line_of(ended, *words, "--continue", "auto", "--auto_iter_max", 4))
    assert found.continue_ == ended.optimiser
    assert found.auto_iter_max == 4
    assert make_start(found).saved.iteration == 2
    of_line = ("--auto_refine", "--split_random_halves", "--o", ended.options.o)
    assert read_line(*of_line, "--continue", "auto").continue_ == ended.optimiser


def test_auto_takes_the_state_written_last_not_the_highest_number(ended, tmp_path):
    for path in ended.out.glob("run_it00[12]_*"):
        shutil.copy(path, tmp_path)
    newer = tmp_path / "run_it001_state.h5"
    os.utime(newer, (time.time() + 5,) * 2)
    found = read("--o", tmp_path / "run", "--continue", "auto")
    assert found.continue_ == tmp_path / "run_it001_optimiser.star"


def test_auto_does_not_take_a_state_whose_iteration_was_not_finished(ended, tmp_path):
    for name in ("run_it001_state.h5", "run_it001_optimiser.star", "run_it002_state.h5"):
        shutil.copy(ended.out / name, tmp_path)
    found = read("--o", tmp_path / "run", "--continue", "auto")
    assert found.continue_ == tmp_path / "run_it001_optimiser.star"


def test_auto_without_an_output_is_refused():
    with pytest.raises(InputError, match="--continue auto: found no --o"):
        read("--continue", "auto")
