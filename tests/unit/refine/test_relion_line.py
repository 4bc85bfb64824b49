"""Lines of relion_refine: what is honoured, passed over, refused."""

from __future__ import annotations

import dataclasses
import logging
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, declarations, from_namespace
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.initial_model_options import InitialModelOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.relion_line import (
    PROGRAMMES,
    LineOptions,
    own_options,
    say_what_has_no_effect,
    translate,
    without_program,
)
from relion_mpi.refine.relion_options import ROWS
from relion_mpi.refine.relion_row import COMMANDS, Fate

LEAST = "--auto_refine --split_random_halves --i p.star --ref r.mrc --o R/run "
CLASSES = "--i p.star --ref r.mrc --o C/run "
AVERAGES = "--i p.star --o A/run "
INITIAL = "--denovo_3dref --grad --i p.star --o I/run "
LINES = {"refine3d": LEAST, "class3d": CLASSES, "class2d": AVERAGES, "initialmodel": INITIAL}
GUI_AVERAGES = (
    "relion_refine --o Class2D/job033/run --iter 25 --i Extract/job018/particles.star "
    "--dont_combine_weights_via_disc --preread_images --pool 30 --pad 2 --ctf --tau2_fudge 2 "
    "--particle_diameter 200 --K 40 --flatten_solvent --zero_mask --strict_highres_exp 8 "
    "--center_classes --oversampling 1 --psi_step 12 --offset_range 5 --offset_step 2 "
    "--allow_coarser_sampling --norm --scale "
    '--j 10 --gpu "" --pipeline_control Class2D/job033/'
)
GUI_GRADIENT = GUI_AVERAGES.replace(
    "--iter 25", "--grad --class_inactivity_threshold 0.1 --grad_write_iter 5 --iter 100"
)
GUI_INITIAL = (
    "relion_refine --o InitialModel/job004/run --iter 100 --grad --denovo_3dref "
    "--i Extract/job018/particles.star --ctf --K 1 --sym C1 --flatten_solvent --zero_mask "
    "--dont_combine_weights_via_disc --pool 3 --pad 1 --particle_diameter 230 --oversampling 1 "
    "--healpix_order 1 --offset_range 6 --offset_step 2 --auto_sampling --tau2_fudge 4 --j 8 "
    '--gpu "" --pipeline_control InitialModel/job004/'
)
INITIAL_3_1 = (
    "relion_refine_mpi --o InitialModel/job004/run --denovo_3dref --sgd --sgd_ini_iter 50 "
    "--sgd_inbetween_iter 100 --sgd_fin_iter 25 --sgd_write_iter 20 --sgd_ini_resol 40 "
    "--sgd_fin_resol 12 --sgd_ini_subset 120 --sgd_fin_subset 600 "
    "--sgd_sigma2fudge_halflife -1 --i Extract/job018/particles.star --ctf --K 2 --sym C1 "
    "--flatten_solvent --zero_mask --dont_combine_weights_via_disc --pool 3 --pad 1 "
    "--skip_gridding --particle_diameter 230 --oversampling 1 --healpix_order 1 "
    "--offset_range 6 --offset_step 2 --j 8 --pipeline_control InitialModel/job004/"
)
GUI_CLASSES = (
    "relion_refine_mpi --o Class3D/job020/run --i Extract/job018/particles.star --ref r.mrc "
    "--firstiter_cc --ini_high 50 --dont_combine_weights_via_disc --pool 30 --pad 2 --ctf "
    "--iter 25 --tau2_fudge 4 --particle_diameter 200 --K 4 --flatten_solvent --zero_mask "
    "--skip_gridding --oversampling 1 --healpix_order 2 --offset_range 5 --offset_step 2 "
    "--sym C1 --norm --scale "
    '--j 6 --gpu "" --pipeline_control Class3D/job020/'
)
GUI = (
    "relion_refine_mpi --o Refine3D/job019/run --auto_refine --split_random_halves "
    "--i Extract/job018/particles.star --ref Class3D/job016/run_class001.mrc --trust_ref_size "
    "--ini_high 50 --dont_combine_weights_via_disc --preread_images --pool 30 --pad 2 --ctf "
    "--particle_diameter 200 --flatten_solvent --zero_mask --oversampling 1 --healpix_order 2 "
    "--auto_local_healpix_order 4 --offset_range 5 --offset_step 2 --sym D2 "
    '--low_resol_join_halves 40 --norm --scale --j 6 --gpu "" --pipeline_control Refine3D/job019/'
)


