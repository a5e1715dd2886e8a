"""The CUDA backend's kernels under g++'s sanitizers, and bugs planted in them that are found."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from simulated import building

if building.absence() is not None:
    pytest.skip(building.absence(), allow_module_level=True)

import cuda_cases_layered
import cuda_cases_narrow
import cuda_cases_step
import cuda_cases_tiny
from cuda_cases import FLOAT32, FLOAT64, FP16, TF32, Out
from simulated import sanitized
from simulated.sanitized import MEMORY, RACES

from fastnet_cupy.context import GRADIENT

#: Kinds of number, by file and sanitizer: every branch of the preprocessor that matters to it.
KINDS = {
    ("step.cu", MEMORY): (FLOAT32, FP16),
    ("layered.cu", MEMORY): (FLOAT32, FP16),
    ("tiny.cu", MEMORY): (FLOAT32,),
    ("step.cu", RACES): (FLOAT32,),
    ("layered.cu", RACES): (FLOAT32,),
    ("tiny.cu", RACES): (FLOAT32,),
}

#: Launches of a kernel that are watched for races, at most, and their threads: each is a thread
#: of the operating system. Some kernels come with as many as they are written for.
FEW, FEW_THREADS = 8, 64
ALL_THREADS = ("narrow", "sum_columns", "sum_parts")

SIMPLE = [*cuda_cases_step.cases(), *cuda_cases_layered.cases(), *cuda_cases_tiny.cases()]
LEAST = [cuda_cases_narrow.least(number) for number in (FLOAT64, TF32, FP16)]
#: One as `shape_for` would have it.
LARGER = cuda_cases_narrow.maker_for("dropout", FP16).case("tail", GRADIENT, tiles=2)


def _groups():
    """Launches by sanitizer, kernel and build: one run of one program each."""
    groups = {}

    def join(sanitizer, case):
        groups.setdefault((sanitizer, case.kernel, case.macros), []).append(case)

    for case in SIMPLE:
        alone = case.kernel == "choose_scale"  # for one kind of number only
        if case.number in KINDS[case.file, MEMORY]:
            join(MEMORY, case)
        few = case.threads <= FEW_THREADS or case.kernel in ALL_THREADS
        if few and (alone or case.number in KINDS[case.file, RACES]):
            join(RACES, case)
    for case in [*LEAST, cuda_cases_narrow.least(FLOAT32, classes=True), LARGER]:
        join(MEMORY, case)
    for case in [cuda_cases_narrow.least(FLOAT32, classes=True), LEAST[-1]]:
        join(RACES, case)
    for (sanitizer, _, _), cases in groups.items():
        if sanitizer == RACES:
            cases[:] = cases[:: -(-len(cases) // FEW)]
    return groups


WATCHED = [
    pytest.param(cases, sanitizer, id=f"{sanitizer.partition(',')[0]}-{cases[0]}")
    for (sanitizer, _, _), cases in _groups().items()
]


def watch(cases, sanitizer, source=None):
    """Launch them one after the other, and check what they leave."""
    launches = [case.launch() for case in cases]
    sanitized.run(source or cases[0].file, launches, cases[0].macros, sanitizer)
    for case, launch in zip(cases, launches, strict=True):
        left = dict(zip(case.build().parameters, launch.arguments, strict=True))
        case.check({name: left[name] for name, v in case.arguments.items() if isinstance(v, Out)})


@pytest.fixture(scope="module", autouse=True)
def _builds(request):
    """The programs of the tests that were asked for, two at a time."""
    here = [item for item in request.session.items if item.path == request.path]
    asked = [item.callspec.params for item in here if hasattr(item, "callspec")]
    needed = {
        (params.get("source", params["cases"][0].file), params["cases"][0].macros,
         params["sanitizer"])
        for params in asked
        if "sanitizer" in params
    }  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda build: sanitized.run(build[0], [], *build[1:]), needed))


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


# Bugs, planted in the backend's own sources.


def source_of(file, headers=()):
    """A source with some headers put in, so that they can be changed, too."""
    text = (building.KERNELS / file).read_text()
    for header in headers:
        line, inside = f'#include "{header}"\n', (building.KERNELS / header).read_text()
        assert line in text
        text = text.replace(line, inside.replace("#pragma once\n", ""), 1).replace(line, "")
    return text


#: The number of the barrier that is left out, for one program to do without any of its own.
LEFT_OUT = "FN_TESTS_LEFT_OUT"


def with_barriers_to_leave_out(text, word):
    """`text` with a condition before each `word`: that it is not the one to be left out."""
    first, *others = text.split(word)
    assert others, f"there is no {word!r}"
    parts = [f"if (left_out != {n}) {word}{other}" for n, other in enumerate(others)]
    return (
        '#include "device.cuh"\n'
        f'static const char *const asked = getenv("{LEFT_OUT}");\n'
        "static const int left_out = asked ? atoi(asked) : -1;\n"
        f"#line 1\n{first}{''.join(parts)}"
    )


def picked(*names):
    """Cases by name, all of one build."""
    return [next(case for case in SIMPLE if str(case) == name) for name in names]


#: File, headers put in, barrier, which ones (None: all), and what comes by them. The last barrier
#: of `block_peak` is for callers that use its memory again at once; there is none.
BARRIERS = [
    ("tiny.cu", (), "in_step();", None,
     picked(*(f"tiny_train-float32-{name}" for name in ("all-at-once", "no-bias", "one-warp")))),
    ("narrow.cu", (), "__syncthreads();", None, [cuda_cases_narrow.least(FLOAT32, classes=True)]),
    ("narrow.cu", ("losses.cuh",), "__syncwarp();", [1],
     [cuda_cases_narrow.least(FLOAT32, classes=True)]),
    ("step.cu", ("sums.cuh",), "__syncthreads();", [0, 1], picked("total-float32-no-weights")),
    ("layered.cu", ("losses.cuh", "sums.cuh"), "__syncthreads();", [2],
     picked("losses-float32-mse-5x8-y-some")),
    ("layered.cu", ("losses.cuh",), "__syncwarp();", [0], picked("softmax-float32-33-40-32")),
    ("layered.cu", (), "__syncthreads();", None, picked("sum_columns-float32-40-31")),
]  # fmt: skip

RACING = [
    pytest.param(
        cases, RACES, with_barriers_to_leave_out(source_of(file, headers), word), number,
        id="-".join([file, *headers, word.rstrip("();"), str(number)]),
    )
    for file, headers, word, numbers, cases in BARRIERS
    for number in [-1, *(numbers or range(source_of(file, headers).count(word)))]
]  # fmt: skip

#: What is changed in a file so that it writes past an end, and what then does.
OVERRUNS = [
    ("step.cu", "i < size; i += apart", "i <= size; i += apart", picked("move-float32-adam")),
    ("layered.cu", "i < i##_end", "i <= i##_end", picked("finish_output-float32-tanh-9-33")),
    ("tiny.cu", "i < size; i += blockDim.x) parameters", "i <= size; i += blockDim.x) parameters",
     picked("tiny_train-float32-all-at-once")),
    ("narrow.cu", "parts[blockIdx.x] = loss", "parts[blockIdx.x + 1] = loss", [LEAST[0]]),
]  # fmt: skip


@pytest.mark.parametrize(("cases", "sanitizer", "source", "number"), RACING)
def test_a_race_is_found_where_a_barrier_is_left_out(cases, sanitizer, source, number, monkeypatch):
    monkeypatch.setenv(LEFT_OUT, str(number))
    if number < 0:  # none is
        watch(cases, sanitizer, source)
        return
    with pytest.raises(AssertionError, match="data race"):
        watch(cases, sanitizer, source)


@pytest.mark.parametrize(("file", "right", "wrong", "cases"), OVERRUNS)
def test_a_write_past_the_end_is_found(file, right, wrong, cases):
    text = source_of(file)
    assert right in text
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        watch(cases, MEMORY, text.replace(right, wrong))
