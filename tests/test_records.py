"""Records are what `dataclass(frozen=True)` makes of the same classes."""

import copy
import inspect
import pickle
from dataclasses import KW_ONLY, FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import ClassVar

import pytest

import fastnet as fn
from fastnet.records import Record


class Point(Record):
    """Two fields, one with a default, and what is none."""

    kind: ClassVar[str] = "point"
    x: int
    y: float = 1.5

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError(f"x is {self.x}")


class Named(Point):
    """A further field, and another default."""

    y: float = 2.5
    name: str = ""


@dataclass(frozen=True)
class PlainPoint:
    """Python's own."""

    kind: ClassVar[str] = "point"
    x: int
    y: float = 1.5


@dataclass(frozen=True)
class PlainNamed(PlainPoint):
    """Python's own."""

    y: float = 2.5
    name: str = ""


@dataclass(frozen=True)
class Decorated(Point):
    """As `Named`, with the decorator that a record does without."""

    y: float = 2.5
    name: str = ""


class Own(Point):
    """One that makes its fields itself."""

    def __init__(self, both: int) -> None:
        super().__init__(both, y=both)


@pytest.mark.parametrize(
    ("ours", "plain"), [(Point, PlainPoint), (Named, PlainNamed), (Decorated, PlainNamed)]
)
def test_a_record_is_made_shown_and_compared_like_a_frozen_dataclass(ours, plain):
    one, other = ours(3), plain(3)
    assert repr(one) == repr(other).replace(plain.__name__, ours.__name__)
    assert vars(one) == vars(other)
    assert list(vars(one)) == list(vars(other))
    assert asdict(one) == asdict(other)
    shown, wanted = inspect.signature(ours), inspect.signature(plain)
    assert shown.parameters == wanted.parameters
    assert [(f.name, f.default) for f in fields(ours)] == [
        (f.name, f.default) for f in fields(plain)
    ]
    assert ours.__match_args__ == plain.__match_args__
    assert one == ours(x=3)
    assert hash(one) == hash(ours(x=3))
    assert one != replace(one, x=4) == ours(4)
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == one
    assert Point(3, 2.5) != Named(3)  # of another class
    assert one != 3


@pytest.mark.parametrize(
    ("given", "named"),
    [((), {}), ((), {"y": 2.0}), ((1, 2.0, "a", 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})],
    ids=["none", "one is missing", "too many", "twice", "unknown"],
)
def test_arguments_that_do_not_fit_are_type_errors_like_a_dataclasss(given, named):
    for cls in (Named, Decorated, PlainNamed):
        with pytest.raises(TypeError):
            cls(*given, **named)


@pytest.mark.parametrize("cls", [Point, Decorated])
def test_a_record_cannot_change_and_is_checked_when_it_is_made(cls):
    one = cls(1)
    for change in (lambda: setattr(one, "x", 2), lambda: delattr(one, "x")):
        with pytest.raises(FrozenInstanceError, match="field 'x'"):
            change()
    assert one == cls(1)
    with pytest.raises(ValueError, match="x is -1"):
        replace(one, x=-1)


def test_a_decorator_that_would_make_a_record_changeable_is_refused():
    with pytest.raises(TypeError, match="non-frozen"):
        dataclass(type("Loose", (Point,), {}))


@pytest.mark.parametrize(
    ("types", "given", "message"),
    [
        ({"x": list}, {"x": field(default_factory=list)}, "without field"),
        ({"x": int}, {"x": field(default=1, kw_only=True)}, "without field"),
        ({"x": int, "_": KW_ONLY, "z": int}, {"x": 1, "z": 2}, "KW_ONLY"),
        ({"x": int, "z": int}, {"x": 1}, "'z' has no default, and stands behind a field"),
    ],
    ids=["factory", "one by name", "all by name", "order"],
)
def test_a_class_that_would_not_be_as_a_dataclass_is_refused(types, given, message):
    with pytest.raises(TypeError, match=f"^New.*{message}"):
        type("New", (Record,), {"__annotations__": types, **given})


def test_an_init_of_its_own_is_called_and_shown():
    assert str(inspect.signature(Own)) == "(both: int) -> None"
    assert vars(Own(3)) == {"x": 3, "y": 3}
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
        Own(x=3)


def test_users_see_the_arguments_of_layers_and_optimizers_and_what_is_wrong_with_theirs():
    assert list(inspect.signature(fn.AdamW).parameters)[-1] == "weight_decay"
    assert str(inspect.signature(fn.Dropout)) == "(rate: float)"
    with pytest.raises(fn.ArgumentError, match=r"fn\.AdamW has no argument 'lr'; did you mean"):
        fn.AdamW(lr=0.1)
    with pytest.raises(fn.ArgumentError, match=r"fn\.Dropout: missing a required argument: 'rate'"):
        fn.Dropout()
