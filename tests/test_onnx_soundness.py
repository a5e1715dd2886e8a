"""Random graphs: `from_onnx` reads them as onnxruntime computes them, or refuses them.

No function is taken for another one, however similar their arithmetic is.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnet as fn

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

UNARY = ["Relu", "Sigmoid", "Tanh", "Exp", "Log", "Erf", "Softplus", "Abs", "Neg", "Elu", "Selu",
         "LeakyRelu", "Gelu", "Reciprocal", "Softmax", "Identity", "HardSigmoid",
         "HardSwish", "Mish"]  # fmt: skip
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min"]
CONSTANTS = [0.0, 1.0, 2.0, 0.5, -1.0, 0.2, 20.0, math.sqrt(0.5), math.sqrt(2), 0.044715, 3.0,
             math.sqrt(2 / math.pi)]  # fmt: skip

#: For float32 rounding, which may grow through a few nodes.
NEAR = 1e-4


@st.composite
def graphs(draw):
    """A matrix product, and some arithmetic and layers on its outputs and on constants."""
    units = draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = {
        "w": generator.standard_normal((2, units)),
        "b": generator.standard_normal(units),
        "q": generator.standard_normal((units, units)),
    }
    nodes, values = [onnx.helper.make_node("Gemm", ["x", "w", "b"], ["v0"])], ["v0"]

    def constant():
        value = draw(st.sampled_from(CONSTANTS))
        name = f"c{len(arrays)}"
        arrays[name] = np.full(units, value) if draw(st.integers(0, 7)) == 0 else np.array(value)
        return name

    for _ in range(draw(st.integers(1, 5))):
        made = f"v{len(values)}"
        one = draw(st.sampled_from([values[-1], *values]))
        kind = draw(st.sampled_from(["unary", "binary", "choice", "layer"]))
        if kind == "layer":
            layer = draw(st.sampled_from([("MatMul", "q"), ("PRelu", "b"), ("Mul", "b")]))
            nodes.append(onnx.helper.make_node(layer[0], [one, layer[1]], [made]))
        elif kind == "unary":
            nodes.append(onnx.helper.make_node(draw(st.sampled_from(UNARY)), [one], [made]))
        else:
            other = constant() if draw(st.booleans()) else draw(st.sampled_from(values))
            inputs = draw(st.permutations([one, other]))
            if kind == "choice":
                choice = [onnx.helper.make_node("Greater", [one, constant()], [f"{made}?"])]
                nodes += [*choice, onnx.helper.make_node("Where", [f"{made}?", *inputs], [made])]
            else:
                nodes.append(onnx.helper.make_node(draw(st.sampled_from(BINARY)), inputs, [made]))
        values.append(made)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("x", onnx.TensorProto.FLOAT, ["rows", 2])],
        [value(values[-1], onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


@settings(max_examples=300)
@given(content=graphs())
def test_a_graph_is_read_right_or_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    try:
        model = fn.from_onnx(path, backend="numpy")
    except fn.ModelFileError:
        return
    generator = np.random.default_rng(1)
    scales = generator.choice([0.1, 1, 10, 100], (60, 1))
    x = (generator.standard_normal((60, 2)) * scales).astype(np.float32)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": x})[0]
    found = model.predict(x)
    assert found.shape == wanted.shape
    finite = np.isfinite(wanted)
    assert (np.abs(found - wanted)[finite] <= NEAR * (1 + np.abs(wanted[finite]))).all()
