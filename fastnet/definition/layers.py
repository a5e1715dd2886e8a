"""The layers of a network, to and from the plain form that JSON and TOML hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.definition.activations import ACTIVATIONS, Activation
from fastnet.definition.initializers import INITIALIZERS, Arrays, Initializer, default_initializer
from fastnet.definition.named import resolve
from fastnet.errors import DefinitionError, unknown


@explained("fn.Dense")
@dataclass(frozen=True, init=False)
class Dense:
    """A dense layer: activation(x @ weight + bias), weight `(inputs, units)`, bias `(units,)`.

    Args:
        units: how many outputs the layer has.
        activation: a name (`"relu"`), an instance (`fn.LeakyReLU(slope=0.2)`) or its table.
        bias: whether a bias is added.
        init: how the weights start: a name, an instance, `"auto"` (He for the relu family,
            LeCun for selu, Glorot for the rest), the weights themselves, or `(weights, bias)`.

    Raises:
        DefinitionError: for units that are not a whole number above 0, or an unknown name.
    """

    units: int
    activation: Activation
    bias: bool
    init: Initializer

    def __init__(
        self,
        units: int,
        activation: str | Activation | Mapping[str, Any] = "identity",
        bias: bool = True,
        init: Any = "auto",
    ) -> None:
        if not isinstance(bias, bool):
            raise DefinitionError(f"bias is {bias!r}; it must be True or False.")
        function = resolve("activation", ACTIVATIONS, activation)
        object.__setattr__(self, "units", checks.integer(units, "units"))
        object.__setattr__(self, "activation", function)
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "init", _initializer(init, function))
        if isinstance(self.init, Arrays) and self.init.biases is not None and not bias:
            raise DefinitionError("init holds a bias, but bias=False; leave one of the two out.")

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {
            "type": "dense",
            "units": self.units,
            "activation": self.activation.spec(),
            "bias": self.bias,
            "init": self.init.spec(),
        }


@explained("fn.Dropout")
@dataclass(frozen=True)
class Dropout:
    """Sets a unit to zero with probability `rate` while training, and scales the rest by
    1 / (1 - rate), so that prediction needs no change (Srivastava et al. 2014, "inverted").

    Raises:
        DefinitionError: for a rate outside [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        rate = checks.number(self.rate, "dropout rate", least=0, below=1)
        object.__setattr__(self, "rate", rate)

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {"type": "dropout", "rate": self.rate}


Layer = Dense | Dropout
LAYERS: dict[str, type[Layer]] = {"dense": Dense, "dropout": Dropout}


def _initializer(init: Any, activation: Activation) -> Initializer:
    if init is None:
        raise DefinitionError("init is None; leave it out, or write 'auto', for the usual start.")
    if isinstance(init, str) and init == "auto":
        return default_initializer(activation)
    if isinstance(init, str | Mapping | Initializer):
        return resolve("initializer", INITIALIZERS, init)
    if isinstance(init, type) and issubclass(init, Initializer):
        return resolve("initializer", INITIALIZERS, init)
    if isinstance(init, tuple) and len(init) == 2:
        return Arrays(*init)
    return Arrays(init)


def layer_from_spec(entry: Any, index: int) -> Layer:
    """Build layer number `index` from its plain form.

    Raises:
        DefinitionError: if something is missing, unknown or does not fit.
    """
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if not isinstance(kind, str) or kind not in LAYERS:
        raise DefinitionError(f"layer {index}: {unknown('type', kind, LAYERS)}")
    rest = {key: value for key, value in entry.items() if key != "type"}
    if kind == "dropout":
        return Dropout(**check_keys(rest, f"layer {index}", {"rate"}, set()))
    return Dense(**check_keys(rest, f"layer {index}", {"units"}, {"activation", "bias", "init"}))


def check_keys(spec: Any, what: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    """Check the keys of a table that a file holds."""
    if not isinstance(spec, Mapping):
        raise DefinitionError(f"{what} is {spec!r}; it must be a table.")
    for key in needed - set(spec):
        raise DefinitionError(f"{what} has no {key!r}; it needs {', '.join(sorted(needed))}.")
    for key in set(spec) - needed - optional:
        raise DefinitionError(f"{what}: {unknown('key', key, needed | optional)}")
    return dict(spec)
