"""ONNX graphs of other programs: fastnet predicts what onnxruntime does, or names the node."""

import contextlib

import numpy as np
import pytest
from onnx_graphs import (
    DOUBLE,
    FIRST,
    FLOAT,
    FORMS,
    GENERATOR,
    LAST,
    LAYERS,
    B,
    C,
    V,
    W,
    graph_of,
    onnx,
    refused,
    stored,
)

import fastnet as fn

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

#: The largest difference to onnxruntime, relative to the largest output.
NEAR = 1e-5


def check(tmp_path, proto, shape=(9, 3), **options):
    """Read a graph, and compare its predictions with onnxruntime's."""
    path = stored(tmp_path, proto)
    model = fn.from_onnx(path, backend="numpy", **options)
    kind = proto.graph.input[0].type.tensor_type.elem_type
    x = (3 * np.random.default_rng(1).standard_normal(shape)).astype(
        np.float32 if kind == FLOAT else np.float64
    )
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = session.run([proto.graph.output[0].name], {"x": x})[0]
    found = model.predict(x.reshape(len(x), -1))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= NEAR * max(1.0, float(np.abs(wanted).max()))
    return model


@pytest.mark.parametrize("form", FORMS)
def test_activations_are_recognized_in_every_form(tmp_path, form):
    activation, nodes, constants = FORMS[form]
    proto = graph_of([FIRST, *nodes, *LAST], {**LAYERS, **constants})
    model = check(tmp_path, proto)
    hidden = model.network.layers[0].activation
    assert hidden.name == activation.name
    assert [getattr(hidden, key) for key in ("slope", "alpha") if hasattr(hidden, key)] == (
        pytest.approx(
            [getattr(activation, k) for k in ("slope", "alpha") if hasattr(activation, k)]
        )
    )


@pytest.mark.parametrize(
    ("operator", "attributes", "activation"),
    [
        ("Elu", {"alpha": 0.5}, fn.ELU(alpha=0.5)),
        ("Gelu", {}, fn.GELU()),
        ("Gelu", {"approximate": "tanh"}, fn.GELU(approximate="tanh")),
        ("LeakyRelu", {}, fn.LeakyReLU(slope=0.01)),
        ("Selu", {"alpha": 0.25, "gamma": 1.0}, fn.ELU(alpha=0.25)),
    ],
)
def test_operators_that_are_activations(tmp_path, operator, attributes, activation):
    proto = graph_of([FIRST, (operator, "z", "a", dict(attributes)), *LAST], LAYERS)
    assert check(tmp_path, proto).network.layers[0].activation == activation


@pytest.mark.parametrize("form", FORMS)
def test_an_activation_may_be_of_scaled_and_shifted_outputs(tmp_path, form):
    activation, nodes, constants = FORMS[form]
    first = [("Gemm", "x w b", "z0"), ("Mul", "z0 scale", "z1"), ("Add", "z1 shift", "z")]
    constants = {**LAYERS, **constants, "scale": -1.5, "shift": 0.75}
    proto = graph_of([*first, *nodes, *LAST], constants)
    if form == "gelu with tanh":  # recognized only without
        refused(tmp_path, proto, "no activation")
    else:
        assert check(tmp_path, proto).network.layers[0].activation.name == activation.name


@pytest.mark.parametrize("form", FORMS)
def test_one_unit_whose_constants_look_like_biases(tmp_path, form):
    activation, nodes, constants = FORMS[form]
    one = {"w": W[:, :1], "b": B[:1], "v": V[:1], "c": C}
    after = [("MatMul", "x w", "u0"), ("Add", "u0 b", "z"), *nodes, *LAST]
    model = check(tmp_path, graph_of(after, {**one, **constants}))
    assert model.network.layers[0].activation.name == activation.name
    small = {name: np.reshape(value, (1,)) for name, value in constants.items()}
    if "clip" not in form:  # its bounds are bare numbers
        with contextlib.suppress(fn.ModelFileError):  # right, or refused
            check(tmp_path, graph_of(after, {**one, **small}))


def test_operators_of_an_old_opset(tmp_path):
    nodes = [FIRST, ("Clip", "z", "a", {"min": 0.0}), ("Gemm", "a v c", "u"), ("Softmax", "u", "y")]
    network = check(tmp_path, graph_of(nodes, LAYERS, opset=7)).network
    assert [layer.activation for layer in network.layers] == [fn.ReLU(), fn.Softmax()]


