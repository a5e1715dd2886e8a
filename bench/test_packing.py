"""From where on packing the second operand of a product pays, by whole steps.

As in `test_choices.py`: each prints and stores the first path's time divided by the second's.
"""

import time
from functools import cache
from importlib.util import find_spec
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnet as fn
from bench.test_choices import compare, data, relu

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")

#: Seconds of a fit, about, if it does 5e10 operations a second.
SECONDS = 0.02


@cache
def _always(packed: bool, weights: bool) -> Any:
    """A part like `products.large_multiplied` that always, or never, packs one of the operands.

    Args:
        packed: whether it does.
        weights: whether that is the weights of a forward product. Else it is the derivatives, of
            which and the inputs the gradient of the weights is the product: their rows are an odd
            number of cache lines apart.
    """
    from fastnet_numba.ops.products import large_multiplied, packing_pays
    from fastnet_numba.simd.compiled import inlined, part_named

    def pays(rows: Any, columns: Any, row: Any, entries: Any, lanes: Any, itemsize: Any) -> Any:
        if (row * itemsize % 128 != 64) == weights:
            return packed
        return packing_pays(rows, columns, row, entries, lanes, itemsize)

    usual = large_multiplied.py_func
    changed = FunctionType(
        usual.__code__, {**usual.__globals__, "packing_pays": inlined(pays)}, usual.__name__
    )
    changed.__annotations__ = usual.__annotations__
    operand = "weights" if weights else "derivatives"
    return part_named(f"{operand}_{'packed' if packed else 'plain'}", changed)


class Steps:
    """Fits of 32-n-n-1 with plain SGD, with products by one part."""

    def __init__(self, units: int, batch: int, dtype: str, part: Any) -> None:
        from fastnet_numba.ops.table import LARGE

        self.steps = max(int(SECONDS * 5e10 / (6 * batch * units * (units + 33))), 2)
        x, y = data(self.steps * batch, 32, 1)
        self.x, self.y, self.batch = x.astype(dtype), y.astype(dtype), batch
        network = relu(32, units, units, 1)
        self.model = fn.Model(network, backend="numba", dtype=dtype, seed=1, threads=1)
        program: Any = self.model.program
        program.for_rows(batch).training[0, LARGE] = program.kernels.address_of(part)

    def seconds(self) -> float:
        """How long a step takes."""
        began = time.perf_counter()
        self.model.fit(
            self.x, self.y, optimizer=fn.SGD(1e-4), batch_size=self.batch, epochs=1, shuffle=False
        )
        return (time.perf_counter() - began) / self.steps


def _cells() -> list[Any]:
    """Units, rows of a batch, dtype and operand: one of them wherever the benchmarks are run."""
    single = [
        (units, batch, "float32", "weights")
        for units in (256, 384, 512, 768, 992, 1024, 1536, 2048)
        for batch in (16, 64, 128, 256, 512)
        if batch <= 256 or units >= 992  # chunks of the others have no more rows
    ]
    double = [
        (units, batch, "float64", "weights")
        for units in (256, 512, 992, 1024)
        for batch in (16, 64, 256)
    ]
    derivatives = [
        (units, batch, "float32", "derivatives")
        for units in (256, 512, 768, 1024, 2048)
        for batch in (128, 256, 512)
    ]
    first, *rest = [*single, *double, *derivatives]
    return [first, *(pytest.param(*cell, marks=pytest.mark.slow) for cell in rest)]


@pytest.mark.parametrize(("units", "batch", "dtype", "operand"), _cells())
def test_packing(
    units: int,
    batch: int,
    dtype: str,
    operand: str,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A step's time with plain products divided by that with packed ones (`WORTH_PACKING` and
    `WORTH_PARTING` in `panels.py`).
    """
    parts = [_always(packed, operand == "weights") for packed in (False, True)]
    plain, packed = (Steps(units, batch, dtype, part) for part in parts)
    what = f"32-{units}-{units}-1, {batch} rows, {dtype}, {operand} plain over packed"
    compare(benchmark, capsys, what, plain.seconds, packed.seconds)
    assert np.array_equal(plain.model.parameters.flat, packed.model.parameters.flat)
