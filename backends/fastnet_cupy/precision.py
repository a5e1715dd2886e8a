"""Kinds of numbers: what is stored, how it is multiplied, and what kernels call it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array


@dataclass(frozen=True)
class Number:
    """A kind of number.

    Attributes:
        name: "float64", "float32", "tf32", "bf16" or "fp16".
        store: the dtype of arrays of it. NumPy has no bfloat16: its bits stand in uint16.
        real: the dtype in which sums, parameters and gradients are kept.
        macro: what `kernels/numbers.cuh` calls it.
        mantissa: bits of its significand that a product reads, the leading one left out.
    """

    name: str
    store: str
    real: str
    macro: str
    mantissa: int

    @property
    def is_16_bit(self) -> bool:
        """Whether it is stored in fewer bits than sums are kept in."""
        return self.store != self.real

    @property
    def on_tensor_cores(self) -> bool:
        """Whether they compute its products."""
        return self.name in NUMBERS

    @property
    def real_bytes(self) -> int:
        """Of a number that sums are kept in."""
        return np.dtype(self.real).itemsize

    @property
    def bytes(self) -> int:
        """Of one number in memory."""
        return np.dtype(self.store).itemsize


FLOAT64 = Number("float64", "float64", "float64", "FN_FLOAT64", 52)
FLOAT32 = Number("float32", "float32", "float32", "FN_FLOAT32", 23)
#: 10 bits of significand when it is multiplied, stored as float32 (NVIDIA A100 whitepaper, 2020).
TF32 = Number("tf32", "float32", "float32", "FN_TF32", 10)
BF16 = Number("bf16", "uint16", "float32", "FN_BF16", 7)
FP16 = Number("fp16", "float16", "float32", "FN_FP16", 10)

#: What `Model(precision=...)` may be, and what it means for the dtype float32.
NUMBERS = {number.name: number for number in (TF32, BF16, FP16)}


def number_for(dtype: np.dtype[Any], precision: str | None) -> Number:
    """The kind of number for a model's dtype and precision."""
    if precision is not None:
        return NUMBERS[precision]
    return FLOAT64 if dtype == np.float64 else FLOAT32


def bf16_to_float32(bits: Array) -> Array:
    """bfloat16 as its bits `(...)` uint16, to float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def float32_to_bf16(values: Array) -> Array:
    """float32 to bfloat16 as its bits, uint16: to the nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)
