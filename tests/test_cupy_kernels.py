"""Every kernel of the CUDA backend against NumPy in float64, in shuffled schedules."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from simulated import building, compiled

if building.absence() is not None:
    pytest.skip(building.absence(), allow_module_level=True)

import cuda_cases_embedding
import cuda_cases_layered
import cuda_cases_narrow
import cuda_cases_staged
import cuda_cases_step
import cuda_cases_tiny
from compare import assert_same_bits
from cuda_cases import NUMBERS, SEEDS

from fastnet import random
from fastnet_cupy import narrow

CASES = [
    *cuda_cases_step.cases(),
    *cuda_cases_layered.cases(),
    *cuda_cases_staged.cases(),
    *cuda_cases_embedding.cases(),
    *cuda_cases_tiny.cases(),
    *cuda_cases_narrow.cases(),
]


@pytest.fixture(scope="module", autouse=True)
def _builds(request):
    """What the tests that were asked for need, two at a time."""
    here = [item for item in request.session.items if item.path == request.path]
    asked = [item.callspec.params for item in here if hasattr(item, "callspec")]
    cases = [params["case"] for params in asked if "case" in params]
    needed = {(case.file, case.macros): case for case in cases}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda case: case.build(), needed.values()))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kernel_gives_what_numpy_gives_in_every_schedule(case):
    first, *others = (case.run(seed) for seed in SEEDS)
    case.check(first)
    for other in others:
        for name, found in other.items():
            assert_same_bits(found, first[name])


def test_no_kernel_is_left_without_a_case():
    there = {
        (path.name, signature.name)
        for path in building.KERNELS.glob("*.cu")
        for signature in building.signatures(path.read_text())
    }
    assert {(case.file, case.kernel) for case in CASES} == there


def test_cases_have_names_of_their_own():
    assert len({str(case) for case in CASES}) == len(CASES)


def test_narrow_cases_come_in_every_share_and_kind_of_number():
    cases = [dict(case.macros) for case in CASES if case.kernel == "narrow"]
    names = ("FN_ROW_WARPS", "FN_COLUMN_WARPS", "FN_TILES")
    shares = {tuple(int(macros[name]) for name in names) for macros in cases}
    assert shares == {share for same_rows in narrow.SHARES for share in same_rows}
    assert {macros["FN_UNROLLED"] for macros in cases} == {"0", "1"}
    assert {n.macro for n in NUMBERS} == {n.macro for n in NUMBERS for c in cases if n.macro in c}


def test_a_table_of_constants_changes_no_bit():
    cases = [case for case in CASES if case.kernel == "tiny_train"]
    own = next(case for case in cases if case.defines)
    general = next(case for case in cases if case.arguments is own.arguments and not case.defines)
    wanted = general.run(1)
    for name, found in own.run(2).items():
        assert_same_bits(found, wanted[name])


PHILOX = """
#include "philox.cuh"
extern "C" __global__ void dropout_words(uint64_t seed, uint64_t step, int layer, uint64_t first,
                                         int count, unsigned *words) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) words[i] = dropout_word(seed, step, (uint32_t)layer, first + i);
}
"""


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**63 + 7, 2**64 - 1])
@pytest.mark.parametrize("step", [0, 5, 2**32 - 1, 2**32, 2**40 + 3])
@pytest.mark.parametrize(("first", "count", "layer"), [(0, 101, 0), (3, 1, 2), (9999, 50, 11)])
def test_dropout_words_are_those_of_fastnet_random(seed, step, first, count, layer):
    words = np.full(count, 0xFFFFFFFF, np.uint32)
    kernel = compiled.kernels(PHILOX)["dropout_words"]
    numbers = (np.uint64(seed), np.uint64(step), np.int32(layer), np.uint64(first), np.int32(count))
    kernel.launch(2, 64, (*numbers, words))
    wanted = random.words(seed, random.DROPOUT, step, first + count, layer)[first:]
    np.testing.assert_array_equal(words, wanted)