@pytest.fixture
def said(caplog, monkeypatch):
    """Lines of the log."""
    monkeypatch.setattr(logging.getLogger("relion_mpi"), "propagate", True)
    caplog.set_level(logging.INFO, "relion_mpi")
    return caplog


def read(line):
    parser = OptionParser("relion-mpi refine")
    add_to_parser(parser, LineOptions)
    return from_namespace(LineOptions, parser.read(without_program(shlex.split(line))))


def options(line):
    return translate(read(line))


def test_a_whole_line_of_the_interface_is_understood():
    assert options(GUI) == RefineOptions(
        i=Path("Extract/job018/particles.star"), o=Path("Refine3D/job019/run"),
        ref=Path("Class3D/job016/run_class001.mrc"), ini_high=50.0, firstiter_cc=False,
        sym="D2", particle_diameter=200.0, offset_range=5.0, j=6, gpu="",
        pipeline_control=Path("Refine3D/job019"),
    )  # fmt: skip


def test_a_line_without_auto_refine_is_a_classification():
    assert options(GUI_CLASSES) == Class3DOptions(
        i=Path("Extract/job018/particles.star"), o=Path("Class3D/job020/run"), ref=Path("r.mrc"),
        ini_high=50.0, K=4, iter=25, particle_diameter=200.0, offset_range=5.0, sym="C1", j=6,
        gpu="", class_inactivity_threshold=0.0, pipeline_control=Path("Class3D/job020"),
    )  # fmt: skip


def test_a_line_without_references_is_a_2d_classification():
    assert options(GUI_AVERAGES) == Class2DOptions(
        i=Path("Extract/job018/particles.star"), o=Path("Class2D/job033/run"), firstiter_cc=False,
        K=40, iter=25, particle_diameter=200.0, strict_highres_exp=8.0, offset_range=5.0, j=10,
        gpu="", class_inactivity_threshold=0.0, pipeline_control=Path("Class2D/job033"),
    )  # fmt: skip
    assert options(GUI_AVERAGES + " --ref None") == options(GUI_AVERAGES)


def test_a_line_with_mini_batches_has_them():
    whole = options(GUI_AVERAGES)
    assert options(GUI_GRADIENT) == dataclasses.replace(
        whole, grad=True, class_inactivity_threshold=0.1, grad_write_iter=5, iter=100
    )


def test_a_line_for_an_initial_model_is_one():
    assert options(GUI_INITIAL) == InitialModelOptions(
        i=Path("Extract/job018/particles.star"), o=Path("InitialModel/job004/run"), iter=100,
        particle_diameter=230.0, norm=False, scale=False, j=8, gpu="",
        class_inactivity_threshold=0.0, pipeline_control=Path("InitialModel/job004"),
    )  # fmt: skip


def test_relion_3_1_s_schedule_of_an_initial_model_is_that_of_mini_batches():
    found = options(INITIAL_3_1)
    assert isinstance(found, InitialModelOptions)
    assert (found.iter, found.K, found.grad_write_iter) == (175, 2, 20)
    assert (found.grad_ini_resol, found.grad_fin_resol) == (40.0, 12.0)
    assert (found.grad_ini_subset, found.grad_fin_subset) == (120, 600)
    assert found.grad_ini_frac * 175 == pytest.approx(50)
    assert found.grad_fin_frac * 175 == pytest.approx(25)


def test_the_words_of_3_1_are_those_of_5_in_classification():
    words = "--sgd_ini_iter 60 --sgd_inbetween_iter 100 --sgd_fin_iter 40"
    found = options(f"{CLASSES} --sgd {words}")
    assert (found.grad, found.iter, found.grad_ini_frac) == (True, 200, 0.3)
    assert not options(CLASSES + words).grad


