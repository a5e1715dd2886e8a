"""From a plan to what kernels follow: a chain of layers, as two tables of numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import kinds, plan
from fastnet.errors import BackendUnavailable
from fastnet_cupy import names

IDENTITY, RELU, SIGMOID = (kinds.ACTIVATIONS[kind] for kind in ("identity", "relu", "sigmoid"))


@dataclass(frozen=True)
class Mask:
    """Dropout behind a layer, or behind the input.

    Attributes:
        rate: of the entries that are dropped.
        layer: the part of the random stream.
    """

    rate: float
    layer: int


@dataclass(frozen=True)
class Layer:
    """z = x @ weight + bias, a = activation(z), and then masks.

    Attributes:
        inputs, units: the shape of the weight.
        weight, bias: where they begin in the flat vector; a bias of None: there is none.
        needs_input_gradient: whether the derivative by x is needed in training.
        kind, constants: of the activation, elementwise.
        masks: dropout behind it.
    """

    inputs: int
    units: int
    weight: int
    bias: int | None
    needs_input_gradient: bool
    kind: str = "identity"
    constants: tuple[float, ...] = ()
    masks: tuple[Mask, ...] = ()

    @property
    def code(self) -> int:
        """Of the activation."""
        return kinds.ACTIVATIONS[self.kind]

    @property
    def slope_from_output(self) -> bool:
        """Whether the derivative can be computed from the output alone."""
        return names.slope_from_output(self.kind) and not self.masks

    def weight_of(self, flat: Any) -> Any:
        """The weight, flat, in a flat vector."""
        return flat[self.weight : self.weight + self.inputs * self.units]

    def bias_of(self, flat: Any) -> Any:
        """The bias in a flat vector; None where there is none."""
        return None if self.bias is None else flat[self.bias : self.bias + self.units]


@dataclass(frozen=True)
class Layout:
    """A plan as a chain of layers.

    Attributes:
        inputs, outputs, size: as the plan's.
        layers: in order; the last one's output is what the loss is computed from.
        masks: dropout on the input.
        softmax: whether the last layer's activation is softmax, apart from the loss.
        output: the code of the activation between logits and prediction: IDENTITY or SIGMOID.
        output_softmax: whether that is softmax.
        loss: of the plan.
        factors: `(2, size)` float64: for each parameter what the learning rate and what the weight
            decay are multiplied with; None where all are 1.
    """

    inputs: int
    outputs: int
    size: int
    layers: tuple[Layer, ...]
    masks: tuple[Mask, ...]
    softmax: bool
    output: int
    output_softmax: bool
    loss: plan.LossFunction
    factors: Array | None = field(default=None, compare=False)

    @property
    def widest(self) -> int:
        """The most columns that rows have anywhere."""
        return max(self.inputs, *(layer.units for layer in self.layers))

    @property
    def all_masks(self) -> tuple[Mask, ...]:
        """Those of the input, then those of each layer."""
        return sum((layer.masks for layer in self.layers), self.masks)

    @property
    def products(self) -> int:
        """Multiplications and additions of a forward pass, a row."""
        return sum(layer.inputs * layer.units for layer in self.layers)


class _Chain:
    """The layers as they are put together, operation by operation."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.input_masks: tuple[Mask, ...] = ()
        self.softmax = False

    def affine(self, op: plan.Affine) -> None:
        bias = None if op.bias is None else op.bias.offset
        place = op.inputs, op.units, op.weight.offset, bias, op.needs_input_gradient
        self.layers.append(Layer(*place))

    def elementwise(self, op: plan.Elementwise) -> None:
        self._is_activation(op)
        self.layers[-1] = replace(self.layers[-1], kind=op.kind, constants=op.constants)

    def softmaxed(self, op: plan.Softmax) -> None:
        self._is_activation(op)
        self.softmax = True

    def dropout(self, op: plan.Dropout) -> None:
        mask = Mask(op.rate, op.layer)
        if self.layers:
            layer = self.layers[-1]
            self.layers[-1] = replace(layer, masks=(*layer.masks, mask))
        else:
            self.input_masks += (mask,)

    def _is_activation(self, op: plan.Operation) -> None:
        """One for each layer, and before dropout: kernels have no place for another."""
        layer = self.layers[-1] if self.layers else None
        if layer is None or layer.kind != "identity" or layer.masks or self.softmax:
            raise _not_a_chain(op)


