"""From and to PyTorch: `torch.nn.Sequential` of dense layers."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnet.definition.activations import ACTIVATIONS, Activation
from fastnet.definition.layers import Dense, Dropout
from fastnet.errors import DefinitionError
from fastnet.extras import need
from fastnet.interchange.chain import SOFTPLUS_THRESHOLD, Chain, check_writable, row_of
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
    "Sequential": "it has a forward of its own; try torch.onnx.export and fn.from_onnx",
}


def write(model: Model) -> Any:
    """Make the module that `exporting.to_torch` describes."""
    torch = need("torch", "torch", "making a PyTorch module")
    nn = torch.nn
    check_writable(model.network, "PyTorch")
    model.parameters.check()
    modules = []
    width = model.network.inputs
    dtype = getattr(torch, model.dtype)
    for index, layer in enumerate(model.network.layers):
        if isinstance(layer, Dropout):
            modules.append(nn.Dropout(layer.rate))
        if not isinstance(layer, Dense):
            continue
        linear = nn.Linear(width, layer.units, layer.bias, device="meta", dtype=dtype)
        linear.to_empty(device="cpu")
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(model.parameters[f"{index}.weight"].T))
            if layer.bias:
                linear.bias.copy_(torch.tensor(model.parameters[f"{index}.bias"]))
        modules.append(linear)
        width = layer.units
        row = row_of(ROWS, layer.activation, "PyTorch")
        if layer.activation.name != "identity":
            given = {their: getattr(layer.activation, our) for our, their in row.constants.items()}
            modules.append(getattr(nn, row.module)(**given, **row.settings))
    return nn.Sequential(*modules)


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
    for name, part in _parts(torch.nn, module, ""):
        kind = type(part)
        where = f"{name} {_short(part)}".lstrip()
        if kind is torch.nn.Linear:
            weight, bias = _array(chain, where, part.weight), part.bias
            chain.dense(where, weight.T, None if bias is None else _array(chain, where, bias))
        elif kind is torch.nn.Dropout:
            chain.drop(where, part.p)
        elif kind is torch.nn.Flatten:
            if (part.start_dim, part.end_dim) != (1, -1):
                raise chain.refuse(f"{where}: it must flatten all but the rows: nn.Flatten().")
        else:
            chain.activate(where, _activation(torch.nn, chain, where, part))
    return chain


def _parts(nn: Any, module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The modules of a Sequential in order, also of nested ones, each with its name."""
    if getattr(module, "has_uninitialized_params", bool)():
        raise DefinitionError(
            f"the module: {name or type(module).__name__} is lazy, and has no weights yet; run the "
            "module on a batch first."
        )
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    if any(getattr(module, hook) for hook in hooks):
        raise DefinitionError(
            f"the module: {name or type(module).__name__} has hooks, which fastnet does not "
            "run; remove them first (as with torch.nn.utils.remove_weight_norm)."
        )
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for inner, part in module._modules.items():  # named_children leaves repeated ones out
            yield from _parts(nn, part, f"{name}.{inner}" if name else inner)
    else:
        yield name, module


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
            return chain.activation(where, ACTIVATIONS[name], **constants)
    for kind, remedy in _REMEDIES.items():
        if isinstance(part, getattr(nn, kind)):
            raise chain.refuse(f"{where}: {remedy}.")
    raise chain.refuse(
        f"{where}: fastnet does not support this module. It supports Sequential, Linear, Flatten, "
        f"Dropout, {', '.join(row.module for row in ROWS.values())}. Another module may go through "
        "torch.onnx.export and fn.from_onnx."
    )
