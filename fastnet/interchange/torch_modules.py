"""From and to PyTorch: `torch.nn.Sequential` of the modules of fastnet's layers."""

import sys
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnet.definition.activations import ACTIVATIONS, Activation, Parametric, PReLU
from fastnet.definition.embedding import Embed, Embedding, Inputs, Periodic, PiecewiseLinear
from fastnet.definition.layers import (
    Activate,
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LayerNorm,
    Residual,
    Scale,
)
from fastnet.errors import DefinitionError
from fastnet.extras import need
from fastnet.interchange.chain import SOFTPLUS_THRESHOLD, Chain, check_writable, row_of
from fastnet.interchange.fronts import Front
from fastnet.model import Model


@dataclass(frozen=True)
class Row:
    """An activation as a module of `torch.nn`, in both directions.

    Attributes:
        module: the class's name.
        constants: ours, and what PyTorch calls them, as arguments and attributes alike.
        settings: the module's other arguments when it is made.
        fits: whether a module of this class computes the activation.
        otherwise: what fastnet has, for a module that does not.
    """

    module: str
    constants: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    fits: Callable[[Any], bool] = lambda module: True
    otherwise: str = ""


ROWS = {
    "identity": Row("Identity"),
    "sigmoid": Row("Sigmoid"),
    "tanh": Row("Tanh"),
    "relu": Row("ReLU"),
    "leaky_relu": Row("LeakyReLU", {"slope": "negative_slope"}),
    "elu": Row("ELU", {"alpha": "alpha"}),
    "selu": Row("SELU"),
    "softplus": Row(
        "Softplus",
        settings={"threshold": 40},  # where the difference is too small for float64
        fits=lambda module: module.beta == 1 and module.threshold >= SOFTPLUS_THRESHOLD,
        otherwise=f"fastnet has beta 1 and a threshold of {SOFTPLUS_THRESHOLD:g} or more",
    ),
    "silu": Row("SiLU"),
    "gelu": Row("GELU", {"approximate": "approximate"}),
    "mish": Row("Mish"),
    "hardswish": Row("Hardswish"),
    "relu6": Row("ReLU6"),
    "hardsigmoid": Row("Hardsigmoid"),
    "softmax": Row(
        "Softmax",
        settings={"dim": 1},
        fits=lambda module: module.dim in (1, -1),
        otherwise="fastnet has softmax over the units: nn.Softmax(dim=1)",
    ),
}

#: What to do about modules that many a network has.
_REMEDIES = {
    "LogSoftmax": "fastnet predicts probabilities: use nn.Softmax(dim=1) instead, or leave it out "
    "and pass loss='crossentropy'",
}


def write(model: Model) -> Any:
    """Make the module that `exporting.to_torch` describes."""
    need("torch", "torch", "making a PyTorch module")
    check_writable(model.network, "PyTorch")
    model.parameters.check()
    return _Writer(model).sequence(model.network.layers, model.network.inputs)


