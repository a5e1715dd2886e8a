"""Norms, residual blocks and learned activations in ONNX graphs, fastnet's and PyTorch's."""

from contextlib import nullcontext

import numpy as np
import pytest
from foreign import ROWS, agree
from graphs import EMBEDDED, MIXED, anywhere, mixed
from onnx_graphs import FIRST, LAYERS, B, W, from_array, graph_of, helper, refused, stored
from samples import rows_for
from test_onnx_reading import check

import fastnet as fn

pytestmark = pytest.mark.filterwarnings("ignore")

#: What the reader refuses: two activations in a row, activations written out with a factor for each
#: unit, blocks of dropout alone, a block that begins with a factor for each unit.
REFUSED = {
    "activation_first": "no activation",
    "learned": "joins two branches|no activation|right after a matrix product",
    "block_of_relu": "no activation",
    "one_unit": "joins two branches",
    **dict.fromkeys(EMBEDDED, "embeddings|it must give"),
}


@pytest.mark.parametrize("name", MIXED)
def test_written_layers_are_read_back(tmp_path, name):
    model, path = anywhere(mixed(name), "numpy"), tmp_path / "model.onnx"
    model.to_onnx(path)
    if name in REFUSED:
        with pytest.raises(fn.ModelFileError, match=REFUSED[name]):
            fn.from_onnx(path, backend="numpy")
        return
    x = rows_for(model.network, 30)[0]
    back = fn.from_onnx(path, backend="numpy")
    assert back.dtype == "float64"
    agree(back.predict(x), model.predict(x), 1e-6 if "gelu" in str(model.network) else 1e-12)


def test_layers_of_other_graphs(tmp_path):
    four = np.array([0.5, 2.0, -1.0, 3.0])
    constants = {**LAYERS, "f": four, "one": np.ones(1), "q": np.diag(four) + 0.1, "half": 0.5,
                 "p": four**2}  # fmt: skip
    last = [("MatMul", "a v", "u"), ("Add", "u c", "y")]
    for nodes in (
        [FIRST, ("LayerNormalization", "z f b", "n", {"axis": -1, "epsilon": 0.1}),
         ("Relu", "n", "a"), *last],
        [FIRST, ("LayerNormalization", "z f", "n"), ("Mul", "n f", "m"), ("Add", "m b", "a"),
         *last],
        [FIRST, ("Tanh", "z", "t"), ("BatchNormalization", "t f b b p", "a"), *last],
        [FIRST, ("PRelu", "z f", "a"), *last],
        [FIRST, ("PRelu", "z one", "a"), *last],
        [FIRST, ("Tanh", "z", "t"), ("Mul", "t f", "a"), *last],
        [FIRST, ("Relu", "z", "r"), ("MatMul", "r q", "s"), ("Sum", "s z", "a"), *last],
        [FIRST, ("Relu", "z", "r"), ("MatMul", "r q", "s"), ("Tanh", "s", "t"), ("Add", "r t", "k"),
         ("Mul", "k half", "a"), *last],
        [FIRST, ("Flatten", "z", "g", {"axis": -1}), ("Mish", "g", "a"), *last],
        [("Relu", "x", "r"), ("MatMul", "r w", "y")],
    ):  # fmt: skip
        fresh = [node[:3] + tuple(map(dict, node[3:])) for node in nodes]
        check(tmp_path, graph_of(fresh, constants))


