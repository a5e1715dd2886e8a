"""What flows from node to node of an ONNX graph that is read."""

from dataclasses import dataclass, field

from fastnet.arrays.checks import Array
from fastnet.interchange.expressions import Algebra, Polynomial
from fastnet.interchange.recognition import Recognized


@dataclass(eq=False)
class Stage:
    """The outputs of a matrix product, or the graph's input, scaled and shifted unit by unit.

    Attributes:
        name: of the node, for errors.
        width: how many there are, if known.
        before: what the product is of; None for the graph's input.
        weight: `(inputs, width)`, or None for the input.
        gain, bias: `(width,)` or one number; bias None where the graph adds none.
        shape: of the input, while it has not two dimensions; None: a matrix.
        algebra: what was done with its numbers.
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
    """An expression in a stage's numbers. `ended`: a classifier's two columns, of which this is
    the second; nothing may follow.
    """

    stage: Stage
    p: Polynomial
    ended: bool = False


@dataclass(frozen=True)
class Size:
    """Sizes of a signal's array; the first, the number of rows, is "rows", unknown ones None."""

    entries: tuple[int | str | None, ...]


Value = Array | Signal | Size
