"""Cases for the embeddings of kernels/staged.cu: tables of categories, functions of numbers."""

import math
from typing import Any

import numpy as np
from cuda_cases import BOTH, Case, Out, draw, rounding

import fastnet as fn
from fastnet.contract import plan
from fastnet.contract.lowering import lower
from fastnet_cupy.embedding import categories_of, functions_of
from fastnet_cupy.names import SUM_COLUMNS, Category
from fastnet_numpy import embedding as definition

ROWS = 21


def cases() -> list[Case]:
    """All of them."""
    made = []
    for number in BOTH:
        made += _tables("codes", number, (2, 6, 2), (3, "one_hot", 5))  # for few threads
        made += _tables("two-blocks", number, (4,), (SUM_COLUMNS + 5,))
        for numeric in (fn.Periodic(units=4, frequencies=6), fn.PiecewiseLinear(units=3, bins=5)):
            made += _numbers(number, numeric)
    return made


def _case(name: str, kernel: str, number: Any, arguments: dict[str, Any], blocks: int = 2) -> Case:
    threads = 256 if kernel in ("embed_back", "sum_by_number") else 64
    return Case(name, "staged.cu", kernel, number, arguments, blocks, threads)


def _tables(name: str, number: Any, sizes: tuple[int, ...], units: tuple[Any, ...]) -> list[Case]:
    layers = [fn.Embed(units), fn.Dense(1)]
    lowered = lower(fn.Network(fn.Inputs(2, sizes), layers))
    op = lowered.operations[0]
    flat, generator = draw(1, lowered.size, number), np.random.default_rng(2)
    codes = [generator.integers(0, size, ROWS) for size in op.sizes]
    x = np.column_stack([draw(3, (ROWS, 2), number), *codes]).astype(number.real)
    d = draw(4, (ROWS, op.units), number)
    gradient = np.full(lowered.size, np.nan)
    rule = definition.Embed(op, ROWS, flat, gradient)
    z = rule.forward(x, None)
    rule.backward(d.astype("f8"))
    table = categories_of(op)
    shape = {"categories": table, "numbers": 2, "inputs": x.shape[1], "units": op.units, "x": x}
    near = rounding(number)
    return [
        _case(name, "embed", number,
              {**shape, "count": z.size, "p": flat, "z": Out(z, number.real)}),
        _case(name, "embed_back", number,
              {**shape, "rows": ROWS, "d": d, "g": Out(gradient, number.real, near=near)},
              int(table[-1, Category.FIRST_BLOCK])),
    ]  # fmt: skip


def _numbers(number: Any, numeric: Any) -> list[Case]:
    layers = [fn.Embed(2, numeric), fn.Dense(1)]
    lowered = lower(fn.Network(fn.Inputs(3, (5,)), layers))
    op: Any = lowered.operations[1]
    flat = draw(1, lowered.size, number, 0.5)
    periodic, functions, made = isinstance(op, plan.Periodic), functions_of(op), op.weight.shape[2]
    if not periodic:
        edges = op.edges.of(flat)
        edges.sort(axis=1)
        edges[1, 2] = edges[1, 3]  # a bin that is none
    wide = flat.astype("f8")
    x, d = draw(2, (ROWS, op.numbers + 2), number), draw(3, (ROWS, op.units), number)
    before, (relative, absolute) = draw(4, x.shape, number), rounding(number)
    near, summed = (relative, 4 * absolute), (relative, 4 * absolute * math.sqrt(ROWS))
    numbers, _ = definition.split(op, x.astype("f8"), 1)
    of_numbers, rest = definition.split(op, d.astype("f8"), op.each)
    if periodic:
        e, find = np.cos(definition.angles(op, wide, numbers)), definition.periodic
    else:
        e, find = definition.ways(op, wide, numbers)[0], definition.piecewise_linear
    basis = e.reshape(ROWS, -1).astype(number.real)
    shape = {"numbers": op.numbers, "functions": functions, "inputs": x.shape[1]}
    both = {**shape, "each": op.each, "made": made, "units": op.units}
    waves = {
        "frequency": op.frequency.of(flat).copy() if periodic else None,
        "phase": op.phase.of(flat).copy() if periodic else None,
    }
    weight, name = op.weight.of(flat).copy(), numeric.name
    kept = Out(basis, number.real, near=near)
    z = Out(find(op, wide, x.astype("f8")), number.real, near=near)
    given = {"e": basis, "w": weight, "bias": op.bias.of(flat).copy(), "x": x, "z": z}
    found = [
        _case(name, "functions_of_numbers", number,
              {**shape, "count": basis.size, "x": x, **waves,
               "edges": None if periodic else op.edges.of(flat).copy(), "e": kept}),
        _case(name, "embed_numbers", number,
              {**both, "count": d.size, **given,
               "slope": None if periodic else op.slope.of(flat).copy()}),
    ]  # fmt: skip
    onward = definition.joined(np.zeros((ROWS, op.numbers)), rest) + (before if periodic else 0)
    arguments = {
        "numbers": op.numbers, "each": op.each, "inputs": x.shape[1], "units": op.units,
        "count": x.size, "d": d, "before": before if periodic else None,
        "onward": Out(onward, number.real, near=near),
    }  # fmt: skip
    found.append(_case(name, "past_numbers", number, arguments))
    du = of_numbers[:, :, :made]
    if periodic:
        t = definition.angles(op, wide, numbers)
        dt = -np.sin(t) * definition.by_feature(du, op.weight.of(wide).swapaxes(1, 2))
        dt = Out(dt.reshape(ROWS, -1), number.real, near=near)
        arguments = {**both, "count": basis.size, "x": x, **waves, "w": weight, "d": d, "dt": dt}
        found.append(_case(name, "angles_back", number, arguments))
    products = np.einsum("rif,riu->ifu", basis.reshape(e.shape).astype("f8"), du)
    sums: list[Any] = [("slope", x, 1, 2.5 * (numbers * du).sum(0))]
    if periodic:
        sums = [("weight", basis, functions, products), ("bias", None, 1, du.sum(0))]
    for part, a, of_each, wanted in sums:
        arguments = {
            "rows": ROWS, "numbers": op.numbers, "functions": of_each,
            "made": made, "factor": np.float64(2.5 if part == "slope" else 1), "a": a,
            "a_length": 0 if a is None else a.shape[1], "d": d, "length": op.units,
            "each": op.each, "g": Out(wanted, number.real, near=summed),
        }  # fmt: skip
        blocks = math.ceil(wanted.size / SUM_COLUMNS)
        found.append(_case(f"{name}-{part}", "sum_by_number", number, arguments, blocks))
    return found
