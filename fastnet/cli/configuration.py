"""The file that `fastnet train --config` reads: TOML with the keys of the options.

    target = "digit"
    epochs = 50

    [optimizer]
    name = "sgd"
    learning_rate = 0.1
    momentum = 0.9

    [[layers]]
    type = "dense"
    units = 64
    activation = "tanh"

A key is the name of an option, with _ for -. Constants of the optimizer, and layers one by one, can
be given here only.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from fastnet.arrays import checks
from fastnet.errors import DefinitionError, FileAccessError, FileMissing, unknown
from fastnet.tables.reading import ALSO_READ, EXTENSIONS, STANDARD_INPUT, is_table
from fastnet.tables.recipe import SETTINGS, Recipe, check_layers
from fastnet.training.class_weights import BALANCED

#: The keys that are not of the recipe, and their types.
_OTHER = {
    "target": str,
    "output": str,
    "checkpoint": str,
    "resume": bool,
    "cross_validate": int,
    "plot": str,
    "memory": str,
}

_HINTS = get_type_hints(Recipe)

#: The keys that are checked where they are read: text, true or false.
_KINDS = _OTHER | {
    name: kind for name in SETTINGS for kind in (str, bool) if _HINTS[name] in (kind, kind | None)
}

#: The keys that are lists of columns.
NAMES = tuple(name for name in SETTINGS if _HINTS[name] == tuple[str, ...])

#: All keys that a configuration may have.
KEYS = {*SETTINGS, *_OTHER}


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check a configuration.

    Raises:
        DefinitionError: if it is not TOML, or a key is unknown or of the wrong type.
        FileAccessError: if it cannot be read.
    """
    name = repr(os.fspath(path))
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")  # Windows editors write a BOM
        found = tomllib.loads(text)
    except FileNotFoundError as error:
        raise FileMissing(error.errno, f"there is no configuration {name}") from error
    except OSError as error:
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot read {name}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise DefinitionError(f"configuration {name} is not valid TOML: {error}.") from error
    for key, value in found.items():
        if key not in KEYS:
            raise DefinitionError(f"configuration {name}: {unknown('key', key, sorted(KEYS))}")
        kind = _KINDS.get(key)
        truth = kind is int and isinstance(value, bool)
        if kind is not None and (truth or not isinstance(value, kind)):
            wanted = {str: "text", bool: "true or false", int: "a whole number"}[kind]
            raise DefinitionError(f"configuration {name}: {key} is {value!r}; it must be {wanted}.")
    optimizer = found.get("optimizer")
    if isinstance(optimizer, Mapping) and "learning_rate" in {*found} & {*optimizer}:
        raise DefinitionError(
            f"configuration {name}: learning_rate is given by itself and in [optimizer]; keep one."
        )
    check_layers(found, f"configuration {name}: ")
    return found