def test_products_in_every_form(tmp_path):
    for nodes in (
        [("MatMul", "x w", "t"), ("Add", "b t", "z"), ("Relu", "z", "a"), *LAST],
        [("MatMul", "x w", "t"), ("Add", "t row", "z"), ("Relu", "z", "a"), *LAST],
        [("MatMul", "x w", "t"), ("Sub", "t b", "z"), ("Relu", "z", "a"), *LAST],
        [("Gemm", "x wt b", "z", {"transB": 1}), ("Relu", "z", "a"), *LAST],
        [("Gemm", "x w", "z", {"alpha": 0.5}), ("Relu", "z", "a"), *LAST],
        [("Gemm", "x w b", "z", {"alpha": 0.5, "beta": -2.0}), ("Relu", "z", "a"), *LAST],
        [("Gemm", "x w one", "z", {"beta": 0.25}), ("Relu", "z", "a"), *LAST],
        [("Transpose", "wt", "tw", {"perm": [1, 0]}), ("Gemm", "x tw row", "z"), ("Relu", "z", "a"),
         *LAST],
        [("MatMul", "x w", "t"), ("Mul", "t b", "s"), ("Add", "s b", "z"), ("Relu", "z", "a"),
         *LAST],
        [FIRST, ("Gemm", "z v c", "y")],
        [FIRST, ("Gemm", "z v c", "s"), ("Mul", "s one", "m"), ("Add", "m one", "y")],
        [("Reshape", "x flat", "f"), ("Flatten", "f", "g"), ("MatMul", "g w", "y")],
    ):  # fmt: skip
        constants = {**LAYERS, "row": B[None], "wt": W.T.copy(), "one": 1.5,
                     "flat": np.array([-1, 3])}  # fmt: skip
        for kind in (FLOAT, DOUBLE):
            made = check(tmp_path, graph_of([n[:3] + tuple(map(dict, n[3:])) for n in nodes],
                                            constants, kind=kind))  # fmt: skip
            assert made.dtype == ("float32" if kind == FLOAT else "float64")


def test_a_zero_bias_stays_a_bias(tmp_path):
    for units in (1, 2):
        constants = {"w": W[:, :units], "b": np.zeros(units)}
        model = check(tmp_path, graph_of([("MatMul", "x w", "t"), ("Add", "t b", "y")], constants))
        assert "0.bias" in model.parameters


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE])
def test_standardization_is_folded_into_the_first_layer(tmp_path, kind):
    first = [("Gemm", "s w b", "y")]
    mean, scale = np.array([100.0, -5.0, 0.0]), np.array([10.0, 2.0, 0.5])
    constants = {"w": W, "b": B, "mean": mean, "scale": scale, "two": 2.0}
    for before in (
        [("Sub", "x mean", "m"), ("Div", "m scale", "s")],
        [("Mul", "x scale", "m"), ("Add", "m mean", "s")],
        [("Sub", "mean x", "m"), ("Mul", "m two", "s")],
        [("Div", "x two", "d"), ("Sub", "d mean", "m"), ("Neg", "m", "s")],
    ):
        model = check(tmp_path, graph_of([*before, *first], constants, kind=kind))
        assert model.dtype == "float64"
        assert model.network.inputs == 3
    model = check(tmp_path, graph_of([("Mul", "x scale", "s"), *first], constants))
    assert model.dtype == "float32"
    scaler = ("Scaler", "x", "s", {"offset": mean, "scale": scale, "domain": "ai.onnx.ml"})
    check(tmp_path, graph_of([scaler, *first], constants, domains=[("ai.onnx.ml", 1)]))


def test_flattened_inputs_become_rows(tmp_path):
    constants = {"w": GENERATOR.standard_normal((12, 2)), "minus": np.array([-1]),
                 "two": np.array([-1, 12]), "zero": np.array(0), "axis": np.array([0]),
                 "half": 0.5}  # fmt: skip
    for before in (
        [("Flatten", "x", "f")],
        [("Reshape", "x two", "f")],
        [("Mul", "x half", "h"), ("Flatten", "h", "f")],
        [("Shape", "x", "s"), ("Gather", "s zero", "n"), ("Unsqueeze", "n axis", "r"),
         ("Concat", "r minus", "t", {"axis": 0}), ("Reshape", "x t", "f")],
    ):  # fmt: skip
        proto = graph_of([*before, ("MatMul", "f w", "y")], constants, inputs=("n", 3, 4))
        assert check(tmp_path, proto, shape=(5, 3, 4)).network.inputs == 12
    proto = graph_of([("MatMul", "x w", "y")], {"w": np.ones((4, 2))}, inputs=("n", 3, 4))
    refused(tmp_path, proto, r"node 'the y' \(MatMul\).*put a Flatten before it")


def test_the_probabilities_of_a_classifier_are_read(tmp_path):
    labels = [("ArgMax", "p", "label", {"axis": 1})]
    proto = graph_of([FIRST, ("Softmax", "z", "p"), *labels], LAYERS, ("p", "label"))
    proto.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    assert check(tmp_path, proto).network.loss == fn.Crossentropy()
    two = [("Gemm", "x w b", "z"), ("Sigmoid", "z", "p"), ("Sub", "one p", "q")]
    constants = {"w": W[:, :1], "b": B[:1], "one": 1.0}
    proto = graph_of([*two, ("Concat", "q p", "y", {"axis": 1})], constants)
    model = fn.from_onnx(stored(tmp_path, proto), backend="numpy")
    assert (model.network.outputs, model.network.loss) == (1, fn.BinaryCrossentropy())
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(model.predict(x), session.run(None, {"x": x})[0][:, 1:], NEAR)