class _Writer:
    """The modules of a model's layers."""

    def __init__(self, model: Model) -> None:
        import torch

        from fastnet.interchange import torch_embedding, torch_layers

        self._model = model
        self._torch, self._nn, self._own = torch, torch.nn, torch_layers
        self._embedding = torch_embedding
        self._dtype = getattr(torch, model.dtype)

    def sequence(self, layers: tuple[Layer, ...], width: int, before: str = "") -> Any:
        """A module of layers whose names begin with `before`."""
        modules = []
        inputs = self._model.network.both_inputs
        if not before and (inputs.categories or isinstance(layers[0], Embed)):
            first = layers[0] if isinstance(layers[0], Embed) else Embed("one_hot")
            embedding = Embedding(first, inputs)
            modules.append(self._embed(embedding))
            width = embedding.outputs(0, "0")
        for index, layer in enumerate(layers):
            if isinstance(layer, Embed):
                continue
            name = f"{before}{index}"
            modules += self._modules(layer, name, width)
            width = layer.outputs(width, name)
        kind = self._own.Residual if before else self._nn.Sequential
        return kind(*modules)

    def _embed(self, layer: Embedding) -> Any:
        nn, own, inputs, tables = self._nn, self._embedding, layer.inputs, []
        for column, (size, units) in enumerate(zip(inputs.categories, layer.units, strict=True)):
            if units is None:
                tables.append(own.OneHot(size, self._dtype))
            else:
                table = nn.Embedding(size, units, dtype=self._dtype)
                tables.append(self._filled(table, "0", weight=f"embedding_{column}"))
        numeric, module = layer.embed.numbers, None
        if isinstance(numeric, Periodic):
            module = own.Periodic(inputs.numbers, numeric.frequencies, numeric.units, self._dtype)
        elif isinstance(numeric, PiecewiseLinear):
            module = own.PiecewiseLinear(inputs.numbers, numeric.bins, numeric.units, self._dtype)
        if numeric is not None:
            names = numeric.parameters(inputs.numbers)
            self._filled(module, "0", **{name: name for name in names})
        return own.Embed(inputs.numbers, tables, module)

    def _modules(self, layer: Layer, name: str, width: int) -> list[Any]:
        nn, dtype = self._nn, self._dtype
        match layer:
            case Dropout(rate=rate):
                return [nn.Dropout(rate)]
            case Residual(layers=layers):
                return [self.sequence(layers, width, f"{name}.")]
            case LayerNorm(epsilon=epsilon):
                norm = nn.LayerNorm(width, epsilon, dtype=dtype)
                return [self._filled(norm, name, weight="scale", bias="shift")]
            case BatchNorm(epsilon=epsilon, momentum=momentum):
                norm = nn.BatchNorm1d(width, epsilon, momentum, dtype=dtype)
                return [self._filled(norm, name, weight="scale", bias="shift",
                                     running_mean="mean", running_var="variance")]  # fmt: skip
            case Scale():
                return [self._filled(self._own.Scale(width, dtype), name, weight="scale")]
            case Dense(units=units, bias=bias, activation=activation):
                linear = nn.Linear(width, units, bias, device="meta", dtype=dtype)
                linear.to_empty(device="cpu")
                with self._torch.no_grad():
                    weight = self._model.parameters[f"{name}.weight"]
                    linear.weight.copy_(self._torch.tensor(weight.T))
                if bias:
                    self._filled(linear, name, bias="bias")
                return [linear, *self._activation(activation, name, units)]
            case Activate(activation=activation):
                return self._activation(activation, name, width)
        raise AssertionError(layer)

    def _filled(self, module: Any, name: str, **names: str) -> Any:
        """A module with parameters of the model: theirs, and what fastnet calls them."""
        with self._torch.no_grad():
            for theirs, ours in names.items():
                array = self._model.parameters[f"{name}.{ours}"]
                getattr(module, theirs).copy_(self._torch.tensor(array))
        return module

    def _activation(self, activation: Activation, name: str, units: int) -> list[Any]:
        if activation.name == "identity":
            return []
        if isinstance(activation, PReLU):
            module = self._nn.PReLU(units, dtype=self._dtype)
        elif isinstance(activation, Parametric):
            (function,) = self._activation(activation.function, name, units)
            module = self._own.Parametric(function, units, self._dtype)
        else:
            row = row_of(ROWS, activation, "PyTorch")
            given = {their: getattr(activation, our) for our, their in row.constants.items()}
            return [getattr(self._nn, row.module)(**given, **row.settings)]
        return [self._filled(module, name, weight="alpha")]


def read(module: Any) -> Chain:
    """Read the layers of a module.

    Raises:
        DefinitionError: if a module is not supported; names it.
    """
    torch = sys.modules.get("torch")  # imported by whoever has a module
    if torch is None or not isinstance(module, torch.nn.Module):
        hint = ": load this state_dict into its module first" if isinstance(module, Mapping) else ""
        raise DefinitionError(
            f"module is {type(module)!r}; it must be a torch.nn.Sequential{hint}."
        )
    chain = Chain("the module")
    reader = _Reader(torch)
    reader.take(chain, "", module)
    if chain.has_blocks or reader.arguments:
        _check(torch, chain, module, reader.arguments)
    return chain


def _check(torch: Any, chain: Chain, module: Any, arguments: tuple[str, ...]) -> None:
    """Refuse a module in which x + f(x) is something else, as where f changes x in place.

    Args:
        torch: the package.
        chain: what was read.
        module: of what.
        arguments: what it takes, "numbers" and "categories"; none: one array of all.
    """
    model = chain.model("mse", "float64", "numpy", 0)
    inputs, generator = model.network.both_inputs, np.random.default_rng(0)
    x = generator.standard_normal((8, inputs.columns))
    x[:, inputs.numbers :] = generator.integers(0, inputs.categories, (8, len(inputs.categories)))
    parts = {
        "numbers": torch.tensor(x[:, : inputs.numbers]),
        "categories": torch.tensor(x[:, inputs.numbers :]).long(),
    }
    given = [parts[name] for name in arguments] or [torch.tensor(x)]
    with torch.no_grad():
        found = deepcopy(module).double().cpu().eval()(*given).numpy()
    if not np.allclose(found, model.predict(x), 1e-6, 1e-6, equal_nan=True):
        raise chain.refuse(
            "in its residual blocks it computes something else than x + f(x): leave out "
            "inplace=True, and write x = x + f(x) instead of +=."
        )


