"""Writing a model as an ONNX graph, from operations that onnxruntime has in the model's dtype.

onnxruntime has LeakyRelu, Elu, Selu, Softplus and Erf in float32 only. In float64 the first four
are written out in arithmetic, and erf is taken in float32.
"""

import json
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet import files
from fastnet.arrays import checks
from fastnet.definition.activations import ELU, GELU, SELU, Activation, LeakyReLU
from fastnet.definition.layers import Dense
from fastnet.errors import DefinitionError
from fastnet.extras import need
from fastnet.tables.schema import Table

if TYPE_CHECKING:
    from fastnet.model import Model

#: The version of the operators, and of the format, that onnx 1.12 brought in 2022.
OPSET, IR_VERSION = 17, 8

#: A protobuf message is smaller than 2 GiB; names and operations need some of it.
_MOST_BYTES = 2**31 - 2**20


def write(model: "Model", path: str | os.PathLike[str]) -> None:
    """Write the graph. `exporting.to_onnx` says what it is."""
    onnx = need("onnx", "onnx", "writing an ONNX file")
    target = checks.path(path)
    model.parameters.check()
    size = model.parameters.flat.nbytes
    if size > _MOST_BYTES:
        raise DefinitionError(
            f"the model has {size:,} bytes of parameters, and an ONNX file holds less than 2 GiB; "
            "use a smaller network, or model.save."
        )
    proto = _Writer(onnx, model).proto()
    onnx.checker.check_model(proto, full_check=True)
    files.store(target, proto.SerializeToString())


