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
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from fastnet.arrays import checks
from fastnet.errors import DefinitionError, FileAccessError, ModelFileMissing, unknown
from fastnet.tables.recipe import Recipe

#: What the command takes beside the recipe: option and key alike.
PLACES = {"target": str, "output": str, "checkpoint": str, "resume": bool}

_TEXT = ("task", "dtype", "backend", "missing")
_NAMES = ("drop", "categorical")


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check a configuration.

    Raises:
        DefinitionError: if it is no TOML, or has a key that is unknown or of the wrong type.
        FileAccessError: if it cannot be read.
    """
    what = repr(os.fspath(path))
    try:
        found = tomllib.loads(Path(path).read_bytes().decode())
    except FileNotFoundError as error:
        raise ModelFileMissing(error.errno, f"there is no configuration {what}") from error
    except OSError as error:
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot read {what}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise DefinitionError(f"configuration {what} is not TOML: {error}.") from error
    known = [field.name for field in fields(Recipe)]
    for key, value in found.items():
        if key not in known and key not in PLACES:
            raise DefinitionError(f"configuration {what}: {unknown('key', key, [*known, *PLACES])}")
        kind = PLACES.get(key, str if key in _TEXT else None)
        if kind is not None and not isinstance(value, kind):
            wanted = "text" if kind is str else "true or false"
            raise DefinitionError(f"configuration {what}: {key} is {value!r}; it must be {wanted}.")
    optimizer = found.get("optimizer")
    if isinstance(optimizer, Mapping) and "learning_rate" in {*found} & {*optimizer}:
        raise DefinitionError(
            f"configuration {what}: learning_rate stands by itself and in [optimizer]; keep one."
        )
    _one_form(found, f"configuration {what}: ")
    return found


def merge(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given (that are not None) before the file's keys.

    Raises:
        DefinitionError: if the two contradict one another.
    """
    given = {key: value for key, value in options.items() if value is not None}
    merged = {**config, **given}
    if "hidden" in given:
        merged.pop("layers", None)
    _one_form(merged, "")
    return merged


def recipe(settings: Mapping[str, Any]) -> Recipe:
    """The recipe in merged settings; keys that are not a recipe's are left aside.

    Raises:
        DefinitionError: for a setting that makes no sense.
    """
    known = {field.name for field in fields(Recipe)}
    found = {key: value for key, value in settings.items() if key in known}
    if "hidden" in found:
        found["hidden"] = hidden(found["hidden"])
    if "batch_size" in found:
        found["batch_size"] = batch_size(found["batch_size"])
    if "layers" in found:
        if not isinstance(found["layers"], list):
            raise DefinitionError(f"layers is {found['layers']!r}; write [[layers]] tables.")
        found["layers"] = tuple(found["layers"])
    for key in _NAMES:
        if key in found:
            found[key] = names(found[key], key)
    for key in ("validation", "dropout", "l2"):
        if key in found:
            found[key] = checks.number(found[key], key)
    return Recipe(**found)


def hidden(value: Any) -> tuple[int, ...]:
    """Units of the hidden layers, from "64,64", "none", 64 or a list.

    Raises:
        DefinitionError: if they are not whole numbers above 0.
    """
    wrong = f"hidden is {value!r}; write units with commas between, as in 64,64, or none."
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


def batch_size(value: Any) -> Any:
    """Rows of a batch, from 32, "32" or "all".

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


def names(value: Any, key: str) -> tuple[str, ...]:
    """Names of columns, from "id,name" or a list.

    Raises:
        DefinitionError: if they are none.
    """
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise DefinitionError(f"{key} is {value!r}; write names of columns, as in ['id', 'name'].")
    return tuple(value)


def _one_form(settings: Mapping[str, Any], where: str) -> None:
    """The hidden layers are given in one of two forms."""
    both = [key for key in ("hidden", "activation", "dropout") if key in settings]
    if "layers" in settings and both:
        raise DefinitionError(
            f"{where}layers and {' and '.join(both)} are both given; each of the [[layers]] has "
            "its own units and activation, and dropout is a layer there."
        )
