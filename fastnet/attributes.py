"""Public attributes of models and populations that cannot be set, or not to anything."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from fastnet.definition.network import Network
from fastnet.errors import DefinitionError


def fixed(name: str) -> Any:
    """An attribute that stays as it was when the object was made; it stands in `_name`."""

    def refuse(made: object, value: object) -> None:
        kind = type(made).__name__
        raise DefinitionError(
            f"{name} cannot be set, to {value!r}: the {kind.lower()} is compiled and has its "
            f"parameters as it was made; make another {kind}."
        )

    return property(attrgetter(f"_{name}"), refuse)


def checked(name: str, check: Callable[[Any, Any], Any]) -> Any:
    """An attribute that becomes what `check(object, value)` returns; it stands in `_name`."""

    def assign(made: object, value: object) -> None:
        setattr(made, f"_{name}", check(made, value))

    return property(attrgetter(f"_{name}"), assign)


class Compiled:
    """What a model and a population are made with, and stay."""

    network: Network = fixed("network")
    dtype: str = fixed("dtype")
    precision: str | None = fixed("precision")
    backend: str = fixed("backend")
