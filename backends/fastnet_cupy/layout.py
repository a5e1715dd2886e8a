"""From a plan to what kernels follow: a chain of layers, or stages, as two tables of numbers."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import kinds, plan
from fastnet.errors import BackendUnavailable
from fastnet_cupy import names
from fastnet_cupy.layers import IDENTITY, SIGMOID, Layer, Mask, Stage
from fastnet_cupy.stages import stages_of

_log = logging.getLogger("fastnet")


@dataclass(frozen=True)
class Layout:
    """A plan as a chain of layers, or as stages.

    Attributes:
        inputs, outputs, size, trained: as the plan's.
        layers: in order; the last one's output is what the loss is computed from.
        masks: dropout on the input.
        softmax: whether the last layer's activation is softmax, apart from the loss.
        output: the code of the activation between logits and prediction: IDENTITY or SIGMOID.
        output_softmax: whether that is softmax.
        loss: of the plan.
        stages: in order, one for each layer; none where the layers are a chain.
        factors: `(2, trained)` float64: for each parameter what the learning rate and what the
            weight decay are multiplied with; None where all are 1.
        shares: `(size - trained,)` float64: by which share of the way updates move each statistic
            toward its batch's; None where there are none that updates move.
    """

    inputs: int
    outputs: int
    size: int
    trained: int
    layers: tuple[Layer, ...]
    masks: tuple[Mask, ...]
    softmax: bool
    output: int
    output_softmax: bool
    loss: plan.LossFunction
    stages: tuple[Stage, ...] = ()
    factors: Array | None = field(default=None, compare=False)
    shares: Array | None = field(default=None, compare=False)

    @property
    def gradient_size(self) -> int:
        """Entries of a gradient, in which the statistics of the batch stand behind the others."""
        return self.trained if self.shares is None else self.size

    @property
    def is_plain(self) -> bool:
        """Whether the tiny and the narrow kernels know it: a chain, and all of it is trained."""
        return not self.stages and self.trained == self.size

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
            raise _NoChain(op)


#: What becomes of an operation in a chain.
_LINKS: dict[type[plan.Operation], Callable[[_Chain, Any], None]] = {
    plan.Affine: _Chain.affine,
    plan.Elementwise: _Chain.elementwise,
    plan.Softmax: _Chain.softmaxed,
    plan.Dropout: _Chain.dropout,
}


class _NoChain(Exception):
    """An operation breaks the chain."""


def _chain(lowered: plan.Plan) -> _Chain:
    """The layers of a chain.

    Raises:
        _NoChain: if it is none.
    """
    chain, value = _Chain(), 0
    for op in lowered.for_loss:
        if op.sources != (value,) or chain.softmax or type(op) not in _LINKS:
            raise _NoChain(op)
        _LINKS[type(op)](chain, op)
        value = op.target
    if chain.layers[-1].masks:
        raise _NoChain(lowered.for_loss[-1])
    return chain


def lay_out(lowered: plan.Plan) -> Layout:
    """The layers of a plan, all kinds of which this backend has.

    Raises:
        BackendUnavailable: if there is a softmax elsewhere than at the output, or what stands
            between the loss and the prediction is neither sigmoid nor softmax.
    """
    chain, stages = _Chain(), tuple[Stage, ...]()
    try:
        chain = _chain(lowered)
    except _NoChain as broken:
        _log.debug("cupy goes layer by layer: its other paths do not know %s.", broken)
        stages, chain.softmax = stages_of(lowered)
        chain.layers = [stage.layer for stage in stages]
    output, output_softmax = IDENTITY, False
    behind = lowered.for_prediction[len(lowered.for_loss) :]
    for op in behind:
        output_softmax = isinstance(op, plan.Softmax)
        sigmoid = isinstance(op, plan.Elementwise) and op.kind == "sigmoid"
        if len(behind) > 1 or not (output_softmax or sigmoid):
            raise BackendUnavailable(
                f"backend 'cupy' predicts by sigmoid or softmax what a loss is computed from; in "
                f"this plan it is {op}. Use another backend."
            )
        output = SIGMOID if sigmoid else IDENTITY
    return Layout(
        lowered.inputs, lowered.outputs, lowered.size, lowered.trained, tuple(chain.layers),
        chain.input_masks, chain.softmax, output, output_softmax, lowered.loss, stages,
        _factors(lowered), _shares(lowered),
    )  # fmt: skip


def _factors(lowered: plan.Plan) -> Array | None:
    """The factors of each parameter: see `Layout`."""
    if all((piece.rate_factor, piece.decay_factor) == (1, 1) for piece in lowered.parameters):
        return None
    factors = np.ones((2, lowered.size))
    for piece in lowered.parameters:
        piece.of(factors[0])[...] = piece.rate_factor
        piece.of(factors[1])[...] = piece.decay_factor
    return factors[:, : lowered.trained]


def _shares(lowered: plan.Plan) -> Array | None:
    """The statistics' shares: see `Layout`."""
    if not lowered.statistics:
        return None
    shares = np.zeros(lowered.size)
    for piece, share in lowered.statistics:
        piece.of(shares)[...] = share
    return shares[lowered.trained :]


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
        place.INPUTS: layout.inputs, place.OUTPUTS: layout.outputs,
        place.SIZE: layout.gradient_size,
        place.LAYERS: len(layout.layers), place.MASKS: len(layout.masks),
        place.SOFTMAX: int(layout.softmax), place.OUTPUT: layout.output,
        place.OUTPUT_SOFTMAX: int(layout.output_softmax),
        place.LOSS: kinds.LOSSES[layout.loss.kind], place.EACH: layout.loss.each,
        place.TRAINED: layout.trained,
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
