"""What becomes of a batch when a GPU's memory is full."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from unittest import mock

class Full(MemoryError):
    pass

cupy = mock.MagicMock()
cupy.cuda.memory.OutOfMemoryError = Full
sys.modules |= {"cupy": cupy, "cupyx": mock.MagicMock()}

from relion_mpi.backend.gpu.accumulate import _added_once
from relion_mpi.core.errors import InputError

for first in (0, 5):
    try:
        with _added_once(first):
            raise Full("no room")
    except (Full, InputError) as error:
        print(first, type(error).__name__, error)
"""


def test_a_batch_is_halved_only_before_anything_of_it_was_added():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    before, after = done.stdout.splitlines()
    assert before == "0 Full no room"
    assert after.startswith("5 InputError the GPU's memory became full in the middle of a batch")
