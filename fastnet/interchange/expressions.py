"""Arithmetic on one number z, brought into one form, so that every way to write an activation
is recognized: GELU as z * 0.5 * (1 + erf(z / sqrt(2))), in any order, is still GELU.

An expression is a polynomial in z and in functions of such polynomials: `{(0,): 0.5, (0, 1): 0.5}`
is z / 2 + z f / 2, with atom 0 for z and atom 1 for f, which is, say, erf of `{(0,): 0.7071}`.
Sums and products multiply out; what is left to choose is fixed here: |z|, min and max become
relu, and relu(-z) becomes relu(z) - z.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastnet.definition.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastnet.errors import DefinitionError

#: A product of atoms, by number, sorted; () is the number 1.
Monomial = tuple[int, ...]
Polynomial = dict[Monomial, float]

ONE: Polynomial = {(): 1.0}
Z: Polynomial = {(0,): 1.0}

#: More than any activation needs; a graph that goes beyond is refused, however large it is.
_MOST_TERMS, _MOST_FACTORS, _MOST_ATOMS = 64, 8, 16

#: Constants in graphs are float32, and written in several ways: 1 / 1.41421354 is no 0.70710678.
_NEAR = 1e-6

#: PyTorch's softplus is z itself above 20, where the difference is below 3e-9.
SOFTPLUS_THRESHOLD = 20.0


class Unrecognized(Exception):
    """What is no activation of fastnet's."""


def constant(value: float) -> Polynomial:
    """A number."""
    return {(): value} if value else {}


def add(a: Polynomial, b: Polynomial, factor: float = 1.0) -> Polynomial:
    """a + factor * b."""
    total = dict(a)
    for monomial, value in b.items():
        total[monomial] = total.get(monomial, 0.0) + factor * value
    return _whole(total)


def multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    """a * b, multiplied out."""
    product: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            monomial = tuple(sorted(left + right))
            product[monomial] = product.get(monomial, 0.0) + x * y
    return _whole(product)


def _whole(found: Polynomial) -> Polynomial:
    kept = {monomial: value for monomial, value in found.items() if value}
    if len(kept) > _MOST_TERMS or any(len(monomial) > _MOST_FACTORS for monomial in kept):
        raise Unrecognized
    if not all(map(math.isfinite, kept.values())):
        raise Unrecognized
    return kept


def near(a: Polynomial, b: Polynomial) -> bool:
    """Whether two are the same but for the rounding of constants."""
    spare = min(1e-12 * max(map(abs, [*a.values(), *b.values()]), default=0.0), 0.1 * _NEAR)
    return all(
        abs(a.get(monomial, 0.0) - b.get(monomial, 0.0))
        <= _NEAR * abs(b.get(monomial, 0.0)) + spare
        for monomial in a.keys() | b.keys()
    )


def line(p: Polynomial) -> tuple[float, float] | None:
    """(c, d) if p is c z + d with c not 0, else None."""
    if not p.keys() <= {(), (0,)} or (0,) not in p:
        return None
    return p[0,], p.get((), 0.0)


@dataclass(frozen=True)
class Recognized:
    """activation(scale * z + shift)."""

    activation: Activation
    scale: float
    shift: float


