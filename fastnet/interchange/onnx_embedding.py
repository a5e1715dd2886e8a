"""Nodes that make numbers of categories, and several numbers of one, as an `Embed` does."""

import math
from typing import TYPE_CHECKING

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.embedding import Embed, Embedding, Periodic, PiecewiseLinear
from fastnet.model import Model

if TYPE_CHECKING:
    from fastnet.interchange.onnx_writer import Writer


def embedded(writer: "Writer", model: Model, numbers: str, categories: str) -> str:
    """What comes out of a network's `Embed`, or of its categories one-hot.

    Args:
        writer: gets the nodes.
        model: its network begins with an `Embed`, or has categories.
        numbers: their name, `(rows, n)`.
        categories: theirs, `(rows, c)` int64.
    """
    network = model.network
    first = network.layers[0]
    layer = Embedding(first if isinstance(first, Embed) else Embed("one_hot"), network.both_inputs)
    parts = []
    if layer.inputs.numbers:
        parts.append(_numbers(writer, model, layer, numbers))
    for column, (size, units) in enumerate(zip(layer.inputs.categories, layer.units, strict=True)):
        place = writer.constant("column", np.array(column, np.int64))
        code = writer.node("Gather", categories, place, axis=1)
        name = f"0.embedding_{column}"
        table = model.parameters[name] if units else np.eye(size, size - 1, -1, model.dtype)
        parts.append(writer.node("Gather", writer.constant(name, table), code, axis=0))
    return parts[0] if len(parts) == 1 else writer.node("Concat", *parts, axis=1)


def _numbers(writer: "Writer", model: Model, layer: Embedding, numbers: str) -> str:
    numeric = layer.embed.numbers
    if numeric is None:
        return numbers
    given = {
        name: writer.constant(f"0.{name}", model.parameters[f"0.{name}"])
        for name in numeric.parameters(layer.inputs.numbers)
        if name != "edges"
    }
    x = writer.node("Unsqueeze", numbers, writer.constant("last", np.array([2], np.int64)))
    if isinstance(numeric, Periodic):
        turns = writer.node("Mul", x, writer.number(2 * math.pi))
        angles = writer.node("Add", writer.node("Mul", turns, given["frequency"]), given["phase"])
        made = _by_feature(writer, writer.node("Cos", angles), given["weight"])
        made = writer.node("Concat", writer.node("Add", made, given["bias"]), x, axis=2)
    else:
        assert isinstance(numeric, PiecewiseLinear)
        line = writer.node("Add", writer.node("Mul", x, given["slope"]), given["bias"])
        ways = _ways(writer, model.parameters["0.edges"], x)
        made = writer.node("Add", line, _by_feature(writer, ways, given["weight"]))
    return writer.node("Flatten", made, axis=1)


def _by_feature(writer: "Writer", values: str, weight: str) -> str:
    """`(rows, n, f)` times `(n, f, u)`, feature by feature: `(rows, n, u)`."""
    turned = writer.node("Transpose", values, perm=[1, 0, 2])
    return writer.node("Transpose", writer.node("MatMul", turned, weight), perm=[1, 0, 2])


def _ways(writer: "Writer", edges: Array, x: str) -> str:
    """How far x has come in each bin, as `PiecewiseLinear` says."""
    left, right = edges[:, :-1], edges[:, 1:]
    exists = left < right
    steep = np.where(exists, 1, 0) / np.where(exists, right - left, 1)
    least = np.where(left > edges[:, :1], 0, -np.inf)
    most = np.where(right < edges[:, -1:], 1, np.inf)
    arrays = {"left": left, "steep": steep, "least": least, "most": most}
    names = {
        name: writer.constant(name, array.astype(edges.dtype)) for name, array in arrays.items()
    }
    e = writer.node("Mul", writer.node("Sub", x, names["left"]), names["steep"])
    return writer.node("Min", writer.node("Max", e, names["least"]), names["most"])
