"""Writing a model as an ONNX graph, from operators that onnxruntime has in the model's dtype.

onnxruntime has LeakyRelu, PRelu, Elu, Selu, HardSwish, Softplus and Erf in float32 only. In float64
all but the last are written out in arithmetic, and erf is computed in float32.
"""

import json
import os
from dataclasses import fields
from typing import Any

import numpy as np

from fastnet import files
from fastnet.arrays import checks
from fastnet.definition.activations import Activation, Parametric
from fastnet.definition.embedding import Embed
from fastnet.definition.layers import Activate, BatchNorm, Dense, Layer, LayerNorm, Residual, Scale
from fastnet.errors import DefinitionError
from fastnet.extras import need
from fastnet.interchange.chain import check_writable, row_of
from fastnet.interchange.expressions import Expression
from fastnet.interchange.onnx_activations import ROWS
from fastnet.interchange.onnx_columns import ML, ML_OPSET, Port, TableColumns
from fastnet.interchange.onnx_embedding import embedded
from fastnet.interchange.onnx_file import DOUBLE, FLOAT, INT64
from fastnet.model import Model
from fastnet.tables.schema import Table
from fastnet.version import __version__

#: The versions of the operators and of the format in onnx 1.12, of 2022.
OPSET, IR_VERSION = 17, 8

#: A protobuf message is smaller than 2 GiB; names and nodes need some of it.
_MOST_BYTES = 2**31 - 2**20


def write(model: Model, path: str | os.PathLike[str], encoded: bool = False) -> None:
    """Write the graph that `exporting.to_onnx` documents."""
    onnx = need("onnx", "onnx", "writing an ONNX file")
    target = checks.path(path)
    check_writable(model.network, "ONNX")
    model.parameters.check()
    check_size("model", model.parameters.flat.nbytes)
    files.store(target, Writer(onnx, model, encoded).serialized())


def check_size(what: str, size: int) -> None:
    """Refuse parameters of so many bytes if no file can hold them."""
    if size > _MOST_BYTES:
        raise DefinitionError(
            f"the {what} has {size:,} bytes of parameters, and an ONNX file has less than 2 GiB; "
            f"use a smaller network, or {what}.save."
        )