def test_what_the_references_are_says_which_classification_it_is(tmp_path):
    image, volume = tmp_path / "image.mrc", tmp_path / "volume.mrc"
    write_map(image, np.zeros((1, 8, 8)), 1.0)
    write_map(volume, np.zeros((8, 8, 8)), 1.0)
    lists = []
    for name in ("000001@classes.mrcs", "map.mrc"):
        lists.append(tmp_path / f"{len(lists)}.star")
        write_star(lists[-1], {"": pl.DataFrame({"rlnReferenceImage": [name]})})
    planar = ["classes.mrcs", "3@classes.mrcs", str(image), str(lists[0])]
    for ref in [*planar, "map.mrc", "a.mrc,b.mrc", str(volume), str(lists[1])]:
        found = options(f"--i p.star --o C/run --ref {ref}")
        assert isinstance(found, Class2DOptions if ref in planar else Class3DOptions), ref
        assert found.ref == Path(ref)


@pytest.mark.parametrize(
    ("least", "iterations", "t"),
    [(AVERAGES, 50, 2.0), (AVERAGES + "--grad ", 200, 2.0), (INITIAL, 200, 4.0)],
)
def test_silent_lines_have_relion_s_iterations_and_t(least, iterations, t):
    found = options(least)
    assert (found.last_iteration, found.tau2_fudge) == (iterations, t)


def test_a_silent_line_of_an_initial_model_has_resolutions_to_begin_with():
    found = options(INITIAL)
    assert (found.ini_high, found.grad_ini_resol, found.grad_fin_resol) == (35.0, 35.0, 15.0)
    assert options(AVERAGES + "--grad").grad_ini_resol == -1.0


def test_a_silent_line_of_classification_has_50_iterations_and_relion_5_s_t():
    found = options(CLASSES)
    assert (found.iter, found.K, found.tau2_fudge) == (50, 1, 4.0)
    assert (found.sigma_ang, found.strict_highres_exp) == (-1.0, -1.0)


def test_where_the_line_is_silent_the_program_s_defaults_hold():
    """Not those of refine3d, which are the interface's."""
    assert options(LEAST) == RefineOptions(
        i=Path("p.star"), o=Path("R/run"), ref=Path("r.mrc"), ini_high=0.0, firstiter_cc=False,
        sym="c1", zero_mask=False, flatten_solvent=False, ctf=False, offset_range=6.0,
        norm=False, scale=False, low_resol_join_halves=-1.0, j=1,
    )  # fmt: skip


def rows(fate, command):
    """Parameters: a line, a row with this fate in it."""
    found = [row for row in ROWS.values() if row.in_line(command)[0] is fate]
    return [(command, row) for row in found if row.flag not in DECIDING]


def of_all(fate):
    return pytest.mark.parametrize(
        ("command", "row"), [case for command in COMMANDS for case in rows(fate, command)]
    )


DECIDING = ("--auto_refine", "--denovo_3dref")
"""Options that make a line one of another command."""


@of_all(Fate.HONOURED)
def test_every_honoured_option_changes_what_is_done(command, row):
    """Or is needed for anything to be done."""
    values = {
        "--sym": "D3", "--skip_gridding": None, "--preread_images": None, "--gpu": "0",
        "--adaptive_fraction": "0.9", "--perturb": "0.25", "--grad_ini_frac": "0.4",
        "--grad_fin_frac": "0.4",
    }  # fmt: skip
    least = LINES[command] + ("--sgd " if row.flag.startswith("--sgd_") else "")
    takes_none = isinstance(row.default, bool)
    text = "" if takes_none else values.get(row.flag, "3")
    if row.flag == "--split_random_halves":
        with pytest.raises(InputError, match="--split_random_halves"):
            options(LEAST.replace(row.flag, ""))
    elif row.flag in ("--grad", "--sgd") and command == "initialmodel":
        with pytest.raises(InputError, match="--denovo_3dref makes an initial model"):
            options(INITIAL.replace("--grad", ""))
    elif row.default is True:  # on already
        assert options(least + row.flag) == options(least)
    else:
        before = least + (f"{row.instead} " if row.instead else "")
        assert options(f"{before} {row.flag} {text}") != options(before)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--gpu", "gpu", ""),
        ("--gpu 0:1", "gpu", "0:1"),
        ("--ini_high -1", "ini_high", 0.0),
        ("--tau2_fudge -1", "tau2_fudge", 1.0),
        ("--tau2_fudge 2", "tau2_fudge", 2.0),
        ("--solvent_mask None", "solvent_mask", None),
        ("--solvent_mask m.mrc", "solvent_mask", Path("m.mrc")),
        ("--norm --no_norm", "norm", False),
        ("--dont_skip_gridding", "skip_gridding", False),
        ("--j 3 --j 4", "j", 4),
        ("--no-preread_images", "preread_images", False),
        ("--precision float64", "precision", "float64"),
    ],
)
def test_values_mean_what_they_mean_in_relion(words, name, value):
    assert getattr(options(LEAST + words), name) == value


