"""PyTorch's modules and the graphs that it exports: fastnet predicts what they compute."""

import sys

import numpy as np
import pytest
from foreign import NEAR, ROWS, agree
from samples import WRITABLE, biased

import fastnet as fn

#: PyTorch's exporter warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def networks(dtype="float32"):
    """A model for each activation, and one that ends in softmax."""
    for activation in [*WRITABLE, fn.Softmax()]:
        hidden = fn.ReLU() if activation == fn.Softmax() else activation
        layers = [fn.Dense(5, hidden), fn.Dropout(0.25), fn.Dense(4, hidden, bias=False),
                  fn.Dense(3, activation)]  # fmt: skip
        yield biased(fn.Model(fn.Network(6, layers), backend="numpy", dtype=dtype, seed=1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_torch_and_back(torch, dtype):
    for model in networks(dtype):
        module = model.to_torch()
        assert type(module) is torch.nn.Sequential
        assert module.training
        x = ROWS.astype(dtype)
        with torch.no_grad():
            found = module.eval()(torch.tensor(x)).numpy()
        agree(found, model.predict(x), NEAR if dtype == "float32" else 1e-13)
        back = fn.from_torch(module, backend="numpy", loss="mse")
        assert (back.network, back.dtype) == (model.network, dtype)
        np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)
        back.parameters.flat = 0 * back.parameters.flat
        module.requires_grad_()[0].weight.data.zero_()
        assert model.parameters["0.weight"].any(), "a copy"


def test_modules_of_pytorch(torch):
    nn = torch.nn
    shared = nn.Linear(6, 6)
    inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True))
    for module in (
        nn.Linear(6, 2),
        nn.Sequential(nn.Flatten(), shared, nn.Identity(), nn.Tanh(), shared),
        nn.Sequential(inner, nn.Dropout(0.1), nn.Sequential(nn.Sequential(nn.Linear(6, 1)))),
        nn.Sequential(nn.Linear(6, 1), nn.Softplus(), nn.Linear(1, 2, bias=False)).double(),
    ):
        module.eval()
        wide = next(module.parameters()).dtype
        found = fn.from_torch(module, backend="numpy")
        assert f"torch.{found.dtype}" == str(wide)
        agree(found.predict(ROWS), module(torch.tensor(ROWS, dtype=wide)).detach())
    logits = fn.from_torch(nn.Linear(6, 3), backend="numpy", loss="crossentropy", seed=4)
    assert (logits.network.output, logits.seed) == (fn.Softmax(), 4)


def test_unsupported_modules_are_refused_by_name(torch):
    nn = torch.nn
    line = nn.Linear(2, 2)

    class Own(nn.Sequential):
        def forward(self, x):
            return -super().forward(x)

    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked[0].register_forward_hook(lambda *_: None)
    damaged = nn.Linear(2, 2)
    damaged.weight.data[1, 1] = torch.inf
    for module, message in (
        (
            nn.Sequential(line, nn.Sequential(nn.CELU())),
            r"1\.0 CELU.*this module.*BatchNorm1d.*SiLU",
        ),
        (nn.Sequential(line, nn.BatchNorm1d(3)), "1 BatchNorm1d.*has 3 inputs"),
        (
            nn.Sequential(line, nn.BatchNorm1d(2, track_running_stats=False)),
            "no running statistics",
        ),
        (nn.Sequential(line, nn.BatchNorm1d(2, momentum=None)), "momentum is None"),
        (nn.Sequential(line, nn.LayerNorm((2, 2))), "over the units of a row only"),
        (nn.Sequential(nn.PReLU(), line), "0 PReLU.*one parameter for each input"),
        (nn.Sequential(line, nn.PReLU(3)), r"1 PReLU.*parameters \(3,\); they must be \(2,\)"),
        (nn.Sequential(line, nn.LogSoftmax(1)), r"LogSoftmax.*loss='crossentropy'"),
        (nn.Sequential(line, nn.Softmax(0)), r"Softmax\(dim=0\)"),
        (nn.Sequential(line, nn.Softplus(beta=2)), "beta 1"),
        (nn.Sequential(line, nn.LeakyReLU(-1)), r"1 LeakyReLU.*slope is -1"),
        (nn.Sequential(nn.Flatten(0), line), "all but the rows"),
        (nn.Sequential(line, nn.Linear(3, 1)), "has 3 inputs.*has 2 outputs"),
        (nn.Sequential(line, nn.Dropout(1.0), line), r"1 Dropout.*less than 1"),
        (nn.Sequential(line, nn.Dropout(0.5)), "the last, is Dropout"),
        (nn.Sequential(nn.Flatten()), "no dense layer"),
        (nn.Sequential(line, nn.Softmax(1), line), "follows a softmax"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "ParametrizedLinear"),
        (nn.Sequential(Own(line)), r"0 \(Own\) has a forward of its own.*call_function 'neg'"),
        (hooked, "0 has hooks"),
        (nn.Sequential(nn.LazyLinear(2)), "0 is lazy, and has no weights yet; run the module"),
        (line.state_dict(), "load this state_dict into its module first"),
        (nn.Linear(2, 2).bfloat16(), "dtype torch.bfloat16.*float"),
        (nn.Linear(2, 2, device="meta"), "no values"),
        (damaged, "not finite"),
        (3, "module is <class 'int'>"),
    ):
        with pytest.raises(fn.DefinitionError, match=message):
            fn.from_torch(module, backend="numpy")


@pytest.mark.parametrize("way", ["dynamo", "old-13", "old-20"])
def test_graphs_that_pytorch_exports(torch, tmp_path, way):
    pytest.importorskip("onnx", reason="onnx is not installed")
    if way == "dynamo":
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    path = tmp_path / "model.onnx"
    models = list(networks()) if way != "dynamo" else list(networks())[::5]
    for model in models:
        module = torch.nn.Sequential(torch.nn.Flatten(), model.to_torch()).eval()
        x = torch.tensor(ROWS.reshape(-1, 2, 3))
        if way == "dynamo":
            sizes = ({0: torch.export.Dim("rows")},)
            torch.onnx.export(module, (x,), path, dynamo=True, dynamic_shapes=sizes)
        else:
            opset = int(way.removeprefix("old-"))
            torch.onnx.export(module, (x,), path, dynamo=False, opset_version=opset,
                              input_names=["x"], dynamic_axes={"x": {0: "n"}})  # fmt: skip
        found = fn.from_onnx(path, backend="numpy")
        agree(found.predict(ROWS), module(x).detach())
        assert [layer.activation.name for layer in found.network.layers] == [
            layer.activation.name for layer in model.network.layers if isinstance(layer, fn.Dense)
        ]
        np.testing.assert_array_equal(found.parameters.flat, model.parameters.flat)


def test_without_pytorch_the_error_has_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    model = fn.Model(fn.Network(2, [fn.Dense(1)]), backend="numpy")
    with pytest.raises(fn.MissingExtra, match='pip install "torch>='):
        model.to_torch()
    with pytest.raises(fn.DefinitionError, match=r"must be a torch\.nn\.Sequential"):
        fn.from_torch(model)
