"""What a network is: layers, shapes and a loss. Frozen data, to and from JSON and TOML."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet import html
from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.activations import Activation
from fastnet.definition.initializers import Arrays
from fastnet.definition.layers import Dense, Dropout, Layer, check_keys, layer_from_spec
from fastnet.definition.losses import LOSSES, Loss
from fastnet.definition.named import resolve
from fastnet.errors import DefinitionError


@explained("fn.Network", "the number of inputs comes first, as in fn.Network(3, [fn.Dense(1)])")
@dataclass(frozen=True, init=False)
class Network:
    """A dense network: what goes in, its layers, and the loss it is trained with.

    Args:
        inputs: columns of a row of input.
        layers: `Dense` and `Dropout` layers, first to last; the last is `Dense`.
        loss: a name (`"mse"`), an instance (`fn.Huber(delta=2)`) or its table.

    Raises:
        DefinitionError: if the layers, shapes, output activation and loss do not fit together.
    """

    inputs: int
    layers: tuple[Layer, ...]
    loss: Loss

    def __init__(
        self,
        inputs: int,
        layers: Iterable[Layer],
        loss: str | Loss | Mapping[str, Any] = "mse",
    ) -> None:
        object.__setattr__(self, "inputs", checks.integer(inputs, "inputs"))
        object.__setattr__(self, "layers", _layers(layers))
        object.__setattr__(self, "loss", resolve("loss", LOSSES, loss))
        self._check()

    def _check(self) -> None:
        width = self.inputs
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            if isinstance(layer, Dropout):
                if last:
                    raise DefinitionError(
                        f"layer {index}, the last, is Dropout: it would blank the outputs; "
                        "put a Dense layer after it."
                    )
                continue
            if layer.activation.name == "softmax":
                if not last:
                    raise DefinitionError(
                        f"layer {index} has softmax, which is for the last layer only; "
                        "use relu, tanh or another in hidden layers."
                    )
                if layer.units == 1:
                    raise DefinitionError(
                        f"layer {index} is softmax over one unit, which is always 1; for two "
                        "classes use units=2, or units=1 with sigmoid and binary_crossentropy."
                    )
            if isinstance(layer.init, Arrays):
                shape = (len(layer.init.weights), len(layer.init.weights[0]))
                if shape != (width, layer.units):
                    raise DefinitionError(
                        f"layer {index} starts from weights {shape}; "
                        f"it must be (inputs, units) = {(width, layer.units)}."
                    )
            width = layer.units
        output, needs = self.output, self.loss.needs
        if needs is not None and output.name != needs:
            raise DefinitionError(
                f"loss {self.loss.name!r} is computed from the logits of a {needs} output, but "
                f"the last layer has {output.name!r}; write Dense({self.outputs}, {needs!r})."
            )

        each = self.loss.outputs_per_target
        if self.outputs % each:
            raise DefinitionError(
                f"loss {self.loss.name!r} has {each} outputs for each target, so the last layer "
                f"must have a multiple of {each} units; it has {self.outputs}."
            )

    @property
    def outputs(self) -> int:
        """Columns of a row of predictions."""
        return self._last.units

    @property
    def targets(self) -> int:
        """Columns of a row of y: the outputs, but for losses that have several for each target."""
        return self.outputs // self.loss.outputs_per_target

    @property
    def output(self) -> Activation:
        """The activation of the last layer."""
        return self._last.activation

    @property
    def _last(self) -> Dense:
        last = self.layers[-1]
        assert isinstance(last, Dense), "checked when it was made"
        return last

    def _rows(self) -> list[tuple[str, str, str]]:
        """A table of the layers, its head first and the sums last."""
        rows = [("layer", "output shape", "parameters")]
        width, total = self.inputs, 0
        for index, layer in enumerate(self.layers):
            if isinstance(layer, Dense):
                count = (width + layer.bias) * layer.units
                width, total = layer.units, total + count
                text = f"{index} Dense {layer.activation.name}" + (
                    "" if layer.bias else ", no bias"
                )
            else:
                count, text = 0, f"{index} Dropout {layer.rate:g}"
            rows.append((text, f"(rows, {width})", f"{count:,}"))
        rows.append((f"loss {self.loss.name}", f"inputs {self.inputs}", f"{total:,}"))
        return rows

    def __str__(self) -> str:
        """A table: layer, output shape, parameters."""
        rows = self._rows()
        wide = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            f"{row[0]:<{wide[0]}}  {row[1]:<{wide[1]}}  {row[2]:>{wide[2]}}".rstrip()
            for row in rows
        ]
        rule = "-" * (sum(wide) + 4)
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        return html.table(head, rows)

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {
            "inputs": self.inputs,
            "loss": self.loss.spec(),
            "layers": [layer.spec() for layer in self.layers],
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Network":
        """Build from the plain form.

        Raises:
            DefinitionError: if something is missing, unknown or does not fit.
        """
        fields = check_keys(spec, "a network", {"inputs", "layers"}, {"loss"})
        entries = fields["layers"]
        if not isinstance(entries, list | tuple):
            raise DefinitionError(f"layers is {entries!r}; it must be a list of tables.")
        layers = [layer_from_spec(entry, index) for index, entry in enumerate(entries)]
        return cls(fields["inputs"], layers, fields.get("loss", "mse"))

    def to_json(self) -> str:
        """The definition as JSON text."""
        return json.dumps(self.spec(), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Network":
        """Read what `to_json` wrote.

        Raises:
            DefinitionError: if the text is no JSON or describes no network.
        """
        try:
            spec = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DefinitionError(f"not JSON: {error}.") from error
        return cls.from_spec(spec)

    def to_toml(self) -> str:
        """The definition as TOML text."""
        spec = self.spec()
        lines = [f"{key} = {_toml(spec[key])}" for key in ("inputs", "loss")]
        for layer in spec["layers"]:
            lines += ["", "[[layers]]", *(f"{key} = {_toml(layer[key])}" for key in layer)]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> "Network":
        """Read what `to_toml` wrote, or what a person did.

        Raises:
            DefinitionError: if the text is no TOML or describes no network.
        """
        import tomllib

        try:
            spec = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise DefinitionError(f"not TOML: {error}.") from error
        return cls.from_spec(spec)


def detach(spec: dict[str, Any]) -> dict[str, Array]:
    """Take explicit initial weights out of a network's plain form, for files to hold as arrays."""
    arrays: dict[str, Array] = {}
    for index, layer in enumerate(spec["layers"]):
        init = layer.get("init")
        if isinstance(init, dict) and init["name"] == "arrays":
            for key in ("weights", "biases"):
                if init[key] is not None:
                    arrays[f"{index}.init.{key}"] = np.array(init.pop(key))
    return arrays


def attach(spec: Any, arrays: dict[str, Array]) -> None:
    """Put what `detach` took out back, removing it from `arrays`."""
    for name in [name for name in arrays if ".init." in name]:
        index, _, key = name.split(".")
        spec["layers"][int(index)]["init"][key] = arrays.pop(name).tolist()


def _layers(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    if isinstance(layers, Dense | Dropout):
        raise DefinitionError(f"layers is one {layers!r}; put it in a list: [{layers!r}].")
    try:
        found = tuple(layers)
    except TypeError:
        raise DefinitionError(f"layers is {layers!r}; it must be a list of layers.") from None
    for index, layer in enumerate(found):
        if not isinstance(layer, Dense | Dropout):
            raise DefinitionError(
                f"layer {index} is {layer!r}; it must be fn.Dense(...) or fn.Dropout(...)."
            )
    if not any(isinstance(layer, Dense) for layer in found):
        raise DefinitionError("a network needs at least one Dense layer; add fn.Dense(units).")
    return found


def _toml(value: Any) -> str:
    """A value as TOML: JSON's form serves for all but tables."""
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(v)}" for key, v in value.items() if v is not None)
        return f"{{ {inside} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