class _Writer:
    def __init__(self, onnx: Any, model: "Model") -> None:
        self._onnx = onnx
        self._model = model
        self._dtype = np.dtype(model.dtype)
        self._table = None if model.table is None else Table.of(model)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def proto(self) -> Any:
        helper, network = self._onnx.helper, self._model.network
        given = self._dtype if self._table is None else np.dtype(np.float64)
        value = self._standardized("x")
        for index, layer in enumerate(network.layers):
            if isinstance(layer, Dense):
                value = self._dense(index, layer, value)
        value, made = self._in_units(value)
        self._nodes.append(helper.make_node("Identity", [value], ["prediction"], "prediction"))
        graph = helper.make_graph(
            self._nodes,
            "fastnet",
            [helper.make_tensor_value_info("x", _type(given), ["rows", network.inputs])],
            [helper.make_tensor_value_info("prediction", _type(made), ["rows", network.outputs])],
            self._constants,
        )
        from fastnet.version import __version__

        proto = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
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

    def _standardized(self, x: str) -> str:
        """As `Table.inputs` does it: in float64, then cast."""
        if self._table is None:
            return x
        mean, scale = (np.array(part, np.float64) for part in (self._table.mean, self._table.scale))
        x = self._node("Sub", x, self._constant("mean", mean), name="centred")
        x = self._node("Div", x, self._constant("scale", scale), name="standardized")
        return x if self._dtype == np.float64 else self._cast(x, self._dtype, "inputs")

    def _in_units(self, value: str) -> tuple[str, np.dtype[Any]]:
        """Quantities of a table in the target's unit, as `Table.answers` does it."""
        if self._table is None or self._table.task != "regression":
            return value, self._dtype
        wide = np.dtype(np.float64)
        if self._dtype != wide:
            value = self._cast(value, wide, "output")
        scale, mean = np.array(self._table.target_scale), np.array(self._table.target_mean)
        value = self._node("Mul", value, self._constant("target_scale", scale), name="scaled")
        return self._node("Add", value, self._constant("target_mean", mean), name="moved"), wide

    def _dense(self, index: int, layer: Dense, x: str) -> str:
        parameters = self._model.parameters
        name = f"{index}.weight"
        inputs = [x, self._constant(name, parameters[name])]
        if layer.bias:
            name = f"{index}.bias"
            inputs.append(self._constant(name, parameters[name]))
        z = self._node("Gemm" if layer.bias else "MatMul", *inputs, name=f"{index}.affine")
        return self._activated(layer.activation, z, f"{index}.{layer.activation.name}")

    # --- activations -----------------------------------------------------------------------

    def _activated(self, function: Activation, z: str, name: str) -> str:
        single = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
        if function.name == "identity":
            return z
        if function.name in single:
            return self._node(single[function.name], z, name=name)
        if function.name == "softmax":
            return self._node("Softmax", z, name=name, axis=-1)
        if function.name == "silu":
            return self._node("Mul", z, self._node("Sigmoid", z, name=f"{name}.sigmoid"), name=name)
        if isinstance(function, GELU):
            return self._gelu(function, z, name)
        return (
            self._single(function, z, name)
            if self._dtype == np.float32
            else self._written(function, z, name)
        )

    def _single(self, function: Activation, z: str, name: str) -> str:
        """In float32, by one operation."""
        if isinstance(function, LeakyReLU):
            return self._node("LeakyRelu", z, name=name, alpha=function.slope)
        if isinstance(function, ELU):
            return self._node("Elu", z, name=name, alpha=function.alpha)
        if isinstance(function, SELU):
            return self._node("Selu", z, name=name, alpha=SELU.ALPHA, gamma=SELU.SCALE)
        assert function.name == "softplus", function
        return self._node("Softplus", z, name=name)

    def _written(self, function: Activation, z: str, name: str) -> str:
        """In float64, as a sum of what it is above and below 0."""
        above = self._node("Relu", z, name=f"{name}.above")
        if function.name == "softplus":
            size = self._node("Abs", z, name=f"{name}.size")
            fallen = self._node(
                "Exp", self._node("Neg", size, name=f"{name}.negative"), name=f"{name}.exp"
            )
            sum_ = self._node("Add", fallen, self._number(1.0), name=f"{name}.sum")
            return self._node("Add", above, self._node("Log", sum_, name=f"{name}.log"), name=name)
        below = self._node("Min", z, self._number(0.0), name=f"{name}.below")
        if isinstance(function, LeakyReLU):
            slope, scale = function.slope, 1.0
        else:
            alpha, scale = (
                (function.alpha, 1.0) if isinstance(function, ELU) else (SELU.ALPHA, SELU.SCALE)
            )
            grown = self._node("Exp", below, name=f"{name}.exp")
            below = self._node("Sub", grown, self._number(1.0), name=f"{name}.expm1")
            slope = alpha * scale
        if scale != 1:
            above = self._node("Mul", above, self._number(scale), name=f"{name}.scaled")
        curve = self._node("Mul", below, self._number(slope), name=f"{name}.curve")
        return self._node("Add", above, curve, name=name)

    def _gelu(self, function: GELU, z: str, name: str) -> str:
        """z / 2 * (1 + curve)."""
        if function.approximate == "tanh":
            square = self._node("Mul", z, z, name=f"{name}.square")
            cube = self._node("Mul", square, z, name=f"{name}.cube")
            small = self._node("Mul", cube, self._number(0.044715), name=f"{name}.small")
            inner = self._node("Add", z, small, name=f"{name}.inner")
            factor = self._number(math.sqrt(2 / math.pi))
            curve = self._node(
                "Tanh",
                self._node("Mul", inner, factor, name=f"{name}.scaled"),
                name=f"{name}.curve",
            )
        else:
            inner = self._node("Mul", z, self._number(math.sqrt(0.5)), name=f"{name}.inner")
            if self._dtype == np.float32:
                curve = self._node("Erf", inner, name=f"{name}.curve")
            else:
                short = self._cast(inner, np.dtype(np.float32), f"{name}.short")
                curve = self._node("Erf", short, name=f"{name}.erf")
                curve = self._cast(curve, self._dtype, f"{name}.curve")
        share = self._node("Add", curve, self._number(1.0), name=f"{name}.share")
        half = self._node("Mul", z, self._number(0.5), name=f"{name}.half")
        return self._node("Mul", half, share, name=name)

    # --- pieces of a graph -----------------------------------------------------------------

    def _node(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        node = self._onnx.helper.make_node(kind, list(inputs), [name], name, **attributes)
        self._nodes.append(node)
        return name

    def _cast(self, value: str, dtype: np.dtype[Any], name: str) -> str:
        return self._node("Cast", value, name=name, to=_type(dtype))

    def _constant(self, name: str, array: Any) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.array(array), name))
        return name

    def _number(self, value: float) -> str:
        """A number of the model's dtype; one constant for all places that need it."""
        name = f"{value:.17g}"
        if all(constant.name != name for constant in self._constants):
            self._constant(name, np.array(value, self._dtype))
        return name


def _type(dtype: np.dtype[Any]) -> int:
    """ONNX's number for float32 and float64 (onnx.proto3, TensorProto.DataType)."""
    return 1 if dtype == np.float32 else 11
