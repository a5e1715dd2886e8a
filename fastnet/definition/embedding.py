"""What goes into a network of numbers and categories, and the layer that turns it into numbers.

A row is one piece: its numbers, and behind them the codes of its categories, as whole numbers of
the same dtype, in which they are exact. A user gives a pair `(numbers, categories)`, which is put
together once, at the border (`fastnet.arrays.pairs`). So whatever handles rows (shuffles, batches,
buffers, processes, backends) handles both alike, and one operation of a plan reads the codes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.initializers import normal, uniform
from fastnet.definition.layers import LAYERS, Layer
from fastnet.definition.named import Named, registry, resolve
from fastnet.errors import DefinitionError
from fastnet.records import Record

#: Codes of a category at most: whole numbers up to here are exact in float32.
MOST_CODES = 2**24

#: By the rule "auto", categories of more codes are embedded, in so many units; others are one-hot
#: (Holzmueller et al. 2024, RealMLP).
MOST_ONE_HOT, AUTO_UNITS = 9, 8


@explained("fn.Inputs")
class Inputs(Record):
    """The inputs of a network that takes numbers and categories: x is then such a pair of arrays.

    Args:
        numbers: how many columns of numbers.
        categories: for each column of categories, how many codes it has. Codes are whole numbers
            from 0 on, 0 for a category that is unknown or missing.

    Raises:
        DefinitionError: if there are none at all, or a category has fewer than 2 codes.
    """

    numbers: int
    categories: tuple[int, ...]

    def __init__(self, numbers: int = 0, categories: Iterable[int] = ()) -> None:
        object.__setattr__(self, "numbers", checks.integer(numbers, "numbers", least=0))
        if isinstance(categories, str) or not hasattr(categories, "__iter__"):
            raise DefinitionError(
                f"categories is {categories!r}; it must be a list: for each column, how many "
                "codes it has."
            )
        sizes = tuple(
            checks.integer(size, f"categories[{column}]", least=2)
            for column, size in enumerate(categories)
        )
        for column, size in enumerate(sizes):
            if size > MOST_CODES:
                raise DefinitionError(
                    f"categories[{column}] is {size:,}; it must be at most {MOST_CODES:,}: put "
                    "rare categories together."
                )
        object.__setattr__(self, "categories", sizes)
        if not self.columns:
            raise DefinitionError("Inputs has neither numbers nor categories; give one of them.")

    @property
    def columns(self) -> int:
        """Columns of a row: numbers and codes."""
        return self.numbers + len(self.categories)

    def spec(self) -> int | dict[str, Any]:
        """The plain form that JSON and TOML hold: the number of inputs, where all are numbers."""
        if not self.categories:
            return self.numbers
        return {"numbers": self.numbers, "categories": list(self.categories)}

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.categories))
        return f"{self.numbers} + categories {sizes}" if sizes else str(self.numbers)


class Numeric(Named):
    """A numeric embedding: learned functions make several numbers of each one.

    Each feature has parameters of its own: the first axis of every parameter is the features'.
    """

    @property
    def units(self) -> int:
        """How many numbers are made of each one."""
        raise NotImplementedError

    @property
    def learning_rate_factor(self) -> float:
        """What the learning rate is multiplied with for its parameters."""
        raise NotImplementedError

    def parameters(self, numbers: int) -> dict[str, tuple[int, ...]]:
        """The shapes of its parameters, by name, for that many features."""
        raise NotImplementedError

    def start(self, name: str, seed: int, stream: int, shape: tuple[int, ...]) -> Array:
        """What a parameter starts as, float64."""
        raise NotImplementedError


class Periodic(Numeric):
    """A number x becomes cos(2 pi x frequency + phase) @ weight + bias, and x itself ("PBLD").

    Holzmueller et al. 2024 (RealMLP), after Gorishniy et al. 2022. Parameters, for `n` features:
    `frequency` and `phase` `(n, frequencies)`, started from N(0, scale^2) and U(-pi, pi); `weight`
    `(n, frequencies, units - 1)` and `bias` `(n, units - 1)`, both started from U(-l, l),
    l = 1 / sqrt(frequencies).

    Args:
        units: numbers made of each one, the last of which is itself.
        frequencies: how many.
        scale: their standard deviation at the start. It should fit numbers that are about 1.
        learning_rate_factor: multiplies the learning rate of its parameters.

    Raises:
        DefinitionError: for fewer than 2 units, or another number that does not fit.
    """

    name: ClassVar[str] = "periodic"
    units: int = 4
    frequencies: int = 16
    scale: float = 0.1
    learning_rate_factor: float = 0.1

    def __post_init__(self) -> None:
        checks.integer(self.units, "periodic units", least=2)
        checks.integer(self.frequencies, "periodic frequencies")
        checks.number(self.scale, "periodic scale", above=0)
        checks.number(self.learning_rate_factor, "periodic learning_rate_factor", least=0)

    def parameters(self, numbers: int) -> dict[str, tuple[int, ...]]:
        waves = (numbers, self.frequencies)
        made = (numbers, self.units - 1)
        return {"frequency": waves, "phase": waves, "weight": (*waves, made[1]), "bias": made}

    def start(self, name: str, seed: int, stream: int, shape: tuple[int, ...]) -> Array:
        if name == "frequency":
            return normal(seed, stream, shape, self.scale)
        limit = math.pi if name == "phase" else 1 / math.sqrt(self.frequencies)
        return uniform(seed, stream, shape, limit)


class PiecewiseLinear(Numeric):
    """A number x becomes x slope + bias + e @ weight, e how far x has come in each of its bins.

    Gorishniy et al. 2022 (version B of their package): e_i = (x - edge_i) / (edge_(i+1) - edge_i),
    cut to [0, 1], but for the first bin, which is open below, and the last, which is open above.
    Parameters, for `n` features: `slope` and `bias` `(n, units)`, started from U(-l, l),
    l = 1 / sqrt(units); `weight` `(n, bins, units)`, started at 0; `edges` `(n, bins + 1)`,
    ascending, which are not trained: they are quantiles of the rows that the model is given as
    `init_rows`. A bin between equal edges counts for nothing.

    Args:
        units: numbers made of each one.
        bins: how many.
        learning_rate_factor: multiplies the learning rate of its parameters.

    Raises:
        DefinitionError: for a number that does not fit.
    """

    name: ClassVar[str] = "piecewise_linear"
    units: int = 16
    bins: int = 48
    learning_rate_factor: float = 1.0

    def __post_init__(self) -> None:
        checks.integer(self.units, "piecewise_linear units")
        checks.integer(self.bins, "piecewise_linear bins")
        checks.number(self.learning_rate_factor, "piecewise_linear learning_rate_factor", least=0)

    def parameters(self, numbers: int) -> dict[str, tuple[int, ...]]:
        made = (numbers, self.units)
        weight = (numbers, self.bins, self.units)
        return {"slope": made, "bias": made, "weight": weight, "edges": (numbers, self.bins + 1)}

    def start(self, name: str, seed: int, stream: int, shape: tuple[int, ...]) -> Array:
        if name in ("weight", "edges"):
            return np.zeros(shape)
        return uniform(seed, stream, shape, 1 / math.sqrt(self.units))

    def edges(self, rows: Array) -> Array:
        """The edges of bins of these rows `(rows, numbers)`, at quantiles."""
        found: Array = np.quantile(rows, np.linspace(0, 1, self.bins + 1), axis=0).T
        return found


NUMERIC = registry(Periodic, PiecewiseLinear)


@explained("fn.Embed")
class Embed(Layer):
    """The first layer of a network with categories: each of them becomes several numbers.

    What comes out are the numbers, as they are or through a numeric embedding, and behind them for
    each category the row of its code in a table that is learned, or, one-hot, a 1 in the place of
    the code; the code 0, unknown or missing, is one-hot all zeros. The categories of a network
    without `Embed` are one-hot.

    Parameters of the layer "0": "0.embedding_0" `(codes, units)` for the first category, and so on,
    for those that are not one-hot; those of the numeric embedding, such as "0.frequency". Tables
    start from N(0, 1), but for the row of code 0, which starts at 0. L1 and L2 do not apply.

    Args:
        units: for each category, how many numbers: one for all, or a list with one for each, in
            which "one_hot" stands for a category without a table. "auto": one-hot for up to 9
            codes, 8 units for more (Holzmueller et al. 2024).
        numbers: a numeric embedding: `fn.Periodic()`, `fn.PiecewiseLinear()`, its name or its
            table; None: the numbers stay as they are.
        learning_rate_factor: multiplies the optimizer's learning rate of the tables.
        decay_factor: multiplies the optimizer's weight decay in this layer.

    Raises:
        DefinitionError: for units that are not whole numbers above 0, or an unknown name.
    """

    type: ClassVar[str] = "embed"
    units: int | str | tuple[int | str, ...]
    numbers: Numeric | None
    learning_rate_factor: float
    decay_factor: float

    def __init__(
        self,
        units: int | str | Sequence[int | str] = "auto",
        numbers: str | Numeric | Mapping[str, Any] | None = None,
        learning_rate_factor: float = 1.0,
        decay_factor: float = 1.0,
    ) -> None:
        made: Any = checks.entries(units)
        if made is not None:
            made = tuple(one if one == "one_hot" else _units(one) for one in made)
        elif isinstance(units, str) and units in ("auto", "one_hot"):
            made = units
        else:
            made = _units(units)
        object.__setattr__(self, "units", made)
        if numbers is not None:
            numbers = resolve("numeric embedding", NUMERIC, numbers)
        object.__setattr__(self, "numbers", numbers)
        for name, factor in (
            ("learning_rate_factor", learning_rate_factor),
            ("decay_factor", decay_factor),
        ):
            object.__setattr__(self, name, checks.number(factor, name, least=0))

    def outputs(self, inputs: int, place: str) -> int:
        """Only `Embedding` knows: it has a place behind the inputs."""
        raise DefinitionError(
            f"{place} is an Embed, which comes first: it reads the inputs' categories; put it at "
            "the beginning of the network's layers."
        )

    @property
    def label(self) -> str:
        return "Embed"

    def spec(self) -> dict[str, Any]:
        """The plain form that JSON and TOML hold."""
        units = list(self.units) if isinstance(self.units, tuple) else self.units
        found: dict[str, Any] = {"type": self.type, "units": units}
        if self.numbers is not None:
            found["numbers"] = self.numbers.spec()
        factors = {name: getattr(self, name) for name in ("learning_rate_factor", "decay_factor")}
        return {**found, **{name: value for name, value in factors.items() if value != 1}}


def _units(value: Any) -> int:
    if isinstance(value, str):
        raise DefinitionError(
            f"embed units is {value!r}; it must be 'auto', 'one_hot', a whole number, or a list of "
            "them, one for each category."
        )
    return checks.integer(value, "embed units")


LAYERS[Embed.type] = Embed


class Embedding(Layer):
    """An `Embed` in its network, where it knows the inputs.

    Attributes:
        embed: as the user made it.
        inputs: the network's.
    """

    untrained: ClassVar[tuple[str, ...]] = ("edges",)
    embed: Embed
    inputs: Inputs

    def __post_init__(self) -> None:
        given, sizes = self.embed.units, self.inputs.categories
        if isinstance(given, tuple) and len(given) != len(sizes):
            raise DefinitionError(
                f"embed units has {len(given)} entries; the network has {len(sizes)} categories, "
                "and each needs one."
            )
        if self.embed.numbers is not None and not self.inputs.numbers:
            raise DefinitionError("embed numbers is given, and the network has no numbers.")

    @property
    def units(self) -> tuple[int | None, ...]:
        """For each category the units of its table; None: one-hot."""
        sizes, given = self.inputs.categories, self.embed.units
        if given == "auto":
            return tuple(AUTO_UNITS if size > MOST_ONE_HOT else None for size in sizes)
        each = given if isinstance(given, tuple) else (given,) * len(sizes)
        return tuple(None if one == "one_hot" else int(one) for one in each)

    @property
    def embedded(self) -> int:
        """Columns that the categories become."""
        pairs = zip(self.units, self.inputs.categories, strict=True)
        return sum(size - 1 if units is None else units for units, size in pairs)

    def outputs(self, inputs: int, place: str) -> int:
        """All columns."""
        numeric = self.embed.numbers
        return self.inputs.numbers * (numeric.units if numeric else 1) + self.embedded

    def parameters(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """Tables, and those of the numeric embedding."""
        pairs = enumerate(zip(self.inputs.categories, self.units, strict=True))
        found: dict[str, tuple[int, ...]] = {
            f"embedding_{column}": (size, units) for column, (size, units) in pairs if units
        }
        if self.embed.numbers is not None:
            found |= self.embed.numbers.parameters(self.inputs.numbers)
        return found

    def factors(self, name: str, inputs: int) -> tuple[float, float]:
        """Those of the tables, or of the numeric embedding."""
        numeric = self.embed.numbers
        if numeric is not None and not name.startswith("embedding_"):
            return numeric.learning_rate_factor, self.embed.decay_factor
        return self.embed.learning_rate_factor, self.embed.decay_factor

    def start(self, name: str, seed: int, number: int, shape: tuple[int, ...]) -> Array:
        """As `Embed` and its numeric embedding say; each parameter has a stream of its own."""
        stream = number + (list(self.parameters(0)).index(name) << 32)
        if self.embed.numbers is not None and not name.startswith("embedding_"):
            return self.embed.numbers.start(name, seed, stream, shape)
        table = normal(seed, stream, shape, 1.0)
        table[0] = 0
        return table

    @property
    def label(self) -> str:
        text = "Embed " + ", ".join(str(units or "one-hot") for units in self.units)
        numeric = self.embed.numbers
        return text.rstrip() + (f" + {numeric.name} {numeric.units}" if numeric else "")

    def spec(self) -> dict[str, Any]:
        """That of the `Embed`."""
        return self.embed.spec()
