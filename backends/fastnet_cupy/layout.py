"""From a plan to what kernels follow: layers, their codes and constants, as numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract.plan import Activate, Affine, Drop, Plan
from fastnet.definition import activations, losses

#: Elementwise activations, by code; those up to LEAKY_RELU tell their slope from what comes out.
(
    IDENTITY, RELU, SIGMOID, TANH, LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, TANH_GELU,
) = range(10)  # fmt: skip

_ACTIVATIONS = {
    "relu": RELU, "sigmoid": SIGMOID, "tanh": TANH, "leaky_relu": LEAKY_RELU, "elu": ELU,
    "selu": ELU, "softplus": SOFTPLUS, "silu": SILU, "gelu": GELU,
}  # fmt: skip

#: Losses, by code.
MSE, MAE, HUBER, POISSON, POISSON_RATE, QUANTILE, BINARY_CROSSENTROPY, CROSSENTROPY = range(8)

_LOSSES = {
    "mse": MSE, "mae": MAE, "binary_crossentropy": BINARY_CROSSENTROPY,
    "crossentropy": CROSSENTROPY,
}  # fmt: skip


@dataclass(frozen=True)
class Mask:
    """Dropout behind a layer, or behind the input.

    Attributes:
        threshold: an entry stays where its word is at least this.
        scale: what it is then multiplied by.
        layer: the part of the random stream.
    """

    threshold: int
    scale: float
    layer: int


@dataclass(frozen=True)
class Layer:
    """z = x @ weight + bias, a = activation(z), and then masks.

    Attributes:
        inputs, units: the shape of the weight.
        weight: where it begins in the flat vector; the bias comes behind it.
        biased: whether there is one.
        code: of the activation, elementwise.
        below, above: the constants of its two sides.
        masks: dropout behind it.
    """

    inputs: int
    units: int
    weight: int
    biased: bool
    code: int = IDENTITY
    below: float = 0.0
    above: float = 1.0
    masks: tuple[Mask, ...] = ()

    @property
    def bias(self) -> int:
        """Where the bias begins in the flat vector."""
        return self.weight + self.inputs * self.units

    @property
    def tells_slope(self) -> bool:
        """Whether the way back needs nothing but what came out."""
        return self.code <= LEAKY_RELU and not self.masks


@dataclass(frozen=True)
class Layout:
    """A plan as layers.

    Attributes:
        inputs, outputs, size: as the plan's.
        layers: in order; the last one's output is what the loss is computed from.
        masks: dropout on the input.
        softmax: whether the last layer's activation is softmax, apart from the loss.
        output: the code of what turns the output into a prediction: IDENTITY or SIGMOID.
        output_softmax: whether that is softmax.
        loss, constant: the loss's code, and its constant.
    """

    inputs: int
    outputs: int
    size: int
    layers: tuple[Layer, ...]
    masks: tuple[Mask, ...]
    softmax: bool
    output: int
    output_softmax: bool
    loss: int
    constant: float

    @property
    def widest(self) -> int:
        """The most columns that rows have anywhere."""
        return max(self.inputs, *(layer.units for layer in self.layers))

    @property
    def dropping(self) -> bool:
        """Whether there is dropout."""
        return bool(self.masks) or any(layer.masks for layer in self.layers)

    @property
    def products(self) -> int:
        """Multiplications and additions of a forward pass, a row."""
        return sum(layer.inputs * layer.units for layer in self.layers)


def activation_code(activation: Any) -> tuple[int, float, float]:
    """An elementwise activation's code, and the constants of its two sides."""
    code = _ACTIVATIONS[activation.name]
    match activation:
        case activations.LeakyReLU():
            return code, activation.slope, 1.0
        case activations.ELU():
            return code, activation.alpha, 1.0
        case activations.SELU():
            return code, activation.SCALE * activation.ALPHA, activation.SCALE
        case activations.GELU(approximate="tanh"):
            return TANH_GELU, 0.0, 1.0
    return code, 0.0, 1.0


def loss_code(loss: losses.Loss) -> tuple[int, float]:
    """A loss's code and its constant."""
    match loss:
        case losses.Huber():
            return HUBER, loss.delta
        case losses.Quantile():
            return QUANTILE, loss.q
        case losses.Poisson():
            return (POISSON, 0.0) if loss.log_input else (POISSON_RATE, loss.EPSILON)
    return _LOSSES[loss.name], 0.0


def lay_out(plan: Plan) -> Layout:
    """The layers of `plan`."""
    layers: list[dict[str, Any]] = []
    input_masks: list[Mask] = []
    softmax = False
    for op in plan.operations:
        match op:
            case Affine():
                place = {"inputs": op.inputs, "units": op.units, "weight": op.weight.offset}
                layers.append({**place, "biased": op.bias is not None})
            case Activate() if op.activation.name == "softmax":
                softmax = True
            case Activate():
                code, below, above = activation_code(op.activation)
                layers[-1].update(code=code, below=below, above=above)
            case Drop():
                mask = Mask(random.keep_threshold(op.rate), 1 / (1 - op.rate), op.layer)
                if layers:
                    layers[-1]["masks"] = (*layers[-1].get("masks", ()), mask)
                else:
                    input_masks.append(mask)
            case _:
                raise AssertionError(f"operation {op!r} has no kernel")
    output, output_softmax = IDENTITY, False
    if plan.output is not None:
        output_softmax = plan.output.activation.name == "softmax"
        if not output_softmax:
            output = activation_code(plan.output.activation)[0]
    loss, constant = loss_code(plan.loss)
    return Layout(
        plan.inputs, plan.outputs, plan.size, tuple(Layer(**layer) for layer in layers),
        tuple(input_masks), softmax, output, output_softmax, loss, constant,
    )  # fmt: skip


#: Columns of a layer's row in the table, and of a mask's.
(
    INPUTS, UNITS, WEIGHT, BIASED, CODE, FIRST_MASK, MASKS, COLUMNS,
) = range(8)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """A layout as two arrays.

    Attributes:
        whole: int32: inputs, outputs, size, the number of layers, of input masks, softmax,
            output, output_softmax, loss; then COLUMNS of each layer; then threshold (as int32)
            and layer of each mask, those of the input first.
        reals: float64: the loss's constant; then each layer's below and above; then each
            mask's scale.
    """

    whole: Array
    reals: Array


def tabulate(layout: Layout) -> Tables:
    """`layout` as the tables that `kernels/layout.cuh` reads."""
    masks = list(layout.masks)
    whole = [
        layout.inputs, layout.outputs, layout.size, len(layout.layers), len(layout.masks),
        int(layout.softmax), layout.output, int(layout.output_softmax), layout.loss,
    ]  # fmt: skip
    reals = [layout.constant]
    for layer in layout.layers:
        row = [layer.inputs, layer.units, layer.weight, layer.biased, layer.code]
        whole += [*map(int, row), len(masks), len(layer.masks)]
        reals += [layer.below, layer.above]
        masks += layer.masks
    for mask in masks:
        whole += [mask.threshold - 2**32 if mask.threshold >= 2**31 else mask.threshold, mask.layer]
        reals.append(mask.scale)
    return Tables(np.array(whole, np.int32), np.array(reals, np.float64))
