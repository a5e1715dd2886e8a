"""Shared memory has 32 banks of 4 bytes: how often a warp's products read it, counted.

The kernels' own loads are counted: each entry of a matrix holds its own place, so what a lane reads
says where it has read.
"""

from itertools import product

import numpy as np
import pytest
from simulated import building, compiled

from fastnet_cupy.narrow import WIDTHS
from fastnet_cupy.precision import BF16, FLOAT32, FLOAT64, TF32

if building.absence() is not None:
    pytest.skip(building.absence(), allow_module_level=True)

#: A product of one warp, c (16, 16), with the depth of one instruction. `out` becomes the number of
#: each lane's loads, and for each load the places of the lanes' entries. Matrices of 16 bits are
#: read by rows of eight entries, and there it is the place of a row's first.
SOURCE = """
#include "sums.cuh"
static int *seen;
__device__ void see(int place) {
  int lane = threadIdx.x;
  seen[32 + lane + 32 * seen[lane]++] = place;
}
static const store *from;
__device__ void see_row(uint32_t (&)[4], const void *row) { see((int)((const store *)row - from)); }
__device__ void see_fragments(float (&)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  for (int i = 0; i < 4; i++) see((int)__uint_as_float(a[i]));
  for (int i = 0; i < 2; i++) see((int)__uint_as_float(b[i]));
}
#define fn_mma_tf32 see_fragments
#define fn_mma_bf16(c, a, b) (void)a, (void)b
#define fn_load_matrices see_row
#define fn_load_matrices_transposed see_row
#include "products.cuh"

#if defined(FN_TF32)
#define DEPTH 8
#elif FN_16_BIT
#define DEPTH 16
#else
#define DEPTH 1
#endif

template <int LENGTH, bool TURN_A, bool TURN_B>
__device__ void one(const store *a, const store *b) {
  real c[1][2][4];
  clear(c);
  constexpr int LD = LENGTH + ROW_PADDING;
  multiply<1, 2, DEPTH, TURN_A, TURN_B, LD, LD>(a, b, c);
#if !FN_16_BIT && !defined(FN_TF32)
  for (int n = 0; n < 2; n++)
    for (int i = 0; i < 4; i++) see((int)c[0][n][i]);
#endif
}
template <int LENGTH>
__device__ void turned(int turn_a, int turn_b, const store *a, const store *b) {
  if (turn_a) turn_b ? one<LENGTH, true, true>(a, b) : one<LENGTH, true, false>(a, b);
  else turn_b ? one<LENGTH, false, true>(a, b) : one<LENGTH, false, false>(a, b);
}
extern "C" __global__ void __launch_bounds__(32)
    places(int width, int turn_a, int turn_b, const store *a, const store *b, int *out) {
  seen = out;
  from = a;
  if (width == 16) turned<16>(turn_a, turn_b, a, b);
  if (width == 32) turned<32>(turn_a, turn_b, a, b);
  if (width == 64) turned<64>(turn_a, turn_b, a, b);
  if (width == 128) turned<128>(turn_a, turn_b, a, b);
}
"""


def read(number, width, turn_a, turn_b):
    """Places `(loads, 32)`, in entries, of what lanes read of `a`, and of what they read of `b`."""
    entries = 16 * (width + 16 // number.bytes) + 128

    def launched(a, b):
        out = np.zeros(32 + 32 * 64, np.int32)
        geometry = (np.int32(width), np.int32(turn_a), np.int32(turn_b))
        compiled.kernels(SOURCE, ((number.macro, ""),))["places"].launch(
            1, 32, (*geometry, a, b, out)
        )
        assert (out[:32] == out[0]).all()
        return out[32:].reshape(-1, 32)[: out[0]]

    numbered = np.arange(entries).astype(number.store)
    if number == BF16:  # rows of either are told by their addresses
        both = np.zeros(2 * entries, number.store)
        found = launched(both[:entries], both[entries:])
        return found[found[:, 0] < entries], found[found[:, 0] >= entries] - entries
    if number == TF32:
        found = launched(numbered, numbered).reshape(-1, 6, 32)
        return found[0, :4], found[:, 4:].reshape(-1, 32)
    one = np.ones_like(numbered)
    in_a, in_b = launched(numbered, one), launched(one, numbered)
    return in_a[[0, 2]], in_b.reshape(-1, 4, 32)[:, :2].reshape(-1, 32)


def turns(places, itemsize, together=32):
    """How often memory is read for one load of each lane, of `together` lanes at once.

    In one turn every bank gives one word of 4 bytes, to all that want it (CUDA C++ Programming
    Guide, "Shared Memory").
    """
    words = (places[:, None] * itemsize + np.arange(0, itemsize, 4)) // 4
    count = 0
    for first in range(0, 32, together):
        asked = np.unique(words[first : first + together])
        count += np.bincount(asked % 32).max()
    return count


PASSES = {"forward": (False, False), "gradient": (True, False), "back": (False, True)}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("number", [FLOAT32, FLOAT64, BF16, TF32], ids=lambda one: one.name)
def test_no_two_lanes_find_their_entries_in_one_bank(number, name, width):
    found = read(number, width, *PASSES[name])
    for matrix, places in zip("ab", found, strict=True):
        assert len(places), "nothing was seen"
        for load in places:
            if number == BF16:  # eight rows of 16 bytes at once
                rows = (load[:, None] + np.arange(0, 8, 2)).reshape(4, -1)
                assert [turns(eight, 2) for eight in rows] == [1] * 4
                continue
            # Numbers of 8 bytes come to half a warp at a time.
            at_once = 16 if number == FLOAT64 else 32
            least = 32 // at_once
            if number == TF32 and (matrix, name) == ("a", "forward"):
                least = 2  # one of the two must: see products.cuh
            assert turns(load, number.bytes, at_once) == least


def test_a_product_reads_its_matrices_entries():
    """What is counted is right: each lane's entries are those of the ISA's fragments."""
    for turn_a, turn_b in product((False, True), repeat=2):
        in_a, in_b = read(TF32, 32, turn_a, turn_b)
        length = 36
        rows, depth = in_a // length, in_a % length
        rows, depth = (depth, rows) if turn_a else (rows, depth)
        assert {*zip(rows.flat, depth.flat, strict=True)} == {*product(range(16), range(8))}
        assert len(in_b) == 4
        depth, columns = in_b // length, in_b % length
        depth, columns = (columns, depth) if turn_b else (depth, columns)
        assert {*zip(depth.flat, columns.flat, strict=True)} == {*product(range(8), range(16))}


def test_a_conflict_is_counted():
    lanes = np.arange(32)
    assert turns(lanes * 0, 4) == 1
    assert turns(lanes, 4) == 1
    assert turns(lanes * 2, 4) == 2
    assert turns(lanes * 32, 4) == 32
    assert turns(lanes, 8, 16) == 2
