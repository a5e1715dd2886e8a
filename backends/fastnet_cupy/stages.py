"""Networks that are no chain of layers: their operations as stages, as few as kernels allow."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastnet.contract import plan
from fastnet.errors import BackendUnavailable
from fastnet_cupy.layers import Layer, Mask, Stage


class _Stages:
    """The stages as they are put together, operation by operation."""

    def __init__(self, lowered: plan.Plan) -> None:
        self.made: list[Stage] = []
        self.loss_source, self.ends_in_softmax = lowered.loss_source, False
        self.reads = Counter(source for op in lowered.for_loss for source in op.sources)
        self.reads[lowered.loss_source] += 1

    def begin(self, op: plan.Operation, **fields: Any) -> None:
        """A stage of its own."""
        layer = Layer(0, op.units, 0, None, op.needs_input_gradient)
        self.made.append(Stage(**{"layer": layer, **fields}, sources=op.sources, target=op.target))

    def open(self, op: plan.Operation) -> Stage:
        """The last stage where nothing else reads what it makes, or else a new one."""
        last = self.made[-1] if self.made else None
        if last is None or op.sources != (last.target,) or self.reads[last.target] > 1:
            self.begin(op)
        return self.made[-1]

    def extend(self, op: plan.Operation, **fields: Any) -> None:
        """Add to the last stage, which makes the operation's value from now on."""
        self.made[-1] = replace(self.made[-1], target=op.target, **fields)

    def affine(self, op: plan.Affine) -> None:
        bias = None if op.bias is None else op.bias.offset
        place = op.inputs, op.units, op.weight.offset, bias, op.needs_input_gradient
        self.begin(op, layer=Layer(*place), front=op)

    def front(self, op: plan.Operation) -> None:
        self.begin(op, front=op)

    def add(self, op: plan.Add) -> None:
        self.begin(op)

    def softmax(self, op: plan.Softmax) -> None:
        if op.target != self.loss_source:
            raise BackendUnavailable(
                f"backend 'cupy' has softmax only at the output; in this plan it is {op}. Use "
                f"another backend."
            )
        self.ends_in_softmax = True

    def scale(self, op: plan.Scale) -> None:
        stage = self.open(op)
        # The derivative by scale is made from z, which only norms and stages without a front keep.
        norm = isinstance(stage.front, plan.Normalize | plan.BatchNormalize)
        fits = norm and stage.scale is None and not stage.is_activated
        if stage.target != op.target and not fits:
            self.begin(op)
        self.extend(op, scale=op.scale, shift=op.shift)

    def activation(self, op: plan.Elementwise | plan.Parametric, **fields: Any) -> None:
        if self.open(op).is_activated:
            self.begin(op)
        layer = replace(self.made[-1].layer, kind=op.kind, constants=op.constants)
        self.extend(op, layer=layer, **fields)

    def parametric(self, op: plan.Parametric) -> None:
        self.activation(op, alpha=op.alpha, complement=op.complement)

    def dropout(self, op: plan.Dropout) -> None:
        layer = self.open(op).layer
        masks = (*layer.masks, Mask(op.rate, op.layer))
        self.extend(op, layer=replace(layer, masks=masks))


#: What this backend does with an operation.
OPERATIONS: dict[type[plan.Operation], Callable[[_Stages, Any], None]] = {
    plan.Affine: _Stages.affine,
    plan.Elementwise: _Stages.activation,
    plan.Softmax: _Stages.softmax,
    plan.Dropout: _Stages.dropout,
    plan.Normalize: _Stages.front,
    plan.Scale: _Stages.scale,
    plan.Add: _Stages.add,
    plan.Parametric: _Stages.parametric,
    plan.BatchNormalize: _Stages.front,
    plan.Embed: _Stages.front,
    plan.Periodic: _Stages.front,
    plan.PiecewiseLinear: _Stages.front,
}


def stages_of(lowered: plan.Plan) -> tuple[tuple[Stage, ...], bool]:
    """The stages that lead to the loss, each after those whose values it reads.

    Returns:
        The stages, and whether there is a softmax between the last one and the loss.

    Raises:
        BackendUnavailable: if there is a softmax elsewhere.
    """
    stages = _Stages(lowered)
    for op in lowered.for_loss:
        OPERATIONS[type(op)](stages, op)
    return tuple(stages.made), stages.ends_in_softmax
