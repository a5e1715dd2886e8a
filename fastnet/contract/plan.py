"""A plan: what a network is lowered to, and all that a backend is given.

It is a graph of values: value 0 is the input, and every operation names the values that it reads
(`sources`) and the one that it makes (`target`). A value may be read by several operations; its
derivative is the sum of theirs. The parameters are pieces of one flat vector: weights
`(inputs, units)` row by row, then bias, layer by layer.
"""

import math
from functools import cached_property

from fastnet.arrays.checks import Array
from fastnet.records import Record


class Parameter(Record):
    """A named piece of the flat vector: `flat[offset : offset + size].reshape(shape)`.

    Attributes:
        name: the layer's place and what it is there, as "0.weight", or "2.0.weight" in a residual
            block.
        offset: where it begins.
        shape: its own shape.
        role: "weight", "bias", "scale", "embedding" or "statistic". L1 and L2 apply to weights;
            statistics (and edges, which are taken from rows) are not trained.
        rate_factor: what the learning rate is multiplied with for this piece.
        decay_factor: what the weight decay is multiplied with for this piece.
    """

    name: str
    offset: int
    shape: tuple[int, ...]
    role: str = "weight"
    rate_factor: float = 1.0
    decay_factor: float = 1.0

    @cached_property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    def of(self, flat: Array) -> Array:
        """This piece of `flat`, as a view in its own shape."""
        return flat[self.offset : self.offset + self.size].reshape(self.shape)


class Operation(Record):
    """A step from values to a value.

    Attributes:
        sources: the numbers of the values that it reads.
        target: the number of the value that it makes.
        units: columns of that value.
        needs_input_gradient: whether the loss's derivative by its sources is needed in training:
            not where nothing before it has parameters.
    """

    sources: tuple[int, ...]
    target: int
    units: int
    needs_input_gradient: bool

    @property
    def trains(self) -> bool:
        """Whether it has parameters that are trained."""
        parts = [part for f in vars(self).values() for part in (f if isinstance(f, tuple) else [f])]
        return any(isinstance(part, Parameter) and part.role != "statistic" for part in parts)


class Affine(Operation):
    """z = x @ weight + bias, `inputs` the columns of x."""

    inputs: int
    weight: Parameter
    bias: Parameter | None


class Elementwise(Operation):
    """a = f(z), entry by entry: `kind` names f, `fastnet.contract.kinds` lists them.

    `constants` are those of the kind, in the order in which its definition has them.
    """

    kind: str
    constants: tuple[float, ...]


class Parametric(Operation):
    """a = (1 - w) z + w f(z), w one number for each unit: alpha, or 1 - alpha if `complement`.

    `kind` and `constants` name f, as those of `Elementwise` do.
    """

    kind: str
    constants: tuple[float, ...]
    alpha: Parameter
    complement: bool


class Softmax(Operation):
    """a_j = exp(z_j) / sum_k exp(z_k), row by row."""


class Dropout(Operation):
    """In training: zero where the mask says so, the rest times 1 / (1 - r), r = rate * factor.

    `factor` is the run's `dropout_factor` at the step; a prediction drops nothing. The mask's
    words are `random.words(seed, DROPOUT, step, rows * units, part=layer)`, one for each entry of
    the batch in row order; an entry stays where its word is at least `random.keep_threshold(r)`.
    """

    rate: float
    layer: int


class Normalize(Operation):
    """a = (x - m) / sqrt(v + epsilon), m the mean of a row over its units, v its variance (the mean
    of the squares of x - m).
    """

    epsilon: float


class BatchNormalize(Operation):
    """a = (x - m) / sqrt(v + epsilon), unit by unit.

    In training m is the mean of the batch's rows and v their variance, the mean of the squares of
    x - m. Else, and for a batch of one row, they are the statistics `mean` and `variance`.

    An update moves the statistics toward those of its batch, by the share `momentum`; toward
    v n / (n - 1) of n rows. They stand in the batch's gradient where they stand in the parameters.
    """

    epsilon: float
    momentum: float
    mean: Parameter
    variance: Parameter


class Scale(Operation):
    """a = x * scale + shift, unit by unit."""

    scale: Parameter
    shift: Parameter | None


class Add(Operation):
    """a = x + f, with sources x and f, of which x was made first."""