def merge(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Combine the file and the options; an option that is not None overrides the file's key.

    Raises:
        DefinitionError: if the two contradict each other.
    """
    given = {key: value for key, value in options.items() if value is not None}
    merged = {**config, **given}
    if "hidden" in given:
        merged.pop("layers", None)
    check_layers(merged)
    return merged


def recipe(settings: Mapping[str, Any]) -> Recipe:
    """Make the recipe from merged settings; keys that are not of a recipe are ignored.

    Raises:
        DefinitionError: for an invalid setting.
    """
    found = {key: value for key, value in settings.items() if key in SETTINGS}
    if "hidden" in found:
        found["hidden"] = hidden(found["hidden"])
    if "batch_size" in found:
        found["batch_size"] = batch_size(found["batch_size"])
    if "layers" in found:
        if not isinstance(found["layers"], list):
            raise DefinitionError(f"layers is {found['layers']!r}; write [[layers]] tables.")
        found["layers"] = tuple(found["layers"])
    for key in NAMES:
        if key in found:
            found[key] = names(found[key], key)
    if "class_weight" in found:
        found["class_weight"] = class_weight(found["class_weight"])
    if "search" in found:
        found["search"] = seconds(found["search"])
    for key in ("validation", "test"):
        if key in found:
            found[key] = fraction_or_table(found[key], key)
            if isinstance(found[key], str):
                del found[key]
    for key in ("validation", "test", "dropout", "l2"):
        if key in found:
            found[key] = checks.number(found[key], key)
    return Recipe(**found)


def tables(settings: Mapping[str, Any]) -> dict[str, str]:
    """The tables of validation rows and of test rows, by key; those that are given.

    Raises:
        DefinitionError: as `fraction_or_table`.
    """
    found = {key: fraction_or_table(settings.get(key), key) for key in ("validation", "test")}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def fraction_or_table(value: Any, key: str) -> Any:
    """Parse rows to hold out: 0.2, "0.2" or the path of a table.

    Raises:
        DefinitionError: for anything else.
    """
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            if value == STANDARD_INPUT or is_table(value):
                return value
    elif not isinstance(value, bool | list | Mapping):
        return value
    raise DefinitionError(
        f"{key} is {value!r}; it must be a fraction of the rows, such as 0.2, or a table: "
        f"a file whose name ends in {', '.join((*EXTENSIONS, *ALSO_READ))}."
    )


def hidden(value: Any) -> tuple[int, ...]:
    """Parse the units of the hidden layers: "64,64", "none", 64 or a list.

    Raises:
        DefinitionError: if they are not integers above 0.
    """
    wrong = f"hidden is {value!r}; write the units of each layer with commas, as in 64,64, or none."
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in ("none", ""):
            return ()
        parts = [part.strip() for part in text.split(",")]
        if not all(part.isdecimal() for part in parts):
            raise DefinitionError(wrong)
        value = [int(part) for part in parts]
    elif not isinstance(value, list | tuple):
        value = [value]
    if not all(isinstance(units, int) and not isinstance(units, bool) for units in value):
        raise DefinitionError(wrong)
    return tuple(checks.integer(units, "hidden") for units in value)


def seconds(value: Any) -> float:
    """Parse the time of a search: 60, "60", "60s", "5m" or "1.5h".

    Raises:
        DefinitionError: for anything else.
    """
    units = {"s": 1, "m": 60, "h": 3600}
    text = str(value).strip().lower()
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return checks.number(float(number), "search", above=0) * unit
    except ValueError as error:
        raise DefinitionError(
            f"search is {value!r}; it must be a time above 0, such as 60s, 5m or 1h."
        ) from error


def batch_size(value: Any) -> Any:
    """Parse the rows per step: 32, "32" or "all".

    Raises:
        DefinitionError: for anything else.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if text == "all":
            return "all"
        if not text.isdecimal():
            raise DefinitionError(f"batch_size is {value!r}; write a number of rows, or all.")
        value = int(text)
    return checks.integer(value, "batch_size")


def class_weight(value: Any) -> Any:
    """Parse the weights of classes: "balanced", "yes=5,no=1" or a table of them.

    Raises:
        DefinitionError: for anything else.
    """
    if value == BALANCED or isinstance(value, Mapping):
        return value
    wrong = f"class_weight is {value!r}; write {BALANCED}, or class=weight, as in yes=5,no=1."
    if not isinstance(value, str):
        raise DefinitionError(wrong)
    found = {}
    for part in value.split(","):
        name, equals, weight = part.rpartition("=")
        name = name.strip()
        if not equals:
            raise DefinitionError(wrong)
        if name in found:
            raise DefinitionError(f"class_weight is {value!r}, which names {name!r} twice.")
        try:
            found[name] = float(weight)
        except ValueError as error:
            raise DefinitionError(wrong) from error
    return found


def names(value: Any, key: str) -> tuple[str, ...]:
    """Parse column names: "id,name" or a list.

    Raises:
        DefinitionError: for anything else.
    """
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise DefinitionError(f"{key} is {value!r}; write column names, as in ['id', 'name'].")
    return tuple(value)
