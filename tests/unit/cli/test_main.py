"""The command line, with a sub-command made here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest

import relion_mpi
from relion_mpi.cli import main as command_line
from relion_mpi.core.errors import InputError
from relion_mpi.core.options import option


@dataclass(frozen=True, slots=True)
class Options:
    box_size: int = option(64, help="Box.", unit="pix", minimum=16)


@pytest.fixture
def command(monkeypatch):
    """Install a sub-command `example`; yields the module, whose `run` a test may replace."""
    module = ModuleType("example_command")
    module.SUMMARY = "An example."
    module.Options = Options
    module.run = lambda options: options.box_size - 64
    monkeypatch.setitem(sys.modules, "example_command", module)
    monkeypatch.setattr(command_line, "COMMANDS", {"example": "example_command"})
    hooks = sys.excepthook, __import__("threading").excepthook
    yield module
    sys.excepthook, __import__("threading").excepthook = hooks


@pytest.mark.usefixtures("command")
def test_a_command_runs_with_its_options():
    assert command_line.main(["example"]) == 0
    assert command_line.main(["example", "--box-size", "66"]) == 2


@pytest.mark.usefixtures("command")
def test_help_of_a_command_shows_its_options(capsys):
    assert command_line.main(["example", "--help"]) == 0
    assert "--box_size pix" in capsys.readouterr().out


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["exampel"], "'exampel' is no command; there are example"),
        (["example", "--boxsize", "64"], "unknown option --boxsize; did you mean --box_size?"),
        (["example", "--box_size", "8"], "--box_size: found '8', expected a whole number, at"),
    ],
)
def test_a_wrong_word_is_one_line_and_status_1(capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(words)
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(f"relion-mpi: error: {message}")
    assert told.count("\n") == 1


def test_an_input_error_in_the_run_is_a_message(capsys, command):
    def run(options):
        raise InputError("particles.star is empty")

    command.run = run
    assert command_line.main(["example"]) == 1
    assert capsys.readouterr().err == "relion-mpi: error: particles.star is empty\n"


def test_any_other_error_in_the_run_has_its_traceback(capsys, command):
    command.run = lambda options: 1 // 0
    assert command_line.main(["example"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_control_c_ends_with_130_without_a_traceback(capsys, command):
    def run(options):
        raise KeyboardInterrupt

    command.run = run
    assert command_line.main(["example"]) == 130
    assert capsys.readouterr().err == "relion-mpi: interrupted\n"


def test_version_is_the_package_s(capsys):
    assert command_line.main(["--version"]) == 0
    assert capsys.readouterr().out == f"relion-mpi {relion_mpi.__version__}\n"


def test_overview_names_every_command(capsys):
    assert command_line.main([]) == 0
    shown = capsys.readouterr().out
    for name in command_line.COMMANDS:
        assert f"  {name} " in shown


def test_a_closed_stdout_gives_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "relion_mpi.cli.main", "--help"],
        stdout=writer, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == b""
