"""Lowering: from what a network is to what a backend runs.

A plan holds the layout of the one flat parameter vector (weights `(inputs, units)` row by
row, then bias, layer by layer) and the operations in order. It is all that a backend is told.
"""

import math
from dataclasses import dataclass

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.activations import Activation
from fastnet.definition.layers import Dense
from fastnet.definition.losses import Loss
from fastnet.definition.network import Network


@dataclass(frozen=True)
class Parameter:
    """A named piece of the flat vector: `flat[offset : offset + size].reshape(shape)`."""

    name: str
    offset: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    def of(self, flat: Array) -> Array:
        """This piece of `flat`, as a view in its own shape."""
        return flat[self.offset : self.offset + self.size].reshape(self.shape)


@dataclass(frozen=True)
class Affine:
    """z = x @ weight + bias."""

    inputs: int
    units: int
    weight: Parameter
    bias: Parameter | None


@dataclass(frozen=True)
class Activate:
    """a = activation(z), `units` wide. Identity is left out of a plan."""

    units: int
    activation: Activation


@dataclass(frozen=True)
class Drop:
    """While training: zero where the mask says so, the rest times 1 / (1 - rate).

    The mask's words are `random.words(seed, DROPOUT, step, rows * units, part=layer)`, one for
    each entry of the batch in row order; an entry stays where its word is at least
    `random.keep_threshold(rate)`.
    """

    units: int
    rate: float
    layer: int


Operation = Affine | Activate | Drop


@dataclass(frozen=True)
class Plan:
    """A network, lowered.

    Attributes:
        inputs: columns of a row of input.
        outputs: columns of a row of prediction.
        operations: from the input to what the loss is computed from.
        output: what turns that into a prediction: the last layer's activation where the loss
            is computed from its logits (`loss.needs`), else None: nothing is left to do.
        loss: the loss.
        parameters: the pieces of the flat vector, in order.
        size: the length of the flat vector.
    """

    inputs: int
    outputs: int
    operations: tuple[Operation, ...]
    output: Activate | None
    loss: Loss
    parameters: tuple[Parameter, ...]
    size: int

    @property
    def weights(self) -> tuple[Parameter, ...]:
        """The pieces that L1 and L2 apply to: weights, not biases."""
        return tuple(op.weight for op in self.operations if isinstance(op, Affine))


def lower(network: Network) -> Plan:
    """Lay out the parameters of `network` and list its operations."""
    operations: list[Operation] = []
    parameters: list[Parameter] = []
    width, size = network.inputs, 0

    def parameter(name: str, shape: tuple[int, ...]) -> Parameter:
        nonlocal size
        piece = Parameter(name, size, shape)
        size += piece.size
        parameters.append(piece)
        return piece

    for index, layer in enumerate(network.layers):
        if isinstance(layer, Dense):
            weight = parameter(f"{index}.weight", (width, layer.units))
            bias = parameter(f"{index}.bias", (layer.units,)) if layer.bias else None
            operations.append(Affine(width, layer.units, weight, bias))
            width = layer.units
            if layer.activation.name != "identity":
                operations.append(Activate(width, layer.activation))
        elif layer.rate > 0:
            operations.append(Drop(width, layer.rate, index))

    output = None
    if network.loss.needs is not None:
        last = operations.pop()
        assert isinstance(last, Activate), "a network checks that its loss fits its output"
        output = last
    return Plan(
        network.inputs, width, tuple(operations), output, network.loss, tuple(parameters), size
    )


def initial_parameters(network: Network, seed: int) -> Array:
    """The flat vector that training starts from, `(size,)` float64: a function of the seed.

    A layer's draws depend on the seed and its index alone.
    """
    pieces: list[Array] = []
    width = network.inputs
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Dense):
            pieces.append(layer.init.weight(seed, index, width, layer.units).reshape(-1))
            if layer.bias:
                pieces.append(layer.init.bias(layer.units))
            width = layer.units
    return np.concatenate(pieces)
