"""What a failure says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.parallel import abort

INSTALL = (
    "import sys, threading\n"
    "from relion_mpi.parallel import abort\n"
    "from relion_mpi.parallel.comm import World\n"
    "from relion_mpi.core.errors import InputError\n"
    "abort.install(World(None, 0, 1))\n"
)


def run(program):
    return subprocess.run(
        [sys.executable, "-c", INSTALL + program], capture_output=True, text=True, timeout=30,
        check=False, env=dict(os.environ),
    )  # fmt: skip


def test_an_input_error_is_a_message_without_a_traceback():
    done = run("raise InputError('box is odd')")
    assert done.returncode == 1
    assert done.stderr == "relion-mpi: error: box is odd\n"


def test_any_other_error_has_its_traceback():
    done = run("1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


def test_a_failing_thread_ends_the_process():
    program = (
        "import time\n"
        "def bad(): raise OSError('disk full')\n"
        "threading.Thread(target=bad).start()\n"
        "time.sleep(20)\n"
    )
    done = run(program)
    assert done.returncode == 1
    assert "disk full" in done.stderr


def test_the_rank_is_named_when_there_are_several(capsys):
    abort.report(3, 5, ValueError("x"))
    assert "failed on rank 3 of 5" in capsys.readouterr().err


def test_a_single_process_with_an_input_error_stops(capsys):
    with pytest.raises(abort.AgreedStop):
        abort.agree_or_stop(None, InputError("box is odd"))
    assert capsys.readouterr().err == "relion-mpi: error: box is odd\n"


def test_an_unexpected_error_is_not_agreed_on_but_raised():
    with pytest.raises(KeyError):
        abort.agree_or_stop(None, KeyError("x"))


def test_a_lost_rank_is_told_in_a_line_and_other_mpi_errors_with_their_traceback(capsys):
    from mpi4py import MPI

    abort.report(1, 3, MPI.Exception(MPI.ERR_OTHER))
    told = capsys.readouterr().err
    assert told.startswith("relion-mpi: rank 1 of 3 lost contact with another rank (")
    assert "Traceback" not in told
    abort.report(1, 3, MPI.Exception(MPI.ERR_TRUNCATE))
    assert "failed on rank 1 of 3" in capsys.readouterr().err
