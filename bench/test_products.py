"""What the constants of the Numba backend's matrix products were chosen by.

As in `test_choices.py`: each prints and stores the first path's time divided by the second's.
"""

import time
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from bench.test_choices import compare, constants

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")


def _packed(**values: int) -> Any:
    """A matrix product with packed blocks, compiled; with blocks of other sizes."""
    from fastnet_numba.ops.panels import blocks_for
    from fastnet_numba.ops.products import Matrix, Room, Rows, Shape, multiply_packed
    from fastnet_numba.simd.compiled import entry
    from fastnet_numba.simd.host import caches

    sizes = replace(blocks_for(4, caches()), **values)
    depth_of_block, entries, strip, high = sizes.depth, sizes.entries, sizes.strip, sizes.rows

    @entry
    def packed(
        tiles: Any, c: Any, a: Any, b: Any, m: Any, rows: Any, columns: Any, depth: Any, times: Any
    ) -> None:
        zero: Any = np.int64(0)
        one: Any = np.int64(1)
        room = Room(m, zero, depth_of_block, entries, strip, high, zero, zero, np.int64(-1), zero)
        for _ in range(times):
            multiply_packed(
                tiles, Rows(c, zero, columns), Matrix(a, zero, depth, one), Rows(b, zero, columns),
                zero, Shape(rows, columns, depth), zero, zero, Rows(c, zero, zero), room,
            )  # fmt: skip

    return packed


@cache
def _products() -> tuple[Any, Any]:
    """A matrix product as it is, and with packed panels."""
    from fastnet_numba.simd.compiled import entry
    from fastnet_numba.simd.vectors import product

    @entry
    def plain(
        tiles: Any, c: Any, a: Any, b: Any, m: Any, rows: Any, columns: Any, depth: Any, times: Any
    ) -> None:
        zero: Any = np.int64(0)
        one: Any = np.int64(1)
        for _ in range(times):
            product(
                tiles, c, zero, columns, a, zero, depth, one, b, zero, columns,
                rows, columns, depth, zero, zero, c, zero, zero,
            )  # fmt: skip

    return plain, _packed()


def _tiles(**values: Any) -> Any:
    """The address of the tiles for float32, compiled with other constants of their module."""
    import numba

    from fastnet_numba.simd import tiles

    address = tiles.address_of_tiles
    with constants(tiles, **values):
        return numba.njit(lambda like: address(like))(np.zeros(0, np.float32))


class Product:
    """The time of a product of random matrices, checked."""

    def __init__(self, rows: int, columns: int, depth: int) -> None:
        random = np.random.default_rng(0)
        self.shape = rows, columns, depth
        self.a, self.b = (
            random.random(n, dtype=np.float32) for n in (rows * depth, depth * columns)
        )
        self.c, self.m = np.zeros(rows * columns, np.float32), np.zeros(2**21, np.float32)
        self.times = max(int(2e8 / (rows * columns * depth)), 1)
        with threadpool_limits(1, "blas"):
            self.wanted = self.a.reshape(rows, depth) @ self.b.reshape(depth, columns)

    def seconds(self, kernel: Any, tiles: Any) -> float:
        """How long one kernel takes for it with these tiles."""
        began = time.perf_counter()
        kernel(tiles, self.c, self.a, self.b, self.m, *self.shape, self.times)
        took = time.perf_counter() - began
        assert np.allclose(self.c.reshape(self.wanted.shape), self.wanted, rtol=1e-4)
        return took


@pytest.mark.parametrize(
    ("rows", "columns", "depth"),
    [
        (128, 128, 784),
        (128, 512, 512),
        (128, 768, 768),
        (128, 1024, 1024),
        (512, 2048, 2048),
        (8, 2048, 2048),
        (16, 2048, 2048),
        (8, 1024, 1024),
        (16, 1024, 1024),
        (32, 1024, 1024),
        (64, 1024, 1024),
    ],
)
def test_packing(
    rows: int,
    columns: int,
    depth: int,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A plain product's time divided by a packed one's (`panels.PACKED_FROM`)."""
    plain, packed = _products()
    made, tiles = Product(rows, columns, depth), _tiles()
    what = f"{rows} x {depth} x {columns}, B of {columns * depth * 4 >> 10} KiB: plain over packed"
    compare(
        benchmark,
        capsys,
        what,
        lambda: made.seconds(plain, tiles),
        lambda: made.seconds(packed, tiles),
    )


@pytest.mark.parametrize(("part", "factor"), [("depth", 0.25), ("depth", 0.5), ("entries", 0.5)])
def test_blocks(
    part: str, factor: float, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A packed product's time with other blocks divided by ours (`panels.blocks_for`)."""
    from fastnet_numba.ops.panels import blocks_for
    from fastnet_numba.simd.host import caches

    usual = getattr(blocks_for(4, caches()), part)
    changed = int(usual * factor)
    other, ours = _packed(**{part: changed}), _products()[1]
    made, tiles = Product(128, 2048, 2048), _tiles()
    what = f"128 x 2048 x 2048, blocks with {part} {changed} over {usual}"
    compare(
        benchmark,
        capsys,
        what,
        lambda: made.seconds(other, tiles),
        lambda: made.seconds(ours, tiles),
    )


@pytest.mark.parametrize("width", [4, 16])
def test_one_row(
    width: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row's time with other tiles divided by ours (`tiles.ROW_WIDTH`)."""
    from fastnet_numba.simd import tiles

    plain, made = _products()[0], Product(1, 1024, 1024)
    others, ours = _tiles(ROW_WIDTH=width), _tiles()
    what = f"1 x 1024 x 1024, tiles of {width} vectors over {tiles.ROW_WIDTH}"
    compare(
        benchmark,
        capsys,
        what,
        lambda: made.seconds(plain, others),
        lambda: made.seconds(plain, ours),
    )
