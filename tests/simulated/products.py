"""Matrix products of the simulated device: what cuBLASLt does, in NumPy."""

from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet_cupy.device import Epilogue, ProductSpec
from fastnet_cupy.precision import BF16, TF32, Number, bf16_to_float32, float32_to_bf16


def round_tf32(values: Array) -> Array:
    """float32 with 10 bits of significand, to the nearest, ties away from zero.

    As machine code has it: a NaN whose bits all lie below the tenth becomes infinite.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    bits = bits + np.where(np.isfinite(values), 0x1000, 0).astype(np.uint32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def as_read(stored: Array, number: Number) -> Array:
    """What a product reads of stored numbers, in the dtype of sums."""
    if number == BF16:
        return bf16_to_float32(stored)
    if number == TF32:
        return round_tf32(stored)
    return stored.astype(number.real)


def as_stored(values: Array, number: Number) -> Array:
    """Sums as they are stored."""
    if number == BF16:
        return float32_to_bf16(values)
    with np.errstate(over="ignore"):
        return values.astype(number.store)


def multiply(
    spec: ProductSpec, a: Array, b: Array, out: Array, bias: Array | None, mask: Array | None
) -> None:
    """out = epilogue(op(a) @ op(b)); arrays are flat or of any shape that holds as much."""
    left = _matrix(a, spec.rows, spec.depth, spec.transpose_a, spec.operands)
    right = _matrix(b, spec.depth, spec.columns, spec.transpose_b, spec.operands)
    with np.errstate(all="ignore"):
        result = left @ right
        result = _finish(spec, result, right, bias, mask)
        out.reshape(-1)[...] = as_stored(result, spec.result).reshape(-1)


def _matrix(stored: Array, rows: int, columns: int, turned: bool, number: Number) -> Array:
    shape = (columns, rows) if turned else (rows, columns)
    matrix = as_read(stored.reshape(shape), number)
    return matrix.T if turned else matrix


def _finish(spec: ProductSpec, result: Array, right: Array, bias: Any, mask: Any) -> Array:
    """The epilogue; writes `mask` and the sums."""
    kind = spec.epilogue
    if kind in (Epilogue.BIAS, Epilogue.RELU_BIAS, Epilogue.RELU_MASK_BIAS):
        added = bf16_to_float32(bias) if spec.result == BF16 else bias
        result = result + added.reshape(1, -1).astype(result.dtype)
    if kind is Epilogue.RELU_MASK_BIAS:
        _write_bits(spec, mask, result > 0)
    if kind in (Epilogue.RELU_BIAS, Epilogue.RELU_MASK_BIAS):
        result = np.fmax(result, 0)  # drops NaN, as fmaxf does: it may
    if kind is Epilogue.MASK:
        bits = np.unpackbits(mask.reshape(spec.rows, -1), axis=1, bitorder="little")
        result = np.where(bits[:, : spec.columns] != 0, result, 0)
    if kind is Epilogue.SUMS:
        bias.reshape(-1)[...] = as_stored(right.sum(axis=0), spec.result)
    return result


def _write_bits(spec: ProductSpec, mask: Array, positive: Array) -> None:
    """A bit an entry; what fills a row up is not zero, so that nobody counts on it."""
    bits = np.ones((spec.rows, spec.mask_row_bytes * 8), bool)
    bits[:, : spec.columns] = positive
    mask.reshape(spec.rows, -1)[...] = np.packbits(bits, axis=1, bitorder="little")
