"""What kernels follow: layers, and stages of networks that are no chain of layers."""

from dataclasses import dataclass
from typing import Any

from fastnet.contract import kinds, plan
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
class Stage:
    """z = front(sources), u = z * scale + shift, a = f(u), and then masks.

    With an `alpha`, a = (1 - w) u + w f(u), w being alpha, or 1 - alpha if `complement`.

    Attributes:
        layer: its activation and masks, and the weight and bias of an affine front; for any other
            one its `inputs` are 0.
        sources: the values that it reads.
        target: the value that it makes.
        front: `Affine`, a norm or an embedding; None: z is the source, or the sum of two.
        scale, shift, alpha: parameters of each unit, or None.
        complement: see above.
    """

    layer: Layer
    sources: tuple[int, ...]
    target: int
    front: plan.Operation | None = None
    scale: plan.Parameter | None = None
    shift: plan.Parameter | None = None
    alpha: plan.Parameter | None = None
    complement: bool = False

    @property
    def is_product(self) -> bool:
        """Whether its front is a matrix product."""
        return isinstance(self.front, plan.Affine)

    @property
    def is_activated(self) -> bool:
        """Whether it has an activation or masks."""
        return self.layer.code != IDENTITY or self.alpha is not None or bool(self.layer.masks)

    @property
    def keeps_z(self) -> bool:
        """Whether z is an array of its own, which the way back reads."""
        return isinstance(self.front, plan.Normalize | plan.BatchNormalize)

    @property
    def is_trained(self) -> bool:
        """Whether it has parameters that are trained."""
        learned = isinstance(self.front, plan.Periodic | plan.PiecewiseLinear)
        tables = self.front.tables if isinstance(self.front, plan.Embed) else ()
        own = self.is_product or learned or any(table is not None for table in tables)
        return own or self.scale is not None or self.alpha is not None
