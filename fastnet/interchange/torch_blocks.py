"""The steps of a PyTorch module with a forward of its own: modules in order, and x + f(x).

The forward is traced by `torch.fx`, and must be made of the module's own modules, each on the
output of one before, of functions that are activations, and of sums of a value and of what was
computed of it.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from fastnet.interchange.torch_modules import ROWS

#: The functions that are modules too: PyTorch's names of the activations are fastnet's.
_FUNCTIONS = {name: getattr(nn, row.module) for name, row in ROWS.items()} | {"flatten": nn.Flatten}


class Untraceable(Exception):
    """A forward that is not made of such steps; says where."""


@dataclass(eq=False)
class Step:
    """A module that is applied, or a block x + f(x).

    Attributes:
        name: in the module whose forward it is.
        module: the module; None: a block.
        inside: the steps of f.
    """

    name: str
    module: Any = None
    inside: tuple["Step", ...] = ()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
        return True


def steps(module: Any) -> tuple[Step, ...]:
    """What a module does in `eval()` mode.

    Raises:
        Untraceable: if it does anything else.
    """
    training = module.training
    module.training = False
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # the forward is run, and may raise anything
        raise Untraceable(f"torch.fx cannot trace it ({type(error).__name__}: {error})") from error
    finally:
        module.training = training
    found: dict[Any, tuple[Step, ...]] = {}
    for node in graph.nodes:
        values = [
            found.get(one) if isinstance(one, fx.Node) else None if isinstance(one, tuple) else one
            for one in node.args
        ]
        if node.op == "output":
            if not isinstance(values[0], tuple):
                raise Untraceable("it does not return one array that it computed")
            return values[0]
        if node.op == "placeholder" and not found:
            found[node] = ()
        elif node.op != "placeholder" or node.users:
            found[node] = _applied(module, node, values)
    raise AssertionError("a graph of torch.fx ends in its output")


def _applied(module: Any, node: Any, values: list[Any]) -> tuple[Step, ...]:
    """The steps up to a node's result."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    one = values[0] if values else None
    if isinstance(one, tuple) and node.op != "placeholder":
        if node.op == "call_module" and len(values) == 1 and not node.kwargs:
            return (*one, Step(name, module.get_submodule(name)))
        if node.target in (operator.add, torch.add, "add") and not node.kwargs:
            return _joined(node.name, one, values[1])
        if node.op != "call_module" and name in _FUNCTIONS:
            given = {k: v for k, v in node.kwargs.items() if k not in ("_stacklevel", "dtype")}
            try:
                return (*one, Step(node.name, _FUNCTIONS[name](*values[1:], **given)))
            except TypeError as error:
                raise Untraceable(f"its forward calls {name} with {error}") from error
    raise Untraceable(f"its forward has {node.op} {name!r}")


def _joined(name: str, one: Any, other: Any) -> tuple[Step, ...]:
    """x + f(x): one value is what the other was computed of."""
    if not isinstance(other, tuple):
        raise Untraceable(f"its forward adds {other!r}")
    short, long = sorted((one, other), key=len)
    apart = any(a is not b for a, b in zip(short, long, strict=False))
    if apart or len(short) == len(long):
        raise Untraceable(f"{name!r} in its forward joins two branches, and not x and f(x)")
    return (*short, Step(name, inside=long[len(short) :]))
