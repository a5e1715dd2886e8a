"""The layers of a network."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.activations import ACTIVATIONS, Activation
from fastnet.definition.initializers import INITIALIZERS, Arrays, Initializer, default_initializer
from fastnet.definition.named import resolve
from fastnet.errors import DefinitionError
from fastnet.records import Record

#: A number, or one for the weight and one for the bias.
Factor = float | tuple[float, float]


class Layer(Record):
    """What every layer has."""

    #: Its name in files.
    type: ClassVar[str]
    #: Parameters that an optimizer does not move.
    untrained: ClassVar[tuple[str, ...]] = ()

    def outputs(self, inputs: int, place: str) -> int:
        """The columns that come out, for so many that go in.

        Args:
            inputs: how many.
            place: the layer in words, for errors: "layer 2.0".

        Raises:
            DefinitionError: if the layer does not fit.
        """
        return inputs

    def parameters(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """The shapes of its parameters, by their names in the layer."""
        return {}

    def factors(self, name: str, inputs: int) -> tuple[float, float]:
        """What the learning rate and the weight decay are multiplied with for a parameter."""
        return 1.0, 1.0

    def start(self, name: str, seed: int, number: int, shape: tuple[int, ...]) -> Array:
        """What a parameter starts as, float64: factors and variances as 1, all others as 0.

        Args:
            name: the parameter's, in the layer.
            seed: the model's.
            number: of the layer's random streams.
            shape: the parameter's.
        """
        return np.full(shape, float(name in ("scale", "variance")))

    @property
    def label(self) -> str:
        """The layer in a few words, for the table of a network."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        raise NotImplementedError


@explained("fn.Dense")
class Dense(Layer):
    """A dense layer: activation(x @ weight + bias), weight `(inputs, units)`, bias `(units,)`.

    Args:
        units: how many outputs the layer has.
        activation: a name (`"relu"`), an instance (`fn.LeakyReLU(slope=0.2)`) or its table.
        bias: whether a bias is added.
        init: how the weights start: a name, an instance, `"auto"` (He for the relu family,
            LeCun for selu, Glorot for the rest), the weights themselves, or `(weights, bias)`;
            `"data"` makes them fit the rows that the model is given as `init_rows`.
        learning_rate_factor: multiplies the optimizer's learning rate in this layer: a number, or
            two, for weight and bias; 0 leaves the layer as it is.
        decay_factor: multiplies the optimizer's weight decay likewise.
        scaling: "ntk" trains as activation(x @ w / sqrt(inputs) + bias) with parameters w would
            (Jacot et al. 2018). `weight` holds w / sqrt(inputs), so it starts, predicts and is
            exported like any other; its learning rate is divided by sqrt(inputs), its decay is not.
            With Adam and its like, whose steps do not depend on the size of the gradient, that is
            the same but for `epsilon`; other optimizers refuse it.

    Raises:
        DefinitionError: for units that are not a whole number above 0, or an unknown name.
    """

    type: ClassVar[str] = "dense"
    units: int
    activation: Activation
    bias: bool
    init: Initializer
    learning_rate_factor: Factor
    decay_factor: Factor
    scaling: str | None

    def __init__(
        self,
        units: int,
        activation: str | Activation | Mapping[str, Any] = "identity",
        bias: bool = True,
        init: Any = "auto",
        learning_rate_factor: Factor = 1.0,
        decay_factor: Factor = 1.0,
        scaling: str | None = None,
    ) -> None:
        bias = checks.flag(bias, "bias")
        function = resolve("activation", ACTIVATIONS, activation)
        object.__setattr__(self, "units", checks.integer(units, "units"))
        object.__setattr__(self, "activation", function)
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "init", _initializer(init, function))
        if isinstance(self.init, Arrays) and self.init.biases is not None and not bias:
            raise DefinitionError("init holds a bias, but bias=False; leave one of the two out.")
        if scaling not in (None, "ntk"):
            raise DefinitionError(f"scaling is {scaling!r}; it must be 'ntk', or be left out.")
        for name, value in (
            ("learning_rate_factor", learning_rate_factor),
            ("decay_factor", decay_factor),
        ):
            object.__setattr__(self, name, _factor(value, name))
        object.__setattr__(self, "scaling", scaling)

    def outputs(self, inputs: int, place: str) -> int:
        """The units."""
        if isinstance(self.init, Arrays):
            shape = (len(self.init.weights), len(self.init.weights[0]))
            if shape != (inputs, self.units):
                raise DefinitionError(
                    f"{place} starts from weights {shape}; "
                    f"it must be (inputs, units) = {(inputs, self.units)}."
                )
        return self.units

    def parameters(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """Weight, bias and the activation's."""
        bias = {"bias": (self.units,)} if self.bias else {}
        return {"weight": (inputs, self.units), **bias, **_of(self.activation, self.units)}

    def factors(self, name: str, inputs: int) -> tuple[float, float]:
        """Those of the weight, or of the bias."""
        rate, decay = (
            one[name == "bias"] if isinstance(one, tuple) else one
            for one in (self.learning_rate_factor, self.decay_factor)
        )
        if self.scaling == "ntk" and name == "weight":
            root = math.sqrt(inputs)
            return rate / root, decay * root  # a step decays by the product of the two
        return rate, decay

    def start(self, name: str, seed: int, number: int, shape: tuple[int, ...]) -> Array:
        """As the initializer says."""
        if name == "weight":
            return self.init.weight(seed, number, *shape)
        if name == "alpha":
            return np.full(shape, self.activation.alpha_start)
        return self.init.bias(*shape)

    @property
    def label(self) -> str:
        text = f"Dense {self.activation.name}" + ("" if self.bias else ", no bias")
        return text + "".join(f", {name} {value}" for name, value in self.of_training.items())

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {
            "type": self.type,
            "units": self.units,
            "activation": self.activation.spec(),
            "bias": self.bias,
            "init": self.init.spec(),
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name, value in self.of_training.items()
            },
        }

    @property
    def of_training(self) -> dict[str, Any]:
        """What concerns its training alone and is not as by default, by the names of arguments."""
        found = {name: getattr(self, name) for name in ("learning_rate_factor", "decay_factor")}
        found = {name: value for name, value in found.items() if value != 1}
        return {**found, "scaling": self.scaling} if self.scaling else found


