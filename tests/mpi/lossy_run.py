"""`relion-mpi` whose workers are killed: python lossy_run.py FOLDER WORDS..."""

from __future__ import annotations

import sys

import killing

from relion_mpi.cli.main import main
from relion_mpi.refine.programme import AutoRefine
from relion_mpi.refine.worker import RefineWorker

killing.arm(sys.argv[1], RefineWorker, (AutoRefine, "maximise"))
sys.exit(main(sys.argv[2:]))
