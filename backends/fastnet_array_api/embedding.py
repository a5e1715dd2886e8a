"""Embeddings in the functions of the standard; letters as in `program.py`.

The standard has no sum by index, so a table's gradient is a product with one-hot rows: right, not
fast. `of` gives a parameter in its own shape.
"""

import math
from collections.abc import Callable
from typing import Any

from fastnet.contract.plan import Embed, Parameter, Periodic, PiecewiseLinear

#: Operations that are computed here.
Embedding = Embed | Periodic | PiecewiseLinear

#: Sums over the rows: `x' d`.
OverRows = Callable[[Any, Any], Any]


def value(xp: Any, op: Embedding, of: Callable[[Parameter], Any], x: Any) -> Any:
    """What comes out."""
    if isinstance(op, Embed):
        columns = [x[:, : op.numbers]]
        for place, (size, table) in enumerate(zip(op.sizes, op.tables, strict=True)):
            codes = x[:, op.numbers + place]
            if table is None:
                columns.append(_one_hot(xp, codes, size)[:, 1:])
            else:
                columns.append(xp.take(of(table), xp.astype(codes, xp.int64), axis=0))
        return xp.concat(columns, axis=1)
    numbers = xp.expand_dims(x[:, : op.numbers], axis=2)
    if isinstance(op, Periodic):
        made = _by_feature(xp, xp.cos(_angles(op, of, numbers)), of(op.weight)) + of(op.bias)
        made = xp.concat((made, numbers), axis=2)
    else:
        made = numbers * of(op.slope) + of(op.bias)
        made = made + _by_feature(xp, _ways(xp, op, of, numbers), of(op.weight))
    return xp.concat((xp.reshape(made, (x.shape[0], -1)), x[:, op.numbers :]), axis=1)


def gradients(
    xp: Any, op: Embedding, of: Callable[[Parameter], Any], x: Any, d: Any, over_rows: OverRows
) -> dict[int, Any]:
    """The gradient's pieces by their offsets."""
    found = {}
    if isinstance(op, Embed):
        first = op.numbers
        for place, (size, table) in enumerate(zip(op.sizes, op.tables, strict=True)):
            units = size - 1 if table is None else table.shape[1]
            if table is not None:
                rows = _one_hot(xp, x[:, op.numbers + place], size)
                found[table.offset] = over_rows(rows, d[:, first : first + units])
            first += units
        return found
    numbers = xp.expand_dims(x[:, : op.numbers], axis=2)
    d = xp.reshape(d[:, : op.numbers * op.each], (x.shape[0], op.numbers, op.each))

    def summed(values: Any) -> Any:
        flat = xp.reshape(values, (x.shape[0], -1))
        return over_rows(xp.ones_like(flat[:, :1]), flat)

    if isinstance(op, Periodic):
        d, t = d[:, :, :-1], _angles(op, of, numbers)
        dt = -xp.sin(t) * _by_feature(xp, d, xp.matrix_transpose(of(op.weight)))
        basis = xp.cos(t)
        found[op.frequency.offset] = summed(dt * numbers * (2 * math.pi))
        found[op.phase.offset] = summed(dt)
    else:
        basis = _ways(xp, op, of, numbers)
        found[op.slope.offset] = summed(d * numbers)
        found[op.edges.offset] = xp.zeros_like(of(op.edges))
    found[op.bias.offset] = summed(d)
    weights = [over_rows(basis[:, i, :], d[:, i, :]) for i in range(op.numbers)]
    found[op.weight.offset] = xp.stack(weights)
    return found


def derivative(xp: Any, op: Embedding, x: Any, d: Any) -> Any:
    """The derivative by x as training needs it: not by numbers, which are inputs."""
    rest = d[:, op.numbers * op.each :] if not isinstance(op, Embed) else x[:, op.numbers :]
    return xp.concat((xp.zeros_like(x[:, : op.numbers]), rest), axis=1)


def _one_hot(xp: Any, codes: Any, size: int) -> Any:
    """`(rows, size)`."""
    every = xp.arange(size, dtype=codes.dtype, device=codes.device)
    return xp.astype(xp.expand_dims(codes, axis=1) == every, codes.dtype)


def _by_feature(xp: Any, values: Any, weight: Any) -> Any:
    """values `(rows, n, f)` times weight `(n, f, u)`, feature by feature: `(rows, n, u)`."""
    return xp.permute_dims(xp.permute_dims(values, (1, 0, 2)) @ weight, (1, 0, 2))


def _angles(op: Periodic, of: Callable[[Parameter], Any], numbers: Any) -> Any:
    """2 pi x frequency + phase, of which `Periodic` takes the cosine: `(rows, n, f)`."""
    return numbers * (2 * math.pi) * of(op.frequency) + of(op.phase)


def _ways(xp: Any, op: PiecewiseLinear, of: Callable[[Parameter], Any], numbers: Any) -> Any:
    """e of `PiecewiseLinear`, `(rows, n, f)`: how far each number has come in each bin."""
    edges = of(op.edges)
    left, right = edges[:, :-1], edges[:, 1:]
    one, zero = xp.ones_like(left), xp.zeros_like(left)
    e = (numbers - left) / xp.where(right > left, right - left, one)
    e = xp.where((e < 0) & (left > edges[:, :1]), zero, e)
    e = xp.where((e > 1) & (right < edges[:, -1:]), one, e)
    return xp.where(right > left, e, zero)
