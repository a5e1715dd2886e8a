"""Norms, residual blocks and learned activations in ONNX graphs, fastnet's and PyTorch's."""

import numpy as np
import pytest
from foreign import ROWS, agree
from graphs import EMBEDDED, MIXED, anywhere, mixed
from onnx_graphs import FIRST, LAYERS, graph_of, refused
from samples import rows_for
from test_onnx_reading import check

import fastnet as fn

pytestmark = pytest.mark.filterwarnings("ignore")

#: What the reader refuses: two activations in a row, activations written out with a factor for each
#: unit, blocks of dropout alone, a block that begins with a factor for each unit.
REFUSED = {
    "activation_first": "no activation",
    "learned_first": "no activation",
    "learned": "joins two branches|no activation|right after a matrix product",
    "block_of_relu": "no activation",
    "one_unit": "joins two branches",
}


@pytest.mark.parametrize("name", [name for name in MIXED if name not in EMBEDDED])
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


def test_layers_that_do_not_fit_are_refused(tmp_path):
    constants = {**LAYERS, "f": np.ones(4), "m": -np.ones(4), "q": np.ones((4, 3))}
    for nodes, message in (
        ([FIRST, ("LayerNormalization", "z b b", "y", {"axis": 0})], "axis is 0"),
        ([FIRST, ("LayerNormalization", "z c", "y")], "has 2 inputs"),
        ([FIRST, ("LayerNormalization", "z f", "y", {"epsilon": 0.0})], "epsilon is 0"),
        ([FIRST, ("BatchNormalization", "z f f f m", "y")], "variance below 0"),
        ([FIRST, ("BatchNormalization", "z f f f f", "y", {"training_mode": 1})], "training mode"),
        ([FIRST, ("PRelu", "z c", "y")], r"shape \(2,\)"),
        ([FIRST, ("MatMul", "z q", "r"), ("Add", "z r", "y")], "adds 3 outputs to its 4 inputs"),
    ):
        fresh = [node[:3] + tuple(map(dict, node[3:])) for node in nodes]
        refused(tmp_path, graph_of(fresh, constants), message)


def modules(torch):
    """Modules as people write them."""
    from test_torch_blocks import Block, Net, randomized

    nn = torch.nn
    stem, head = nn.Linear(6, 5), nn.Linear(5, 3)
    for module in (
        Net(),
        nn.Sequential(stem, Block(5), nn.Mish(), Block(5), head),
        nn.Sequential(stem, nn.BatchNorm1d(5), nn.Hardswish(), nn.Dropout(0.2), head),
        nn.Sequential(stem, nn.ReLU(), nn.BatchNorm1d(5), nn.PReLU(5), head, nn.Hardsigmoid()),
        nn.Sequential(nn.LayerNorm(6), stem, nn.ReLU6(), nn.LayerNorm(5), head),
    ):
        yield randomized(module).eval()


@pytest.mark.parametrize("way", ["dynamo", "old"])
def test_graphs_that_pytorch_exports(tmp_path, way):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    if way == "dynamo":
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    x, path = torch.tensor(ROWS), tmp_path / "model.onnx"
    for module in modules(torch):
        if way == "dynamo":
            sizes = ({0: torch.export.Dim("rows")},)
            torch.onnx.export(module, (x,), path, dynamo=True, dynamic_shapes=sizes)
        else:
            torch.onnx.export(module, (x,), path, dynamo=False, opset_version=17,
                              input_names=["x"], dynamic_axes={"x": {0: "n"}})  # fmt: skip
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        wanted = session.run(None, {session.get_inputs()[0].name: ROWS})[0]
        agree(fn.from_onnx(path, backend="numpy").predict(ROWS), wanted)
