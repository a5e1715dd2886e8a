"""Packed matrix products have the bits of plain ones and write only what is theirs."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from fastnet_numba.ops.panels import PANEL, blocks_for
from fastnet_numba.ops.products import (
    Matrix,
    Room,
    Rows,
    Shape,
    multiply,
    multiply_packed,
    tiles_for,
)
from fastnet_numba.simd.compiled import entry
from fastnet_numba.simd.host import LANES, Caches
from fastnet_numba.simd.tiles import ADD, BIAS, HEIGHTS, KEEP, RELU, TIMES, ZERO


@entry
def plain(tiles, c, c_row, a, a_row, a_column, b, b_row, rows, columns, depth, begin, end, e, m):
    zero = np.int64(0)
    multiply(
        tiles, Rows(c, zero, c_row), Matrix(a, zero, a_row, a_column), Rows(b, zero, b_row),
        Shape(rows, columns, depth), begin, end, Rows(e, zero, zero if begin == BIAS else c_row),
        Room(m, zero, zero, zero, zero, zero, columns * depth, zero, np.int64(-1), zero),
    )  # fmt: skip


@entry
def packed(
    tiles, c, c_row, a, a_row, a_column, b, b_row, transposed, rows, columns, depth, begin, end, e,
    m, blocks,
):  # fmt: skip
    zero = np.int64(0)
    multiply_packed(
        tiles, Rows(c, zero, c_row), Matrix(a, zero, a_row, a_column), Rows(b, zero, b_row),
        transposed, Shape(rows, columns, depth), begin, end,
        Rows(e, zero, zero if begin == BIAS else c_row),
        Room(m, zero, blocks[0], blocks[1], blocks[2], blocks[3], zero, zero, np.int64(-1), zero),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("begin", "end"), [(ZERO, KEEP), (ADD, KEEP), (BIAS, RELU), (ZERO, TIMES)])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 70, 40), (13, 70, 5), (40, 131, 50), (23, 257, 129)]
)
def test_packed_products_have_the_bits_of_plain_ones(dtype, begin, end, shape):
    rows, columns, depth = shape
    random = np.random.default_rng(1)
    lanes = LANES[np.dtype(dtype).itemsize]
    a, b = (random.standard_normal(n).astype(dtype) for n in ((rows, depth), (depth, columns)))
    e = random.standard_normal((rows, columns)).astype(dtype)
    started = random.standard_normal((rows, columns)).astype(dtype)
    tiles = tiles_for(a.ravel())

    def given(matrix, fill=np.nan):
        """The matrix in longer rows, and a vector behind it."""
        longer = np.full((len(matrix), matrix.shape[1] + 3), fill, dtype)
        longer[:, : matrix.shape[1]] = matrix
        return np.concatenate([longer.ravel(), np.full(lanes, fill, dtype)]), longer.shape[1]

    flat_b, b_row = given(b)
    flat_bt, bt_row = given(b.T)
    forms = {"along": (given(a), 1), "down": (given(a.T), 0)}
    flat_e = np.concatenate([e.ravel(), np.full(lanes, np.nan, dtype)])
    expected = None
    for (flat_a, stride), along in forms.values():
        a_row, a_column = (stride, 1) if along else (1, stride)
        where = flat_a, a_row, a_column
        found = started.ravel().copy()
        nothing = np.zeros(1, dtype)
        plain(tiles, found, columns, *where, flat_b, b_row, *shape, begin, end, flat_e, nothing)
        if expected is None:
            expected = found
        assert np.array_equal(found, expected)
        panel = PANEL * lanes
        for deep, panels, strip, high in ((16, 1, 0, 0), (32, 2, 16, 6), (512, 8, 64, 18)):
            entries = deep * panels * panel
            blocks = np.array([deep, entries, strip, high])
            for transposed in (0, 1):
                other, row = (flat_bt, bt_row) if transposed else (flat_b, b_row)
                found = started.ravel().copy()
                m = np.full(entries + strip * (rows + HEIGHTS[0]) + 2 * lanes, np.nan, dtype)
                packed(
                    tiles, found, columns, *where, other, row, transposed, *shape, begin, end,
                    flat_e, m, blocks,
                )  # fmt: skip
                assert np.array_equal(found, expected), (*blocks, transposed)
                assert np.isnan(m[-lanes:]).all()
    product = a.astype(float) @ b
    first = {ZERO: 0.0, ADD: started, BIAS: e.ravel()[:columns]}[begin]
    exact = first + product
    exact = np.maximum(exact, 0) if end == RELU else exact * e if end == TIMES else exact
    size = depth * np.finfo(dtype).eps * 8
    np.testing.assert_allclose(expected.reshape(rows, columns), exact, rtol=size, atol=size)


@pytest.mark.parametrize("second", [2**15, 2**17, 2**18, 2**20, 2**21, 3 * 2**20])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_blocks_are_whole_tiles_and_fit_in_the_cache(second, itemsize):
    blocks, panel = blocks_for(itemsize, Caches(2**15, second)), PANEL * LANES[itemsize]
    assert blocks.depth % LANES[itemsize] == 0 < blocks.depth
    half, strip = max(second // 2 // itemsize, panel * LANES[itemsize]), blocks.strip * panel
    assert blocks.depth * panel <= min(half, blocks.entries)
    assert strip <= blocks.entries <= max(half, strip)
    if blocks.rows:
        assert blocks.rows % HEIGHTS[0] == blocks.strip % LANES[itemsize] == 0 < blocks.strip
        assert (panel + HEIGHTS[0]) * blocks.strip * itemsize <= 2**15
