"""Start the tests of tests/mpi with several numbers of ranks.

This folder is not tests/mpi: pytest-mpi skips whatever lies in a folder of that name.
"""

from __future__ import annotations

import pytest
from launcher import COLLECTIVE, finish, mpiexec, needs_mpiexec

pytestmark = needs_mpiexec


@pytest.mark.parametrize(
    ("name", "n_ranks"),
    [
        *(("test_crew_on_any_number_of_ranks.py", n) for n in (1, 2, 3, 5)),
        *(("test_memory_shared_by_a_node.py", n) for n in (1, 2, 3, 4)),
        *(("test_relay.py", n) for n in (1, 2, 3, 5)),
        *(("test_scratch_on_nodes.py", n) for n in (1, 2, 4)),
    ],
)
def test_collective_tests_pass_under_mpiexec(name, n_ranks):
    job = mpiexec(
        n_ranks, "-m", "pytest", "--with-mpi", "-q", "-x", "-p", "no:cacheprovider",
        str(COLLECTIVE / name),
    )  # fmt: skip
    status, output, _ = finish(job, 120)
    assert status == 0, output
    assert output.count(" passed") == n_ranks, output
