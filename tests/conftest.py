"""Set up for all tests: matplotlib draws to files, the log is as in a fresh process."""

from __future__ import annotations

import logging
import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _fresh_log():
    """Take away handlers that a test's `setup_logging` left, so that caplog sees everything."""
    logger = logging.getLogger("relion_mpi")
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate
