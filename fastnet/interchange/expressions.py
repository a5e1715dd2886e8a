"""Arithmetic on one number z in one normal form, so that an activation is recognized in every way
to write it: GELU as z * 0.5 * (1 + erf(z / sqrt(2))), in any order, is still GELU.

A polynomial in z and in functions of such polynomials: `{(0,): 0.5, (0, 1): 0.5}` is
z / 2 + z f / 2, with atom 0 for z and atom 1 for f, for example erf of `{(0,): 0.7071}`. Sums and
products multiply out. What could still be written in several ways is fixed here: |z|, min and max
become relu, and relu(-z) becomes relu(z) - z.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

#: A product of atoms, by number, sorted; () is the number 1.
Monomial = tuple[int, ...]

#: More than any activation needs; a graph that goes beyond is refused, however large it is.
_MOST_TERMS, _MOST_FACTORS, _MOST_ATOMS = 64, 8, 16

#: Relative. Constants in graphs are float32, in several forms: 1 / 1.41421354 is not 0.70710678.
NEAR = 1e-6


class Unrecognized(Exception):
    """An expression that is no activation of fastnet's."""


class Expression(ABC):
    """Sums and products of expressions and numbers, in Python's operators."""

    @abstractmethod
    def __add__(self, other: Self | float) -> Self: ...

    @abstractmethod
    def __mul__(self, other: Self | float) -> Self: ...

    def __radd__(self, other: float) -> Self:
        return self + other

    def __rmul__(self, other: float) -> Self:
        return self * other

    def __neg__(self) -> Self:
        return self * -1.0

    def __sub__(self, other: Self | float) -> Self:
        return self + -other

    def __rsub__(self, other: float) -> Self:
        return -self + other


class Polynomial(Expression):
    """A polynomial in atoms: the factor of each monomial, none of them 0.

    Raises:
        Unrecognized: if it is too large, or a factor is not finite.
    """

    def __init__(self, terms: Mapping[Monomial, float]) -> None:
        self.terms = {monomial: value for monomial, value in terms.items() if value}
        if len(self.terms) > _MOST_TERMS or any(len(one) > _MOST_FACTORS for one in self.terms):
            raise Unrecognized
        if not all(map(math.isfinite, self.terms.values())):
            raise Unrecognized

    def __getitem__(self, monomial: Monomial) -> float:
        return self.terms.get(monomial, 0.0)

    def __add__(self, other: Self | float) -> Self:
        total = dict(self.terms)
        for monomial, value in _terms(other).items():
            total[monomial] = total.get(monomial, 0.0) + value
        return type(self)(total)

    def __mul__(self, other: Self | float) -> Self:
        product: dict[Monomial, float] = {}
        for left, x in self.terms.items():
            for right, y in _terms(other).items():
                monomial = tuple(sorted(left + right))
                product[monomial] = product.get(monomial, 0.0) + x * y
        return type(self)(product)

    def near(self, other: "Polynomial") -> bool:
        """Whether both are equal but for the rounding of constants."""
        values = [*self.terms.values(), *other.terms.values()]
        spare = min(1e-12 * max(map(abs, values), default=0.0), 0.1 * NEAR)
        return all(
            abs(self[monomial] - other[monomial]) <= NEAR * abs(other[monomial]) + spare
            for monomial in self.terms.keys() | other.terms.keys()
        )

    @property
    def number(self) -> float | None:
        """Its value, if it has no atoms."""
        return self[()] if self.terms.keys() <= {()} else None

    @property
    def line(self) -> tuple[float, float] | None:
        """(c, d) if it is c z + d with c not 0, else None."""
        return (self[0,], self[()]) if {(0,)} <= self.terms.keys() <= {(), (0,)} else None


def _terms(value: Polynomial | float) -> dict[Monomial, float]:
    return value.terms if isinstance(value, Polynomial) else {(): value}


Z = Polynomial({(0,): 1.0})


class Algebra:
    """The functions that were applied to one z.

    Attributes:
        atoms: the name and the argument of each function, by the atom's number; 0 is z itself.
    """

    def __init__(self) -> None:
        self.atoms: list[tuple[str, Polynomial]] = [("z", Z)]
        self._closed = self._by_choice = False

    @contextmanager
    def closed(self, by_choice: bool) -> Iterator[None]:
        """Inside, a function that was not applied before is `Unrecognized`.

        Args:
            by_choice: take relu(p) as a choice, p where p > 0 and else 0, and not as a maximum.
        """
        self._closed, self._by_choice = True, by_choice
        try:
            yield
        finally:
            self._closed = self._by_choice = False

    def apply(self, name: str, p: Polynomial, *more: Any) -> Polynomial:
        """A function of p, by the name of ONNX's operator: "Relu", "Abs", "Max", "Min" or any other
        of one argument; "Step" is 1 above 0, else 0; "Above" is p where p is above any threshold
        that is at least `more[1]`, else `more[0]`.

        Raises:
            Unrecognized: if there are too many.
        """
        match name:
            case "Relu":
                return self._relu(p)
            case "Abs":
                return 2.0 * self._relu(p) - p
            case "Max":
                return p + self._relu(more[0] - p)
            case "Min":
                return p - self._relu(p - more[0])
            case "Above":
                return self._above(p, *more)
        found = self._find(name, p)
        if found is not None:
            return found
        if self._closed or len(self.atoms) >= _MOST_ATOMS:
            raise Unrecognized
        self.atoms.append((name, p))
        return Polynomial({(len(self.atoms) - 1,): 1.0})

    def _relu(self, p: Polynomial) -> Polynomial:
        if p.number is not None:
            return Polynomial({(): max(p.number, 0.0)})
        if self._by_choice:
            return self.apply("Step", p) * p
        opposite = self._find("relu", -p)
        return self.apply("relu", p) if opposite is None else opposite + p

    def _above(self, p: Polynomial, below: Polynomial, least: float) -> Polynomial:
        for name, argument in self.atoms:
            threshold = (p - argument).number
            if name == "Step" and threshold is not None and threshold >= least:
                return below + self.apply("Step", argument) * (p - below)
        raise Unrecognized

    def _find(self, name: str, p: Polynomial) -> Polynomial | None:
        for index, (known, argument) in enumerate(self.atoms):
            if known == name and p.near(argument):
                return Polynomial({(index,): 1.0})
        return None
