#!/usr/bin/env bash
# The scaling study on one node: iterations on 8, 16 and 32 ranks of CPUs, reductions on 2 to 32 ranks, iterations on
# one and two GPUs at order 2 and 3, and the predictions that follow. Everything is written below OUT.
#   benchmarks/scaling/one_node.sh OUT FOLDER ["cpu reduce gpu"] [SECONDS]
# FOLDER is where sets are made. Parts are done in the order that is given; what cannot be begun or ended before
# SECONDS (400) is left out or ended, and what was measured until then stays. Variables: MPIRUN, PYTHON, CPU_RANKS,
# GPUS, REDUCE_RANKS, REDUCE_SECONDS, PRECISION, GPU_SET and CPU_SET (options of benchmarks/scaling/study.py that say which set).
set -uo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,7s/^# //p' "$0" >&2
    exit 2
fi
out="$1" folder="$2" parts="${3:-cpu reduce gpu}" limit="${4:-400}"
here="$(cd "$(dirname "$0")" && pwd)"
python="${PYTHON:-python}" mpirun="${MPIRUN:-mpirun --bind-to none}"
gpu_set="${GPU_SET:---n 100000 --box 128}" cpu_set="${CPU_SET:---n 4000 --box 64 --angpix 3}"
cpu=($cpu_set --folder "$folder" --mpirun "$mpirun" --more "--j 1" --iterations 3)
gpu=($gpu_set --folder "$folder" --mpirun "$mpirun" --precision "${PRECISION:-tf32}" --gpus "${GPUS:-1,2}")
mkdir -p "$out"
left() { echo $((limit - SECONDS)); }
# A part has its own line in the log, and never lasts beyond the limit.
part() {
    local name="$1" seconds
    shift
    seconds="$(left)"
    if [ "$seconds" -lt 5 ]; then
        echo "$name: left out, $seconds s are left" | tee -a "$out/parts.txt"
        return
    fi
    timeout --kill-after=5 "$seconds" "$@" >>"$out/$name.log" 2>&1
    echo "$name: status $?, at $SECONDS s" | tee -a "$out/parts.txt"
}

# Sets and compiled kernels first; neither is timed, so they may share the cores. Few particles do: to compile takes a
# minute and a half.
if [[ $parts == *cpu* ]]; then
    part warm "$python" "$here/study.py" "${cpu[@]}" --n 60 --iterations 2 --ranks 3 --out "$out/warm" &
fi
if [[ $parts == *gpu* ]]; then
    part set "$python" "$here/study.py" "${gpu[@]}" --only_set --out "$out"
fi
wait
for which in $parts; do
    case "$which" in
    cpu) part cpu "$python" "$here/study.py" "${cpu[@]}" --ranks "${CPU_RANKS:-8,16,32}" --out "$out" ;;
    reduce)
        for n in ${REDUCE_RANKS:-2 8 16 32}; do
            part reduce $mpirun -n "$n" "$python" "$here/reduce.py" --seconds "${REDUCE_SECONDS:-12}" --out "$out/reduce.jsonl"
        done
        ;;
    gpu)
        part gpu2 "$python" "$here/study.py" "${gpu[@]}" --order 2 --iterations 4 --out "$out"
        part gpu3 "$python" "$here/study.py" "${gpu[@]}" --order 3 --iterations 3 --out "$out"
        ;;
    esac
done
if [ -f "$out/reduce.jsonl" ]; then
    "$python" "$here/reduce.py" --table "$out/reduce.jsonl" | tee "$out/reduce.md"
fi
if [ -f "$out/runs.jsonl" ]; then
    "$python" "$here/predict.py" --measured "$out/runs.jsonl" --out "$out" >"$out/predict.log" && cat "$out/table.md"
fi
