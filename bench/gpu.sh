#!/usr/bin/env bash
# All that only a machine with an NVIDIA GPU can show, in less than nine minutes:
#
#     bash bench/gpu.sh [RESULTS.json]
#
# from a checkout, with nothing installed but a Python (PYTHON names it) with CuPy, NumPy, pytest
# and pytest-benchmark. PyTorch and JAX are measured against where they are; tests that need
# hypothesis or SciPy are skipped where those are not.
# A step that fails does not keep the others from running, but the script then ends with 1.
set -uo pipefail
here=$PWD
cd "$(dirname "$0")/.."

case "${1:-}" in
-h | --help)
    sed -n '2,8s/^# \{0,1\}//p' bench/gpu.sh
    exit 0
    ;;
esac

PYTHON=${PYTHON:-python3}
results=${1:-}
[ "$here" = "$PWD" ] || [[ $results == /* || -z $results ]] || results=$here/$results
export PYTHONPATH=.:backends PYTHONUNBUFFERED=1 FASTNET_REQUIRE_GPU=1
# JAX would take most of the GPU's memory, and PyTorch compile with every processor it sees.
export XLA_PYTHON_CLIENT_PREALLOCATE=false

#: Seconds for everything, and for the benchmarks at the least.
all=525 least=100
failed=0 summary=()

"$PYTHON" -c 'import threadpoolctl' 2>/dev/null || PYTHONPATH=$PYTHONPATH:bench/gpu/stand_ins

note() { # note OUTCOME NAME SECONDS
    summary+=("$(printf '%-12s %-45s %4s s' "$1" "$2" "$3")")
}

step() { # step SECONDS NAME COMMAND...: run it, at most so long
    local limit=$1 name=$2 begun=$SECONDS status outcome
    shift 2
    printf '\n== %s (at most %s s)\n' "$name" "$limit"
    timeout --kill-after=10 "$limit" "$@"
    status=$?
    case $status in
    0) outcome=ok ;;
    75) outcome="cannot run" ;; # what bench.gpu.sanitizer says of a device that it is refused on
    124 | 137) outcome="out of time" failed=1 ;;
    *) outcome=FAILED failed=1 ;;
    esac
    note "$outcome" "$name" $((SECONDS - begun))
    return $status
}

pytest() { # pytest SECONDS NAME ARGUMENTS...
    local limit=$1 name=$2
    shift 2
    step "$limit" "$name" "$PYTHON" -m pytest -q -p no:cacheprovider "$@"
}

if ! step 30 "this machine" "$PYTHON" -m bench.gpu.machine; then
    echo "Nothing else can run." >&2
    exit 1
fi
nvidia-smi || true

parallel=()
"$PYTHON" -c 'import xdist' 2>/dev/null && parallel=(-n 4)

pytest 45 "each PTX instruction against NumPy" tests/test_gpu_ptx.py
pytest 60 "same bits, graphs, every regime" tests/test_gpu_runs.py
pytest 150 "the conformance suite" --continue-on-collection-errors "${parallel[@]}" \
    -k cupy tests/conformance
step 40 "compute-sanitizer memcheck" "$PYTHON" -m bench.gpu.sanitizer memcheck
step 40 "compute-sanitizer racecheck" "$PYTHON" -m bench.gpu.sanitizer racecheck

left=$((all - SECONDS))
[ "$left" -lt "$least" ] && left=$least
checked=$(printf '%s;' "${summary[@]}")
step "$left" "benchmarks" "$PYTHON" -m bench.gpu ${results:+"$results"} \
    --seconds $((left - 40)) --checked "$checked"

printf '\n== summary, after %s s\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
exit $failed
