"""A launch of one kernel of the CUDA backend, and what it must give: what its tests are made of.

A `Case` names every argument of its kernel and says of each array that the kernel writes what
stands in it afterwards, computed in float64 NumPy. The same cases run in shuffled schedules
(test_cupy_kernels.py) and under the sanitizers (test_cupy_sanitized.py).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from compare import assert_entries_near, assert_near
from simulated import compiled
from simulated.sanitized import Launch

import fastnet as fn
from fastnet import random
from fastnet.contract.lowering import lower
from fastnet.contract.program import Run
from fastnet_cupy import control
from fastnet_cupy.layout import Layout, lay_out, tabulate
from fastnet_cupy.names import Control
from fastnet_cupy.precision import BF16, FLOAT32, FLOAT64, FP16, TF32, Number, bf16_to_float32
from fastnet_numpy.activations import FUNCTIONS, Function
from fastnet_numpy.losses import LOSSES

NUMBERS = [FLOAT64, FLOAT32, TF32, BF16, FP16]
#: Those that parameters, sums and gradients are kept in: the others add rounding between layers.
REALS = [FLOAT64, FLOAT32]
#: One for each of them, and with it a kind that is stored in 16 bits: what a kernel does with sums
#: and parameters is the same code for float32 and bf16.
BOTH = [FLOAT64, BF16]

#: Seeds of the schedules that every case is run in.
SEEDS = (1, 2)

#: Entries of one kernel's result, in units of the dtype's epsilon: a few roundings each, and of
#: the terms of a sum, where they nearly cancel.
EPSILONS = 32


def rounding(number: Number, *, stored: bool = False) -> tuple[float, float]:
    """The relative and the absolute error of an entry that a kernel computes by itself.

    Args:
        number: the kind of number.
        stored: whether it is rounded to be stored: half a step of the format more. fp16's steps
            end at 2^-24.
    """
    near = EPSILONS * float(np.finfo(number.real).eps)
    if not stored or number in REALS:
        return near, near
    return 2.0 ** -(number.mantissa + 1) + near, (2.0**-25 if number == FP16 else 0) + near


@dataclass(frozen=True)
class Out:
    """An array that a kernel writes.

    Attributes:
        wanted: what it holds afterwards; NaN, and -1 among integers: what was there before, if
            nobody writes.
        dtype: of the array.
        start: what it holds before, or None: bytes of 0xFF, which are NaN and -1.
        near: the relative and the absolute error of an entry.
        norm: the error relative to the norm of `wanted`, but for its NaN; instead of `near`.
    """

    wanted: Any
    dtype: str
    start: Any = None
    near: tuple[float, float] = (0.0, 0.0)
    norm: float | None = None

    def array(self) -> np.ndarray:
        """What the kernel is given."""
        if self.start is not None:
            return np.array(self.start, self.dtype)
        made = np.empty(np.shape(self.wanted), self.dtype)
        made.reshape(-1).view(np.uint8)[...] = 0xFF
        return made

    def check(self, name: str, found: np.ndarray) -> None:
        """Whether that is what the kernel left."""
        wanted = np.asarray(self.wanted)
        if found.dtype.kind == "i":
            np.testing.assert_array_equal(found, wanted, name)
            return
        plain = (bf16_to_float32(found) if found.dtype == np.uint16 else found).astype(np.float64)
        wanted = wanted.astype(np.float64)
        if self.norm is None:
            assert_entries_near(plain, wanted, *self.near)
            return
        there = ~np.isnan(wanted)
        np.testing.assert_array_equal(~np.isnan(plain), there, f"{name}: NaN stands elsewhere")
        assert_near(plain[there], wanted[there], self.norm)


@dataclass(frozen=True)
class Case:
    """One launch.

    Attributes:
        name: of the test, after the kernel's.
        file, kernel: which kernel.
        number: the kind of number it is compiled for.
        arguments: by the kernel's own names, in any order: arrays that it only reads, `Out` for
            those that it writes, another argument's name for the same array, None for null, and
            numbers.
        blocks, threads, shared: the geometry.
        defines: further macros.
    """

    name: str
    file: str
    kernel: str
    number: Number
    arguments: dict[str, Any]
    blocks: int = 1
    threads: int = 64
    shared: int = 0
    defines: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.kernel}-{self.number.name}-{self.name}"

    @property
    def macros(self) -> tuple[tuple[str, str], ...]:
        """All of the build's."""
        return ((self.number.macro, ""), *self.defines)

    def build(self) -> compiled.CompiledKernel:
        """The kernel, compiled."""
        return compiled.kernels(self.file, self.macros)[self.kernel]

    def values(self) -> list[Any]:
        """The arguments in the kernel's order, arrays as new copies."""
        kernel = self.build()
        assert sorted(kernel.parameters) == sorted(self.arguments)
        made: dict[str, Any] = {}
        for name, kind in zip(kernel.parameters, kernel.types, strict=True):
            value = self.arguments[name]
            if isinstance(value, Out):
                value = value.array()
            elif isinstance(value, np.ndarray):
                value = value.copy()
            elif not isinstance(value, str | type(None)):
                value = np.dtype(kind).type(value)
            made[name] = value
        return [made[value] if isinstance(value, str) else value for value in made.values()]

    def launch(self, seed: int = 1) -> Launch:
        """The same for the sanitizers."""
        geometry = (self.blocks, self.threads, self.values())
        return Launch(self.kernel, *geometry, self.shared, seed)

    def run(self, seed: int) -> dict[str, np.ndarray]:
        """Launch it; return what it wrote. What it only reads must stay as it was."""
        kernel, values = self.build(), self.values()
        kernel.launch(self.blocks, self.threads, values, self.shared, seed)
        arrays = dict(zip(kernel.parameters, values, strict=True))
        written = {}
        for name, given in self.arguments.items():
            if isinstance(given, Out):
                written[name] = arrays[name]
            elif isinstance(given, np.ndarray):
                assert arrays[name].tobytes() == given.tobytes(), f"{name} was written to"
        return written

    def check(self, written: dict[str, np.ndarray]) -> None:
        """Whether it wrote what it should."""
        for name, found in written.items():
            self.arguments[name].check(name, found)


