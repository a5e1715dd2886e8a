"""ONNX graphs that others wrote: what fastnet says is what onnxruntime says, or the node is named.

Whatever is damaged or hostile is a `ModelFileError`.
"""

import contextlib
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import EVERYWHERE, biased

import fastnet as fn

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

helper, from_array = onnx.helper, onnx.numpy_helper.from_array
FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE

#: As far as fastnet and onnxruntime may be apart, of the largest output.
NEAR = 1e-5

GENERATOR = np.random.default_rng(7)
W, B = GENERATOR.standard_normal((3, 4)), GENERATOR.standard_normal(4)
V, C = GENERATOR.standard_normal((4, 2)), GENERATOR.standard_normal(2)


def graph_of(
    nodes, constants, outputs=("y",), inputs=("rows", 3), opset=20, kind=FLOAT, domains=()
):
    """A model of some nodes, each `(kind, inputs, output, attributes)`."""
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


def check(tmp_path, proto, shape=(9, 3), **options):
    """Read a graph, and hold it against onnxruntime."""
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


def refused(tmp_path, proto, match):
    with pytest.raises(fn.ModelFileError, match=match):
        fn.from_onnx(stored(tmp_path, proto), backend="numpy")


FIRST = ("Gemm", "x w b", "z", {})
LAST = [("MatMul", "a v", "u"), ("Add", "u c", "y")]
LAYERS = {"w": W, "b": B, "v": V, "c": C}

#: An activation, written out: its name, the nodes from z to a, and their constants.
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
    "relu by the size": (
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
    "swish": (fn.SiLU(), [("Sigmoid", "z", "s"), ("Mul", "z s", "a")], {}),
    "selu": (fn.SELU(), [("Selu", "z", "a")], {}),
    "what drops nothing": (
        fn.Tanh(), [("Tanh", "z", "t"), ("Dropout", "t", "d"), ("Identity", "d", "a")], {}
    ),
}  # fmt: skip


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("form", FORMS)
def test_an_activation_is_known_however_it_is_written(tmp_path, form, opset):
    activation, nodes, constants = FORMS[form]
    proto = graph_of([FIRST, *nodes, *LAST], {**LAYERS, **constants}, opset=opset)
    model = check(tmp_path, proto)
    hidden = model.network.layers[0].activation
    assert hidden.name == activation.name
    assert [getattr(hidden, key) for key in ("slope", "alpha") if hasattr(hidden, key)] == (
        pytest.approx(
            [getattr(activation, k) for k in ("slope", "alpha") if hasattr(activation, k)]
        )
    )


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
def test_standardisation_is_folded_into_the_first_layer(tmp_path, kind):
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


def test_what_is_flattened_is_given_as_rows(tmp_path):
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


def test_of_a_classifier_the_probabilities_are_read(tmp_path):
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


def test_a_loss_and_more_training(tmp_path):
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


