"""Where training starts from: parameters as initializers draw them, or made to fit some rows.

The latter is as in Holzmueller et al. 2024 (RealMLP), appendix A: weights are drawn, and each
column is divided by the standard deviation of its unit's pre-activations, so that all units begin
with the same spread; a bias is minus a random mean of some rows' pre-activations, so that every
unit bends among the rows.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.loading import load
from fastnet.contract.lowering import lower
from fastnet.contract.plan import Plan
from fastnet.contract.rows import Inputs
from fastnet.definition.embedding import Embedding, PiecewiseLinear
from fastnet.definition.initializers import FromData
from fastnet.definition.layers import Layer
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError

#: Rows that are looked at, at most, and rows that a bias is a mean of.
ROWS, ROWS_OF_BIAS = 1024, 5

_FLOAT64 = np.dtype(np.float64)


def checked(network: Any, dtype: Any, init_rows: Any) -> tuple[str, Plan, Array | None]:
    """What one model or many start with: the dtype's name, the plan, rows for `init="data"`.

    Raises:
        DefinitionError: if there is no network, or no such dtype; and as `checked_rows`.
        DataError: if the rows do not fit.
    """
    return checks.dtype(dtype).name, lower(network), checked_rows(network, init_rows)


def checked_rows(network: Network, init_rows: Any) -> Array | None:
    """The rows that layers with `init="data"` start from, float64; None where there is no such.

    Raises:
        DefinitionError: if there are such layers and no rows, or the other way round.
        DataError: if the rows do not fit.
    """
    found = [(one.name, why) for one in network.placed if (why := _starts_from(one.layer))]
    if not found and init_rows is None:
        return None
    if init_rows is None:
        name, why = found[0]
        raise DefinitionError(
            f"layer {name} has {why}, so it starts from rows: give init_rows=x, the rows to train "
            "on or some of them."
        )
    if not found:
        raise DefinitionError(
            "init_rows are for layers with init='data' or piecewise linear embeddings, and there "
            "is none."
        )
    return network.features(init_rows, _FLOAT64)


def _starts_from(layer: Layer) -> str:
    """What a layer starts from rows for; "" for one that does not."""
    if isinstance(layer, Embedding) and isinstance(layer.embed.numbers, PiecewiseLinear):
        return "a piecewise linear embedding"
    return "init='data'" if isinstance(getattr(layer, "init", None), FromData) else ""


def initial_parameters(network: Network, seed: int) -> Array:
    """The flat vector that training starts from, `(size,)` float64: a function of the seed.

    A layer's draws depend on the seed and its number alone.

    Raises:
        MemoryError: if the machine cannot hold them.
    """
    plan = lower(network)
    flat = np.empty(plan.size)
    layers = {one.name: one for one in network.placed}
    for piece in plan.parameters:
        place, _, name = piece.name.rpartition(".")
        one = layers[place]
        piece.of(flat)[...] = one.layer.start(name, seed, one.number, piece.shape)
    return flat


def parameters_from_rows(network: Network, plan: Plan, seed: int, rows: Array | None) -> Array:
    """The flat vector that training starts from, `(size,)` float64.

    Layers are taken in order, each with the values that those before it make of the rows. Like all
    draws it is a function of the seed, the same for all backends.

    Args:
        network: what starts.
        plan: the same, lowered.
        seed: of all draws.
        rows: what `checked_rows` gave; None: all layers start as their initializers draw them.

    Raises:
        MemoryError: if the machine cannot hold them.
    """
    flat = initial_parameters(network, seed)
    if rows is None:
        return flat
    if len(rows) > ROWS:
        rows = rows[random.permutation(seed, random.INIT, 0, len(rows))[:ROWS]]
    for one in network.placed:
        numeric = one.layer.embed.numbers if isinstance(one.layer, Embedding) else None
        if isinstance(numeric, PiecewiseLinear):
            piece = next(piece for piece in plan.parameters if piece.name == f"{one.name}.edges")
            piece.of(flat)[...] = numeric.edges(rows[:, : network.both_inputs.numbers])
    initializers = {one.name: getattr(one.layer, "init", None) for one in network.placed}
    for number, op in enumerate(plan.affine):
        if not isinstance(initializers[op.weight.name.rpartition(".")[0]], FromData):
            continue
        z = _value(plan, op.sources[0], op.inputs, flat, rows) @ op.weight.of(flat)
        spread = z.std(axis=0)
        # A unit whose inputs do not differ keeps its weights.
        spread[spread <= 1e-12 * np.abs(z).max(axis=0, initial=0)] = 1
        op.weight.of(flat)[...] /= spread
        if op.bias is not None:
            op.bias.of(flat)[...] = -_means(z / spread, seed, number)
    return flat


def _value(plan: Plan, value: int, columns: int, flat: Array, rows: Array) -> Array:
    """What the layers before one make of the rows."""
    if value == 0:
        return rows
    before = replace(plan, prediction=value, outputs=columns)
    program = load("numpy").compile(before, _FLOAT64, None, None)
    found: Array = program.predict(flat, Inputs(rows))
    return found


def _means(z: Array, seed: int, number: int) -> Array:
    """For each unit a mean of its values in a few random rows, with random weights, `(units,)`.

    The weights are evenly distributed among those that sum to 1: exponential numbers over their
    sum, each of them half the square of the length of two normal ones.
    """
    rows, units = z.shape
    count = units * ROWS_OF_BIAS
    places = random.uniform(seed, random.INIT, 2 * number + 1, count).reshape(units, -1)
    chosen = (places * rows).astype(np.intp)
    normal = random.normal(seed, random.INIT, 2 * number + 2, 2 * count)
    weights = np.square(normal).reshape(units, -1, 2).sum(axis=2)
    weights /= weights.sum(axis=1, keepdims=True)
    means: Array = (weights * z[chosen, np.arange(units)[:, None]]).sum(axis=1)
    return means