@explained("fn.Dropout")
class Dropout(Layer):
    """Sets a unit to zero with probability `rate` while training, and scales the rest by
    1 / (1 - rate), so that prediction needs no change (Srivastava et al. 2014, "inverted").

    Args:
        rate: the probability, 0 to less than 1.

    Raises:
        DefinitionError: for a rate outside [0, 1).
    """

    type: ClassVar[str] = "dropout"
    rate: float

    def __post_init__(self) -> None:
        rate = checks.number(self.rate, "dropout rate", least=0, below=1)
        object.__setattr__(self, "rate", rate)

    @property
    def label(self) -> str:
        return f"Dropout {self.rate:g}"

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {"type": self.type, "rate": self.rate}


@explained("fn.Activate")
class Activate(Layer):
    """An activation as a layer of its own: `Activate("relu")`, or `fn.ReLU()` among the layers.

    Args:
        activation: a name, an instance or its table.

    Raises:
        DefinitionError: for an unknown name.
    """

    type: ClassVar[str] = "activate"
    activation: Activation

    def __init__(self, activation: str | Activation | Mapping[str, Any]) -> None:
        function = resolve("activation", ACTIVATIONS, activation)
        object.__setattr__(self, "activation", function)

    def parameters(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """The activation's."""
        return _of(self.activation, inputs)

    def start(self, name: str, seed: int, number: int, shape: tuple[int, ...]) -> Array:
        """As the activation says."""
        return np.full(shape, self.activation.alpha_start)

    @property
    def label(self) -> str:
        return f"Activate {self.activation.name}"

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {"type": self.type, "activation": self.activation.spec()}


@explained("fn.LayerNorm")
class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, with the mean and the variance of each
    row over its units (Ba, Kiros and Hinton 2016).

    Args:
        epsilon: keeps the quotient finite.

    Raises:
        DefinitionError: for an epsilon that is not above 0.
    """

    type: ClassVar[str] = "layer_norm"
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        epsilon = checks.number(self.epsilon, "layer_norm epsilon", above=0)
        object.__setattr__(self, "epsilon", epsilon)

    def parameters(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """A factor and a shift for each unit."""
        return {"scale": (inputs,), "shift": (inputs,)}

    @property
    def label(self) -> str:
        return "LayerNorm"

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {"type": self.type, "epsilon": self.epsilon}


@explained("fn.BatchNorm")
class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, unit by unit (Ioffe and Szegedy 2015).

    In training, mean and variance are those of the batch's rows, and the parameters `mean` and
    `variance` move toward them by the share `momentum` (the variance with a divisor of rows - 1).
    Predictions, losses and gradients outside of training take these parameters. So does a last
    batch of one row, which has no variance, and it leaves them as they are.

    Args:
        momentum: the share, above 0 and at most 1.
        epsilon: keeps the quotient finite.

    Raises:
        DefinitionError: for a momentum outside (0, 1], or an epsilon that is not above 0.
    """

    type: ClassVar[str] = "batch_norm"
    untrained: ClassVar[tuple[str, ...]] = ("mean", "variance")
    momentum: float = 0.1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        momentum = checks.number(self.momentum, "batch_norm momentum", above=0, most=1)
        epsilon = checks.number(self.epsilon, "batch_norm epsilon", above=0)
        object.__setattr__(self, "momentum", momentum)
        object.__setattr__(self, "epsilon", epsilon)

    def parameters(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """For each unit a factor, a shift and two statistics."""
        return dict.fromkeys(("scale", "shift", "mean", "variance"), (inputs,))

    @property
    def label(self) -> str:
        return "BatchNorm"

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {"type": self.type, "momentum": self.momentum, "epsilon": self.epsilon}


@explained("fn.Scale")
class Scale(Layer):
    """x * scale: one factor for each unit, learned, 1 at the start."""

    type: ClassVar[str] = "scale"

    def parameters(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """A factor for each unit."""
        return {"scale": (inputs,)}

    @property
    def label(self) -> str:
        return "Scale"

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {"type": self.type}


@explained("fn.Residual")
class Residual(Layer):
    """x + f(x), f the layers inside, which may hold further residual blocks (He et al. 2016).

    A network may have 32 of them inside one another.

    Args:
        layers: first to last; what comes out has as many units as what goes in.

    Raises:
        DefinitionError: if there are none, or one is no layer.
    """

    type: ClassVar[str] = "residual"
    layers: tuple[Layer, ...]

    def __init__(self, layers: Iterable[Layer | Activation]) -> None:
        object.__setattr__(self, "layers", layers_of(layers))
        if not self.layers:
            raise DefinitionError("a Residual has no layers; put some in its list.")

    def outputs(self, inputs: int, place: str) -> int:
        """As many as go in."""
        width = inputs
        for index, layer in enumerate(self.layers):
            width = layer.outputs(width, f"{place}.{index}")
        if width != inputs:
            raise DefinitionError(
                f"{place}, a Residual, adds {width} outputs of its layers to its {inputs} inputs; "
                f"end it with a layer of {inputs} units, such as fn.Dense({inputs})."
            )
        return width

    @property
    def label(self) -> str:
        return "Residual"

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        return {"type": self.type, "layers": [layer.spec() for layer in self.layers]}


def _of(activation: Activation, units: int) -> dict[str, tuple[int, ...]]:
    """The parameters of an activation."""
    return {} if activation.alpha_start is None else {"alpha": (units,)}


#: All layers, by their names in files; `embedding.py` adds its own.
LAYERS: dict[str, type[Layer]] = {
    cls.type: cls for cls in (Dense, Dropout, Activate, LayerNorm, BatchNorm, Scale, Residual)
}


#: Residual blocks inside one another, at most: functions that go through layers call themselves
#: once for each.
MOST_NESTED = 32


def check_depth(name: str) -> None:
    """Make sure that the layer of a name, such as "2.0", is not in too many residual blocks.

    Raises:
        DefinitionError: if it is.
    """
    if name.count(".") > MOST_NESTED:
        raise DefinitionError(
            f"layer {name} is in more than {MOST_NESTED} residual blocks; put some of them one "
            "after the other."
        )


def layers_of(given: Iterable[Any]) -> tuple[Layer, ...]:
    """The layers that a user listed, with activations as `Activate`.

    Raises:
        DefinitionError: if they are no list, or one is no layer.
    """
    if isinstance(given, Layer | Activation):
        raise DefinitionError(f"layers is one {given!r}; put it in a list: [{given!r}].")
    try:
        found = tuple(given)
    except TypeError:
        raise DefinitionError(f"layers is {given!r}; it must be a list of layers.") from None
    for index, layer in enumerate(found):
        if not isinstance(layer, Layer | Activation):
            names = [f"fn.{cls.__name__}(...)" for cls in LAYERS.values()]
            raise DefinitionError(
                f"layer {index} is {layer!r}; it must be {', '.join(names)} or an activation."
            )
    return tuple(Activate(one) if isinstance(one, Activation) else one for one in found)


def _factor(value: Any, what: str) -> Factor:
    pair = checks.entries(value)
    if pair is None:
        return checks.number(value, what, least=0)
    if len(pair) != 2:
        raise DefinitionError(
            f"{what} is {value!r}; it must be a number, or a pair, for weight and bias."
        )
    weight, bias = (checks.number(one, what, least=0) for one in pair)
    return weight if weight == bias else (weight, bias)


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
