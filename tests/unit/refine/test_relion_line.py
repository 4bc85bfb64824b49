"""Lines of relion_refine: what is honoured, passed over, refused."""

from __future__ import annotations

import dataclasses
import logging
import shlex
from pathlib import Path

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, declarations, from_namespace
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.relion_line import (
    LineOptions,
    own_options,
    say_what_has_no_effect,
    translate,
    without_program,
)
from relion_mpi.refine.relion_options import ROWS, Fate

LEAST = "--auto_refine --split_random_halves --i p.star --ref r.mrc --o R/run "
CLASSES = "--i p.star --ref r.mrc --o C/run "
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
        ini_high=50.0, K=4, particle_diameter=200.0, offset_range=5.0, sym="C1", j=6, gpu="",
        pipeline_control=Path("Class3D/job020"),
    )  # fmt: skip


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
    least = LEAST if command == "refine3d" else CLASSES
    return [(least, row) for row in ROWS.values() if row.in_line(command)[0] is fate]


def of_both(fate):
    both = rows(fate, "refine3d") + rows(fate, "class3d")
    return pytest.mark.parametrize(("least", "row"), both)


@of_both(Fate.HONOURED)
def test_every_honoured_option_changes_what_is_done(least, row):
    """Or is needed for anything to be done."""
    values = {
        "--sym": "D3", "--skip_gridding": None, "--preread_images": None, "--gpu": "0",
        "--adaptive_fraction": "0.9", "--perturb": "0.25",
    }  # fmt: skip
    takes_none = isinstance(row.default, bool)
    text = "" if takes_none else values.get(row.flag, "3")
    if row.flag in ("--auto_refine", "--split_random_halves"):
        with pytest.raises(InputError, match="--split_random_halves"):
            options(LEAST.replace(row.flag, ""))
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


@of_both(Fate.REFUSED)
def test_a_refused_option_is_named_with_the_reason(least, row):
    text = "" if isinstance(row.default, bool) else "7"
    with pytest.raises(InputError) as told:
        options(f"{least} {row.flag} {text}")
    reason = row.in_line("refine3d" if least is LEAST else "class3d")[1]
    if least is CLASSES and row.flag in ("--denovo_3dref", "--sgd"):
        assert "a line for an initial model" in str(told.value)
    else:
        assert f"{row.flag}: {reason}" in str(told.value)
    assert "\n" not in str(told.value)


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
        ("--i p.star --o C/run --K 50 --iter 25 --psi_step 12", "2D classification"),
        ("--i p.star --o C/run --K 50 --grad --iter 200", "2D classification"),
        ("--i p.star --o C/run --ref classes.mrcs --K 4 --iter 25", "2D classification"),
        (CLASSES + "--split_random_halves", "classes are made of all particles together"),
        (CLASSES + "--K 0", "--K"),
        (LEAST + "--K 3", "--K: it is for classification"),
        ("--i p.star --o I/run --grad --denovo_3dref --K 1", "an initial model"),
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


@of_both(Fate.NO_EFFECT)
def test_an_option_without_effect_changes_nothing_and_is_named(least, row, said):
    line = read(f"{least} {row.flag} {'' if isinstance(row.default, bool) else '7'}")
    assert translate(line) == options(least)
    say_what_has_no_effect(line)
    assert [r.getMessage().endswith(f": {row.flag}") for r in said.records] == [True]


def test_options_without_effect_are_named_in_one_line(said):
    say_what_has_no_effect(read(GUI))
    say_what_has_no_effect(read(LEAST))
    (record,) = said.records
    assert "--pool, --dont_combine_weights_via_disc, --trust_ref_size" in record.getMessage()


def test_every_option_of_refine3d_can_be_given_and_none_is_refused():
    """An option that refine3d learns must lose its row among the refused."""
    for command, cls in (("refine3d", RefineOptions), ("class3d", Class3DOptions)):
        honoured = {r.flag for r in ROWS.values() if r.in_line(command)[0] is Fate.HONOURED}
        for name, said in declarations(cls).items():
            assert said.flag in honoured or name in own_options()
            assert name in {field.name for field in dataclasses.fields(LineOptions)}
