"""Options: declaration, reading, checks, messages."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace, option, options_as_dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    input: Path = option(flag="--i", help="Particles.", group="Input")
    particle_diameter: float = option(
        200.0, help="Diameter of the mask.", unit="angst", minimum=1, maximum=5000
    )
    ini_high: float | None = option(None, help="Low-pass filter.", unit="angst", minimum=0)
    threads: int = option(1, flag="--j", help="Threads.", minimum=1)
    symmetry: str = option("C1", flag="--sym", help="Point group.", choices=("C1", "D2"))
    ctf: bool = option(True, help="Correct for the CTF.", negate="--no-ctf")
    zero_mask: bool = option(False, help="Fill with zeros, 50% of the time.")
    offset: float = option(0.0, help="Any number.")
    shifts: tuple[float, ...] = option((), help="Several numbers.")
    gpu: str | None = option(None, help="GPUs.", bare="all")
    secret: bool = option(False, help="Not shown.", hidden=True)


def read(*words):
    parser = OptionParser("relion-mpi example", "An example.")
    add_to_parser(parser, Example)
    return from_namespace(Example, parser.read(["--i", "p.star", *words]))


def test_absent_flags_take_their_defaults():
    assert read() == Example(input=Path("p.star"))


def test_values_become_what_their_annotations_say():
    found = read("--ini_high", "40", "--j", "3", "--sym", "D2", "--zero_mask")
    assert found.ini_high == 40.0
    assert isinstance(found.ini_high, float)
    assert found.threads == 3
    assert found.symmetry == "D2"
    assert found.zero_mask is True
    assert found.input == Path("p.star")


def test_dashes_and_underscores_mean_the_same():
    assert read("--particle-diameter", "150") == read("--particle_diameter=150")


def test_negated_flag_turns_a_default_off():
    assert read("--no-ctf").ctf is False
    assert read("--no_ctf").ctf is False
    assert read("--ctf").ctf is True


@pytest.mark.parametrize(
    ("words", "value"),
    [([], None), (["--gpu"], "all"), (["--gpu", ""], ""), (["--gpu", "0:1"], "0:1"),
     (["--gpu=0"], "0")],
)  # fmt: skip
def test_a_value_may_be_left_out_where_the_declaration_says_so(words, value):
    assert read(*words, "--zero_mask").gpu == value
    assert read("--zero_mask", *words).gpu == value


@pytest.mark.parametrize("text", ["-1", "-1.5", "-1e-3"])
def test_negative_numbers_are_values_not_flags(text):
    assert read("--offset", text).offset == float(text)


def test_several_values_after_one_flag_make_a_tuple():
    assert read("--shifts", "1", "2.5").shifts == (1.0, 2.5)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--j", "0"], ["--j", "'0'", "a whole number, at least 1"]),
        (["--j", "2.5"], ["--j", "'2.5'", "a whole number"]),
        (
            ["--particle_diameter", "9999"],
            ["--particle_diameter", "'9999'", "a number from 1 to 5000 (angst)"],
        ),
        (["--ini_high", "nan"], ["--ini_high", "'nan'", "a number"]),
        (["--sym", "C0"], ["--sym", "'C0'", "one of C1, D2"]),
        (["--shifts", "1", "x"], ["--shifts", "'x'", "a number"]),
    ],
)
def test_a_wrong_value_is_told_with_flag_value_and_expectation(words, parts):
    with pytest.raises(InputError) as told:
        read(*words)
    message = str(told.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_required_option_that_is_absent_is_named():
    parser = OptionParser("relion-mpi example")
    add_to_parser(parser, Example)
    with pytest.raises(InputError, match="--i is required: Particles"):
        from_namespace(Example, parser.read([]))


def test_unknown_option_names_the_nearest_known_one():
    with pytest.raises(
        InputError, match=r"unknown option --particle_diametr; did you mean --particle_d"
    ):
        read("--particle_diametr", "150")


def test_options_cannot_be_abbreviated():
    with pytest.raises(InputError, match="unknown option --particle; did you mean"):
        read("--particle", "150")


def test_a_stray_word_is_refused():
    with pytest.raises(InputError, match="'150' follows no option"):
        read("--zero_mask", "150")


def test_a_flag_without_its_value_is_refused_in_one_line():
    with pytest.raises(InputError, match="expected one argument") as told:
        read("--j")
    assert "\n" not in str(told.value)


def test_help_shows_groups_defaults_units_and_per_cent_signs():
    parser = OptionParser("relion-mpi example", "An example.")
    add_to_parser(parser, Example)
    text = " ".join(parser.format_help().split())
    assert "Input:" in text
    assert "--particle_diameter angst Diameter of the mask. [angst] (default: 200.0)" in text
    assert "(required)" in text
    assert "50% of the time" in text


def test_a_hidden_option_is_read_but_not_in_the_help():
    assert read("--secret").secret is True
    parser = OptionParser("relion-mpi example")
    add_to_parser(parser, Example)
    assert "--secret" not in parser.format_help()


def test_a_namespace_with_values_instead_of_text_is_taken():
    found = from_namespace(Example, argparse.Namespace(input="p.star", threads=4, ini_high=None))
    assert found.threads == 4
    assert found.ini_high is None


def test_options_as_dict_is_plain():
    found = options_as_dict(read("--j", "2"))
    assert found["input"] == "p.star"
    assert found["threads"] == 2
    assert list(found) == list(Example.__dataclass_fields__)
