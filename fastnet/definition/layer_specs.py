"""Layers from the plain form that JSON and TOML hold."""

from collections.abc import Mapping
from typing import Any

from fastnet.definition.layers import LAYERS, Layer, Residual, check_depth
from fastnet.errors import DefinitionError, unknown

#: The keys of each type's plain form: those that it needs, and those that it may have.
_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "dense": (
        {"units"},
        {"activation", "bias", "init", "learning_rate_factor", "decay_factor", "scaling"},
    ),
    "dropout": ({"rate"}, set()),
    "activate": ({"activation"}, set()),
    "layer_norm": (set(), {"epsilon"}),
    "batch_norm": (set(), {"momentum", "epsilon"}),
    "scale": (set(), set()),
    "residual": ({"layers"}, set()),
    "embed": (set(), {"units", "numbers", "learning_rate_factor", "decay_factor"}),
}


def layer_from_spec(entry: Any, name: str) -> Layer:
    """Build the layer at a place, such as "2" or "2.0", from its plain form.

    Raises:
        DefinitionError: if something is missing, unknown or does not fit.
    """
    check_depth(name)
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if not isinstance(kind, str) or kind not in LAYERS:
        raise DefinitionError(f"layer {name}: {unknown('type', kind, LAYERS)}")
    rest = {key: value for key, value in entry.items() if key != "type"}
    given = check_keys(rest, f"layer {name}", *_KEYS[kind])
    if kind == "residual":
        return Residual(layers_from_spec(given["layers"], f"{name}."))
    return LAYERS[kind](**given)


def layers_from_spec(entries: Any, before: str = "") -> tuple[Layer, ...]:
    """Build a list of layers from its plain form; `before` is what their names begin with.

    Raises:
        DefinitionError: if something is missing, unknown or does not fit.
    """
    if not isinstance(entries, list | tuple):
        raise DefinitionError(f"layers is {entries!r}; it must be a list of tables.")
    return tuple(layer_from_spec(entry, f"{before}{i}") for i, entry in enumerate(entries))


def check_keys(spec: Any, what: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    """Check the keys of a table that a file holds."""
    if not isinstance(spec, Mapping):
        raise DefinitionError(f"{what} is {spec!r}; it must be a table.")
    for key in needed - set(spec):
        raise DefinitionError(f"{what} has no {key!r}; it needs {', '.join(sorted(needed))}.")
    for key in set(spec) - needed - optional:
        raise DefinitionError(f"{what}: {unknown('key', key, needed | optional)}")
    return dict(spec)
