#!/usr/bin/env bash
# Simulate sets and refine them to convergence on one GPU, one worker:
#   benchmarks/end_to_end/gpu_refine.sh OUT [small|betagal128|ribosome128 ...]
set -euo pipefail
out=$1
shift
mkdir -p "$out"
cd "$out"
relion_mpi() { python3 -m relion_mpi.cli.main "$@"; }
for name in "${@:-small}"; do
    case $name in
    small) set=(--n 1500 --box 64 --angpix 3.5 --sym D2 --snr 0.4 --seed 21) sym=D2 ;;
    betagal128) set=(--n 5000 --box 128 --angpix 2.0 --sym D2 --snr 0.1 --seed 22) sym=D2 ;;
    ribosome128) set=(--n 20000 --box 128 --angpix 3.0 --sym C1 --snr 0.1 --seed 24) sym=C1 ;;
    *) echo "unknown set $name" >&2; exit 1 ;;
    esac
    [ -f "$name/particles.star" ] || relion_mpi simulate --o "$name" "${set[@]}"
    mpirun --bind-to none -n 2 python3 -m relion_mpi.cli.main refine3d --i "$name/particles.star" \
        --ref "$name/reference.mrc" --o "$name/gpu/run" --sym "$sym" --ini_high 40 --random_seed 1 --gpu 0
    relion_mpi compare "$name/gpu/run" "$name/truth.star" --sym "$sym"
done
