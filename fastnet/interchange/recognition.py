"""Which activation an expression is: the rows of `onnx_activations`, tried one after the other."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from fastnet.definition.activations import ACTIVATIONS, Activation, Identity
from fastnet.errors import DefinitionError
from fastnet.interchange.expressions import NEAR, Algebra, Polynomial, Unrecognized
from fastnet.interchange.onnx_activations import ROWS, Formula


@dataclass(frozen=True)
class Recognized:
    """activation(scale * z + shift)."""

    activation: Activation
    scale: float
    shift: float


def recognize(algebra: Algebra, p: Polynomial) -> Recognized:
    """The activation that p is.

    Raises:
        Unrecognized: if it is none.
    """
    if p.line is not None:
        return Recognized(Identity(), *p.line)
    for u, line in _arguments(algebra):
        for by_choice in (False, True):
            with algebra.closed(by_choice):
                activation = _match(algebra, p, u)
            if activation is not None:
                return Recognized(activation, *line)
    raise Unrecognized


def _arguments(algebra: Algebra) -> Iterator[tuple[Polynomial, tuple[float, float]]]:
    """What an activation may be of: z, and each c z + d that a function was applied to."""
    for name, argument in algebra.atoms:
        if argument.line is not None:
            u = argument * math.sqrt(2.0) if name == "Erf" else argument
            if abs(u[0,] - 1) < NEAR:  # 1, but for sqrt(2) in float32
                u = Polynomial({**u.terms, (0,): 1.0})
            candidates = [u, -u]
            if name == "relu":  # of z / 6 + 1 / 2 in hardsigmoid
                candidates += [6.0 * u - 3.0, -6.0 * u - 3.0]
            for candidate in candidates:
                assert candidate.line is not None
                yield candidate, candidate.line


def _match(algebra: Algebra, p: Polynomial, u: Polynomial) -> Activation | None:
    """The activation of u that p is, if it is one."""
    for name, row in ROWS.items():
        kind = ACTIVATIONS[name]
        numbers = {one.name for one in fields(kind)} - row.choices.keys()
        for formula, choice in product((row.formula, *row.others), product(*row.choices.values())):
            constants: dict[str, Any] = dict(zip(row.choices, choice, strict=True))
            try:
                for number in numbers:
                    constants[number] = _solved(algebra, p, u, formula, number)
                if p.near(formula(algebra.apply, u, **constants)):
                    return kind(**constants)
            except (Unrecognized, DefinitionError):  # another function, or no such constant
                continue
    return None


def _solved(algebra: Algebra, p: Polynomial, u: Polynomial, formula: Formula, name: str) -> float:
    """The constant with which a formula that is linear in it is p, if it is p at all."""
    without: Polynomial = formula(algebra.apply, u, **{name: 0.0})
    share: Polynomial = formula(algebra.apply, u, **{name: 1.0}) - without
    only = {key: value for key, value in share.terms.items() if not without[key]} or share.terms
    key = max(only, key=lambda key: abs(only[key]))
    return (p[key] - without[key]) / share[key]