class _Reader:
    """Adds modules to a chain."""

    def __init__(self, torch: Any) -> None:
        from fastnet.interchange import torch_embedding, torch_layers

        self._nn, self._own, self._embedding = torch.nn, torch_layers, torch_embedding
        #: What the forward takes, where it embeds categories.
        self.arguments: tuple[str, ...] = ()

    def take(self, chain: Chain, name: str, module: Any) -> None:
        """Add a module, and those in it."""
        nn = self._nn
        if getattr(module, "has_uninitialized_params", bool)():
            raise chain.refuse(
                f"{name or type(module).__name__} is lazy, and has no weights yet; run the "
                "module on a batch first."
            )
        hooks = ("_forward_hooks", "_forward_pre_hooks")
        if any(getattr(module, hook) for hook in hooks):
            raise chain.refuse(
                f"{name or type(module).__name__} has hooks, which fastnet does not "
                "run; remove them first (as with torch.nn.utils.remove_weight_norm)."
            )
        if type(module) is self._own.Residual:
            inner = chain.inner()
            self._sequence(inner, name, module)
            chain.block(f"{name} {_short(module)}".lstrip(), inner)
        elif type(module) is self._embedding.Embed:
            self._embed(chain, f"{name} {_short(module)}".lstrip(), module)
        elif isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            self._sequence(chain, name, module)
        elif type(module).__module__.startswith("torch.nn") or type(module) in (
            self._own.Scale, self._own.Parametric,
        ):  # fmt: skip
            self._module(chain, f"{name} {_short(module)}".lstrip(), module)
        else:
            self._own_forward(chain, name, module)

    def _sequence(self, chain: Chain, name: str, module: Any) -> None:
        for inner, part in module._modules.items():  # named_children leaves repeated ones out
            self.take(chain, f"{name}.{inner}" if name else inner, part)

    def _embed(self, chain: Chain, where: str, module: Any) -> None:
        own, arrays = self._embedding, {}
        sizes: list[int] = []
        units: list[int | str] = []
        for column, table in enumerate(module.tables):
            if isinstance(table, own.OneHot):
                sizes.append(len(table.rows))
                units.append("one_hot")
            else:
                sizes.append(table.num_embeddings)
                units.append(table.embedding_dim)
                arrays[f"embedding_{column}"] = _array(chain, where, table.weight)
        numeric: Periodic | PiecewiseLinear | None = None
        if module.numeric is not None:
            given = {
                name: _array(chain, where, value)
                for name, value in module.numeric.state_dict().items()
            }
            if isinstance(module.numeric, own.Periodic):
                frequencies, made = given["weight"].shape[1:]
                numeric = Periodic(made + 1, frequencies)
            else:
                bins, made = given["weight"].shape[1:]
                numeric = PiecewiseLinear(made, bins)
            arrays |= given
        inputs = chain.made(where, Inputs, module.numbers, tuple(sizes))
        chain.embed(where, inputs, Embed(tuple(units), numeric), arrays)

    def _own_forward(self, chain: Chain, name: str, module: Any) -> None:
        from fastnet.interchange import torch_blocks

        try:
            found = torch_blocks.steps(module)
        except torch_blocks.Untraceable as error:
            raise chain.refuse(
                f"{name or 'it'} ({type(module).__name__}) has a forward of its own, which is not "
                f"made of modules in order, activations, and sums x + f(x): {error}. Try "
                "torch.onnx.export and fn.from_onnx."
            ) from error

        def take(chain: Chain, steps: Iterable[Any]) -> None:
            for step in steps:
                where = f"{name}.{step.name}" if name else step.name
                if step.parts:
                    self._front(chain, where, step.parts)
                    self.arguments = step.arguments
                elif step.module is None:
                    inner = chain.inner()
                    take(inner, step.inside)
                    chain.block(where, inner)
                else:
                    self.take(chain, where, step.module)

        take(chain, found)

    def _front(self, chain: Chain, where: str, parts: tuple[Any, ...]) -> None:
        tables = {part.codes.column: part.module for part in parts if part is not None}
        chain.begin(
            Front(
                where,
                [self._table(chain, where, tables[column]) for column in sorted(tables)],
                [None if part is None else part.codes.column for part in parts],
            )
        )

    def _table(self, chain: Chain, where: str, module: Any) -> Any:
        if module.max_norm is not None:
            raise chain.refuse(f"{where}: its max_norm is {module.max_norm}; fastnet has none.")
        return _array(chain, where, module.weight)

    def _module(self, chain: Chain, where: str, module: Any) -> None:
        nn, kind = self._nn, type(module)
        if kind is nn.Linear:
            weight, bias = _array(chain, where, module.weight), module.bias
            chain.dense(where, weight.T, None if bias is None else _array(chain, where, bias))
        elif kind is nn.Dropout:
            chain.drop(where, module.p)
        elif kind is nn.Flatten:
            if (module.start_dim, module.end_dim) != (1, -1):
                raise chain.refuse(f"{where}: it must flatten all but the rows: nn.Flatten().")
            if chain.front is not None:
                chain.front.flat = True
        elif kind is nn.Embedding:
            table = self._table(chain, where, module)
            chain.begin(Front(where, [table], repeats=True, flat=False))
        elif kind is nn.LayerNorm:
            if len(module.normalized_shape) != 1:
                raise chain.refuse(f"{where}: fastnet normalizes over the units of a row only.")
            norm = chain.made(where, LayerNorm, module.eps)
            chain.layer(where, norm, **_affine(chain, where, module, module.normalized_shape[0]))
        elif kind is nn.BatchNorm1d:
            if module.running_mean is None:
                raise chain.refuse(f"{where}: it has no running statistics to predict with.")
            if module.momentum is None:
                raise chain.refuse(f"{where}: momentum is None; give it a number, such as 0.1.")
            layer = chain.made(where, BatchNorm, module.momentum, module.eps)
            statistics = {"mean": module.running_mean, "variance": module.running_var}
            chain.layer(
                where,
                layer,
                **_affine(chain, where, module, module.num_features),
                **{name: _array(chain, where, one) for name, one in statistics.items()},
            )
        elif kind is self._own.Scale:
            chain.layer(where, Scale(), scale=_array(chain, where, module.weight))
        elif kind is nn.PReLU:
            chain.activate(where, PReLU(), _array(chain, where, module.weight))
        elif kind is self._own.Parametric:
            function = _activation(nn, chain, where, module.function)
            activation = chain.made(where, Parametric, function)
            chain.activate(where, activation, _array(chain, where, module.weight))
        else:
            chain.activate(where, _activation(nn, chain, where, module))