#: What exporters write of shapes and types, and of activations with bounds: the shape and the type
#: of the input, and the nodes.
SHAPES = {
    "squeezed": (
        ("n", 3), "float32",
        [("MatMul", "x u", "z"), ("Squeeze", "z last", "s"), ("Sigmoid", "s", "y")],
    ),
    "squeezed and back": (
        ("n", 3), "float32",
        [("MatMul", "x u", "z"), ("Squeeze", "z last", "s"), ("Add", "s six", "t"),
         ("Unsqueeze", "t last", "a"), ("MatMul", "a r", "y")],
    ),
    "all rows": (("n", 3), "float32", [("MatMul", "x u", "z"), ("Reshape", "z last", "y")]),
    "three dimensions": (
        ("n", 1, 3), "float32", [("Squeeze", "x unit", "f"), ("MatMul", "f w", "y")]
    ),
    "one row": ((3,), "float32", [("Reshape", "x row", "f"), ("Gemm", "f w b", "y")]),
    "a new axis": ((3,), "float32", [("Unsqueeze", "x first", "f"), ("MatMul", "f w", "y")]),
    "a fixed row": (
        (1, 3), "float32", [("Reshape", "x row", "f"), ("Gemm", "f w b", "z"), ("Relu", "z", "y")]
    ),
    "integers": (("n", 3), "int64", [("Cast", "x", "f", {"to": 1}), ("MatMul", "f w", "y")]),
    "bytes": (
        ("n", 3, 1), "uint8",
        [("Flatten", "x", "g"), ("Cast", "g", "f", {"to": 1}), ("Div", "f six", "h"),
         ("Gemm", "h w b", "y")],
    ),
    "half": (("n", 3), "float32", [("Cast", "half", "v", {"to": 1}), ("MatMul", "x v", "y")]),
    "constants": (
        ("n", 3), "float32",
        [("Gemm", "q w", "k", {"transA": 1, "alpha": 0.5}), ("Add", "b six", "v"),
         ("Sqrt", "v", "d"), ("Div", "k d", "e"), ("MatMul", "x w", "z"), ("Sum", "z b d", "h"),
         ("MatMul", "h i", "j"), ("Mul", "j d", "l"), ("MatMul", "l e", "y")],
    ),
    "clipped to 1": (("n", 3), "float32", [("Gemm", "x w b", "z"), ("Clip", "z zero one", "y")]),
    "clipped to 6": (("n", 3), "float32", [("Gemm", "x w b", "z"), ("Clip", "z zero six", "y")]),
    "hard sigmoid": (
        ("n", 3), "float32",
        [("Gemm", "x w b", "z"), ("HardSigmoid", "z", "a"), ("MatMul", "a i", "y")],
    ),
    "hard swish": (("n", 3), "float32", [("Gemm", "x w b", "z"), ("HardSwish", "z", "y")]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_types_of_other_graphs(tmp_path, name):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    shape, kind, nodes = SHAPES[name]
    constants = {"w": W, "b": np.abs(B), "u": W[:, :1], "r": W[:1], "q": W[:, ::-1],
                 "i": np.diag(B), "zero": 0.0, "one": 1.0, "six": 6.0, "last": [-1], "unit": [1],
                 "first": [0], "row": [1, 3]}  # fmt: skip
    proto = graph_of(
        [node[:3] + tuple(map(dict, node[3:])) for node in nodes], constants, inputs=shape
    )
    proto.graph.initializer.append(from_array(W.astype(np.float16), "half"))
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    proto.graph.input[0].type.tensor_type.elem_type = element
    path = stored(tmp_path, proto)
    rows = [1 if size == "n" else size for size in shape]
    x = np.random.default_rng(2).normal(0, 4, rows).astype(kind)
    wanted = runtime.InferenceSession(str(path)).run(None, {"x": x})[0]
    with pytest.warns(UserWarning, match="float16") if name == "half" else nullcontext():
        found = fn.from_onnx(path, backend="numpy")
    agree(found.predict(x.reshape(1, -1)).reshape(wanted.shape), wanted)


def test_layers_that_do_not_fit_are_refused(tmp_path):
    constants = {**LAYERS, "f": np.ones(4), "m": -np.ones(4), "q": np.ones((4, 3)), "one": [1],
                 "zero": [0], "shape": [1, 4]}  # fmt: skip
    for nodes, message in (
        ([FIRST, ("LayerNormalization", "z b b", "y", {"axis": 0})], "axis is 0"),
        ([FIRST, ("LayerNormalization", "z c", "y")], "has 2 inputs"),
        ([FIRST, ("LayerNormalization", "z f", "y", {"epsilon": 0.0})], "epsilon is 0"),
        ([FIRST, ("BatchNormalization", "z f f f m", "y")], "variance below 0"),
        ([FIRST, ("BatchNormalization", "z f f f f", "y", {"training_mode": 1})], "training mode"),
        ([FIRST, ("PRelu", "z c", "y")], r"shape \(2,\)"),
        ([FIRST, ("MatMul", "z q", "r"), ("Add", "z r", "y")], "adds 3 outputs to its 4 inputs"),
        ([FIRST, ("Squeeze", "z one", "y")], "not 1 there"),
        ([FIRST, ("Squeeze", "z zero", "y")], "must keep the rows"),
        ([FIRST, ("Squeeze", "z", "y")], "must keep the rows"),
        ([FIRST, ("Unsqueeze", "z one", "y")], "must give"),
        ([FIRST, ("Reshape", "z shape", "y")], r"to \[1, 4\]; it must be to \[rows, units\]"),
        (
            [("MatMul", "q m", "k"), ("MatMul", "x k", "y")],
            "of constants of shapes",
        ),
        ([("Gemm", "q q", "k"), ("MatMul", "x k", "y")], "which do not fit"),
    ):
        fresh = [node[:3] + tuple(map(dict, node[3:])) for node in nodes]
        refused(tmp_path, graph_of(fresh, constants), message)


def modules(torch):
    """Modules as people write them."""
    from test_torch_blocks import Block, Net, randomized

    nn = torch.nn
    stem, head = nn.Linear(6, 5), nn.Linear(5, 3)

    class Score(nn.Module):
        def __init__(self, end):
            super().__init__()
            self.stem, self.last, self.end = nn.Linear(6, 5), nn.Linear(5, 1), end

        def forward(self, x):
            x = torch.relu(self.stem(x.float() / 8))
            return self.end(self.last(x))

    for module in (
        Net(),
        nn.Sequential(stem, Block(5), nn.Mish(), Block(5), head),
        nn.Sequential(stem, nn.BatchNorm1d(5), nn.Hardswish(), nn.Dropout(0.2), head),
        nn.Sequential(stem, nn.ReLU(), nn.BatchNorm1d(5), nn.PReLU(5), head, nn.Hardsigmoid()),
        nn.Sequential(nn.LayerNorm(6), stem, nn.ReLU6(), nn.LayerNorm(5), head),
        Score(lambda z: torch.sigmoid(z.squeeze(-1))),
        Score(lambda z: z.clamp(0, 1).flatten()),
    ):
        yield randomized(module).eval()


@pytest.mark.parametrize("way", ["dynamo", "old"])
def test_graphs_that_pytorch_exports(tmp_path, way):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    if way == "dynamo":
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    path = tmp_path / "model.onnx"
    for module in modules(torch):
        rows = ROWS.astype(np.int64) if hasattr(module, "end") else ROWS
        x = torch.tensor(rows)
        if way == "dynamo":
            sizes = ({0: torch.export.Dim("rows")},)
            torch.onnx.export(module, (x,), path, dynamo=True, dynamic_shapes=sizes)
        else:
            torch.onnx.export(module, (x,), path, dynamo=False, opset_version=17,
                              input_names=["x"], dynamic_axes={"x": {0: "n"}})  # fmt: skip
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        wanted = session.run(None, {session.get_inputs()[0].name: rows})[0]
        agree(fn.from_onnx(path, backend="numpy").predict(rows).reshape(wanted.shape), wanted)
