#!/usr/bin/env bash
# `relion-mpi launch` in the environment that RELION_MPI_ENV names (modules, a virtual environment), or in this one:
#   launch/run.sh --dry_run refine3d --i particles.star --ref map.mrc --o Refine3D/run1 --gpu
#   launch/run.sh --hosts launch/hosts.example refine3d ...
set -euo pipefail
if [ -n "${RELION_MPI_ENV:-}" ]; then source "$RELION_MPI_ENV"; fi
exec relion-mpi launch "$@"
