"""Rows to learn from that a user has on the device already: looked at, and left there."""

from typing import Any

import numpy as np

from fastnet.arrays import dlpack
from fastnet.contract.program import Data, Inputs
from fastnet_cupy.context import Context
from fastnet_cupy.names import THREADS


def data_at_once(
    context: Context, x: Any, y: Any, bounds: tuple[float, float] | None
) -> Data | None:
    """Rows on the device, if they are good to learn from: see `Program.data_at_once`."""
    device, layout, real = context.device, context.layout, np.dtype(context.number.real)
    labeled = bounds is None
    kind, kinds = (np.dtype(np.int64), "biu") if labeled else (real, "biuf")
    x, y = _there(context, x, real, "x", "biuf"), _there(context, y, kind, "y", kinds)
    if x is None or y is None or x.ndim != 2 or x.shape[1] != layout.inputs or not len(x):
        return None
    rows, outputs = x.shape[0], layout.outputs
    columns = 1 if labeled else outputs
    if y.shape != (rows, columns) and (y.shape != (rows,) or columns > 1):
        return None
    y = y.reshape((rows,) if labeled else (rows, outputs))
    device.join()
    found = device.upload(np.zeros(1, np.int64))
    largest = float(np.finfo(real).max)

    def look(name: str, array: Any, *limits: Any) -> None:
        kernel = context.kernel("step.cu", name)
        kernel(context.blocks(array.size), THREADS, (array, np.int64(array.size), *limits, found))

    look("count_outside", x, np.float64(-largest), np.float64(largest))
    if bounds is None:
        look("count_unknown", y, np.int64(outputs))
    else:
        least, most = np.clip(bounds, -largest, largest)
        look("count_outside", y, least, most)
    return None if device.download(found)[0] else Data(Inputs(x), y)


def _there(context: Context, value: Any, dtype: np.dtype[Any], what: str, kinds: str) -> Any:
    """An array on this device as kernels read it, of `dtype`; None where it is none."""
    if dlpack.on_gpu(value):
        value = dlpack.as_rows(value, dtype, what, kinds)
    if not context.device.holds(value) or value.dtype != dtype or not value.flags.c_contiguous:
        return None
    return value
