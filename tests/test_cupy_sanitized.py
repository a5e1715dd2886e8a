"""The CUDA backend's kernels under g++'s sanitizers, and bugs planted in them that are found."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from simulated import building

if building.absence() is not None:
    pytest.skip(building.absence(), allow_module_level=True)

import cuda_cases_embedding
import cuda_cases_layered
import cuda_cases_narrow
import cuda_cases_staged
import cuda_cases_step
import cuda_cases_tiny
from cuda_cases import BF16, FLOAT32, FLOAT64, FP16, TF32, Out
from simulated import sanitized
from simulated.sanitized import MEMORY, RACES

from fastnet_cupy.names import Mode

#: The kind of number that a file's cases are watched with: in bf16 both parameters and what layers
#: pass to each other have their own type, and no other kind has other memory or barriers.
KIND = {"step.cu": BF16, "layered.cu": BF16, "staged.cu": BF16, "tiny.cu": FLOAT32}

#: Launches of a kernel that are watched for races, at most, and their threads, of a block and in
#: all: each is a thread of the operating system. Some kernels come with as many threads of a block
#: as they are written for.
FEW, FEW_THREADS, FEW_IN_ALL = 4, 64, 1024
ALL_THREADS = (
    "narrow", "sum_columns", "sum_parts", "update_by_parts", "sum_products", "batch_sums",
    "batch_squares", "batch_normalize", "batch_normalize_back", "embed_back", "sum_by_number",
)  # fmt: skip

SIMPLE = [
    case
    for cases in (
        cuda_cases_step,
        cuda_cases_layered,
        cuda_cases_staged,
        cuda_cases_embedding,
        cuda_cases_tiny,
    )
    for case in cases.cases()
]
#: The narrow kernel's products are written three times: plain, for TF32 and for 16 bits.
LEAST = [cuda_cases_narrow.least(number) for number in (FLOAT64, TF32, FP16)]
CLASSES = cuda_cases_narrow.least(FLOAT32, classes=True)
PAIRS = cuda_cases_narrow.least(FLOAT32, pairs=True)
#: One as `shape_for` would have it.
LARGER = cuda_cases_narrow.maker_for("dropout", TF32).case("tail", Mode.GRADIENT, tiles=2)

# Bugs, planted in the backend's own sources. They sleep until an environment variable wakes one,
# so that the program that has them also watches the kernels as they are.

#: Which barrier is left out, and by how much some loops and stores go too far.
LEFT_OUT, PAST_END = "FN_TESTS_LEFT_OUT", "FN_TESTS_PAST_END"

PLANTS = f"""#include "device.cuh"
static int asked_for(const char *name, int otherwise) {{
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}}
static const int left_out = asked_for("{LEFT_OUT}", -1), past_end = asked_for("{PAST_END}", 0);
"""

#: Headers that are put in, so that they can be changed too, and the words for a barrier.
BARRIERS = {
    "tiny.cu": ((), ("barrier();",)),
    "narrow.cu": (
        ("losses.cuh", "narrow_gradient.cuh"),
        ("__syncthreads();", "__syncwarp();", "fn_wait_for_copies();"),
    ),
    "step.cu": (("sums.cuh",), ("__syncthreads();",)),
    "layered.cu": (
        ("losses.cuh", "sums.cuh", "entries.cuh"),
        ("__syncthreads();", "__syncwarp();"),
    ),
    "staged.cu": (("sums.cuh", "entries.cuh"), ("__syncthreads();",)),
}

#: What is changed in a file so that it goes past an end.
OVERRUNS = {
    "step.cu": ("i < size; i += apart", "i < size + past_end; i += apart"),
    "layered.cu": ("i < i##_end", "i < i##_end + past_end"),
    "staged.cu": ("i < i##_end", "i < i##_end + past_end"),
    "tiny.cu": (
        "i < size; i += blockDim.x) parameters", "i < size + past_end; i += blockDim.x) parameters"
    ),
    "narrow.cu": ("parts[blockIdx.x] = loss", "parts[blockIdx.x + past_end] = loss"),
}  # fmt: skip


def planted(file):
    """A source with its sleeping bugs, and the text behind each barrier, by its number."""
    headers, words = BARRIERS[file]
    text = (building.KERNELS / file).read_text()
    for header in headers:
        line, inside = f'#include "{header}"\n', (building.KERNELS / header).read_text()
        assert line in text
        text = text.replace(line, inside.replace("#pragma once\n", ""), 1).replace(line, "")
    right, wrong = OVERRUNS[file]
    assert right in text
    first, *others = re.split("|".join(map(re.escape, words)), text.replace(right, wrong))
    found = re.findall("|".join(map(re.escape, words)), text)
    parts = [f"if (left_out != {n}) {found[n]}{other}" for n, other in enumerate(others)]
    return f"{PLANTS}#line 1\n{first}{''.join(parts)}", others


SOURCES = {file: planted(file)[0] for file in BARRIERS}


def _groups():
    """Launches by sanitizer, kernel and build: one run of one program each."""
    groups = {}

    def join(sanitizer, case):
        groups.setdefault((sanitizer, case.kernel, case.macros), []).append(case)

    for case in SIMPLE:
        if case.number == KIND[case.file]:
            join(MEMORY, case)
            few = case.threads <= FEW_THREADS or case.kernel in ALL_THREADS
            if few and case.threads * case.blocks <= FEW_IN_ALL:
                join(RACES, case)
    for case in [*LEAST, LARGER]:
        join(MEMORY, case)
    for case in [CLASSES, LEAST[-1]]:
        join(RACES, case)
    for (sanitizer, _, _), cases in groups.items():
        if sanitizer == RACES:
            cases[:] = cases[:: -(-len(cases) // FEW)]
    return groups


WATCHED = [
    pytest.param(cases, sanitizer, id=f"{sanitizer.partition(',')[0]}-{cases[0]}")
    for (sanitizer, _, _), cases in _groups().items()
]


def watch(cases, sanitizer):
    """Launch them one after the other, and check what they leave."""
    launches = [case.launch() for case in cases]
    file = cases[0].file
    sanitized.run(SOURCES[file], launches, cases[0].macros, sanitizer, plain=file)
    for case, launch in zip(cases, launches, strict=True):
        left = dict(zip(case.build().parameters, launch.arguments, strict=True))
        case.check({name: left[name] for name, v in case.arguments.items() if isinstance(v, Out)})


@pytest.fixture(scope="module", autouse=True)
def _builds(request):
    """The programs of the tests that were asked for, two at a time."""
    here = [item for item in request.session.items if item.path == request.path]
    asked = [item.callspec.params for item in here if hasattr(item, "callspec")]
    needed = {
        (params["cases"][0].file, params["cases"][0].macros, params["sanitizer"])
        for params in asked
        if "sanitizer" in params
    }
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda build: sanitized.run(SOURCES[build[0]], [], *build[1:]), needed))


@pytest.mark.parametrize(("cases", "sanitizer"), WATCHED)
def test_a_kernel_keeps_to_its_memory_and_its_order(cases, sanitizer):
    watch(cases, sanitizer)


def test_every_kernel_is_watched_for_both():
    there = {
        signature.name
        for path in building.KERNELS.glob("*.cu")
        for signature in building.signatures(path.read_text())
    }
    for sanitizer in (MEMORY, RACES):
        assert {kernel for by, kernel, _ in _groups() if by == sanitizer} == there


@pytest.mark.parametrize("case", [*LEAST, LARGER], ids=str)
def test_a_narrow_kernel_needs_all_of_its_shared_memory(case):
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        watch([replace(case, shared=case.shared - 1)], MEMORY)


def picked(*names):
    """Cases by name, all of one build."""
    return [next(case for case in SIMPLE if str(case) == name) for name in names]


#: What stands behind a barrier, to tell it from others.
SUM, SUMMED, PEAK = "T whole = 0;", "return whole;", "real most = scratch[0];"
SOFTMAX, LOSS = "row[j] = exp_(", "real y = target.y ?"
READ = "// this block's threads have read it"
OTHERS = "// derivatives were put for other lanes too"

#: Only the narrow kernel in 16 bits has these.
CHAINED = (
    "// all warps have put their rows",
    "// all groups' sums are there",
    "// and have been added up",
)
IN_HEADERS = (SUM, SUMMED, PEAK, SOFTMAX, LOSS, OTHERS)

#: Barriers that are left out, by file and what stands behind them (None: all that are not in a
#: header), and what comes by them. The last barrier of `block_peak` is for callers that use its
#: memory again at once; there is none.
LEAVING_OUT = [
    ("tiny.cu", None,
     picked(*(f"tiny_train-float32-{name}" for name in ("all-at-once", "no-bias", "one-warp")))),
    ("narrow.cu", None, [CLASSES]),
    *(("narrow.cu", behind, [LEAST[-1]]) for behind in CHAINED),
    ("narrow.cu", LOSS, [CLASSES]),
    ("narrow.cu", OTHERS, [PAIRS]),
    ("step.cu", SUM, picked("total-bf16-no-weights")),
    ("step.cu", SUMMED, picked("total-bf16-no-weights")),
    ("step.cu", READ, picked("update_parameters-bf16-total-loss")),
    ("layered.cu", PEAK, picked("losses-bf16-mse-5x8-y-some")),
    ("layered.cu", SOFTMAX, picked("softmax-bf16-33-40-32")),
    ("layered.cu", None, picked("sum_columns-bf16-40-31")),
]  # fmt: skip


def _left_out():
    """A test for each of those barriers."""
    for file, behind, cases in LEAVING_OUT:
        found = 0
        for number, text in enumerate(planted(file)[1]):
            lines = "\n".join(text.split("\n")[:3])
            elsewhere = any(place in lines for place in (*IN_HEADERS, *CHAINED, "return most;"))
            if behind in lines if behind else not elsewhere:
                found += 1
                yield pytest.param(cases, RACES, number, id=f"{file}-{number}")
        assert found, f"{file} has no barrier in front of {behind}"


@pytest.mark.parametrize(("cases", "sanitizer", "number"), [*_left_out()])
def test_a_race_is_found_where_a_barrier_is_left_out(cases, sanitizer, number, monkeypatch):
    monkeypatch.setenv(LEFT_OUT, str(number))
    # What is read before its copy has come is NaN, and a place in the data is nowhere.
    with pytest.raises(AssertionError, match=r"data race|NaN stands elsewhere|SEGV"):
        watch(cases, sanitizer)


@pytest.mark.parametrize(
    ("cases", "sanitizer"),
    [
        (picked("update_parameters-bf16-adam"), MEMORY),
        (picked("finish_output-bf16-tanh-9-33"), MEMORY),
        (picked("transform-bf16-scaled"), MEMORY),
        (picked("tiny_train-float32-all-at-once"), MEMORY),
        ([LEAST[0]], MEMORY),
    ],
    ids=["step", "layered", "staged", "tiny", "narrow"],
)
def test_a_write_past_the_end_is_found(cases, sanitizer, monkeypatch):
    monkeypatch.setenv(PAST_END, "1")
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        watch(cases, sanitizer)
