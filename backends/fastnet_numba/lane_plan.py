"""Which networks and runs are done side by side, and the table of their layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.kinds import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastnet.contract.plan import Affine, Elementwise, Plan
from fastnet.contract.program import Data, Run
from fastnet_numba.ops.activations import IDENTITY, MOST_CONSTANTS, RELU, SIGMOID, TANH, activation
from fastnet_numba.ops.lanes import ADDRESS, CODE, CONSTANTS
from fastnet_numba.ops.losses import CROSSENTROPY, TERMS_OF
from fastnet_numba.ops.optimizers import ADAM, MOMENTUM, NESTEROV, SGD
from fastnet_numba.simd.host import LANES
from fastnet_numba.simd.lanes import ROWS
from fastnet_numba.training import LEAST_WEIGHT

#: The most units of a layer, inputs and rows of a network that is trained this way (choices: what
#: a group of networks needs should stay in the caches near a core).
MOST_UNITS, MOST_INPUTS, MOST_ROWS = 16, 32, 128


@dataclass(frozen=True)
class LanePlan:
    """The layers of a plan that is small enough.

    Attributes:
        table: `(layers, FIELDS)` int64; places are behind the rows.
        constants: the activations' and the loss's, in the order of their places.
        room: entries of a block of rows, behind its own: outputs, slopes, derivatives.
    """

    table: Array
    constants: list[float]
    room: int


def plan_of(plan: Plan, dtype: np.dtype[Any], address_of: Callable[[Any], int]) -> LanePlan | None:
    """The plan for this path, or None if it is not for it.

    `address_of` gives the address of a part of the kernels.
    """
    factors = {factor for one in plan.parameters for factor in (one.rate_factor, one.decay_factor)}
    if not plan.is_chain or factors != {1}:
        return None
    width = ROWS * LANES[dtype.itemsize]
    layers: list[list[int]] = []
    constants: list[float] = []
    room = 0
    for op in plan.for_loss:
        if isinstance(op, Affine):
            bias = -1 if op.bias is None else op.bias.offset
            places = [room + n * op.units * width for n in range(3)]
            room += 3 * op.units * width
            layers.append([IDENTITY, 0, op.inputs, op.units, op.weight.offset, bias, *places, 0])
        elif isinstance(op, Elementwise) and layers and layers[-1][CODE] == IDENTITY:
            layers[-1][CODE], layers[-1][CONSTANTS] = ACTIVATIONS[op.kind], len(constants)
            constants += (*op.constants, *(0.0,) * MOST_CONSTANTS)[:MOST_CONSTANTS]
        else:
            return None
    constants += [*plan.loss.constants, 0.0]
    loss = LOSSES[plan.loss.kind]
    if max(op.units for op in plan.affine) > MOST_UNITS or plan.inputs > MOST_INPUTS:
        return None
    if loss not in TERMS_OF and loss != CROSSENTROPY:
        return None
    for layer in layers:
        if layer[CODE] not in (IDENTITY, RELU, SIGMOID, TANH):
            layer[ADDRESS] = address_of(activation(layer[CODE]))
    return LanePlan(np.array(layers, np.int64), constants, room)


def suits(data: Data, run: Run, kind: str) -> bool:
    """Whether a run of a plan that is small enough, by this kind of optimizer, may be done so."""
    rows, weight = len(data), data.weight
    return (
        rows <= MOST_ROWS
        and run.batch_size >= rows
        and OPTIMIZERS.get(kind) in (SGD, MOMENTUM, NESTEROV, ADAM)
        and not run.l1
        and run.clip_value is None
        and run.clip_norm is None
        and not (run.reports_penalty and run.uses("l2"))
        and (weight is None or not np.any((weight > 0) & (weight < LEAST_WEIGHT)))
    )
