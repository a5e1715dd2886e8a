"""What embeddings are in the Hessian times a vector; letters are those of `curvature.py`.

Numbers are inputs, so their derivative along the direction is 0. Tables and piecewise linear
embeddings are linear in their parameters: along the direction they are what they are of its values.
"""

from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import plan
from fastnet_numpy.embedding import (
    Embed,
    PiecewiseLinear,
    angles,
    by_feature,
    embedded,
    joined,
    periodic,
    piecewise_linear,
    split,
    turns,
)

#: Operations that are computed here.
EMBEDDINGS = plan.Embed | plan.Periodic | plan.PiecewiseLinear


def forward(op: Any, parameters: Array, vector: Array, x: Array, rx: Array) -> tuple[Array, Array]:
    """What comes out, and its derivative along the direction."""
    if isinstance(op, plan.Embed):
        still = embedded(op, np.zeros_like(vector), x)
        return embedded(op, parameters, x), embedded(op, vector, x) - still
    moved = np.hstack((x[:, : op.numbers], rx[:, op.numbers :]))
    if isinstance(op, plan.PiecewiseLinear):
        along = vector.copy()
        op.edges.of(along)[...] = op.edges.of(parameters)
        return piecewise_linear(op, parameters, x), piecewise_linear(op, along, moved)
    numbers, rest = split(op, moved, 1)
    c, rc = _waves(op, parameters, vector, numbers)
    made = by_feature(rc, op.weight.of(parameters)) + by_feature(c, op.weight.of(vector))
    made += op.bias.of(vector)
    along = joined(np.concatenate((made, np.zeros_like(numbers)), axis=2), rest)
    return periodic(op, parameters, x), along


def collect(
    op: Any, found: Array, parameters: Array, vector: Array, x: Array, d: Array, rd: Array
) -> None:
    """Write the part of the result that is of an operation's own parameters."""
    if not isinstance(op, plan.Periodic):
        made = Embed if isinstance(op, plan.Embed) else PiecewiseLinear
        stage = made(op, len(x), parameters, found)
        stage.forward(x, None)
        stage.backward(rd)
        return
    numbers, _ = split(op, x, 1)
    du, rdu = (split(op, one, op.each)[0][:, :, :-1] for one in (d, rd))
    c, rc = _waves(op, parameters, vector, numbers)
    w, v = (op.weight.of(flat).swapaxes(1, 2) for flat in (parameters, vector))
    t, rt = (angles(op, flat, numbers) for flat in (parameters, vector))
    dc, rdc = by_feature(du, w), by_feature(rdu, w) + by_feature(du, v)
    rdt = -np.cos(t) * rt * dc - np.sin(t) * rdc
    op.weight.of(found)[...] = np.einsum("rnf,rnu->nfu", c, rdu) + np.einsum("rnf,rnu->nfu", rc, du)
    op.bias.of(found)[...] = rdu.sum(axis=0)
    op.phase.of(found)[...] = rdt.sum(axis=0)
    op.frequency.of(found)[...] = (rdt * turns(numbers)).sum(axis=0)


def backward(op: Any, x: Array, d: Array, rd: Array) -> tuple[Array, Array]:
    """The loss's derivative by what went in, but for numbers, and its own along the direction."""
    if isinstance(op, plan.Embed):
        return np.zeros_like(x), np.zeros_like(x)
    first, rest = np.zeros((len(x), op.numbers), x.dtype), slice(op.numbers * op.each, None)
    return np.hstack((first, d[:, rest])), np.hstack((first, rd[:, rest]))


def _waves(op: plan.Periodic, parameters: Array, vector: Array, x: Array) -> tuple[Array, Array]:
    """c of `Periodic`, and its derivative along the direction."""
    t = angles(op, parameters, x)
    return np.cos(t), -np.sin(t) * angles(op, vector, x)
