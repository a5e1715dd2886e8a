"""A named thing with constants: one form for activations, losses, optimizers and schedules.

In Python it is an instance (`LeakyReLU(slope=0.2)`); in JSON and TOML it is its name
(`"relu"`) or a table of its name and constants (`{"name": "leaky_relu", "slope": 0.2}`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastnet.arguments import explained, remedy
from fastnet.errors import DefinitionError, UnknownName, message_of, plain_name, unknown
from fastnet.records import Record, names_of, values_of


class Named(Record):
    """The root of everything that has a name and constants. Frozen, comparable, hashable."""

    name: ClassVar[str]
    #: The kinds that `canonical` may give, where these are not the name alone.
    kinds: ClassVar[tuple[str, ...] | None] = None

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        """The kind by which backends know it, and that kind's constants.

        Mostly its name and its own constants; what is another kind with other constants says so.
        """
        return self.name, values_of(self)

    def spec(self) -> str | dict[str, Any]:
        """The plain form: the name alone where there are no constants, else a table."""
        constants = {name: as_plain(getattr(self, name)) for name in names_of(self.__class__)}
        return {"name": self.name, **constants} if constants else self.name


def as_plain(value: Any) -> Any:
    """The plain form of a constant, as JSON holds it."""
    if isinstance(value, Named):
        return value.spec()
    if isinstance(value, np.floating):  # JSON knows Python's own numbers alone
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    return [as_plain(entry) for entry in value] if isinstance(value, tuple) else value


N = TypeVar("N", bound=Named)


def registry(*classes: type[N]) -> dict[str, type[N]]:
    """Index classes by name; a name given twice is a mistake of ours."""
    names = {cls.name: cls for cls in classes}
    assert len(names) == len(classes), "a name is registered twice"
    for cls in classes:
        explained(f"fn.{cls.__name__}")(cls)
    return names


def resolve(kind: str, known: Mapping[str, type[N]], value: Any) -> N:
    """Turn a name, a table or an instance into an instance.

    In a name, capitals and underscores do not matter: "LeakyReLU" is "leaky_relu".

    Args:
        kind: what it is, for the error ("activation").
        known: the classes by name.
        value: an instance of one of them, its name, or a mapping with "name" and constants.

    Raises:
        DefinitionError: if the name or a constant is not known.
    """
    classes = tuple(known.values())
    if isinstance(value, classes):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, type) and issubclass(value, classes):
        value = {"name": value.name}
    if not isinstance(value, Mapping) or "name" not in value:
        raise DefinitionError(unknown(kind, value, known))
    constants = dict(value)
    name = constants.pop("name")
    if isinstance(name, str) and name not in known:
        name = {plain_name(one): one for one in known}.get(plain_name(name), name)
    if not isinstance(name, str):
        raise DefinitionError(unknown(kind, name, known))
    if name not in known:
        raise UnknownName(unknown(kind, name, known))
    allowed = names_of(known[name])
    for constant in constants:
        if constant not in allowed:
            takes = f"it takes {', '.join(allowed)}." if allowed else "it takes none."
            does = remedy(str(constant), allowed) or takes
            raise DefinitionError(f"{kind} {name!r} has no constant {constant!r}; {does}")
    try:
        return known[name](**constants)
    except TypeError as error:
        raise DefinitionError(f"{kind} {name!r}: {message_of(error)}.") from error
