"""Cases for kernels/narrow.cu: a batch through a whole network.

What they must give is computed in float64, rounded where the kernel rounds: what comes into a
layer, its weights, its kept slopes, and derivatives on their way back.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from cuda_cases import (
    BF16,
    FACTORS,
    FLOAT32,
    FLOAT64,
    FP16,
    NUMBERS,
    REALS,
    TF32,
    Case,
    Out,
    activated,
    batch_of,
    block,
    draw,
    mask_of,
    network,
    orders,
    row_losses,
    share_out,
    slope_from_output,
    soft,
    steps_of,
    tables,
)
from samples import rows_for
from simulated.products import as_read, as_stored

import fastnet as fn
from fastnet_cupy.layout import Layout
from fastnet_cupy.names import Control, Mode
from fastnet_cupy.narrow import Shape, shapes_for
from fastnet_cupy.precision import Number

#: Of a block, on a device that has enough for all networks here.
SHARED_BYTES = 227 * 1024

SOFTMAX = fn.Softmax()

#: Networks, by what is special about them, and the kinds of number that they are tested with:
#: each makes a kernel of its own, which takes seconds to compile. So one network comes in every
#: kind, and each of the others in those that make another shape of it.
NETWORKS: dict[str, tuple[Any, ...]] = {
    "one-of-each": (1, (1,)),
    "slopes-from-outputs": (7, (20, "tanh"), (33, fn.LeakyReLU(0.3)), (3,)),
    "kept-slopes": (40, (64, "gelu"), (17, "leaky_relu"), (2, "tanh")),
    "dropout": (20, 0.25, (30, "relu"), 0.5, (16, "sigmoid"), 0.25, (3,)),
    "softmax": (5, (16, "elu"), (11, SOFTMAX)),
    "classes": (65, (100, "relu"), (10, SOFTMAX)),
    "widest": (128, fn.Dense(128, "relu", bias=False), (128,)),
    "few-rows": (64, (64, "relu"), (61, "relu"), (64,)),
}
TESTED = {
    "one-of-each": [FLOAT64],
    "slopes-from-outputs": NUMBERS,
    "kept-slopes": [FLOAT64, BF16],
    "dropout": [TF32],
    "softmax": [FLOAT32],
    "classes": [FP16],
    "widest": [FP16],
    "few-rows": [FLOAT64],
}

#: Losses that are not the mean squared error.
LOSSES = {"classes": "crossentropy", "kept-slopes": "huber"}


def near(number: Number, layers: int) -> float:
    """How far off sums may be, relative to the norm.

    In the formats of few bits a sum in another order makes some entry in a thousand be rounded
    the other way, by a step of 2^-mantissa: in the root mean square a thirtieth of a step. What
    goes forward and back comes by two such roundings a layer, each by itself.
    """
    if number in REALS:
        return {FLOAT64: 1e-12, FLOAT32: 1e-5}[number]
    return 2.0**-number.mantissa / 32 * math.sqrt(2 * layers)


def cases() -> list[Case]:
    """All of them."""
    made = []
    for name, numbers in TESTED.items():
        for maker in (maker_for(name, number) for number in numbers):
            made += [
                maker.case("tail", Mode.GRADIENT, tiles=3, index=5, weighted=True, dropping=True),
                maker.case("one-row", Mode.GRADIENT, tiles=0, index=0),
                maker.case("asked", Mode.LOSS, tiles=1, index=1, weighted=True, blocks=3),
                maker.case("asked", Mode.PREDICT, tiles=1, index=1, blocks=1),
            ]
            if name == "slopes-from-outputs":
                made.append(maker.case("steep", Mode.GRADIENT, tiles=3, steep=1e3))
    return made


def least(number: Number, *, classes: bool = False, pairs: bool = False) -> Case:
    """The smallest launch that comes by every barrier, for the sanitizers.

    Args:
        number: the kind of number.
        classes: whether softmax and loss are one, else softmax is a layer's activation.
        pairs: whether the loss is of pairs of outputs, without softmax.
    """
    loss = "crossentropy" if classes else fn.GaussianNLL() if pairs else "mse"
    last = (6, "identity") if pairs else (2, SOFTMAX)
    net, layout = network(3, (4, "gelu"), 0.5, last, loss=loss)
    shape = Shape(
        widths=(16, 16, 16), codes=tuple(layer.code for layer in layout.layers), slopes=True,
        output_slopes=not (classes or pairs), masks=True, row_warps=2,
        column_warps=1 if number.is_16_bit else 2, tiles=1, fragments=4,
    )  # fmt: skip
    maker = Maker(net, layout, number, shape)
    return maker.case("least", Mode.GRADIENT, tiles=1, dropping=True, blocks=1)


def maker_for(name: str, number: Number) -> "Maker":
    """Of the cases of one network and kind of number."""
    net, layout = network(*NETWORKS[name], loss=LOSSES.get(name, "mse"))
    shape = next(shapes_for(layout, number, SHARED_BYTES), None)
    assert shape is not None, f"{name} does not fit as {number.name}"
    return Maker(net, layout, number, shape)


@dataclass(frozen=True)
class Maker:
    """Cases of one build."""

    net: fn.Network
    layout: Layout
    number: Number
    shape: Shape

    def case(
        self, name: str, mode: Mode, *, tiles: int, index: int = 1, weighted: bool = False,
        dropping: bool = False, blocks: int = 2, steep: float = 1.0,
    ) -> Case:  # fmt: skip
        """A batch of some tiles and a row more.

        Args:
            name: of the case.
            mode: PREDICT, LOSS or GRADIENT.
            tiles: whole ones.
            index: which batch; there are three, the last with half as many rows, in two epochs.
            weighted: whether rows have weights.
            dropping: whether dropout does its work.
            blocks: of the launch.
            steep: weights behind the first layer are that much larger, targets behind the first
                tile that much squared: fp16 has to find another scale, and to cut.
        """
        layout, number, size = self.layout, self.number, tiles * self.shape.rows + 1
        rows, real = 2 * size + (size + 1) // 2, np.dtype(number.real)
        x, y = rows_for(self.net, rows)
        x, y = x.astype(real), y if y.ndim == 1 else y.astype(real)
        p = draw(1, layout.size, number) / math.sqrt(layout.widest)
        if steep != 1:
            p[layout.layers[1].weight :] *= steep
            y[size + self.shape.rows :] *= steep**2
        weights = np.abs(draw(2, rows, number)) if weighted else None
        if weights is not None:
            weights[::5] = 0
        order = orders(rows, 2) if steep == 1 else None
        state = block(
            rows=rows, batch=size, index=index, ordered=order is not None, seed=2**63 + 5,
            dropout=layout if dropping else None,
        )  # fmt: skip
        batch = batch_of(state, order)
        path = Path(self, p, state, batch.step)
        held = y[batch.rows]
        held = held if y.ndim == 1 else held.astype("f8")
        counting = None if weights is None else weights[batch.rows]
        out = np.full((rows, layout.outputs), np.nan)
        parts = np.full(blocks, np.nan)
        stride = layout.size + 3
        gradients = np.full((blocks, stride), np.nan)
        prediction = path.forward(x[batch.rows].astype("f8"))
        if mode == Mode.PREDICT:
            out[batch.first : batch.first + len(batch.rows)] = self.finished(prediction)
        else:
            _, each, d = row_losses(self.net.loss, layout, prediction, held, counting)
            parts = share_out(len(each), self.shape.rows, blocks, each)
            if mode == Mode.GRADIENT:
                gradients[:, : layout.size] = path.gradients(d, blocks)
        mass = np.nan if counting is None else counting.sum(dtype="f8")
        off = near(number, len(layout.layers))
        arguments = {
            "mode": mode, **tables(layout), "control": state,
            "steps": steps_of(layout, dropout_factor=FACTORS),
            "scalars": np.array([mass, np.nan, np.nan]), "parameters": p, "order": order,
            "data_x": x, "data_y": None if y.ndim == 1 else y,
            "labels": y.astype("i8") if y.ndim == 1 else None, "weights": weights,
            "out": Out(out, number.real, norm=off) if mode == Mode.PREDICT else None,
            "parts": Out(parts, "f8", norm=off),
            "gradients": Out(gradients, number.real, norm=off), "stride": stride,
        }  # fmt: skip
        title = f"{name}-{('predict', 'loss', 'gradient')[mode]}-{'x'.join(map(str, self.widths))}"
        return Case(
            title, "narrow.cu", "narrow", number, arguments, blocks, self.shape.threads,
            self.shape.shared_bytes(number), tuple(self.shape.macros.items()),
        )  # fmt: skip

    @property
    def widths(self) -> list[int]:
        """The network's own."""
        return [self.layout.inputs, *(layer.units for layer in self.layout.layers)]

    def finished(self, out: np.ndarray) -> np.ndarray:
        """Predictions from what the loss is computed from."""
        return soft(out) if self.layout.output_softmax else out