class Writer:
    """The nodes of a graph, as they are added.

    Args:
        onnx: the package.
        model: what the graph computes.
        encoded: that a table's model takes encoded columns, not the table's own.
    """

    def __init__(self, onnx: Any, model: Model, encoded: bool) -> None:
        self._onnx = onnx
        self._model = model
        self._dtype = np.dtype(model.dtype)
        self._table = None if model.table is None else Table.of(model)
        self._columns = None
        if self._table is not None and not encoded:
            self._columns = TableColumns(self, self._table)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._numbers: dict[tuple[float, np.dtype[Any]], str] = {}
        #: Names that are in use.
        own = ("x", "numbers", "categories", "prediction", "std")
        self._taken = set(self._columns.names if self._columns else own)

    def serialized(self) -> bytes:
        """The bytes of the whole graph, which is checked."""
        proto = self.proto()
        self._onnx.checker.check_model(proto, full_check=True)
        return bytes(proto.SerializeToString())

    def proto(self) -> Any:
        """The whole graph."""
        helper, network = self._onnx.helper, self._model.network
        given = self._dtype if self._table is None else np.dtype(np.float64)
        if self._columns is None:
            numbers = "numbers" if network.categories else "x"
            inputs: list[Port] = [(numbers, _type(given), ["rows", network.both_inputs.numbers])]
            if network.categories:
                codes: Port = ("categories", INT64, ["rows", len(network.categories)])
                inputs = [*inputs, codes] if network.both_inputs.numbers else [codes]
            value = self._standardized(numbers)
        else:
            inputs = self._columns.inputs()
            value = self.cast(self._columns.encoded(), self._dtype)
        found = self.predictions(value)
        value, made = self._in_units(found["prediction"])
        if self._columns is not None:
            outputs = self._columns.outputs(value, _type(made))
        else:
            found["prediction"] = value
            for name, one in found.items():
                self.output(name, one)
            outputs = [(name, _type(made), ["rows", self.width]) for name in found]
        graph = helper.make_graph(
            self._nodes,
            "fastnet",
            [helper.make_tensor_value_info(*port) for port in inputs],
            [helper.make_tensor_value_info(*port) for port in outputs],
            self._constants,
        )
        operators = {"": OPSET} if self._columns is None else {"": OPSET, ML: ML_OPSET}
        proto = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid(*pair) for pair in operators.items()],
            producer_name="fastnet",
            producer_version=__version__,
        )
        if self._table is not None:
            table = self._table
            facts = {
                "inputs": table.features,
                "target": table.target,
                "task": table.task,
                "classes": table.classes,
            }
            text = json.dumps(facts, ensure_ascii=False)
            helper.set_model_props(proto, {"fastnet.table": text})
        return proto

    def predictions(self, x: str) -> dict[str, str]:
        """What is predicted of the encoded inputs, by the names of the outputs."""
        return {"prediction": self.network(self._model, x)}

    @property
    def width(self) -> int:
        """Columns of a prediction."""
        return self._model.network.outputs

    def network(self, model: Model, x: str) -> str:
        """The outputs of a network."""
        network = model.network
        if network.categories or isinstance(network.layers[0], Embed):
            x = embedded(self, model, x, "categories")
        return self._layers(model, network.layers, "", x)

    def _standardized(self, x: str) -> str:
        """Standardize a table's numbers in float64, then cast."""
        if self._table is None:
            return x
        mean, scale = (np.array(part, np.float64) for part in (self._table.mean, self._table.scale))
        x = self.node("Sub", x, self.constant("mean", mean))
        x = self.node("Div", x, self.constant("scale", scale))
        return x if self._dtype == np.float64 else self.cast(x, self._dtype)

    def _in_units(self, value: str) -> tuple[str, np.dtype[Any]]:
        """Convert outputs to the unit of a table's target, if it is a quantity."""
        if self._table is None or self._table.task != "regression":
            return value, self._dtype
        wide = np.dtype(np.float64)
        if self._dtype != wide:
            value = self.cast(value, wide)
        scale, mean = np.array(self._table.target_scale), np.array(self._table.target_mean)
        value = self.node("Mul", value, self.constant("target_scale", scale))
        value = self.node("Add", value, self.constant("target_mean", mean))
        return self.node("Exp", value) if self._table.log_target else value, wide

    def _layers(self, model: Model, layers: tuple[Layer, ...], before: str, x: str) -> str:
        """The outputs of layers whose names begin with `before`; what only trains is left out."""
        for index, layer in enumerate(layers):
            name = f"{before}{index}"
            if isinstance(layer, Residual):
                x = self.node("Add", x, self._layers(model, layer.layers, f"{name}.", x))
            else:
                x = self._layer(layer, model, name, x)
        return x

    def _layer(self, layer: Layer, model: Model, name: str, x: str) -> str:
        def given(*names: str) -> list[str]:
            return [
                self.constant(f"{name}.{one}", model.parameters[f"{name}.{one}"]) for one in names
            ]

        match layer:
            case Dense(bias=True):
                x = self.node("Gemm", x, *given("weight", "bias"))
            case Dense():
                x = self.node("MatMul", x, *given("weight"))
            case LayerNorm(epsilon=epsilon):
                inputs = given("scale", "shift")
                x = self.node("LayerNormalization", x, *inputs, axis=-1, epsilon=epsilon)
            case BatchNorm(epsilon=epsilon):
                inputs = given("scale", "shift", "mean", "variance")
                x = self.node("BatchNormalization", x, *inputs, epsilon=epsilon)
            case Scale():
                x = self.node("Mul", x, *given("scale"))
        if not isinstance(layer, Dense | Activate):
            return x
        activation = layer.activation
        if activation.alpha_start is None:
            return self._activated(activation, x)
        return self._parametric(activation, x, *given("alpha"))

    def _parametric(self, activation: Activation, z: str, alpha: str) -> str:
        """z + alpha (f(z) - z), alpha for each unit; PReLU by onnxruntime's operator where it has
        it in the dtype, else as relu(z) + alpha min(z, 0).
        """
        if isinstance(activation, Parametric):
            apart = self.node("Sub", self._activated(activation.function, z), z)
            return self.node("Add", z, self.node("Mul", alpha, apart))
        if self._dtype == np.float32:
            return self.node("PRelu", z, alpha)
        below = self.node("Mul", alpha, self.node("Min", z, self.number(0.0)))
        return self.node("Add", self.node("Relu", z), below)

    def _activated(self, activation: Activation, z: str) -> str:
        """By ONNX's own operator where onnxruntime has it in the dtype, else by the formula."""
        row = row_of(ROWS, activation, "ONNX")
        constants = {one.name: getattr(activation, one.name) for one in fields(activation)}
        if row.operator and row.since <= OPSET and self._dtype == np.float32:
            given = {
                attribute: constants.get(name, default)
                for attribute, (name, default) in row.attributes.items()
            }
            return self.node(row.operator, z, **given)
        return str(row.formula(self.apply, _Value(self, z), **constants).name)

    def apply(self, kind: str, z: "_Value", *more: "_Value | float") -> "_Value":
        """An operator, for formulas."""
        if kind == "Erf" and self._dtype == np.float64:
            short = self.node(kind, self.cast(z.name, np.dtype(np.float32)))
            return _Value(self, self.cast(short, self._dtype))
        names = [one.name if isinstance(one, _Value) else self.number(one) for one in more]
        return _Value(self, self.node(kind, z.name, *names))

    # --- pieces of a graph -----------------------------------------------------------------

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        name = self._free(f"{kind}_{len(self._nodes)}")
        self._nodes.append(
            self._onnx.helper.make_node(kind, list(inputs), [name], name, **attributes)
        )
        return name

    def output(self, name: str, value: str) -> None:
        """Give a value the name of an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name))

    def cast(self, value: str, dtype: np.dtype[Any]) -> str:
        """Add a node that converts a value."""
        return self.node("Cast", value, to=_type(dtype))

    def constant(self, name: str, array: Any) -> str:
        """Add a constant; returns its name."""
        name = self._free(name)
        self._constants.append(self._onnx.numpy_helper.from_array(np.array(array), name))
        return name

    def _free(self, name: str) -> str:
        """A name that nothing else in the graph has."""
        free, times = name, 0
        while free in self._taken:
            times += 1
            free = f"{name}_{times}"
        self._taken.add(free)
        return free

    def number(self, value: float) -> str:
        """A number of the model's dtype; one constant for all places that need it."""
        key = value, self._dtype
        if key not in self._numbers:
            self._numbers[key] = self.constant(f"{value:.17g}", np.array(value, self._dtype))
        return self._numbers[key]


class _Value(Expression):
    """The output of a node, in formulas."""

    def __init__(self, writer: Writer, name: str) -> None:
        self._writer = writer
        self.name = name

    def __add__(self, other: "_Value | float") -> "_Value":
        return self._writer.apply("Add", self, other)

    def __mul__(self, other: "_Value | float") -> "_Value":
        return self if other == 1.0 else self._writer.apply("Mul", self, other)


def _type(dtype: np.dtype[Any]) -> int:
    """The element type of float32 or float64."""
    return FLOAT if dtype == np.float32 else DOUBLE
