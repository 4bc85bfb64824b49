#!/usr/bin/env bash
# Refine simulated sets on a GPU: benchmarks/end_to_end/gpu_refine.sh OUT
set -euo pipefail
out=$1
mkdir -p "$out"
cd "$out"
python3 -m relion_mpi.cli.main simulate --o betagal --n 1500 --box 64 --angpix 3.5 --sym D2 --snr 0.4 --seed 21
mpirun -n 2 python3 -m relion_mpi.cli.main refine3d --i betagal/particles.star --ref betagal/reference.mrc \
    --o betagal/gpu/run --sym D2 --ini_high 40 --random_seed 1 --gpu 0
python3 -m relion_mpi.cli.main compare betagal/gpu/run betagal/truth.star --sym D2