def test_a_loss_for_further_training(tmp_path):
    path = stored(tmp_path, graph_of([FIRST, ("Relu", "z", "a"), *LAST], LAYERS))
    assert fn.from_onnx(path, backend="numpy").network.loss == fn.MSE()
    model = fn.from_onnx(path, backend="numpy", loss=fn.Huber(delta=2), dtype="float64", seed=5)
    assert (model.network.loss, model.dtype, model.seed) == (fn.Huber(delta=2), "float64", 5)
    model = fn.from_onnx(path, backend="numpy", loss="crossentropy")
    assert model.network.output == fn.Softmax()
    history = model.fit(np.eye(3), [0, 1, 0], epochs=20)
    assert history.loss[-1] < history.loss[0]
    with pytest.raises(fn.DefinitionError, match="unknown loss 'l2'"):
        fn.from_onnx(path, loss="l2")
    with pytest.raises(fn.DefinitionError, match="dtype is 'float16'"):
        fn.from_onnx(path, dtype="float16")
    relu = stored(tmp_path, graph_of([FIRST, ("Relu", "z", "y")], LAYERS))
    with pytest.raises(fn.DefinitionError, match="the last layer has 'relu'"):
        fn.from_onnx(relu, loss="crossentropy")


UNSUPPORTED = {
    "an operation": (
        [FIRST, ("Celu", "z", "y")],
        r"node 'the y' \(Celu\).*not support this operator.*Gemm",
    ),
    "logarithms": ([FIRST, ("LogSoftmax", "z", "y")], r"'the y' \(LogSoftmax\).*probabilities"),
    "a domain": (
        [FIRST, ("Relu", "z", "y", {"domain": "mine"})],
        r"'the y' \(Relu\).*not support this operator",
    ),
    "a hard activation": (
        [FIRST, ("Clip", "z zero two", "a"), *LAST],
        r"from node 'the z' \(Gemm\) to here the graph computes no activation.*gelu",
    ),
    "a softplus with a low threshold": (
        [FIRST, ("Softplus", "z", "s"), ("Greater", "z one", "g"), ("Where", "g z s", "y")],
        "no activation",
    ),
    "two activations": ([FIRST, ("Relu", "z", "r"), ("Tanh", "r", "a"), *LAST], "no activation"),
    "two branches": (
        [FIRST, ("MatMul", "z q", "r"), ("MatMul", "z q", "s"), ("Add", "r s", "y")],
        r"'the y' \(Add\).*joins two branches",
    ),
    "softmax inside": ([FIRST, ("Softmax", "z", "a"), *LAST], r"'the u' \(MatMul\).*softmax"),
    "another axis": ([FIRST, ("Softmax", "z", "y", {"axis": 0})], r"axis is 0"),
    "a negative slope": ([FIRST, ("LeakyRelu", "z", "y", {"alpha": -0.5})], "no activation"),
    "another gelu": ([FIRST, ("Gelu", "z", "y", {"approximate": "sigmoid"})], "'none' and 'tanh'"),
    "a constant first": ([("MatMul", "w x", "y")], r"'the y' \(MatMul\).*constant second"),
    "a transposed input": ([("Gemm", "x w", "y", {"transA": 1})], "transA with two constants"),
    "a vector later": ([FIRST, ("Tanh", "z", "t"), ("Add", "t b", "y")], "right after a matrix"),
    "no dependence": ([("Identity", "b", "y")], "depends on 0 inputs"),
    "an attribute": ([FIRST, ("Relu", "z", "y", {"leak": 1})], "not support its attribute 'leak'"),
    "another power": ([FIRST, ("Pow", "z half", "y")], r"'the y' \(Pow\).*powers of 2 and 3"),
    "dropping": ([FIRST, ("Dropout", "z half yes", "y")], "drops units in inference too"),
    "a cast": ([FIRST, ("Cast", "z", "y", {"to": 6})], "element type 6"),
    "wrong widths": ([FIRST, ("MatMul", "z w", "y")], r"shape \(3, 4\); it must be \(4, units\)"),
    "a wrong bias": ([("MatMul", "x w", "t"), ("Add", "t c", "y")], r"\(2,\); it must be \(4,\)"),
    "no number": ([FIRST, ("Add", "z flag", "y")], "dtype bool"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_unsupported_graphs_are_refused_by_node(tmp_path, case):
    nodes, message = UNSUPPORTED[case]
    constants = {**LAYERS, "zero": 0.0, "one": 1.0, "two": 2.0, "half": 0.5, "yes": np.array(True),
                 "q": np.ones((4, 4)), "flag": np.array([True])}  # fmt: skip
    fresh = [node[:3] + tuple(map(dict, node[3:])) for node in nodes]
    refused(tmp_path, graph_of(fresh, constants), message)