UNKNOWN = {
    "an operation": (
        [FIRST, ("Mish", "z", "y")],
        r"node 'the y' \(Mish\).*no such operation.*Gemm",
    ),
    "logarithms": ([FIRST, ("LogSoftmax", "z", "y")], r"'the y' \(LogSoftmax\).*probabilities"),
    "a domain": (
        [FIRST, ("Relu", "z", "y", {"domain": "mine"})],
        r"'the y' \(Relu\).*no such operation",
    ),
    "a hard activation": (
        [FIRST, ("Clip", "z zero one", "a"), *LAST],
        r"from node 'the z' \(Gemm\) to here the graph computes no activation.*gelu",
    ),
    "two activations": ([FIRST, ("Relu", "z", "r"), ("Tanh", "r", "a"), *LAST], "no activation"),
    "an activation before": ([("Relu", "x", "r"), ("MatMul", "r w", "y")], "relu comes before"),
    "a residual": (
        [FIRST, ("Relu", "z", "a"), ("MatMul", "a q", "r"), ("Add", "r z", "y")],
        r"'the y' \(Add\).*joins two branches",
    ),
    "softmax inside": ([FIRST, ("Softmax", "z", "a"), *LAST], r"'the u' \(MatMul\).*softmax"),
    "another axis": ([FIRST, ("Softmax", "z", "y", {"axis": 0})], r"axis is 0"),
    "a steep slope": ([FIRST, ("LeakyRelu", "z", "y", {"alpha": -0.5})], "no activation"),
    "a constant first": ([("MatMul", "w x", "y")], r"'the y' \(MatMul\).*constant second"),
    "a turned input": ([("Gemm", "x w", "y", {"transA": 1})], "transA"),
    "a vector later": ([FIRST, ("Tanh", "z", "t"), ("Mul", "t b", "y")], "right after a matrix"),
    "no dependence": ([("Identity", "b", "y")], "from 0 inputs"),
    "an attribute": ([FIRST, ("Relu", "z", "y", {"leak": 1})], "no attribute 'leak'"),
    "another power": ([FIRST, ("Pow", "z half", "y")], r"'the y' \(Pow\).*powers of 2 and 3"),
    "dropping": ([FIRST, ("Dropout", "z half yes", "y")], "drops units also in inference"),
    "a cast": ([FIRST, ("Cast", "z", "y", {"to": 10})], "element type 10"),
    "wrong widths": ([FIRST, ("MatMul", "z w", "y")], r"shape \(3, 4\); it must be \(4, units\)"),
    "a wrong bias": ([("MatMul", "x w", "t"), ("Add", "t c", "y")], r"\(2,\); it must be \(4,\)"),
    "no number": ([FIRST, ("Add", "z flag", "y")], "holds bool"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_not_known_is_named(tmp_path, case):
    nodes, message = UNKNOWN[case]
    constants = {**LAYERS, "zero": 0.0, "one": 1.0, "half": 0.5, "yes": np.array(True),
                 "q": np.ones((4, 4)), "flag": np.array([True])}  # fmt: skip
    fresh = [node[:3] + tuple(map(dict, node[3:])) for node in nodes]
    refused(tmp_path, graph_of(fresh, constants), message)


# --- damaged and hostile files ------------------------------------------------------------------


def test_what_is_no_onnx_file_is_said(tmp_path):
    with pytest.raises(fn.ModelFileMissing):
        fn.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(fn.FileAccessError):
        fn.from_onnx(tmp_path)
    path = tmp_path / "model.onnx"
    for content in (b"", b"\x00", b"no model", bytes(range(255, 5, -1)), b"\x0a" * 1000):
        path.write_bytes(content)
        with pytest.raises(fn.ModelFileError, match="not an ONNX file"):
            fn.from_onnx(path)
    with pytest.raises(fn.DefinitionError, match="path is None"):
        fn.from_onnx(None)
    os.mkfifo(tmp_path / "pipe")
    for endless in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(fn.FileAccessError, match="a device, not a file"):
            fn.from_onnx(endless)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of some files, between them with most of what a graph may hold."""
    folder = tmp_path_factory.mktemp("whole")
    found = []
    for dtype in ("float32", "float64"):
        layers = [fn.Dense(2, activation) for activation in EVERYWHERE]
        model = biased(fn.Model(fn.Network(2, layers), backend="numpy", dtype=dtype, seed=1))
        model.to_onnx(folder / "model.onnx")
        found.append((folder / "model.onnx").read_bytes())
    for _, nodes, constants in FORMS.values():
        proto = graph_of([FIRST, *nodes, *LAST], {**LAYERS, **constants})
        found.append(proto.SerializeToString())
    return found


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path, whole, data):
    content = bytearray(data.draw(st.sampled_from(whole)))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        if content:
            content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    try:
        model = fn.from_onnx(path, backend="numpy")
    except fn.ModelFileError:
        return
    assert np.isfinite(model.parameters.flat).all()


def tampered(change, nodes=(FIRST, ("Relu", "z", "y")), **options):
    proto = graph_of([node[:3] + tuple(map(dict, node[3:])) for node in nodes], LAYERS, **options)
    change(proto.graph)
    return proto


def _nan(graph):
    graph.initializer[0].CopyFrom(from_array(np.full((3, 4), np.nan, np.float32), "w"))


def _huge(graph):
    graph.initializer[0].dims[:] = [2**40, 2**40]


def _negative(graph):
    graph.initializer[0].dims[:] = [-3, -4]


def _short(graph):
    graph.initializer[0].raw_data = graph.initializer[0].raw_data[:-4]


def _cycle(graph):
    graph.node[0].input[0] = "y"


def _self_made(graph):
    graph.node[1].input[0] = "y"


def _twice(graph):
    graph.node[1].output[0] = "z"
    graph.output[0].name = "z"


def _half(graph):
    graph.initializer[0].CopyFrom(from_array(np.ones((3, 4), np.float16), "w"))


def _empty(graph):
    graph.initializer[0].CopyFrom(from_array(np.ones((3, 0), np.float32), "w"))


def _no_output(graph):
    del graph.output[:]


def _two_inputs(graph):
    graph.node[0].input[2] = "more"
    graph.input.append(helper.make_tensor_value_info("more", FLOAT, [4]))


def _no_input(graph):
    graph.node[1].input[0] = ""


def _many(graph):
    graph.node[1].input.extend(["z"] * 5)


HOSTILE = {
    "weights that are no numbers": (_nan, "holds numbers that are not finite"),
    "huge shapes": (_huge, "does not hold as many numbers"),
    "negative shapes": (_negative, "does not hold as many numbers"),
    "a short constant": (_short, "does not hold as many numbers"),
    "a cycle": (_cycle, "inputs"),
    "a node that reads itself": (_self_made, "inputs|nothing before it makes"),
    "a name made twice": (_twice, "made twice|inputs"),
    "half precision": (_half, "element type 10"),
    "an empty layer": (_empty, r"\(3, 0\)"),
    "no output": (_no_output, "0 outputs"),
    "two inputs": (_two_inputs, "from 2 inputs"),
    "a missing input": (_no_input, r"lacks an input|inputs"),
    "many inputs": (_many, "with 6 inputs"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_is_refused(tmp_path, case):
    change, message = HOSTILE[case]
    refused(tmp_path, tampered(change), message)


def test_a_small_file_cannot_ask_for_much(tmp_path):
    square = np.ones((40, 40), np.float32)
    products = [("MatMul", f"{'x' if i == 0 else f'm{i}'} w", f"m{i + 1}") for i in range(200)]
    proto = graph_of(products, {"w": square}, outputs=("m200",), inputs=("n", 40))
    refused(tmp_path, proto, "many times the weights that it holds")
    powers = [("Mul", f"{'x' if i == 0 else f'p{i}'} " * 2, f"p{i + 1}") for i in range(60)]
    refused(tmp_path, graph_of(powers, {}, outputs=("p60",)), "no activation")
    steps = [("Add", f"{'z' if i == 0 else f's{i}'} b", f"s{i + 1}") for i in range(50)]
    refused(tmp_path, graph_of([FIRST, *steps], LAYERS, outputs=("s50",)), "right after a matrix")
    curves = [("Tanh", f"{'z' if i == 0 else f't{i}'}", f"t{i + 1}") for i in range(500)]
    refused(tmp_path, graph_of([FIRST, *curves], LAYERS, outputs=("t500",)), "no activation")


def beside(tmp_path, location, offset=None, length=None):
    """A model whose weights lie in another file."""
    proto = graph_of([FIRST, ("Relu", "z", "y")], LAYERS)
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location, offset, length)
    tensor.ClearField("raw_data")
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    return stored(folder, proto)


def test_weights_in_a_file_beside_are_read(tmp_path):
    raw = W.astype("<f4").tobytes()
    path = beside(tmp_path, "weights.bin", offset=8, length=len(raw))
    (path.parent / "weights.bin").write_bytes(b"12345678" + raw)
    model = fn.from_onnx(path, backend="numpy")
    np.testing.assert_array_equal(model.parameters["0.weight"], W.astype(np.float32))
    for content in (b"12345678" + raw[:-1], b""):
        (path.parent / "weights.bin").write_bytes(content)
        with pytest.raises(fn.ModelFileError, match=r"'weights.bin' does not hold its 48 bytes"):
            fn.from_onnx(path, backend="numpy")
    os.remove(path.parent / "weights.bin")
    with pytest.raises(fn.ModelFileError, match=r"'weights.bin', which is not beside it"):
        fn.from_onnx(path, backend="numpy")


def test_weights_outside_the_folder_are_not_read(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(W.astype("<f4").tobytes())
    link = tmp_path / "folder" / "link.bin"
    link.parent.mkdir()
    link.symlink_to(secret)
    for location in ("../secret.bin", str(secret), "link.bin", "x/../../secret.bin", "", "\0", "."):
        path = beside(tmp_path, location)
        with pytest.raises(fn.ModelFileError, match=r"outside|not beside|cannot be read"):
            fn.from_onnx(path, backend="numpy")
    for offset, length in ((-4, 48), (0, 2**62), (2**70, 48)):
        path = beside(tmp_path, "weights.bin", offset, length)
        (path.parent / "weights.bin").write_bytes(secret.read_bytes())
        with pytest.raises(fn.ModelFileError, match=r"does not hold its|cannot be read"):
            fn.from_onnx(path, backend="numpy")