class Algebra:
    """The functions that were applied to one z."""

    def __init__(self) -> None:
        self._atoms: list[tuple[str, Polynomial]] = [("z", {})]
        self._closed = False

    def apply(self, name: str, p: Polynomial) -> Polynomial:
        """A function of p: "erf", "exp", "log", "tanh", "sigmoid", "softplus", "softmax",
        "step" (1 above 0, else 0) or "reciprocal".

        Raises:
            Unrecognized: if there are too many.
        """
        found = self._find(name, p)
        if found is not None:
            return found
        if self._closed or len(self._atoms) >= _MOST_ATOMS:
            raise Unrecognized
        self._atoms.append((name, p))
        return {(len(self._atoms) - 1,): 1.0}

    def relu(self, p: Polynomial) -> Polynomial:
        """max(p, 0)."""
        if p.keys() <= {()}:
            return constant(max(p.get((), 0.0), 0.0))
        turned = self._find("relu", add({}, p, -1.0))
        return self.apply("relu", p) if turned is None else add(turned, p)

    def _find(self, name: str, p: Polynomial) -> Polynomial | None:
        for index, (known, argument) in enumerate(self._atoms):
            if known == name and near(p, argument):
                return {(index,): 1.0}
        return None

    def recognize(self, p: Polynomial) -> Recognized:
        """The activation that p is.

        Raises:
            Unrecognized: if it is none.
        """
        plain = line(p)
        if plain is not None:
            return Recognized(Identity(), *plain)
        self._closed = True
        try:
            for u in self._arguments():
                found = line(u)
                assert found is not None
                for activation in self._matches(p, u):
                    return Recognized(activation, *found)
        finally:
            self._closed = False
        raise Unrecognized

    def _arguments(self) -> Iterator[Polynomial]:
        """The c z + d that an activation may be of: those that functions were applied to."""
        yield Z
        for name, argument in self._atoms:
            if line(argument) is not None:
                factor = math.sqrt(2.0) if name == "erf" else 1.0
                found = {key: value * factor for key, value in argument.items()}
                # A factor of 1 that went through sqrt(2) in float32 and back.
                yield {**found, (0,): 1.0} if abs(found[0,] - 1) < _NEAR else found
                yield {key: -value for key, value in found.items()}

    def _matches(self, p: Polynomial, u: Polynomial) -> Iterator[Activation]:
        for activation, form in self._forms(u):
            try:
                if near(p, form()):
                    yield activation
            except Unrecognized:  # a function that was not applied here
                continue
        for fit in (self._leaky, self._elu):
            for branch in (self.relu, self._stepped):
                try:
                    yield fit(p, u, branch(u))
                except (Unrecognized, DefinitionError):
                    continue

    def _forms(self, u: Polynomial) -> Iterator[tuple[Activation, Callable[[], Polynomial]]]:
        """How an activation of u may be written."""
        f, minus = self.apply, add({}, u, -1.0)
        half = constant(0.5)
        yield ReLU(), lambda: self.relu(u)
        yield ReLU(), lambda: self._stepped(u)
        yield Sigmoid(), lambda: f("sigmoid", u)
        yield Sigmoid(), lambda: f("reciprocal", add(ONE, f("exp", minus)))
        yield Tanh(), lambda: f("tanh", u)
        yield Softmax(), lambda: f("softmax", u)
        yield Softplus(), lambda: f("softplus", u)
        yield Softplus(), lambda: f("log", add(ONE, f("exp", u)))
        yield (
            Softplus(),
            lambda: add(self.relu(u), f("log", add(ONE, f("exp", add(u, self.relu(u), -2.0))))),
        )
        yield Softplus(), lambda: self._thresholded(u)
        yield SiLU(), lambda: multiply(u, f("sigmoid", u))
        yield SiLU(), lambda: multiply(u, f("reciprocal", add(ONE, f("exp", minus))))
        yield GELU(), lambda: self.gelu(u)
        yield GELU(approximate="tanh"), lambda: self.gelu(u, "tanh")
        yield Sigmoid(), lambda: multiply(half, add(ONE, f("tanh", multiply(half, u))))

    def gelu(self, u: Polynomial, approximate: str = "none") -> Polynomial:
        """u / 2 * (1 + erf(u / sqrt(2))), or with tanh as `fastnet.functions.GELU` says."""
        if approximate == "tanh":
            cube = multiply(multiply(u, u), u)
            inner = multiply(constant(math.sqrt(2 / math.pi)), add(u, cube, 0.044715))
            curve = self.apply("tanh", inner)
        else:
            curve = self.apply("erf", multiply(u, constant(math.sqrt(0.5))))
        return multiply(multiply(constant(0.5), u), add(ONE, curve))

    def elu(self, u: Polynomial, alpha: float, scale: float = 1.0) -> Polynomial:
        """scale * (max(u, 0) + alpha * (exp(min(u, 0)) - 1))."""
        positive = self.relu(u)
        negative = add(self.apply("exp", add(u, positive, -1.0)), ONE, -1.0)
        return multiply(constant(scale), add(positive, negative, alpha))

    def _stepped(self, u: Polynomial) -> Polynomial:
        """u where it is above 0, else 0, as a choice and not as a maximum."""
        return multiply(self.apply("step", u), u)

    def _thresholded(self, u: Polynomial) -> Polynomial:
        """u above a threshold, else softplus(u)."""
        soft = self.apply("softplus", u)
        for name, argument in self._atoms:
            rest = add(argument, u, -1.0)
            if name == "step" and rest.keys() <= {()} and -rest.get((), 0.0) >= SOFTPLUS_THRESHOLD:
                return add(soft, multiply(self.apply("step", argument), add(u, soft, -1.0)))
        raise Unrecognized

    def _leaky(self, p: Polynomial, u: Polynomial, positive: Polynomial) -> Activation:
        """p = (1 - slope) * max(u, 0) + slope * u, solved for the slope."""
        slope = 1 - self._share(p, u, positive)
        if not near(p, add(multiply(constant(1 - slope), positive), u, slope)):
            raise Unrecognized
        return LeakyReLU(slope=_rounded(slope))

    def _elu(self, p: Polynomial, u: Polynomial, positive: Polynomial) -> Activation:
        """p = scale * max(u, 0) + curve * (exp(min(u, 0)) - 1), solved for both."""
        for negative in self._negatives(u, positive):
            curve = self._share(p, {**u, **positive, **ONE}, negative)
            scale = self._share(p, {**u, **negative, **ONE}, positive)
            if not near(p, add(multiply(constant(scale), positive), negative, curve)):
                continue
            if abs(scale - 1) < _NEAR:
                return ELU(alpha=_rounded(curve))
            if near({(): scale, (0,): curve}, {(): SELU.SCALE, (0,): SELU.SCALE * SELU.ALPHA}):
                return SELU()
        raise Unrecognized

    def _negatives(self, u: Polynomial, positive: Polynomial) -> Iterator[Polynomial]:
        """exp(min(u, 0)) - 1, written with a minimum, or by a choice of exp(u) - 1 or 0."""
        try:
            yield add(self.apply("exp", add(u, positive, -1.0)), ONE, -1.0)
        except Unrecognized:
            choice = add(ONE, self.apply("step", u), -1.0)
            yield multiply(choice, add(self.apply("exp", u), ONE, -1.0))

    @staticmethod
    def _share(p: Polynomial, others: Polynomial, part: Polynomial) -> float:
        """By how much `part` is in p: read off a monomial that nothing else has."""
        for monomial, value in part.items():
            if monomial not in others:
                return p.get(monomial, 0.0) / value
        raise Unrecognized


def _rounded(value: float) -> float:
    """A constant without the last digits, which 1 - (1 - 0.2) has lost."""
    return float(f"{value:.12g}")