def _affine(chain: Chain, where: str, norm: Any, width: int) -> dict[str, Any]:
    """Factors and shifts of a norm, which may have none."""
    dtype = np.float32
    for array in (norm.weight, norm.bias, getattr(norm, "running_mean", None)):
        if array is not None:
            dtype = _array(chain, where, array).dtype
    given = {"scale": (norm.weight, 1), "shift": (norm.bias, 0)}
    return {
        name: np.full(width, start, dtype) if own is None else _array(chain, where, own)
        for name, (own, start) in given.items()
    }


def _short(part: Any) -> str:
    """A module in one line, as PyTorch prints it."""
    text = " ".join(repr(part).split())
    return text if len(text) <= 80 else f"{text[:80]}..."


def _array(chain: Chain, where: str, parameter: Any) -> Any:
    """A parameter as a NumPy array of its own."""
    if parameter.is_meta or str(parameter.dtype) not in ("torch.float32", "torch.float64"):
        kind = "no values (device meta)" if parameter.is_meta else f"dtype {parameter.dtype}"
        raise chain.refuse(
            f"{where} has {kind}; fastnet supports float32 and float64: call module.float() first."
        )
    return np.array(parameter.detach().cpu().numpy())


def _activation(nn: Any, chain: Chain, where: str, part: Any) -> Activation:
    for name, row in ROWS.items():
        if type(part) is getattr(nn, row.module):
            if not row.fits(part):
                raise chain.refuse(f"{where}: {row.otherwise}.")
            constants = {ours: getattr(part, theirs) for ours, theirs in row.constants.items()}
            return chain.made(where, ACTIVATIONS[name], **constants)
    for kind, remedy in _REMEDIES.items():
        if isinstance(part, getattr(nn, kind)):
            raise chain.refuse(f"{where}: {remedy}.")
    known = ", ".join(row.module for row in ROWS.values())
    raise chain.refuse(
        f"{where}: fastnet does not support this module. It supports Sequential, Linear, Flatten, "
        f"Dropout, Embedding, LayerNorm, BatchNorm1d, PReLU, {known}. Another module may go "
        "through torch.onnx.export and fn.from_onnx."
    )
