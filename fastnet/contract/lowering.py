"""Lowering: from what a network is to what a backend runs.

Lowering makes kinds canonical, so that a backend meets as few as possible: SELU becomes ELU with
constants, GELU by tanh is a kind of its own, identity disappears.
"""

from typing import Any

from fastnet.contract.plan import (
    Add,
    Affine,
    BatchNormalize,
    Dropout,
    Elementwise,
    Embed,
    LossFunction,
    Normalize,
    Operation,
    Parameter,
    Parametric,
    Periodic,
    PiecewiseLinear,
    Plan,
    Scale,
    Softmax,
)
from fastnet.definition.activations import Activation, PReLU
from fastnet.definition.embedding import Embed as EmbedLayer
from fastnet.definition.embedding import Embedding
from fastnet.definition.embedding import Periodic as PeriodicNumbers
from fastnet.definition.layers import Activate, BatchNorm, Dense, Layer, LayerNorm, Residual
from fastnet.definition.layers import Dropout as DropoutLayer
from fastnet.definition.layers import Scale as ScaleLayer
from fastnet.definition.losses import Loss
from fastnet.definition.network import Network
from fastnet.definition.placing import Placed
from fastnet.errors import DefinitionError

#: The parameters of a norm, with their roles; and its statistics.
_FACTORS = (("scale", "scale"), ("shift", "bias"))
_STATISTICS = ("mean", "variance")

#: The place of a network's plan among its attributes, beside `Network.placed`, which is kept too.
_PLAN = "_plan"


class _Lowering:
    """The operations and parameters of a network, as they are put together, layer by layer.

    Attributes:
        value: the one that was made last; `units` are its columns.
        trains: values that have parameters before them.
    """

    def __init__(self, network: Network) -> None:
        self.placed = iter(network.placed)
        self.operations: list[Operation] = []
        self.parameters: list[Parameter] = []
        self.statistics: list[Parameter] = []
        self.trained = 0
        self.size = sum(one.trained for one in network.placed)  # all others stand behind
        self.value, self.units = 0, network.inputs
        self.trains: set[int] = set()
        first = network.placed[0].layer
        if network.categories and not isinstance(first, Embedding):
            self.embedding(Embedding(EmbedLayer("one_hot"), network.both_inputs))

    def layers(self, layers: tuple[Layer, ...]) -> None:
        """Lower a list of layers, which are the next that are placed."""
        for _ in layers:
            self.layer(next(self.placed))

    def embedding(self, embedding: Embedding, one: Placed | None = None) -> None:
        """What an `Embed` at a place does; without a place it has no parameters."""
        inputs, numeric = embedding.inputs, embedding.embed.numbers
        if inputs.categories:
            tables = tuple(
                self.parameter(one, f"embedding_{column}", "embedding") if one and units else None
                for column, units in enumerate(embedding.units)
            )
            width = inputs.numbers + embedding.embedded
            self.add(Embed, width, inputs.numbers, inputs.categories, tables)
        if one and numeric:
            of_numbers = numeric.parameters(inputs.numbers)
            roles = ["statistic" if name == "edges" else "embedding" for name in of_numbers]
            made = [self.parameter(one, *pair) for pair in zip(of_numbers, roles, strict=True)]
            kind = Periodic if isinstance(numeric, PeriodicNumbers) else PiecewiseLinear
            width = embedding.outputs(inputs.columns, "")
            self.add(kind, width, inputs.numbers, numeric.units, *made)

    def layer(self, one: Placed) -> None:
        match one.layer:
            case Embedding() as layer:
                self.embedding(layer, one)
            case Dense() as dense:
                weight = self.parameter(one, "weight", "weight")
                bias = self.parameter(one, "bias", "bias") if dense.bias else None
                self.add(Affine, dense.units, one.inputs, weight, bias)
                self.activation(one, dense.activation)
            case Activate() as layer:
                self.activation(one, layer.activation)
            case DropoutLayer() as layer:
                if layer.rate > 0:
                    self.add(Dropout, self.units, layer.rate, one.number)
            case LayerNorm() as layer:
                self.add(Normalize, self.units, layer.epsilon)
                self.add(Scale, self.units, *(self.parameter(one, n, r) for n, r in _FACTORS))
            case BatchNorm() as layer:
                scale, shift = (self.parameter(one, n, r) for n, r in _FACTORS)
                mean, variance = (self.parameter(one, n, "statistic") for n in _STATISTICS)
                self.add(BatchNormalize, self.units, layer.epsilon, layer.momentum, mean, variance)
                self.add(Scale, self.units, scale, shift)
            case ScaleLayer():
                self.add(Scale, self.units, self.parameter(one, "scale", "scale"), None)
            case Residual() as block:
                before = self.value
                self.layers(block.layers)
                self.add(Add, self.units, sources=(before, self.value))

    def activation(self, one: Placed, activation: Activation) -> None:
        kind, constants = _canonical(activation)
        if activation.alpha_start is not None:
            alpha, complement = self.parameter(one, "alpha", "scale"), isinstance(activation, PReLU)
            self.add(Parametric, self.units, kind, constants, alpha, complement)
        elif kind == "softmax":
            self.add(Softmax, self.units)
        elif kind != "identity":
            self.add(Elementwise, self.units, kind, constants)

    def parameter(self, one: Placed, name: str, role: str) -> Parameter:
        shape = one.layer.parameters(one.inputs)[name]
        factors = one.layer.factors(name, one.inputs)
        fixed = role == "statistic"
        offset = self.size if fixed else self.trained
        piece = Parameter(f"{one.name}.{name}", offset, shape, role, *factors)
        if fixed:
            self.size += piece.size
        else:
            self.trained += piece.size
        (self.statistics if fixed else self.parameters).append(piece)
        return piece

    def add(
        self, kind: Any, units: int, *fields: Any, sources: tuple[int, ...] | None = None
    ) -> None:
        """An operation with these fields, on the value that was made last, or on others."""
        sources = sources or (self.value,)
        target = len(self.operations) + 1
        trains = not self.trains.isdisjoint(sources)
        op = kind(sources, target, units, trains, *fields)
        if trains or op.trains:
            self.trains.add(target)
        self.operations.append(op)
        self.value, self.units = target, units


