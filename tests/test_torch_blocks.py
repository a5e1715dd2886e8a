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


class Tabular(nn.Module):
    """Embeddings beside numbers, as people write them."""

    def __init__(self, *layers, numbers=2, behind=False):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(5, 3), nn.Embedding(4, 2)])
        self.behind, self.layers = behind, nn.Sequential(*layers)
        self.numbers = numbers

    def forward(self, codes, numbers=None):
        parts = [table(codes[:, i].long()) for i, table in enumerate(self.tables)]
        if self.numbers:
            parts = [*parts[::-1], numbers] if self.behind else [numbers.float(), *parts]
        return self.layers(torch.cat(parts, dim=1))


def test_embeddings_in_front():
    generator = np.random.default_rng(3)
    numbers = generator.standard_normal((20, 2)).astype(np.float32)
    codes = generator.integers(0, (5, 4), (20, 2))
    head = nn.Linear(7, 3)
    for module, x in (
        (Tabular(Block(7), nn.ReLU(), head), (numbers, codes)),
        (
            Tabular(nn.Dropout(), nn.BatchNorm1d(7), nn.PReLU(7), head, behind=True),
            (numbers, codes),
        ),
        (Tabular(nn.Linear(5, 3), numbers=0), (None, codes)),
        (nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 2)), (None, codes)),
        (nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 2)), (None, codes[:, :1])),
    ):  # fmt: skip
        found = fn.from_torch(randomized(module).eval(), backend="numpy")
        given = [torch.tensor(codes if x[1].shape[1] == 2 else codes[:, 0])]
        if isinstance(module, Tabular) and module.numbers:
            given.append(torch.tensor(numbers))
        agree(found.predict(x), module(*given).detach())
        back = fn.from_torch(found.to_torch(), backend="numpy")
        np.testing.assert_array_equal(back.predict(x), found.predict(x))


def test_other_embeddings_are_refused():
    class Other(nn.Module):
        def __init__(self, does, table=None):
            super().__init__()
            self.does, self.table = does, table or nn.Embedding(5, 3)
            self.line = nn.Linear(5, 2)

        def forward(self, x, y):
            return self.line(self.does(self, x, y))

    for does, message in (
        (lambda self, x, y: torch.cat([x, self.table(y[:, 0])], 0), "along axis 0"),
        (lambda self, x, y: torch.cat([x.relu(), self.table(y[:, 0])], 1), "part of its arguments"),
        (lambda self, x, y: torch.cat([x, self.table(y[:, 1])], 1), "each column"),
        (lambda self, x, y: torch.cat([x, self.table(x[:, 0])], 1), "joins other arrays"),
        (lambda self, x, y: torch.cat([x, self.table(y[:, -1])], 1), r"must be \[:, i\]"),
        (lambda self, x, y: x + y, "part of its arguments"),
    ):
        with pytest.raises(fn.DefinitionError, match=message):
            fn.from_torch(Other(does), backend="numpy")
    table = nn.Embedding(5, 4)
    for module, message in (
        (Tabular(Block(7), nn.Linear(7, 3), behind=True), "bring its columns in this order"),
        (Tabular(nn.Linear(4, 3)), "makes 5 columns beside the numbers, and the layer after it"),
        (nn.Sequential(nn.Linear(3, 4), table, nn.Linear(4, 2)), "does not come first"),
        (nn.Sequential(table, nn.Flatten(), nn.Linear(6, 2)), "makes 4 columns, and the layer"),
        (nn.Sequential(table, nn.Linear(8, 2)), "makes 4 columns, and the layer"),
        (nn.Sequential(nn.Embedding(5, 4, max_norm=1.0), nn.Linear(4, 2)), "max_norm is 1"),
        (nn.Sequential(nn.Embedding(1, 4), nn.Linear(4, 2)), "must be 2 or more"),
    ):  # fmt: skip
        with pytest.raises(fn.DefinitionError, match=message):
            fn.from_torch(module, backend="numpy")
