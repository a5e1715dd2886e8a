"""The values that flow from node to node while an ONNX graph is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastnet.arrays.checks import Array
from fastnet.definition.activations import Activation, Identity
from fastnet.definition.layers import Layer
from fastnet.interchange.expressions import Algebra, Polynomial
from fastnet.interchange.recognition import Recognized


@dataclass(eq=False)
class Stage:
    """The outputs of a matrix product or of a layer, or the graph's input, scaled and shifted per
    unit.

    Attributes:
        name: of the node, for errors.
        width: the number of units, if known.
        before: the factor of the product: a stage and its activation; None for the graph's input.
        weight: `(inputs, width)`, or None for the input.
        gain, bias: `(width,)` or one number; bias None if the graph adds none.
        shape: of the graph's input, if it does not have two dimensions, or `(rows,)` of the
            outputs of one unit; None: a matrix.
        algebra: the functions that were applied to it.
        steps: how often it was scaled or shifted.
        layer: what makes it of the stage before, if not a matrix product: a norm, a Scale, a
            learned activation; None for the input, and for a residual block.
        arrays: the layer's parameters.
        inside: of a residual block: its stages, first to last, with their activations.
        start: the activation that the block begins with.
        depth: how many blocks are inside one another.
        place: how many stages come before it.
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
    layer: Layer | None = None
    arrays: Mapping[str, Array] = field(default_factory=dict)
    inside: "tuple[tuple[Stage, Recognized], ...]" = ()
    start: Activation = field(default_factory=Identity)
    depth: int = 0
    place: int = field(init=False)

    def __post_init__(self) -> None:
        self.place = 0 if self.before is None else self.before[0].place + 1


@dataclass(frozen=True)
class Signal:
    """An expression in a stage.

    Attributes:
        stage: what it is computed of.
        p: the expression.
        ended: it is p of a classifier's two columns 1 - p and p, and nothing may follow.
        whole: it is an input of whole numbers, which must become floats first.
    """

    stage: Stage
    p: Polynomial
    ended: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Size:
    """The shape of a signal; the number of rows is "rows", an unknown entry None."""

    entries: tuple[int | str | None, ...]


Value = Array | Signal | Size
