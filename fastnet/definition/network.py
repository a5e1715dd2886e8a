"""What a network is: layers, shapes and a loss. Frozen data, to and from JSON and TOML."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from fastnet import html
from fastnet.arguments import explained
from fastnet.arrays import checks, pairs
from fastnet.arrays.checks import Array
from fastnet.definition.activations import Activation, Identity
from fastnet.definition.embedding import Inputs
from fastnet.definition.layer_specs import check_keys, layers_from_spec
from fastnet.definition.layers import Activate, Dense, Dropout, Layer, layers_of
from fastnet.definition.losses import LOSSES, Loss
from fastnet.definition.named import resolve
from fastnet.definition.placing import Placed, placed
from fastnet.errors import DataError, DefinitionError, message_of
from fastnet.records import Record, names_of, values_of


@explained("fn.Network", "the number of inputs comes first, as in fn.Network(3, [fn.Dense(1)])")
class Network(Record):
    """A dense network: what goes in, its layers, and the loss it is trained with.

    Args:
        inputs: columns of a row of input; of numbers and categories, an `fn.Inputs`.
        layers: first to last, at least one of them `Dense`: see `fastnet.definition.layers`.
        loss: a name (`"mse"`), an instance (`fn.Huber(delta=2)`) or its table.

    Attributes:
        inputs: columns of a row, numbers and categories.
        categories: for each column of categories, how many codes it has; they stand behind the
            numbers.
        layers, loss: as given.

    Raises:
        DefinitionError: if the layers, shapes, output activation and loss do not fit together.
    """

    inputs: int
    layers: tuple[Layer, ...]
    loss: Loss
    categories: tuple[int, ...] = ()

    def __init__(
        self,
        inputs: int | Inputs | Mapping[str, Any],
        layers: Iterable[Layer | Activation],
        loss: str | Loss | Mapping[str, Any] = "mse",
    ) -> None:
        categories: tuple[int, ...] = ()
        if isinstance(inputs, Mapping | Inputs):
            both = inputs if isinstance(inputs, Inputs) else Inputs(**inputs)
            inputs, categories = both.columns, both.categories
        object.__setattr__(self, "inputs", checks.integer(inputs, "inputs"))
        object.__setattr__(self, "categories", categories)
        object.__setattr__(self, "layers", layers_of(layers))
        object.__setattr__(self, "loss", resolve("loss", LOSSES, loss))
        self._check()

    def _check(self) -> None:
        if not any(isinstance(one.layer, Dense) for one in self.placed):
            raise DefinitionError("a network needs at least one Dense layer; add fn.Dense(units).")
        if isinstance(self.layers[-1], Dropout):
            raise DefinitionError(
                f"layer {len(self.layers) - 1}, the last, is Dropout: it would blank the outputs; "
                "put a Dense layer after it."
            )
        for name, _, layer, _ in self.placed:
            if not isinstance(layer, Dense | Activate) or layer.activation.name != "softmax":
                continue
            if layer is not self.layers[-1]:
                raise DefinitionError(
                    f"layer {name} has softmax, which is for the last layer only; "
                    "use relu, tanh or another in hidden layers."
                )
            if self.outputs == 1:
                raise DefinitionError(
                    f"layer {name} is softmax over one unit, which is always 1; for two "
                    "classes use units=2, or units=1 with sigmoid and binary_crossentropy."
                )
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

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: what was given, without what is kept of it."""
        return dict(zip(names_of(Network), values_of(self), strict=True))

    @cached_property
    def both_inputs(self) -> Inputs:
        """Its numbers and categories."""
        return Inputs(self.inputs - len(self.categories), self.categories)

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        """All layers with their names, those in residual blocks too."""
        return tuple(placed(self.layers, self.both_inputs))

    @cached_property
    def outputs(self) -> int:
        """Columns of a row of predictions."""
        last = [one for one in self.placed if "." not in one.name][-1]
        return last.layer.outputs(last.inputs, "a layer")

    def features(
        self, x: Any, to: np.dtype[Any], allow_nan: bool = False, first_row: int = 0
    ) -> Array:
        """Convert rows for this network to `(rows, inputs)`, C-contiguous, of dtype `to`.

        Args:
            x: `(rows, inputs)`; where there are categories a pair `(numbers, categories)`, or one
                array of both.
            to: float32 or float64.
            allow_nan: accept NaN and infinity among numbers, as prediction does.
            first_row: the number of the first of these rows, in errors.

        Raises:
            DataError: for no rows, other columns, entries that are not finite, or codes that a
                category does not have; names row and column.
        """
        if self.categories:
            return pairs.features(x, self.categories, self.inputs, to, allow_nan, first_row)
        if isinstance(x, tuple | list) and any(getattr(part, "ndim", 0) == 2 for part in x):
            raise DataError(
                f"x is {len(x)} arrays, and the network takes numbers alone: define it with "
                "fn.Network(fn.Inputs(numbers=..., categories=(...)), ...), or give one array."
            )
        return checks.features(x, self.inputs, to, allow_nan, first_row)

    @property
    def targets(self) -> int:
        """Columns of a row of y: the outputs, but for losses that have several for each target."""
        return self.outputs // self.loss.outputs_per_target

    @property
    def output(self) -> Activation:
        """The activation that predictions come out of."""
        last = self.layers[-1]
        return last.activation if isinstance(last, Dense | Activate) else Identity()

    def _rows(self) -> list[tuple[str, str, str]]:
        """A table of the layers, its head first and the sums last."""
        rows = [("layer", "output shape", "parameters")]
        for one in self.placed:
            width = one.layer.outputs(one.inputs, one.name)
            rows.append((f"{one.name} {one.layer.label}", f"(rows, {width})", f"{one.size:,}"))
        total = sum(one.size for one in self.placed)
        rows.append((f"loss {self.loss.name}", f"inputs {self.both_inputs}", f"{total:,}"))
        return rows

    def __repr__(self) -> str:
        inputs = self.both_inputs if self.categories else self.inputs
        return f"Network(inputs={inputs!r}, layers={self.layers!r}, loss={self.loss!r})"

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
            "inputs": self.both_inputs.spec(),
            "loss": self.loss.spec(),
            "layers": [layer.spec() for layer in self.layers],
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Network":
        """Build from the plain form.

        Args:
            spec: as `spec()` returns it.

        Raises:
            DefinitionError: if something is missing, unknown or does not fit.
        """
        fields = check_keys(spec, "a network", {"inputs", "layers"}, {"loss"})
        layers = layers_from_spec(fields["layers"])
        return cls(fields["inputs"], layers, fields.get("loss", "mse"))

    def to_json(self) -> str:
        """The definition as JSON text."""
        import json

        return json.dumps(self.spec(), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Network":
        """Read what `to_json` wrote.

        Args:
            text: JSON.

        Raises:
            DefinitionError: if the text is no JSON or describes no network.
        """
        import json

        try:
            spec = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DefinitionError(f"not JSON: {message_of(error)}.") from error
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
        """Read what `to_toml` wrote, or what a person wrote in its form.

        Args:
            text: TOML.

        Raises:
            DefinitionError: if the text is no TOML or describes no network.
        """
        import tomllib

        try:
            spec = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise DefinitionError(f"not TOML: {message_of(error)}.") from error
        return cls.from_spec(spec)


def detach(spec: dict[str, Any]) -> dict[str, Array]:
    """Take explicit initial weights out of a network's plain form, for files to hold as arrays."""
    arrays: dict[str, Array] = {}

    def take(layers: list[dict[str, Any]], before: str) -> None:
        for index, layer in enumerate(layers):
            init = layer.get("init")
            if isinstance(init, dict) and init["name"] == "arrays":
                for key in ("weights", "biases"):
                    if init[key] is not None:
                        arrays[f"{before}{index}.init.{key}"] = np.array(init.pop(key))
            take(layer.get("layers", []), f"{before}{index}.")

    take(spec["layers"], "")
    return arrays


def attach(spec: Any, arrays: dict[str, Array]) -> None:
    """Put what `detach` took out back, removing it from `arrays`."""
    for name in [name for name in arrays if ".init." in name]:
        *places, _, key = name.split(".")
        layer = spec
        for place in places:
            layer = layer["layers"][int(place)]
        layer["init"][key] = arrays.pop(name).tolist()


def _toml(value: Any) -> str:
    """A value as TOML: JSON's form serves for all but tables."""
    import json

    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(v)}" for key, v in value.items() if v is not None)
        return f"{{ {inside} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