class Embed(Operation):
    """Codes of categories become numbers; it reads value 0.

    The first `numbers` columns stay as they are. Behind them x has a code for each category, a
    whole number from 0 to its size - 1, as code that embeds may trust. What comes out has for each
    the row of its table `(size, units)`; where that is None `size - 1` numbers, all 0 but for a 1
    at code - 1.
    """

    numbers: int
    sizes: tuple[int, ...]
    tables: tuple[Parameter | None, ...]


class Periodic(Operation):
    """Each x of the first `numbers` columns becomes `each`: c @ weight + bias, and x behind them.

    c = cos(2 pi x frequency + phase). Parameters have the features as their first axis; the other
    columns stay as they are. In training nothing needs the derivative by x: it is an input.
    """

    numbers: int
    each: int
    frequency: Parameter
    phase: Parameter
    weight: Parameter
    bias: Parameter


class PiecewiseLinear(Operation):
    """Each x of the first `numbers` columns becomes `each`: x slope + e @ weight + bias.

    e_i = (x - edge_i) / (edge_(i+1) - edge_i), at least 0 but where edge_i is the first edge, at
    most 1 but where edge_(i+1) is the last; 0 between equal edges. Otherwise as `Periodic`; the
    edges are not trained.
    """

    numbers: int
    each: int
    slope: Parameter
    bias: Parameter
    weight: Parameter
    edges: Parameter


class LossFunction(Record):
    """The loss: `kind` names its formula, `constants` are in the order of its definition.

    Those of "quantiles" are one for each output.

    Attributes:
        each: terms of a row that the mean is over: the outputs; 1 for cross-entropy over
            classes; the targets for "gaussian_nll", which has two outputs for each.
    """

    kind: str
    constants: tuple[float, ...]
    each: int


class Plan(Record):
    """A network, lowered.

    Attributes:
        inputs: columns of a row of input: numbers, and behind them codes of categories.
        outputs: columns of a row of prediction.
        operations: all, each after those whose values it reads.
        loss: the loss.
        loss_source: the value that the loss is computed from: the logits, where it is computed
            together with the output's activation.
        prediction: the value that is the prediction.
        parameters: the pieces of the flat vector, in order; those that are not trained come last.
        size: the length of the flat vector.
        trained: the length of its beginning that is trained: an optimizer's memory is as long.
    """

    inputs: int
    outputs: int
    operations: tuple[Operation, ...]
    loss: LossFunction
    loss_source: int
    prediction: int
    parameters: tuple[Parameter, ...]
    size: int
    trained: int

    @cached_property
    def weights(self) -> tuple[Parameter, ...]:
        """The pieces that L1 and L2 apply to."""
        return tuple(piece for piece in self.parameters if piece.role == "weight")

    @cached_property
    def for_loss(self) -> tuple[Operation, ...]:
        """The operations that lead to the loss, in order."""
        return self._leading_to(self.loss_source)

    @cached_property
    def for_prediction(self) -> tuple[Operation, ...]:
        """The operations that lead to the prediction, in order; dropout among them does nothing."""
        return self._leading_to(self.prediction)

    @cached_property
    def affine(self) -> tuple[Affine, ...]:
        """The matrix products, in order."""
        return tuple(op for op in self.operations if isinstance(op, Affine))

    @cached_property
    def products(self) -> int:
        """Multiply-adds of a forward pass on one row."""
        return sum(op.weight.size for op in self.affine)

    @cached_property
    def statistics(self) -> tuple[tuple[Parameter, float], ...]:
        """The statistics that updates move, each with its share."""
        found = [op for op in self.operations if isinstance(op, BatchNormalize)]
        return tuple((piece, op.momentum) for op in found for piece in (op.mean, op.variance))

    @cached_property
    def spare(self) -> frozenset[int]:
        """Values of matrix products that one operation reads, which may overwrite them."""
        read = [source for op in self.operations for source in op.sources]
        return frozenset(op.target for op in self.affine if read.count(op.target) < 2)

    @cached_property
    def is_chain(self) -> bool:
        """Whether every operation reads the value that the one before it made, and no other."""
        return all(
            op.sources == (i,) and op.target == i + 1 for i, op in enumerate(self.operations)
        )

    @cached_property
    def dropout_rate(self) -> float:
        """The highest rate of dropout; 0 where there is none."""
        return max((op.rate for op in self.operations if isinstance(op, Dropout)), default=0.0)

    def _leading_to(self, value: int) -> tuple[Operation, ...]:
        needed, found = {value}, []
        for op in reversed(self.operations):
            if op.target in needed:
                found.append(op)
                needed.update(op.sources)
        return tuple(reversed(found))
