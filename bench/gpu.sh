#!/usr/bin/env bash
# All that only a machine with an NVIDIA GPU can show, in two calls that each stand alone:
#
#     bash bench/gpu.sh first [FOLDER]     at most 240 s: is it right, and how fast is it
#     bash bench/gpu.sh second [FOLDER]    at most 300 s: conformance, races, the goals' peers
#
# from a checkout, with nothing installed but a Python (PYTHON names it) with CuPy, NumPy, pytest
# and pytest-benchmark. PyTorch and JAX are measured against where they are; tests that need
# hypothesis or SciPy are skipped where those are not. FOLDER (gpu-results) gets a log, and the
# results in JSON, written anew after every part. CUPY_CACHE_DIR may name a folder of kernels that
# `python -m bench.gpu.kernels` has compiled on any machine with the same CuPy.
# A step that fails does not keep the others from running, but the script then ends with 1.
# With --dry before the call, all of it is done on a simulated GPU, in small.
set -uo pipefail
here=$PWD
cd "$(dirname "$0")/.."

backend=cupy dry=()
if [ "${1:-}" = --dry ]; then
    backend=simulated dry=(--small)
    shift
fi
call=${1:-} folder=${2:-gpu-results}
case "$call" in
first) all=240 ;;
second) all=300 ;;
-h | --help)
    sed -n '2,15s/^# \{0,1\}//p' bench/gpu.sh
    exit 0
    ;;
*)
    echo "bash bench/gpu.sh [--dry] first|second [FOLDER]" >&2
    exit 2
    ;;
esac
[[ $folder == /* ]] || folder=$here/$folder
mkdir -p "$folder" || exit 1
kept=${CUPY_CACHE_DIR:-}
[[ $kept == /* || -z $kept ]] || export CUPY_CACHE_DIR=$here/$kept

PYTHON=${PYTHON:-python3}
export PYTHONPATH=.:backends PYTHONUNBUFFERED=1
# JAX would take most of the GPU's memory, and PyTorch compile with every processor it sees.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
"$PYTHON" -c 'import threadpoolctl' 2>/dev/null || PYTHONPATH=$PYTHONPATH:bench/gpu/stand_ins
if [ "$backend" = cupy ]; then
    export FASTNET_REQUIRE_GPU=1
    kind=cupy tried=() suite=tests/conformance precisions=(fp16 tf32 float32 bf16)
else # tools that do no more than run what they are given, and a few of the tests
    all=900 PYTHONPATH=$PYTHONPATH:tests:tests/simulated
    PATH=$PWD/bench/gpu/stand_ins:$PATH
    kind=simulated tried=(-k "simulated and tiny and twice") precisions=(fp16)
    suite=tests/conformance/test_kinds.py
fi

failed=0 summary=()

step() { # step SECONDS NAME COMMAND...: run it, at most so long, and not beyond the end
    local limit=$1 name=$2 begun=$SECONDS status outcome
    shift 2
    [ "$backend" = simulated ] && limit=$((4 * limit))
    [ "$limit" -gt $((all - SECONDS)) ] && limit=$((all - SECONDS))
    if [ "$limit" -lt 5 ]; then
        summary+=("$(printf '%-12s %s' "left out" "$name")")
        return 0
    fi
    printf '\n== %s (at most %s s)\n' "$name" "$limit"
    timeout --kill-after=10 "$limit" "$@"
    status=$?
    case $status in
    0) outcome=ok ;;
    75) outcome="cannot run" ;; # what bench.gpu.sanitizer says of a device that it is refused on
    124 | 137) outcome="out of time" failed=1 ;;
    *) outcome=FAILED failed=1 ;;
    esac
    summary+=("$(printf '%-12s %-45s %4s s' "$outcome" "$name" $((SECONDS - begun)))")
    return $status
}

pytest() { # pytest SECONDS NAME ARGUMENTS...
    local limit=$1 name=$2
    shift 2
    step "$limit" "$name" "$PYTHON" -m pytest -q -p no:cacheprovider "$@"
}

contests() { # contests SECONDS
    local limit=$1 checked
    [ "$limit" -gt $((all - SECONDS)) ] && limit=$((all - SECONDS))
    checked=$(printf '%s;' "${summary[@]}")
    step "$limit" "contests" "$PYTHON" -m bench.gpu "$call" "$folder/$call.json" \
        --backend "$backend" "${dry[@]}" --seconds $((limit - 10)) --checked "$checked"
}

profile() { # profile PRECISION: what one launch of the narrow kernel waits for
    local sections=() section
    for section in SpeedOfLight MemoryWorkloadAnalysis WarpStateStats Occupancy; do
        sections+=(--section "$section")
    done
    step 20 "ncu $1" ncu --kernel-name narrow --launch-skip 1 --launch-count 1 "${sections[@]}" \
        "$PYTHON" -m bench.gpu.one_step "$1" "$backend"
}

sanitizer() { # sanitizer SECONDS TOOL
    step "$1" "compute-sanitizer $2" "$PYTHON" -m bench.gpu.sanitizer "$2" "$backend"
}

first() {
    pytest 40 "each PTX instruction against NumPy" tests/test_gpu_ptx.py
    pytest 60 "same bits, graphs, every regime" "${tried[@]}" tests/test_gpu_runs.py
    contests 130
    if command -v ncu >/dev/null; then
        for precision in "${precisions[@]}"; do profile "$precision"; done
    fi
    sanitizer 40 memcheck
}

second() {
    local parallel=()
    "$PYTHON" -c 'import xdist' 2>/dev/null && [ "$backend" = cupy ] && parallel=(-n 12)
    pytest 120 "the conformance suite" --continue-on-collection-errors "${parallel[@]}" \
        -k "$kind" "$suite"
    sanitizer 40 racecheck
    sanitizer 30 synccheck
    contests 200
}

main() {
    if ! step 30 "this machine" "$PYTHON" -m bench.gpu.machine "$backend"; then
        echo "Nothing else can run."
        return 1
    fi
    command -v nvidia-smi >/dev/null && nvidia-smi
    "$call"
    printf '\n== summary, after %s s\n' "$SECONDS"
    printf '%s\n' "${summary[@]}"
    return $failed
}

main 2>&1 | tee "$folder/$call.log"
exit "${PIPESTATUS[0]}"
