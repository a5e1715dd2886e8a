"""ONNX graphs for the tests, written node by node, and files of them."""

import math

import numpy as np
import pytest

import fastnet as fn

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

helper, from_array = onnx.helper, onnx.numpy_helper.from_array
FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE

GENERATOR = np.random.default_rng(7)
W, B = GENERATOR.standard_normal((3, 4)), GENERATOR.standard_normal(4)
V, C = GENERATOR.standard_normal((4, 2)), GENERATOR.standard_normal(2)


def graph_of(
    nodes, constants, outputs=("y",), inputs=("rows", 3), opset=20, kind=FLOAT, domains=()
):
    """A model of some nodes, each `(operator, inputs, output)` or those and its attributes."""
    made = [
        helper.make_node(
            op, names.split(), out.split(), f"the {out}", domain=attributes.pop("domain", ""),
            **attributes,
        )
        for op, names, out, attributes in [(*node, {})[:4] for node in nodes]
    ]  # fmt: skip
    wide = np.float32 if kind == FLOAT else np.float64
    arrays = []
    for name, value in constants.items():
        array = np.asarray(value)
        arrays.append(from_array(array.astype(wide) if array.dtype.kind == "f" else array, name))
    return helper.make_model(
        helper.make_graph(
            made,
            "graph",
            [helper.make_tensor_value_info("x", kind, inputs)],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs],
            arrays,
        ),
        opset_imports=[helper.make_opsetid(*pair) for pair in [("", opset), *domains]],
        ir_version=9,
    )  # fmt: skip


def stored(tmp_path, proto):
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def refused(tmp_path, proto, match):
    with pytest.raises(fn.ModelFileError, match=match):
        fn.from_onnx(stored(tmp_path, proto), backend="numpy")


FIRST = ("Gemm", "x w b", "z", {})
LAST = [("MatMul", "a v", "u"), ("Add", "u c", "y")]
LAYERS = {"w": W, "b": B, "v": V, "c": C}

#: Forms of activations: the activation, the nodes from z to a, and their constants.
FORMS = {
    "gelu of the old exporter of PyTorch": (
        fn.GELU(),
        [("Div", "z r", "s"), ("Erf", "s", "e"), ("Add", "e one", "f"), ("Mul", "z f", "g"),
         ("Mul", "g half", "a")],
        {"r": math.sqrt(2), "one": 1.0, "half": 0.5},
    ),
    "gelu in another order": (
        fn.GELU(),
        [("Mul", "z r", "s"), ("Erf", "s", "e"), ("Mul", "half z", "h"), ("Mul", "e h", "g"),
         ("Add", "h g", "a")],
        {"r": math.sqrt(0.5), "half": 0.5},
    ),
    "gelu with tanh": (
        fn.GELU(approximate="tanh"),
        [("Pow", "z three", "p"), ("Mul", "p k", "q"), ("Add", "z q", "s"), ("Mul", "s r", "t"),
         ("Tanh", "t", "h"), ("Add", "one h", "f"), ("Mul", "f half", "g"), ("Mul", "g z", "a")],
        {"three": 3.0, "k": 0.044715, "r": math.sqrt(2 / math.pi), "one": 1.0, "half": 0.5},
    ),
    "silu by sigmoid": (fn.SiLU(), [("Sigmoid", "z", "s"), ("Mul", "s z", "a")], {}),
    "silu by a quotient": (
        fn.SiLU(),
        [("Neg", "z", "n"), ("Exp", "n", "e"), ("Add", "e one", "d"), ("Div", "z d", "a")],
        {"one": 1.0},
    ),
    "sigmoid by exp": (
        fn.Sigmoid(),
        [("Neg", "z", "n"), ("Exp", "n", "e"), ("Add", "e one", "d"), ("Reciprocal", "d", "a")],
        {"one": 1.0},
    ),
    "softplus by log": (
        fn.Softplus(), [("Exp", "z", "e"), ("Add", "e one", "d"), ("Log", "d", "a")], {"one": 1.0}
    ),
    "softplus of the new exporter of PyTorch": (
        fn.Softplus(),
        [("Softplus", "z", "s"), ("Greater", "z t", "g"), ("Where", "g z s", "a")], {"t": 20.0},
    ),
    "relu by a maximum": (fn.ReLU(), [("Max", "zero z", "a")], {"zero": 0.0}),
    "relu by a clip": (fn.ReLU(), [("Clip", "z zero", "a")], {"zero": 0.0}),
    "relu by a choice": (
        fn.ReLU(), [("Less", "zero z", "g"), ("Where", "g z zero", "a")], {"zero": 0.0}
    ),
    "relu by the absolute value": (
        fn.ReLU(), [("Abs", "z", "s"), ("Add", "s z", "t"), ("Mul", "t half", "a")], {"half": 0.5}
    ),
    "leaky relu by a maximum": (
        fn.LeakyReLU(slope=0.2),
        [("Relu", "z", "p"), ("Min", "z zero", "n"), ("Mul", "n k", "m"), ("Add", "m p", "a")],
        {"zero": 0.0, "k": 0.2},
    ),
    "leaky relu by a choice": (
        fn.LeakyReLU(slope=0.2),
        [("Mul", "z k", "n"), ("GreaterOrEqual", "z zero", "g"), ("Where", "g z n", "a")],
        {"zero": 0.0, "k": 0.2},
    ),
    "elu by a choice": (
        fn.ELU(alpha=0.5),
        [("Exp", "z", "e"), ("Sub", "e one", "m"), ("Mul", "m k", "n"), ("Greater", "z zero", "g"),
         ("Where", "g z n", "a")],
        {"zero": 0.0, "one": 1.0, "k": 0.5},
    ),
    "selu": (fn.SELU(), [("Selu", "z", "a")], {}),
    "dropout in inference": (
        fn.Tanh(), [("Tanh", "z", "t"), ("Dropout", "t", "d"), ("Identity", "d", "a")], {}
    ),
}  # fmt: skip
