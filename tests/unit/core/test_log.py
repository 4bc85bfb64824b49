"""Where log lines go."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

from relion_mpi.core.log import setup_logging

log = logging.getLogger("relion_mpi.example")


def test_rank_0_tells_facts_on_stdout_and_warnings_on_stderr(capsys):
    setup_logging(0)
    log.info("iter=%d", 3)
    log.warning("hot pixel")
    log.debug("nothing")
    told = capsys.readouterr()
    assert told.out == "iter=3\n"
    assert told.err == "WARNING: hot pixel\n"


def test_other_ranks_tell_only_warnings_with_their_rank(capsys):
    setup_logging(3)
    log.info("iter=3")
    log.warning("hot pixel")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "[rank 3] WARNING: hot pixel\n"


def test_setting_up_twice_does_not_double_lines(capsys):
    setup_logging(0)
    setup_logging(0, "DEBUG")
    log.debug("once")
    assert capsys.readouterr().out == "once\n"


def test_a_reader_that_goes_away_ends_nothing():
    program = (
        "import logging\n"
        "from relion_mpi.core.log import setup_logging\n"
        "setup_logging()\n"
        "for i in range(20000): logging.getLogger('relion_mpi').info('line %d', i)\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == b""