class Path:
    """One batch's path through a network, forward and back.

    Args:
        maker: the network, and the kernel.
        p: its parameters.
        state: the control block.
        step: the batch's, over all training.
    """

    def __init__(self, maker: Maker, p: np.ndarray, state: np.ndarray, step: int) -> None:
        self.maker, self.layout, self.step = maker, maker.layout, step
        self.state = state
        self.dropping = bool(state[Control.DROPPING])
        wide = p.astype("f8")
        self.weights, self.biases = [], []
        for layer in self.layout.layers:
            w = layer.weight_of(wide).reshape(layer.inputs, layer.units)
            self.weights.append(self.rounded(w))
            bias = layer.bias_of(wide)
            self.biases.append(np.zeros(layer.units) if bias is None else bias)
        self.activations = [d.activation for d in maker.net.layers if isinstance(d, fn.Dense)]
        self.inputs: list[np.ndarray] = []
        self.slopes: list[np.ndarray] = []

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """As layers hand them to each other."""
        number = self.maker.number
        if number in REALS:
            return values
        return as_read(as_stored(values.astype("f4"), number), number).astype("f8")

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The output that the loss is computed from."""
        layout = self.layout
        if self.dropping:
            x = x * mask_of(layout.masks, self.state, self.step, x.shape)
        self.inputs.append(self.rounded(x))
        for place, layer in enumerate(layout.layers):
            z = self.inputs[-1] @ self.weights[place] + self.biases[place]
            last = place == len(layout.layers) - 1
            activation = self.activations[place]
            if last and (layout.softmax or activation.name == "softmax"):
                activation = fn.Identity()
            a, slope = activated(activation, z)
            if last:
                self.output_slope = slope
                return soft(a) if layout.softmax else a
            a, slope = self.rounded(a), self.rounded(slope)
            if not self.maker.shape.slopes:
                slope = slope_from_output(activation, a)
            if self.dropping:
                mask = mask_of(layer.masks, self.state, self.step, a.shape)
                a, slope = self.rounded(a * mask), self.rounded(slope * mask)
            self.inputs.append(a)
            self.slopes.append(slope)
        raise AssertionError("a network has a last layer")

    def gradients(self, d: np.ndarray, blocks: int) -> np.ndarray:
        """Each block's part of the gradient, `(blocks, size)`, from the output's derivative."""
        d = d * self.output_slope
        parts = np.zeros((blocks, self.layout.size))
        scales = [math.inf] * blocks
        each = self.maker.shape.rows
        for tile, first in enumerate(range(0, len(d), each)):
            mine, number = tile % blocks, slice(first, first + each)
            scale = 1.0
            if self.maker.number == FP16:
                peak = float(np.abs(d[number]).max())
                scales[mine] = min(scales[mine], 16 * 2.0 ** -math.frexp(peak)[1])
                scale = scales[mine]
            parts[mine] += self._back(d[number] * scale, number) / scale
        return parts

    def _back(self, d: np.ndarray, rows: slice) -> np.ndarray:
        gradient = np.zeros(self.layout.size)
        d = self.cut(d)
        for place in reversed(range(len(self.layout.layers))):
            layer = self.layout.layers[place]
            layer.weight_of(gradient)[:] = (self.inputs[place][rows].T @ d).reshape(-1)
            if layer.bias is not None:
                layer.bias_of(gradient)[:] = d.sum(0)
            if place:
                d = self.cut((d @ self.weights[place].T) * self.slopes[place - 1][rows])
        return gradient

    def cut(self, d: np.ndarray) -> np.ndarray:
        """A derivative on its way back, as it is stored."""
        return self.rounded(np.clip(d, -65504, 65504) if self.maker.number == FP16 else d)