def lower(network: Network) -> Plan:
    """Lay out the parameters of `network` and list its operations: once, for all its models.

    Raises:
        DefinitionError: if it is no network.
    """
    if not isinstance(network, Network):
        raise DefinitionError(f"network is {network!r}; it must be an fn.Network(...).")
    kept = vars(network)
    plan: Plan | None = kept.get(_PLAN)
    if plan is None:
        plan = kept[_PLAN] = _lowered(network)
    return plan


def _lowered(network: Network) -> Plan:
    made = _Lowering(network)
    made.layers(network.layers)
    # A loss that needs an activation is computed from what that activation reads: the logits.
    loss_source = made.value if network.loss.needs is None else made.operations[-1].sources[0]
    return Plan(
        inputs=network.inputs,
        outputs=made.units,
        operations=tuple(made.operations),
        loss=_lowered_loss(network),
        loss_source=loss_source,
        prediction=made.value,
        parameters=(*made.parameters, *made.statistics),
        size=made.size,
        trained=made.trained,
    )


def _canonical(named: Activation | Loss) -> tuple[str, tuple[float, ...]]:
    """Its kind, and its constants as Python's own numbers.

    One of NumPy's float64 would make float64 of float32 arrays.
    """
    kind, constants = named.canonical()
    return kind, tuple(map(float, constants))


def _lowered_loss(network: Network) -> LossFunction:
    kind, constants = _canonical(network.loss)
    each = network.outputs
    if kind == "quantiles":
        constants = tuple(q for q in constants for _ in range(network.targets))
    if kind == "gaussian_nll":
        each = network.targets
    return LossFunction(kind, constants, 1 if network.loss.by_row else each)
