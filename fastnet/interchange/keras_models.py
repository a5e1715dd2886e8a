"""From Keras 3: Sequential and functional models that are a chain of dense layers."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnet.definition.activations import ACTIVATIONS, Activation
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
    flat = False
    for layer in _layers(keras, chain, model):
        where = f"layer {layer.name!r} ({type(layer).__name__})"
        _check(chain, where, layer)
        flat = flat or len(model.input_shape) == 2 or isinstance(layer, keras.layers.Flatten)
        if not flat and isinstance(layer, keras.layers.Dense | keras.layers.Normalization):
            raise chain.refuse(
                f"{where} takes shape {model.input_shape}; it must be (rows, inputs): put a "
                "Flatten before it."
            )
        _take(keras, chain, where, layer)
    return chain


def _layers(keras: Any, chain: Chain, model: Any) -> Iterator[Any]:
    """The layers in order, also those of models inside the model."""
    if not model.built:
        raise chain.refuse("it is not built: call it once, or give it a keras.Input.")
    if not _plain(keras, model):
        raise chain.refuse(
            "it has a call of its own; fastnet supports Sequential and functional models."
        )
    if not isinstance(model, keras.Sequential):
        _check_chain(keras, chain, model)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(keras, chain, layer)
        else:
            yield layer


def _plain(keras: Any, model: Any) -> bool:
    if isinstance(model, keras.Sequential):
        return type(model).call is keras.Sequential.call
    return type(model).__name__ == "Functional"


def _check_chain(keras: Any, chain: Chain, model: Any) -> None:
    """Make sure that the only input of each layer is the output of the one before it."""
    tensors = [*model.inputs, *model.outputs]
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    right = len(tensors) == 2 and bool(layers)
    if right:
        try:
            given = [layer.output for layer in layers]
            taken = [layer.input for layer in layers]
        except (AttributeError, ValueError):  # a layer that is called twice
            right = False
    if right:
        links = zip([tensors[0], *given], [*taken, tensors[1]], strict=True)
        right = all(one is other for one, other in links)
    if not right:
        raise chain.refuse("it is not a chain of layers; fastnet supports no branches.")


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
    elif kind not in (kinds.InputLayer, kinds.Flatten, kinds.Identity):
        chain.activate(where, _activation(kinds, chain, where, layer))


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
        f"Dense, Activation, Dropout, Flatten, Identity, Normalization, Rescaling, {known}."
    )
