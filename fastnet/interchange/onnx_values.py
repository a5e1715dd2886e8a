"""The values that flow from node to node while an ONNX graph is read."""

from dataclasses import dataclass, field

from fastnet.arrays.checks import Array
from fastnet.interchange.expressions import Algebra, Polynomial
from fastnet.interchange.recognition import Recognized


@dataclass(eq=False)
class Stage:
    """The outputs of a matrix product, or the graph's input, scaled and shifted per unit.

    Attributes:
        name: of the node, for errors.
        width: the number of units, if known.
        before: the factor of the product: a stage and its activation; None for the graph's input.
        weight: `(inputs, width)`, or None for the input.
        gain, bias: `(width,)` or one number; bias None if the graph adds none.
        shape: of the graph's input, if it does not have two dimensions; None: a matrix.
        algebra: the functions that were applied to it.
        steps: how often it was scaled or shifted.
    """

    name: str
    width: int | None
    before: "tuple[Stage, Recognized] | None" = None
    weight: Array | None = None
    gain: Array | float = 1.0
    bias: Array | float | None = None
    shape: tuple[int | None, ...] | None = None
    algebra: Algebra = field(default_factory=Algebra)
    steps: int = 0


@dataclass(frozen=True)
class Signal:
    """An expression in a stage. `ended`: it is p of a classifier's two columns 1 - p and p, and
    nothing may follow.
    """

    stage: Stage
    p: Polynomial
    ended: bool = False


@dataclass(frozen=True)
class Size:
    """The shape of a signal; the number of rows is "rows", an unknown entry None."""

    entries: tuple[int | str | None, ...]


Value = Array | Signal | Size