# Networks as the kernels know them.


def network(inputs: int, *layers: Any, loss: Any = "mse") -> tuple[fn.Network, Layout]:
    """A network of (units, activation), rates of dropout and layers, and its layout."""
    made = [
        fn.Dense(*layer) if isinstance(layer, tuple)
        else fn.Dropout(layer) if isinstance(layer, float)
        else layer
        for layer in layers
    ]  # fmt: skip
    found = fn.Network(inputs, made, loss)
    return found, lay_out(lower(found))


def tables(layout: Layout) -> dict[str, np.ndarray]:
    """The arguments that hold a layout."""
    made = tabulate(layout)
    return {"int_table": made.ints, "float_table": made.floats}


#: Steps of the run that a control block is for.
STEPS = 9


def block(
    index: int = 0, now: int = 0, streamed: int = 0, dropout: Layout | None = None, seed: int = 0,
    **settings: Any,
) -> np.ndarray:  # fmt: skip
    """A control block whose next step is number `index` of the run.

    Args:
        index: of the step.
        now: the same behind `total`.
        streamed: steps whose batches lie one behind the other in the data; 0: all rows do.
        dropout: the network whose dropout is applied; None: none is.
        seed: of dropout.
        settings: those of `control.control`.
    """
    made = control.control(**{"steps": STEPS, **settings})
    made[Control.NEXT], made[Control.NOW], made[Control.STREAMED] = index, now, streamed
    if dropout is not None:
        control.drop(made, dropout, a_run(seed=seed))
    return made


def a_run(**settings: Any) -> Run:
    """The settings of a run."""
    return Run(**{
        "first_step": 0, "steps": STEPS, "batch_size": 1, "order": None, "optimizer": fn.SGD(),
        "learning_rate": 1.0, **settings,
    })  # fmt: skip


#: What dropout's rates are multiplied with at each step of a run.
FACTORS = np.array([1, 0, 0.5, 0.75, 1, 1.25, 0.25, 1.5, 0.8])


def steps_of(layout: Layout, **settings: Any) -> np.ndarray:
    """A run's step table."""
    return control.step_table(layout, a_run(**settings), 0)


