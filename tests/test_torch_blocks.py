"""Norms, residual blocks and learned activations, to and from PyTorch."""

import numpy as np
import pytest
from foreign import ROWS, agree
from graphs import MIXED, anywhere, mixed
from samples import rows_for

import fastnet as fn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, functional = torch.nn, torch.nn.functional

WIDE = ROWS.astype(np.float64)


@pytest.mark.parametrize("name", MIXED)
def test_every_layer_to_torch_and_back(name):
    model = anywhere(mixed(name), "numpy")
    module = model.to_torch()
    assert module.training
    x = rows_for(model.network, 40)[0]
    with torch.no_grad():
        agree(module.eval()(torch.tensor(x)).numpy(), model.predict(x), 1e-13)
    back = fn.from_torch(module, backend="numpy")
    assert back.dtype == "float64"
    agree(back.predict(x), model.predict(x), 1e-14)
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)
    kept = [f"{one.layer}" for one in model.network.placed if not isinstance(one.layer, fn.Dense)]
    assert {type(one.layer) for one in back.network.placed} <= {
        type(one.layer) for one in model.network.placed
    }, kept
    if model.network.categories:
        pair = x[:, : -len(model.network.categories)], x[:, -len(model.network.categories) :]
        with torch.no_grad():
            found = module(tuple(map(torch.tensor, pair))).numpy()
        np.testing.assert_array_equal(found, module(torch.tensor(x)).detach().numpy())


class Block(nn.Module):
    """A block as people write it."""

    def __init__(self, units):
        super().__init__()
        self.norm, self.one = nn.LayerNorm(units), nn.Linear(units, 4)
        self.drop, self.two = nn.Dropout(0.3), nn.Linear(4, units)

    def forward(self, x):
        h = self.one(self.norm(x))
        return x + self.two(self.drop(functional.gelu(h, approximate="tanh")))


class Net(nn.Module):
    """Blocks in a loop, a block in a block, a shortcut that comes second, functions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 5)
        self.blocks = nn.ModuleList([Block(5), Block(5)])
        self.last, self.head = nn.BatchNorm1d(5, affine=False), nn.Linear(5, 3)
        self.curve = nn.PReLU()

    def forward(self, x):
        x = torch.relu(self.stem(x.flatten(1)))
        for block in self.blocks:
            x = self.curve(block(x)) + x
        return functional.softmax(self.head(self.last(x).tanh()), dim=1)


def randomized(module):
    """The module with statistics and parameters that are nowhere where they start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5 * ("var" in name))
    return module


def test_modules_with_a_forward_of_their_own():
    module = randomized(Net()).train()
    found = fn.from_torch(module, backend="numpy")
    assert module.training
    agree(found.predict(ROWS), module.eval()(torch.tensor(ROWS)).detach())
    kinds = [type(one.layer).__name__ for one in found.network.placed]
    assert kinds == ["Dense", *["Residual", "Residual", "LayerNorm", "Dense", "Dropout", "Dense",
                     "Activate"] * 2, "BatchNorm", "Activate", "Dense"]  # fmt: skip
    assert found.network.loss == fn.Crossentropy()


def test_other_forwards_are_refused():
    class Twice(nn.Module):
        def __init__(self, does, *modules):
            super().__init__()
            self.does, self.part = does, nn.Sequential(*modules)

        def forward(self, x):
            return self.does(self, x)

    def in_place(self, x):
        kept = x
        x += self.part(x)
        return self.part(x) + kept

    line = nn.Linear(6, 6)
    for does, modules, message in (
        (lambda self, x: x + x, [line], "joins two branches"),
        (lambda self, x: self.part(x) + self.part(x), [line], "joins two branches"),
        (lambda self, x: x + 1.0, [line], r"adds 1\.0"),
        (lambda self, x: x * self.part(x), [line], "call_function 'mul'"),
        (lambda self, x: x if x.sum() > 0 else self.part(x), [line], "torch.fx cannot trace it"),
        (lambda self, x: (x, x), [line], "does not return one array"),
        (lambda self, x: x + self.part(x), [nn.Linear(6, 3)], "adds 3 outputs to its 6 inputs"),
        (lambda self, x: x + self.part(x), [nn.ReLU(inplace=True), line], "leave out inplace=True"),
        (in_place, [line], "computes something else"),
    ):
        with pytest.raises(fn.DefinitionError, match=message):
            fn.from_torch(nn.Sequential(line, Twice(does, *modules), line), backend="numpy")
