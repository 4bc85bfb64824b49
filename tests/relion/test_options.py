"""Every option that relion_refine prints is in the table, with its default."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from relion_mpi.refine.relion_options import ROWS

PROGRAM = shutil.which("relion_refine")
PRINTED = re.compile(r"^ +(--\w+) \((.*?)\) :", re.MULTILINE)
NONE = ("", "None")
ON_HERE = {"--skip_gridding", "--preread_images"}  # the table says so
BY_JOB = {"--tau2_fudge", "--iter"}  # as in RELION 5, they depend on the kind of job

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(PROGRAM is None, reason="RELION is not installed"),
]


@pytest.fixture(scope="module")
def printed():
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=False)
    return dict(PRINTED.findall(done.stdout))


def test_every_option_is_known(printed):
    assert len(printed) > 100
    assert [flag for flag in printed if flag not in ROWS] == []


def test_flags_are_flags_and_defaults_are_relion_s(printed):
    wrong = []
    for flag, text in printed.items():
        default = ROWS[flag].default if flag in ROWS else None
        if flag == "--gpu":  # read twice by RELION, as a flag and with a value
            continue
        if flag in BY_JOB:
            assert default is None
            continue
        if text == "false":
            same = default is (flag in ON_HERE)
        elif text in NONE:
            same = default in (None, "")
        elif isinstance(default, str) and not default.lstrip("-").replace(".", "").isdigit():
            same = default == text
        else:
            same = default is not None and not isinstance(default, bool)
            same = same and float(default) == float(text)
        if not same:
            wrong.append((flag, text, default))
    assert wrong == []