def settings_of(**settings: Any) -> np.ndarray:
    """A run's settings."""
    return control.settings(a_run(**settings))


@dataclass(frozen=True)
class Batch:
    """A batch: the data's rows, the place of the first, and the step, over all training."""

    rows: np.ndarray
    first: int
    step: int


def batch_of(state: np.ndarray, order: np.ndarray | None = None) -> Batch:
    """The batch that is next by a control block."""
    index = int(state[Control.NEXT])
    rows, size = int(state[Control.ROWS]), int(state[Control.BATCH])
    step = int(state[Control.FIRST_STEP]) + index
    epoch, place = divmod(step, math.ceil(rows / size))
    count, first = min(size, rows - place * size), place * size
    if order is not None:
        first += (epoch - int(state[Control.FIRST_EPOCH])) * rows
    if state[Control.STREAMED]:
        first = index % int(state[Control.STREAMED]) * size
    where = np.arange(first, first + count)
    return Batch(where if order is None else order.reshape(-1)[where], first, step)


def orders(rows: int, epochs: int, seed: int = 0) -> np.ndarray:
    """An order of the rows for each of some epochs."""
    generator = np.random.default_rng([seed, rows])
    return np.array([generator.permutation(rows) for _ in range(epochs)], np.int64)


def mask_of(masks: Any, state: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """What dropout multiplies a batch's entries with, by a control block and `FACTORS`."""
    seed = int(state[Control.SEED]) % 2**64
    product = np.ones(shape)
    for mask in masks:
        rate = mask.rate * FACTORS[state[Control.NEXT]]
        words = random.words(seed, random.DROPOUT, step, math.prod(shape), mask.layer)
        kept = words.reshape(shape) >= random.keep_threshold(rate)
        product = np.where(kept, product / (1 - rate), 0)
    return product


def draw(seed: int, shape: Any, number: Number, spread: float = 1.0) -> np.ndarray:
    """Normal numbers, as `number` keeps sums and parameters."""
    return (spread * np.random.default_rng(seed).standard_normal(shape)).astype(number.real)


def share_out(entries: int, each: int, blocks: int, sums: np.ndarray) -> np.ndarray:
    """Sums `(entries,)` added up by block, where blocks take `each` entries in turn."""
    owner = np.arange(entries) // each % blocks
    return np.bincount(owner, sums, blocks)


# What kernels compute, from the NumPy backend's formulas.


def _function(activation: Any, dtype: np.dtype[Any]) -> Function:
    kind, constants = activation.canonical()
    return FUNCTIONS[kind](constants, dtype)


def activated(activation: Any, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a and da / dz."""
    if activation.name == "identity":
        return z.copy(), np.ones_like(z)
    made, a, slope = _function(activation, z.dtype), np.empty_like(z), np.ones_like(z)
    with np.errstate(all="ignore"):
        made.forward(z.copy(), a)
        made.backward(slope, z, a, np.empty_like(z))
    return a, slope


def slope_from_output(activation: Any, a: np.ndarray) -> np.ndarray:
    """da / dz, for an activation where it can be computed from `a`."""
    slope = np.ones_like(a)
    if activation.name != "identity":
        _function(activation, a.dtype).backward(slope, a, a, np.empty_like(a))
    return slope


def soft(z: np.ndarray) -> np.ndarray:
    """Softmax of each row."""
    with np.errstate(invalid="ignore"):
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)


def row_losses(
    loss: Any, layout: Layout, p: np.ndarray, y: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row: its loss's terms, their sum times its weight, and the derivative of the mean.

    That is by `p`, or, where that is a softmax, by its logits.
    """
    t, d = np.empty(p.shape), np.empty(p.shape)
    w = np.ones(len(p)) if weights is None else weights.astype(np.float64)
    with np.errstate(all="ignore"):
        LOSSES[layout.loss.kind](p, y, t, d, *layout.loss.constants)
        each = t.sum(1) * w
        d = d * (w / (w.sum() * layout.loss.each))[:, None]
    each[w == 0], d[w == 0] = 0, 0
    if layout.softmax:
        d = p * (d - (p * d).sum(1, keepdims=True))
    return t, each, d
