"""From and to PyTorch: `torch.nn.Sequential` of dense layers."""

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.definition.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastnet.definition.layers import Dense
from fastnet.errors import DefinitionError
from fastnet.extras import need
from fastnet.interchange.chain import Chain

if TYPE_CHECKING:
    from fastnet.model import Model

#: torch.nn.Softplus is z itself above its threshold: at 20, its default, 2e-9 below log(1 +
#: exp(z)); at 40 nothing that float64 shows.
_LEAST_THRESHOLD, _THRESHOLD = 20, 40


def write(model: "Model") -> Any:
    """Make the module. `exporting.to_torch` says what it is."""
    torch = need("torch", "torch", "making a PyTorch module")
    nn = torch.nn
    model.parameters.check()
    modules = []
    width = model.network.inputs
    dtype = getattr(torch, model.dtype)
    for index, layer in enumerate(model.network.layers):
        if not isinstance(layer, Dense):
            modules.append(nn.Dropout(layer.rate))
            continue
        linear = nn.Linear(width, layer.units, layer.bias, device="meta", dtype=dtype)
        linear.to_empty(device="cpu")
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(model.parameters[f"{index}.weight"].T))
            if layer.bias:
                linear.bias.copy_(torch.tensor(model.parameters[f"{index}.bias"]))
        modules.append(linear)
        if layer.activation.name != "identity":
            modules.append(_module(nn, layer.activation))
        width = layer.units
    return nn.Sequential(*modules)


def _module(nn: Any, function: Activation) -> Any:
    if isinstance(function, LeakyReLU):
        return nn.LeakyReLU(function.slope)
    if isinstance(function, ELU):
        return nn.ELU(function.alpha)
    if isinstance(function, GELU):
        return nn.GELU(function.approximate)
    if function.name == "softplus":
        return nn.Softplus(threshold=_THRESHOLD)
    if function.name == "softmax":
        return nn.Softmax(dim=1)
    plain = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "selu": nn.SELU}
    return {**plain, "silu": nn.SiLU}[function.name]()


def read(module: Any) -> Chain:
    """The layers of a module.

    Raises:
        DefinitionError: if one is not known; names it.
    """
    torch = sys.modules.get("torch")  # who has a module has imported it
    if torch is None or not isinstance(module, torch.nn.Module):
        raise DefinitionError(f"module is {type(module)!r}; it must be a torch.nn.Sequential.")
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
                raise chain.refuse(f"{where}: fastnet flattens all but the rows: nn.Flatten().")
        else:
            chain.activate(where, _activation(torch.nn, chain, where, part))
    return chain


def _parts(nn: Any, module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The modules of a Sequential in order, those inside others too, each with its name."""
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    if any(getattr(module, hook) for hook in hooks):
        raise DefinitionError(
            f"the module: {name or type(module).__name__} has hooks, whose work fastnet does not "
            "know; remove them first (as with torch.nn.utils.remove_weight_norm)."
        )
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for inner, part in module._modules.items():  # named_children leaves repeated ones out
            yield from _parts(nn, part, f"{name}.{inner}" if name else inner)
    else:
        yield name, module


def _short(part: Any) -> str:
    """A module in one line, as PyTorch shows it."""
    text = " ".join(repr(part).split())
    return text if len(text) <= 80 else f"{text[:80]}..."


def _array(chain: Chain, where: str, parameter: Any) -> Any:
    """A parameter as a NumPy array of its own."""
    if parameter.is_meta or str(parameter.dtype) not in ("torch.float32", "torch.float64"):
        kind = "no values (device meta)" if parameter.is_meta else f"dtype {parameter.dtype}"
        raise chain.refuse(
            f"{where} has {kind}; fastnet takes float32 and float64: call module.float() first."
        )
    return np.array(parameter.detach().cpu().numpy())


def _activation(nn: Any, chain: Chain, where: str, part: Any) -> Activation:
    plain: dict[Any, Callable[[], Activation]] = {
        nn.Identity: Identity,
        nn.ReLU: ReLU,
        nn.SELU: SELU,
        nn.SiLU: SiLU,
        nn.Sigmoid: Sigmoid,
        nn.Tanh: Tanh,
    }
    kind = type(part)
    if kind in plain:
        return plain[kind]()
    if kind is nn.LeakyReLU:
        return chain.function(where, LeakyReLU, slope=part.negative_slope)
    if kind is nn.ELU:
        return chain.function(where, ELU, alpha=part.alpha)
    if kind is nn.GELU:
        return GELU(approximate=part.approximate)
    if kind is nn.Softplus and part.beta == 1 and part.threshold >= _LEAST_THRESHOLD:
        return Softplus()
    if kind is nn.Softmax and part.dim in (1, -1):
        return Softmax()
    remedies = {
        nn.LogSoftmax: "fastnet says probabilities: put nn.Softmax(dim=1) in its place, or leave "
        "it out and give loss='crossentropy'",
        nn.Softplus: f"fastnet has beta 1 and a threshold of {_LEAST_THRESHOLD} or more",
        nn.Softmax: "fastnet has softmax over the units: nn.Softmax(dim=1)",
        nn.Sequential: "it has a forward of its own",
    }
    known = "Sequential, Linear, Flatten, Dropout, Identity, ReLU, LeakyReLU, ELU, SELU, Softplus, "
    remedy = remedies.get(
        kind,
        f"fastnet knows no such module. Known: {known}SiLU, GELU, Sigmoid, Tanh, Softmax. A module "
        "with a forward of its own may go through torch.onnx.export and fn.from_onnx",
    )
    raise chain.refuse(f"{where}: {remedy}.")