@of_all(Fate.REFUSED)
def test_a_refused_option_is_named_with_the_reason(command, row):
    text = "" if isinstance(row.default, bool) else "0.7" if row.flag.endswith("frac") else "7"
    with pytest.raises(InputError) as told:
        options(f"{LINES[command]} {row.flag} {text}")
    assert f"{row.flag}: {row.in_line(command)[1]}" in str(told.value)
    assert "\n" not in str(told.value)


def test_an_initial_model_is_no_auto_refine():
    with pytest.raises(InputError, match="--denovo_3dref: an initial model is no auto-refine"):
        options(LEAST + "--denovo_3dref --grad")


def test_several_refused_options_are_told_at_once():
    with pytest.raises(InputError) as told:
        options(LEAST + "--helix --helical_nr_asu 4 --blush")
    assert str(told.value).startswith("--helix, --helical_nr_asu: helices are not refined")
    assert "; --blush: Blush regularisation" in str(told.value)


@pytest.mark.parametrize(
    "words",
    ["--K 1", "--psi_step -1", "--sigma_ang -1.0", '--relax_sym ""', "--tau None", "--mu 0.90"],
)
def test_a_refused_option_with_its_default_is_let_pass(words):
    assert options(LEAST + words) == options(LEAST)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LEAST + "--psi_step 12", "--psi_step: the in-plane step is that of --healpix_order"),
        (LEAST + "--grad", "--grad: auto-refine has no mini-batches"),
        (AVERAGES + "--solvent_mask m.mrc", "--solvent_mask: averages are masked"),
        (INITIAL + "--ref r.mrc", "--ref: an initial model begins without a reference"),
        ("--denovo_3dref --i p.star --o I/run --iter 25", "mini-batches: add --grad"),
        (AVERAGES + "--sgd --sgd_ini_iter 0 --sgd_inbetween_iter 0 --sgd_fin_iter 0",
         "--sgd: found no iterations"),
        (AVERAGES + "--psi_stepp 12", "--psi_stepp; did you mean --psi_step?"),
        (CLASSES + "--split_random_halves", "classes are made of all particles together"),
        (CLASSES + "--K 0", "--K"),
        (LEAST + "--K 3", "--K: it is for classification"),
        ("--i p.star --o R/run --ref r.mrc --auto_refine", "add --split_random_halves"),
        ("--o R/run --ref r.mrc --auto_refine --split_random_halves", "--i is required"),
        ("--i p --o R/run --auto_refine --split_random_halves", "--ref is required"),
        (LEAST + "--ini_high x", "--ini_high: found 'x', expected a number"),
        (LEAST + "--helical_nr_azu 3", "--helical_nr_azu; did you mean --helical_nr_asu?"),
        (LEAST + "--dont_combine_weights", "did you mean --dont_combine_weights_via_disc?"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(line, message):
    with pytest.raises(InputError) as told:
        options(line)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


@of_all(Fate.NO_EFFECT)
def test_an_option_without_effect_changes_nothing_and_is_named(command, row, said):
    least = LINES[command]
    line = read(f"{least} {row.flag} {'' if isinstance(row.default, bool) else '7'}")
    assert translate(line) == options(least)
    say_what_has_no_effect(line)
    assert [r.getMessage().endswith(f": {row.flag}") for r in said.records] == [True]


def test_options_without_effect_are_named_in_one_line(said):
    say_what_has_no_effect(read(GUI))
    say_what_has_no_effect(read(LEAST))
    (record,) = said.records
    assert "--pool, --dont_combine_weights_via_disc, --trust_ref_size" in record.getMessage()


def test_every_option_of_a_command_can_be_given_and_none_is_refused():
    """An option that a command learns must lose its row among the refused."""
    for command, cls in PROGRAMMES.items():
        honoured = {r.flag for r in ROWS.values() if r.in_line(command)[0] is Fate.HONOURED}
        for name, said in declarations(cls).items():
            assert said.flag in honoured or name in own_options()
            assert name in {field.name for field in dataclasses.fields(LineOptions)}
