"""Lowering: from what a network is to what a backend runs.

A plan is all that a backend is given. It is a graph of values: value 0 is the input, and every
operation names the values that it reads (`sources`) and the one that it makes (`target`). The
parameters are pieces of one flat vector: weights `(inputs, units)` row by row, then bias, layer
by layer.

Lowering makes kinds canonical, so that a backend meets as few as possible: SELU becomes ELU with
constants, GELU by tanh is a kind of its own, identity disappears.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.layers import Dense
from fastnet.definition.network import Network


@dataclass(frozen=True)
class Parameter:
    """A named piece of the flat vector: `flat[offset : offset + size].reshape(shape)`.

    Attributes:
        name: the layer's number and what it is there, as "0.weight".
        offset: where it begins.
        shape: its own shape.
        role: "weight", "bias", "scale", "embedding" or "statistic". L1 and L2 apply to weights;
            statistics are not trained.
        rate_factor: what the learning rate is multiplied with for this piece.
        decay_factor: what the weight decay is multiplied with for this piece.
    """

    name: str
    offset: int
    shape: tuple[int, ...]
    role: str = "weight"
    rate_factor: float = 1.0
    decay_factor: float = 1.0

    @cached_property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    def of(self, flat: Array) -> Array:
        """This piece of `flat`, as a view in its own shape."""
        return flat[self.offset : self.offset + self.size].reshape(self.shape)


@dataclass(frozen=True)
class Operation:
    """A step from values to a value.

    Attributes:
        sources: the numbers of the values that it reads.
        target: the number of the value that it makes.
        units: columns of that value.
        needs_input_gradient: whether the loss's derivative by its sources is needed in training:
            not where nothing before it has parameters.
    """

    sources: tuple[int, ...]
    target: int
    units: int
    needs_input_gradient: bool


@dataclass(frozen=True)
class Affine(Operation):
    """z = x @ weight + bias, `inputs` the columns of x."""

    inputs: int
    weight: Parameter
    bias: Parameter | None


@dataclass(frozen=True)
class Elementwise(Operation):
    """a = f(z), entry by entry: `kind` names f, `fastnet.contract.kinds` lists them.

    `constants` are those of the kind, in the order in which its definition has them.
    """

    kind: str
    constants: tuple[float, ...]


@dataclass(frozen=True)
class Softmax(Operation):
    """a_j = exp(z_j) / sum_k exp(z_k), row by row."""


@dataclass(frozen=True)
class Dropout(Operation):
    """In training: zero where the mask says so, the rest times 1 / (1 - r), r = rate * factor.

    `factor` is the run's `dropout_factor` at the step; a prediction drops nothing. The mask's
    words are `random.words(seed, DROPOUT, step, rows * units, part=layer)`, one for each entry of
    the batch in row order; an entry stays where its word is at least `random.keep_threshold(r)`.
    """

    rate: float
    layer: int


@dataclass(frozen=True)
class LossFunction:
    """The loss: `kind` names its formula, `constants` are in the order of its definition.

    Those of "quantiles" are one for each output.

    Attributes:
        each: terms of a row that the mean is over: the outputs; 1 for cross-entropy over
            classes; the targets for "gaussian_nll", which has two outputs for each.
    """

    kind: str
    constants: tuple[float, ...]
    each: int


@dataclass(frozen=True)
class Plan:
    """A network, lowered.

    Attributes:
        inputs: columns of a row of input numbers.
        outputs: columns of a row of prediction.
        operations: all, each after those whose values it reads.
        loss: the loss.
        loss_source: the value that the loss is computed from: the logits, where it is computed
            together with the output's activation.
        prediction: the value that is the prediction.
        parameters: the pieces of the flat vector, in order; those that are not trained come last.
        size: the length of the flat vector.
        trained: the length of its beginning that is trained: an optimizer's memory is as long.
    """

    inputs: int
    outputs: int
    operations: tuple[Operation, ...]
    loss: LossFunction
    loss_source: int
    prediction: int
    parameters: tuple[Parameter, ...]
    size: int
    trained: int

    @cached_property
    def weights(self) -> tuple[Parameter, ...]:
        """The pieces that L1 and L2 apply to."""
        return tuple(piece for piece in self.parameters if piece.role == "weight")

    @cached_property
    def for_loss(self) -> tuple[Operation, ...]:
        """The operations that lead to the loss, in order."""
        return self._leading_to(self.loss_source)

    @cached_property
    def for_prediction(self) -> tuple[Operation, ...]:
        """The operations that lead to the prediction, in order; dropout among them does nothing."""
        return self._leading_to(self.prediction)

    @cached_property
    def affine(self) -> tuple[Affine, ...]:
        """The matrix products, in order."""
        return tuple(op for op in self.operations if isinstance(op, Affine))

    @cached_property
    def products(self) -> int:
        """Multiply-adds of a forward pass on one row."""
        return sum(op.weight.size for op in self.affine)

    @cached_property
    def dropout_rate(self) -> float:
        """The highest rate of dropout; 0 where there is none."""
        return max((op.rate for op in self.operations if isinstance(op, Dropout)), default=0.0)

    def _leading_to(self, value: int) -> tuple[Operation, ...]:
        needed, found = {value}, []
        for op in reversed(self.operations):
            if op.target in needed:
                found.append(op)
                needed.update(op.sources)
        return tuple(reversed(found))


def lower(network: Network) -> Plan:
    """Lay out the parameters of `network` and list its operations."""
    operations: list[Operation] = []
    parameters: list[Parameter] = []
    width, size, value = network.inputs, 0, 0

    def parameter(name: str, shape: tuple[int, ...], role: str) -> Parameter:
        nonlocal size
        piece = Parameter(name, size, shape, role)
        size += piece.size
        parameters.append(piece)
        return piece

    for index, layer in enumerate(network.layers):
        place = (value,), value + 1
        trains = bool(parameters)  # whether anything before this layer has parameters
        if isinstance(layer, Dense):
            weight = parameter(f"{index}.weight", (width, layer.units), "weight")
            bias = parameter(f"{index}.bias", (layer.units,), "bias") if layer.bias else None
            operations.append(Affine(*place, layer.units, trains, width, weight, bias))
            width, value = layer.units, value + 1
            kind, constants = layer.activation.canonical()
            place = (value,), value + 1
            if kind == "softmax":
                operations.append(Softmax(*place, width, True))
                value += 1
            elif kind != "identity":
                operations.append(Elementwise(*place, width, True, kind, constants))
                value += 1
        elif layer.rate > 0:
            operations.append(Dropout(*place, width, trains, layer.rate, index))
            value += 1

    loss = _lowered_loss(network)
    # A loss that needs an activation is computed from what that activation reads: the logits.
    loss_source = value if network.loss.needs is None else operations[-1].sources[0]
    return Plan(
        inputs=network.inputs,
        outputs=width,
        operations=tuple(operations),
        loss=loss,
        loss_source=loss_source,
        prediction=value,
        parameters=tuple(parameters),
        size=size,
        trained=size,
    )


def _lowered_loss(network: Network) -> LossFunction:
    kind, constants = network.loss.canonical()
    each = network.outputs
    if kind == "quantiles":
        constants = tuple(q for q in constants for _ in range(network.targets))
    if kind == "gaussian_nll":
        each = network.targets
    return LossFunction(kind, constants, 1 if network.loss.by_row else each)


def initial_parameters(network: Network, seed: int, plan: Plan | None = None) -> Array:
    """The flat vector that training starts from, `(size,)` float64: a function of the seed.

    A layer's draws depend on the seed and its index alone. `plan` spares lowering the network once
    more.

    Raises:
        MemoryError: if the machine cannot hold them.
    """
    plan = plan or lower(network)
    flat = np.empty(plan.size)
    for piece in plan.parameters:
        index = int(piece.name.partition(".")[0])
        layer = network.layers[index]
        assert isinstance(layer, Dense), "no other layer has parameters"
        if piece.role == "weight":
            piece.of(flat)[...] = layer.init.weight(seed, index, *piece.shape)
        else:
            piece.of(flat)[...] = layer.init.bias(*piece.shape)
    return flat
