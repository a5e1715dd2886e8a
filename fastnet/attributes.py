"""Public attributes of models and populations that cannot be set, or not to anything."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from fastnet.definition.network import Network
from fastnet.errors import DefinitionError


def fixed(name: str) -> Any:
    """A read-only attribute, whose value is kept in `_name`."""

    def refuse(made: object, value: object) -> None:
        kind = type(made).__name__
        raise DefinitionError(
            f"{name} cannot be set to {value!r}: the {kind.lower()} was compiled for the {name} "
            f"that it has; make another {kind}."
        )

    return property(attrgetter(f"_{name}"), refuse)


def checked(name: str, check: Callable[[Any, Any], Any]) -> Any:
    """An attribute that is checked when it is set: `_name` becomes `check(object, value)`."""

    def assign(made: object, value: object) -> None:
        setattr(made, f"_{name}", check(made, value))

    return property(attrgetter(f"_{name}"), assign)


class Compiled:
    """The attributes that a model or a population is compiled for: read-only."""

    network: Network = fixed("network")
    dtype: str = fixed("dtype")
    precision: str | None = fixed("precision")
    backend: str = fixed("backend")
