"""Records: frozen dataclasses that take next to no time to define.

`dataclasses.dataclass` writes and compiles up to six methods for each class. For all the classes
that a network and its training are made of, that takes as long as importing a third of NumPy. So
records share theirs, which are written once, here.
"""

import inspect
from collections.abc import Iterable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, fields
from typing import Any, ClassVar, NoReturn, dataclass_transform


class _Signature:
    """What `inspect.signature` says of a record that has no `__init__` of its own."""

    def __get__(self, record: object, cls: type["Record"]) -> inspect.Signature:
        if cls is Record or inspect.unwrap(cls.__init__) is not Record.__init__:
            raise AttributeError
        return signature_of(cls)


@dataclass_transform(frozen_default=True)
class Record:
    """A class whose annotated names are its fields, as `dataclass(frozen=True)` makes of one.

    Its base class alone makes it one. A class may have `@dataclass(frozen=True)` all the same: it
    then has the decorator's methods, and every class below it needs the decorator too.
    `__post_init__` may check the fields. `dataclasses.fields`, `replace` and `asdict` take it.

    Raises:
        TypeError: when a class is defined with `field()` or `KW_ONLY`, which records do not take,
            or with a field without a default behind one that has one.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    __match_args__: ClassVar[tuple[str, ...]] = ()
    __signature__ = _Signature()
    #: All fields with their defaults, `MISSING` where there is none, and the names of the latter.
    _defaults: ClassVar[dict[str, Any]] = {}
    _required: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        special = any(isinstance(value, Field) for value in vars(cls).values())
        # `dataclass` refuses a frozen class below one that is not, and the reverse; and for a
        # frozen class it writes methods. So while it runs here all records pass as not frozen;
        # afterwards as frozen, which a user's decorator needs.
        above = [one for one in cls.__mro__[1:] if issubclass(one, Record) and one is not Record]
        _say_whether_frozen(above, False)
        try:
            dataclass(init=False, repr=False, eq=False)(cls)
        finally:
            _say_whether_frozen(above, True)
        _say_whether_frozen([cls], True)
        cls._defaults = {field.name: field.default for field in fields(cls)}
        if special or cls.__match_args__ != tuple(cls._defaults):  # which KW_ONLY leaves out
            raise TypeError(
                f"{cls.__qualname__} is a record: its fields have plain defaults or none, without "
                "field() and KW_ONLY."
            )
        required = [name for name, value in cls._defaults.items() if value is MISSING]
        if required != list(cls._defaults)[: len(required)]:
            raise TypeError(
                f"{cls.__qualname__}: {required[-1]!r} has no default, and stands behind a field "
                "that has one."
            )
        cls._required = frozenset(required)

    def __init__(self, *values: Any, **named: Any) -> None:
        given = dict(zip(self._defaults, values))  # noqa: B905  # too many values are found below
        given.update(named)
        state = {**self._defaults, **given}
        twice_or_too_many = len(given) < len(values) + len(named)
        unknown = len(state) > len(self._defaults)
        if twice_or_too_many or unknown or not self._required <= given.keys():
            signature_of(type(self)).bind(*values, **named)  # says in a TypeError which it is
        vars(self).update(state)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields. There is nothing to check, if a record does not say so."""

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or other.__class__ is not self.__class__:
            return NotImplemented
        return values_of(self) == values_of(other)

    def __hash__(self) -> int:
        return hash((self.__class__, values_of(self)))

    def __repr__(self) -> str:
        named = zip(self.__match_args__, values_of(self), strict=True)
        shown = ", ".join(f"{name}={value!r}" for name, value in named)
        return f"{self.__class__.__qualname__}({shown})"


def _say_whether_frozen(records: Iterable[type[Record]], frozen: bool) -> None:
    """Tell `dataclasses` of records; they take no new values of fields either way."""
    for one in records:
        one.__dataclass_params__.frozen = frozen  # type: ignore[attr-defined]


def names_of(cls: type[Record]) -> tuple[str, ...]:
    """The names of a record's fields, in order. `dataclasses.fields` takes much longer."""
    return cls.__match_args__


def values_of(record: Record) -> tuple[Any, ...]:
    """The values of a record's fields."""
    return tuple([getattr(record, name) for name in record.__match_args__])


def signature_of(cls: type[Record]) -> inspect.Signature:
    """How a record is made of its fields."""
    return inspect.Signature(
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=field.type,
            )
            for field in fields(cls)
        ]
    )