#: What this backend does with an operation.
OPERATIONS: dict[type[plan.Operation], Callable[[_Chain, Any], None]] = {
    plan.Affine: _Chain.affine,
    plan.Elementwise: _Chain.elementwise,
    plan.Softmax: _Chain.softmaxed,
    plan.Dropout: _Chain.dropout,
}


def _not_a_chain(op: plan.Operation) -> BackendUnavailable:
    return BackendUnavailable(
        f"backend 'cupy' runs chains of layers, each an affine map, an activation and dropout; "
        f"in this plan {op} breaks the chain. Use another backend."
    )


def lay_out(lowered: plan.Plan) -> Layout:
    """The layers of a plan, all kinds of which this backend has.

    Raises:
        BackendUnavailable: if it is not a chain of layers.
    """
    chain, value = _Chain(), 0
    for op in lowered.for_loss:
        if op.sources != (value,) or chain.softmax:
            raise _not_a_chain(op)
        OPERATIONS[type(op)](chain, op)
        value = op.target
    output, output_softmax = IDENTITY, False
    behind = lowered.for_prediction[len(lowered.for_loss) :]
    for op in behind:
        output_softmax = isinstance(op, plan.Softmax)
        sigmoid = isinstance(op, plan.Elementwise) and op.kind == "sigmoid"
        if op.sources != (value,) or len(behind) > 1 or not (output_softmax or sigmoid):
            raise _not_a_chain(op)
        output = SIGMOID if sigmoid else IDENTITY
    if chain.layers[-1].masks or lowered.trained != lowered.size:
        raise _not_a_chain(lowered.operations[-1])
    return Layout(
        lowered.inputs, lowered.outputs, lowered.size, tuple(chain.layers), chain.input_masks,
        chain.softmax, output, output_softmax, lowered.loss, _factors(lowered),
    )  # fmt: skip


def _factors(lowered: plan.Plan) -> Array | None:
    """The factors of each parameter: see `Layout`."""
    if all((piece.rate_factor, piece.decay_factor) == (1, 1) for piece in lowered.parameters):
        return None
    factors = np.ones((2, lowered.size))
    for piece in lowered.parameters:
        piece.of(factors[0])[...] = piece.rate_factor
        piece.of(factors[1])[...] = piece.decay_factor
    return factors


@dataclass(frozen=True)
class Tables:
    """A layout as two arrays, which `kernels/layout.cuh` reads.

    Attributes:
        ints: int32: a row of `names.Table`, then a row of `names.Layer` for each layer, then each
            mask's layer.
        floats: float64: each layer's constants, filled up with zeros, then the loss's.
    """

    ints: Array
    floats: Array


def tabulate(layout: Layout) -> Tables:
    """`layout` as tables."""
    place, column = names.Table, names.Layer
    head = {
        place.INPUTS: layout.inputs, place.OUTPUTS: layout.outputs, place.SIZE: layout.size,
        place.LAYERS: len(layout.layers), place.MASKS: len(layout.masks),
        place.SOFTMAX: int(layout.softmax), place.OUTPUT: layout.output,
        place.OUTPUT_SOFTMAX: int(layout.output_softmax),
        place.LOSS: kinds.LOSSES[layout.loss.kind], place.EACH: layout.loss.each,
    }  # fmt: skip
    ints = [head[name] for name in place]
    floats: list[float] = []
    first_mask = len(layout.masks)
    for layer in layout.layers:
        row = {
            column.INPUTS: layer.inputs, column.UNITS: layer.units, column.WEIGHT: layer.weight,
            column.BIAS: -1 if layer.bias is None else layer.bias, column.CODE: layer.code,
            column.FIRST_MASK: first_mask, column.MASKS: len(layer.masks),
        }  # fmt: skip
        ints += [row[name] for name in column]
        floats += _filled(layer.constants, names.ACTIVATION_CONSTANTS)
        first_mask += len(layer.masks)
    ints += [mask.layer for mask in layout.all_masks]
    floats += layout.loss.constants or (0.0,)  # kernels read the first, whatever the loss
    return Tables(np.array(ints, np.int32), np.array(floats, np.float64))


def _filled(constants: tuple[float, ...], count: int) -> list[float]:
    assert len(constants) <= count, "names.py has room for fewer constants"
    return [*constants, *[0.0] * (count - len(constants))]
