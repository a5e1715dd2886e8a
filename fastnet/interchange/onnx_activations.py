"""How each activation is written in ONNX, one row for each: the writer makes nodes of a row's
formula, and the reader recognizes the function by it.

In a formula, `f` applies an operator of ONNX by its name to an expression.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from fastnet.definition.activations import GELU, SELU
from fastnet.interchange.chain import SOFTPLUS_THRESHOLD
from fastnet.interchange.expressions import Expression

#: The operators of one argument that formulas apply.
FUNCTIONS = ("Abs", "Erf", "Exp", "Log", "Reciprocal", "Relu", "Sigmoid", "Tanh")

E = TypeVar("E", bound=Expression)
Apply = Callable[..., E]
Formula = Callable[..., Any]


@dataclass(frozen=True)
class Row:
    """An activation in ONNX.

    At most one of its constants is a number: it is found from a graph by solving the formula, which
    must be linear in it.

    Attributes:
        formula: `formula(f, z, **constants)`, as it is written.
        others: the same function, written in other ways.
        operator: ONNX's own operator for it, "" for none.
        since: the first opset that has the operator.
        attributes: of the operator: the formula's argument, and ONNX's default.
        choices: the values of a constant that is no number.
    """

    formula: Formula
    others: tuple[Formula, ...] = ()
    operator: str = ""
    since: int = 1
    attributes: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _elu(f: Apply[E], z: E, alpha: float, gamma: float = 1.0) -> E:
    return gamma * f("Relu", z) + (alpha * gamma) * (f("Exp", f("Min", z, 0.0)) - 1.0)


def _elu_by_choice(f: Apply[E], z: E, alpha: float, gamma: float = 1.0) -> E:
    return gamma * f("Relu", z) + (alpha * gamma) * (1 - f("Step", z)) * (f("Exp", z) - 1.0)


def _softplus(f: Apply[E], z: E) -> E:
    return f("Relu", z) + f("Log", f("Exp", -f("Abs", z)) + 1.0)


def _logistic(f: Apply[E], z: E) -> E:
    return f("Reciprocal", f("Exp", -z) + 1.0)


def _gelu(f: Apply[E], z: E, approximate: str) -> E:
    if approximate == "tanh":
        curve = f("Tanh", GELU.SLOPE * (z + GELU.CUBIC * (z * z * z)))
    else:
        curve = f("Erf", math.sqrt(0.5) * z)
    return (0.5 * z) * (curve + 1.0)


def _hardsigmoid(f: Apply[E], z: E) -> E:
    return f("Min", f("Relu", (1 / 6) * z + 0.5), 1.0)


ROWS = {
    "identity": Row(lambda f, z: z),
    "sigmoid": Row(
        lambda f, z: f("Sigmoid", z),
        (_logistic, lambda f, z: 0.5 * (f("Tanh", 0.5 * z) + 1.0)),
    ),
    "tanh": Row(lambda f, z: f("Tanh", z)),
    "relu": Row(lambda f, z: f("Relu", z)),
    "leaky_relu": Row(
        lambda f, z, slope: f("Relu", z) + slope * f("Min", z, 0.0),
        operator="LeakyRelu",
        attributes={"alpha": ("slope", 0.01)},
    ),
    "elu": Row(_elu, (_elu_by_choice,), "Elu", attributes={"alpha": ("alpha", 1.0)}),
    "selu": Row(
        partial(_elu, alpha=SELU.ALPHA, gamma=SELU.SCALE),
        (partial(_elu_by_choice, alpha=SELU.ALPHA, gamma=SELU.SCALE),),
        "Selu",
        attributes={"alpha": ("alpha", SELU.ALPHA), "gamma": ("gamma", SELU.SCALE)},
    ),
    "softplus": Row(
        _softplus,
        (
            lambda f, z: f("Log", f("Exp", z) + 1.0),
            lambda f, z: f("Above", z, _softplus(f, z), SOFTPLUS_THRESHOLD),
        ),
        "Softplus",
    ),
    "silu": Row(
        lambda f, z, alpha=1.0: z * f("Sigmoid", alpha * z),
        (lambda f, z: z * _logistic(f, z),),
        "Swish",
        since=24,
        attributes={"alpha": ("alpha", 1.0)},
    ),
    "gelu": Row(
        _gelu,
        operator="Gelu",
        since=20,
        attributes={"approximate": ("approximate", "none")},
        choices={"approximate": ("none", "tanh")},
    ),
    "mish": Row(lambda f, z: z * f("Tanh", _softplus(f, z)), operator="Mish", since=18),
    "hardswish": Row(lambda f, z: z * _hardsigmoid(f, z), operator="HardSwish", since=14),
    "relu6": Row(lambda f, z: f("Min", f("Relu", z), 6.0)),
    "hardsigmoid": Row(_hardsigmoid),
    "softmax": Row(lambda f, z: f("Softmax", z)),
}
