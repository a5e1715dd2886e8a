"""From Keras 3: Sequential and functional models that are a chain of layers, and sums x + f(x)."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnet.definition.activations import ACTIVATIONS, Activation, PReLU
from fastnet.definition.layers import BatchNorm, Layer, LayerNorm
from fastnet.errors import DefinitionError
from fastnet.interchange.chain import Chain


@dataclass(frozen=True)
class Row:
    """An activation in Keras.

    Attributes:
        function: its name in `keras.activations`.
        constants: those of the function.
        layers: the layers that may compute it, and whether one with its settings does.
        attributes: our constants, and what the layers call them.
    """

    function: str
    constants: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


ROWS = {
    "identity": Row("linear"),
    "sigmoid": Row("sigmoid"),
    "tanh": Row("tanh"),
    "relu": Row("relu", layers={"ReLU": lambda it: _unbounded(it) and not it.negative_slope}),
    "leaky_relu": Row(
        "leaky_relu",
        {"slope": 0.2},
        {"LeakyReLU": lambda it: True, "ReLU": lambda it: _unbounded(it)},
        {"slope": "negative_slope"},
    ),
    "elu": Row("elu", layers={"ELU": lambda it: True}, attributes={"alpha": "alpha"}),
    "selu": Row("selu"),
    "softplus": Row("softplus"),
    "silu": Row("silu"),
    "gelu": Row("gelu"),
    "mish": Row("mish"),
    "hardswish": Row("hard_silu"),
    "relu6": Row("relu6"),
    "hardsigmoid": Row("hard_sigmoid"),
    "softmax": Row("softmax", layers={"Softmax": lambda it: it.axis in (1, -1)}),
}


def _unbounded(layer: Any) -> bool:
    return layer.max_value is None and not layer.threshold


def read(model: Any) -> Chain:
    """Read the layers of a model.

    Raises:
        DefinitionError: if a layer is not supported, or they are not a chain; names it.
    """
    keras = sys.modules.get("keras")  # imported by whoever has a model
    if keras is None or not isinstance(model, keras.Model):
        raise DefinitionError(f"model is {type(model)!r}; it must be a keras.Model.")
    chain = Chain(f"the model {model.name!r}")
    steps = _steps(keras, chain, model)
    _Reader(keras, model.input_shape).take(chain, steps)
    return chain


@dataclass(eq=False)
class _Sum:
    """x + f(x).

    Attributes:
        layer: Keras's, which adds.
        inside: what f is made of.
    """

    layer: Any
    inside: "tuple[Any, ...]"


class _Reader:
    """Adds layers to a chain; from a Flatten on, or for inputs `(rows, inputs)`, they are dense."""

    def __init__(self, keras: Any, shape: tuple[int | None, ...]) -> None:
        self._keras = keras
        self._shape = shape
        self._flat = len(shape) == 2

    def take(self, chain: Chain, steps: "tuple[Any, ...]") -> None:
        """Add layers, and sums of them."""
        kinds = self._keras.layers
        wide = (kinds.Dense, kinds.Normalization, kinds.BatchNormalization, kinds.PReLU,
                kinds.LayerNormalization, kinds.Add)  # fmt: skip
        for step in steps:
            layer = step.layer if isinstance(step, _Sum) else step
            where = f"layer {layer.name!r} ({type(layer).__name__})"
            _check(chain, where, layer)
            self._flat = self._flat or isinstance(layer, kinds.Flatten)
            if not self._flat and isinstance(layer, wide):
                raise chain.refuse(
                    f"{where} takes shape {self._shape}; it must be (rows, inputs): put a "
                    "Flatten before it."
                )
            if isinstance(step, _Sum):
                inner = chain.inner()
                self.take(inner, step.inside)
                chain.block(where, inner)
            else:
                _take(self._keras, chain, where, layer)


def _steps(keras: Any, chain: Chain, model: Any) -> "tuple[Any, ...]":
    """The layers in order, also those of models inside the model, and the sums x + f(x)."""
    if not model.built:
        raise chain.refuse("it is not built: call it once, or give it a keras.Input.")
    if not _plain(keras, model):
        raise chain.refuse(
            "it has a call of its own; fastnet supports Sequential and functional models."
        )

    def of(layer: Any) -> "tuple[Any, ...]":
        return _steps(keras, chain, layer) if isinstance(layer, keras.Model) else (layer,)

    if isinstance(model, keras.Sequential):
        return tuple(step for layer in model.layers for step in of(layer))
    found: dict[int, tuple[Any, ...]] = {id(tensor): () for tensor in model.inputs}
    right = len(model.inputs) == len(model.outputs) == 1
    try:
        for layer in model.layers:
            if isinstance(layer, keras.layers.InputLayer):
                continue
            given, made = layer.input, layer.output  # refused by a layer that is called twice
            if isinstance(layer, keras.layers.Add) and len(given) == 2:
                found[id(made)] = _sum(layer, *(found[id(tensor)] for tensor in given))
            else:
                found[id(made)] = (*found[id(given)], *of(layer))
    except (AttributeError, ValueError, KeyError, TypeError):
        right = False
    last = found.get(id(model.outputs[0]), ())
    if not right or not last:
        raise chain.refuse(
            "it is not a chain of layers; fastnet supports no branches but Add of x and f(x)."
        )
    return last


def _sum(layer: Any, one: "tuple[Any, ...]", other: "tuple[Any, ...]") -> "tuple[Any, ...]":
    """x + f(x): the one is what the other was computed of."""
    short, long = sorted((one, other), key=len)
    if len(short) == len(long) or any(a is not b for a, b in zip(short, long, strict=False)):
        raise ValueError("two branches")
    return (*short, _Sum(layer, long[len(short) :]))


def _plain(keras: Any, model: Any) -> bool:
    if isinstance(model, keras.Sequential):
        return type(model).call is keras.Sequential.call
    return type(model).__name__ == "Functional"


def _check(chain: Chain, where: str, layer: Any) -> None:
    """Make sure that a layer computes in float32 or float64, and is not quantized."""
    policy = layer.dtype_policy
    if policy.compute_dtype not in ("float32", "float64") or getattr(
        layer, "quantization_mode", None
    ):
        raise chain.refuse(f"{where} computes in {policy.name}; it must be float32 or float64.")


def _take(keras: Any, chain: Chain, where: str, layer: Any) -> None:
    kinds, kind = keras.layers, type(layer)
    array = keras.ops.convert_to_numpy
    if kind is kinds.Dense:
        bias = np.array(array(layer.bias)) if layer.use_bias else None
        chain.dense(where, np.array(array(layer.kernel)), bias)
        chain.activate(where, _function(keras, chain, where, layer.activation))
    elif kind is kinds.Activation:
        chain.activate(where, _function(keras, chain, where, layer.activation))
    elif kind is kinds.Dropout:
        chain.drop(where, float(layer.rate))
    elif kind is kinds.Normalization:
        _normalize(keras, chain, where, layer)
    elif kind is kinds.Rescaling:
        chain.standardize(where, np.array(layer.scale), np.array(layer.offset))
    elif kind in (kinds.BatchNormalization, kinds.LayerNormalization):
        _norm(keras, chain, where, layer)
    elif kind is kinds.PReLU:
        chain.activate(where, PReLU(), np.array(array(layer.alpha)))
    elif kind not in (kinds.InputLayer, kinds.Flatten, kinds.Identity):
        chain.activate(where, _activation(kinds, chain, where, layer))


def _norm(keras: Any, chain: Chain, where: str, layer: Any) -> None:
    """A BatchNormalization or a LayerNormalization, which may lack factors and shifts."""
    array = keras.ops.convert_to_numpy
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if list(axes) not in ([1], [-1]) or getattr(layer, "rms_scaling", False):
        raise chain.refuse(
            f"{where}: fastnet normalizes the units of (rows, units), by both moments."
        )
    width = layer.input.shape[-1]
    given = {
        "scale": layer.gamma if layer.scale else None,
        "shift": layer.beta if layer.center else None,
    }
    dtype = layer.variable_dtype
    arrays = {
        name: np.full(width, name == "scale", dtype) if own is None else np.array(array(own))
        for name, own in given.items()
    }
    if isinstance(layer, keras.layers.LayerNormalization):
        norm: Layer = chain.made(where, LayerNorm, layer.epsilon)
    else:
        share = round(1 - layer.momentum, 9)  # fastnet's is what a batch has, not what is kept
        norm = chain.made(where, BatchNorm, share, layer.epsilon)
        arrays["mean"] = np.array(array(layer.moving_mean))
        arrays["variance"] = np.array(array(layer.moving_variance))
    chain.layer(where, norm, **arrays)


def _normalize(keras: Any, chain: Chain, where: str, layer: Any) -> None:
    """(x - mean) / max(sqrt(variance), epsilon), as `keras.layers.Normalization` computes it."""
    array = keras.ops.convert_to_numpy
    if layer.invert or getattr(layer, "mean", None) is None:
        state = "is inverted" if layer.invert else "has no mean: call adapt first"
        raise chain.refuse(f"{where} {state}.")
    mean, variance = (
        np.array(array(part), np.float64).reshape(-1) for part in (layer.mean, layer.variance)
    )
    scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
    if scale.size == 1:
        mean, scale = mean[0], scale[0]
    chain.standardize(where, scale, -mean * scale)


def _function(keras: Any, chain: Chain, where: str, function: Any) -> Activation:
    for name, row in ROWS.items():
        if function is getattr(keras.activations, row.function):
            return ACTIVATIONS[name](**row.constants)
    known = ", ".join(row.function for row in ROWS.values())
    name = getattr(function, "__name__", repr(function))
    raise chain.refuse(f"{where} has the activation {name!r}; fastnet supports Keras's {known}.")


def _activation(kinds: Any, chain: Chain, where: str, layer: Any) -> Activation:
    for name, row in ROWS.items():
        for kind, fits in row.layers.items():
            if type(layer) is getattr(kinds, kind) and fits(layer):
                constants = {o: float(getattr(layer, t)) for o, t in row.attributes.items()}
                return chain.made(where, ACTIVATIONS[name], **constants)
    known = ", ".join(sorted({kind for row in ROWS.values() for kind in row.layers}))
    raise chain.refuse(
        f"{where}: fastnet does not support this layer, or not with its settings. It supports "
        "Dense, Activation, Add, BatchNormalization, Dropout, Flatten, Identity, "
        f"LayerNormalization, Normalization, PReLU, Rescaling, {known}."
    )
