#!/usr/bin/env bash
# Refine on this machine with N ranks: one hands out work, the others share the cores.
#   launch/local.sh N refine3d --i particles.star --ref map.mrc --o Refine3D/run1 ...
# Tested with the mpiexec of PyPI's mpich. N=1 runs without mpiexec, in one process.
set -euo pipefail
if [ $# -lt 2 ] || ! [[ "$1" =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 N COMMAND [options]" >&2
    exit 2
fi
n="$1"
shift
program="$(command -v relion-mpi)"
if [ "$n" -eq 1 ]; then
    exec "$program" "$@"
fi
# An mpiexec of another MPI would start N jobs of one rank each (relion-mpi notices and refuses).
mpiexec="$(dirname "$program")/mpiexec"
if [ ! -x "$mpiexec" ]; then
    mpiexec=mpiexec
fi
exec "$mpiexec" -n "$n" "$program" "$@"
