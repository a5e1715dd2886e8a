"""The steps of a PyTorch module with a forward of its own: modules in order, and x + f(x).

The forward is traced by `torch.fx`, and must be made of the module's own modules, each on the
output of one before, of functions that are activations, and of sums of a value and of what was
computed of it. It may begin with `torch.cat([numbers, table(codes[:, 0]), ...], 1)`: embeddings of
categories, and numbers beside them, in any order.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from fastnet.interchange.torch_modules import ROWS

#: The functions that are modules too: PyTorch's names of the activations are fastnet's.
_FUNCTIONS = {name: getattr(nn, row.module) for name, row in ROWS.items()} | {"flatten": nn.Flatten}


#: Functions that put columns side by side.
_JOINS = (torch.cat, torch.concat, torch.hstack)


class Untraceable(Exception):
    """A forward that is not made of such steps; says where."""


@dataclass(eq=False)
class Step:
    """A module that is applied, or a block x + f(x).

    Attributes:
        name: in the module whose forward it is.
        module: the module; None: a block, or an embedding.
        inside: the steps of f.
        parts: of an embedding: its tables, and None for the numbers, as they stand side by side.
        arguments: the names of what the forward then takes, in order.
    """

    name: str
    module: Any = None
    inside: tuple["Step", ...] = ()
    parts: "tuple[_Table | None, ...]" = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Given:
    """An argument of the forward, or a column of it."""

    node: Any
    column: int | None = None


@dataclass(frozen=True)
class _Table:
    """The rows of an `nn.Embedding` for a column of codes."""

    module: Any
    codes: _Given


#: Methods that change no number of codes or numbers.
_CASTS = ("long", "int", "float", "double")


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
    return _Forward(module, graph).steps()


class _Forward:
    """A traced forward, node by node: steps, arguments and rows of tables."""

    def __init__(self, module: Any, graph: fx.Graph) -> None:
        self._module = module
        self._graph = graph
        self._given = [node for node in graph.nodes if node.op == "placeholder" and node.users]

    def steps(self) -> tuple[Step, ...]:
        found: dict[Any, Any] = {}
        for node in self._graph.nodes:
            if node.op == "output":
                value = found.get(node.args[0]) if isinstance(node.args[0], fx.Node) else None
                if value is None:
                    raise Untraceable("it does not return one array that it computed")
                return tuple(self._row_wise(value))
            if node.op != "placeholder":
                found[node] = self._applied(node, found)
            elif node.users:
                found[node] = _Given(node)
        raise AssertionError("a graph of torch.fx ends in its output")

    def _applied(self, node: Any, found: dict[Any, Any]) -> Any:
        """A node's result."""
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        if node.target in _JOINS and node.args and isinstance(node.args[0], list | tuple):
            axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
            if node.target is not torch.hstack and axis not in (1, -1):
                raise Untraceable(f"its forward joins arrays along axis {axis}; it must be 1")
            return self._embedded(node.name, [found.get(one) for one in node.args[0]])
        values = [
            found.get(one) if isinstance(one, fx.Node) else None if isinstance(one, tuple) else one
            for one in node.args
        ]
        one = values[0] if values else None
        if isinstance(one, _Given):
            if node.op == "call_method" and name in _CASTS and len(values) == 1:
                return one
            if node.target is operator.getitem and one.column is None:
                return _Given(one.node, _column(node.args[1]))
            if node.op == "call_module":
                table = self._module.get_submodule(name)
                if type(table) is nn.Embedding and one.column is not None:
                    return _Table(table, one)
        if node.target in (operator.add, torch.add, "add") and len(values) == 2 and not node.kwargs:
            return _joined(node.name, *(self._row_wise(value, True) for value in values))
        if one is not None:
            one = self._row_wise(one)
            if node.op == "call_module" and len(values) == 1 and not node.kwargs:
                return (*one, Step(name, self._module.get_submodule(name)))
            if node.op != "call_module" and name in _FUNCTIONS:
                given = {k: v for k, v in node.kwargs.items() if k not in ("_stacklevel", "dtype")}
                try:
                    return (*one, Step(node.name, _FUNCTIONS[name](*values[1:], **given)))
                except TypeError as error:
                    raise Untraceable(f"its forward calls {name} with {error}") from error
        raise Untraceable(f"its forward has {node.op} {name!r}")

    def _row_wise(self, value: Any, maybe: bool = False) -> Any:
        """The steps up to a value, of rows; with `maybe` what is no value of the forward stays."""
        if isinstance(value, _Table):
            return self._embedded("embedding", [value])
        if isinstance(value, _Given):
            if value.column is not None or len(self._given) != 1:
                raise Untraceable(
                    f"its forward computes with a part of its arguments, {value.node.name!r}"
                )
            return ()
        if not isinstance(value, tuple) and not maybe:
            raise Untraceable("it has an operation on no array that it computed")
        return value

    def _embedded(self, name: str, parts: list[Any]) -> tuple[Step, ...]:
        """Tables' rows and perhaps numbers side by side."""
        tables = [part for part in parts if isinstance(part, _Table)]
        numbers = [part for part in parts if part not in tables]
        used = {table.codes.node: "categories" for table in tables}
        if len(numbers) > 1 or not all(
            isinstance(one, _Given) and one.column is None and one.node not in used
            for one in numbers
        ):
            raise Untraceable(
                f"{name!r} joins other arrays than one of numbers and embeddings of categories"
            )
        used |= {one.node: "numbers" for one in numbers}
        columns = sorted(table.codes.column or 0 for table in tables)
        if columns != list(range(len(tables))) or len(used) != len(self._given):
            raise Untraceable(f"{name!r} does not join each column of one array of codes once")
        found = tuple(part if isinstance(part, _Table) else None for part in parts)
        return (Step(name, parts=found, arguments=tuple(used[one] for one in self._given)),)


def _column(index: Any) -> int:
    """Which column an index such as [:, 2] takes."""
    if isinstance(index, tuple) and len(index) == 2 and index[0] == slice(None):
        column = index[1]
        if type(column) is int and column >= 0:
            return column
    raise Untraceable(f"its forward takes a part of an argument by {index!r}; it must be [:, i]")


def _joined(name: str, one: Any, other: Any) -> tuple[Step, ...]:
    """x + f(x): one value is what the other was computed of."""
    if not isinstance(one, tuple):
        one, other = other, one
    if not isinstance(one, tuple) or not isinstance(other, tuple):
        raise Untraceable(f"its forward adds {other!r}")
    short, long = sorted((one, other), key=len)
    apart = any(a is not b for a, b in zip(short, long, strict=False))
    if apart or len(short) == len(long):
        raise Untraceable(f"{name!r} in its forward joins two branches, and not x and f(x)")
    return (*short, Step(name, inside=long[len(short) :]))
