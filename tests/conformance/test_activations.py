"""Activations' values against formulas from elsewhere, at ordinary and extreme places."""

import math

import numpy as np
import pytest
from compare import assert_entries_near, assert_near
from graphs import lacks
from samples import EVERYWHERE, label
from tolerances import FORWARD, NORMAL_TAIL, elementwise

import fastnet as fn

special = pytest.importorskip("scipy.special", reason="SciPy is not installed")

DTYPES = ["float32", "float64"]


def phi(z):
    # The rounding of erfc's argument alone costs a relative 1e-13 in the far lower tail.
    return np.array([math.erfc(-float(v) / math.sqrt(2)) / 2 for v in z])


def tanh_gelu(z):
    return z / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

FORMULAS = {
    "identity": lambda z, f: z,
    "sigmoid": lambda z, f: special.expit(z),
    "tanh": lambda z, f: np.array([math.tanh(v) for v in z]),
    "relu": lambda z, f: np.array([v if v > 0 else 0.0 for v in z]),
    "leaky_relu": lambda z, f: np.array([v if v > 0 else f.slope * v for v in z]),
    "elu": lambda z, f: np.array([v if v > 0 else f.alpha * math.expm1(v) for v in z]),
    "selu": lambda z, f: (
        SELU_SCALE * np.array([v if v > 0 else SELU_ALPHA * math.expm1(v) for v in z])
    ),
    "softplus": lambda z, f: np.logaddexp(0, z),
    "silu": lambda z, f: z * special.expit(z),
    "gelu": lambda z, f: tanh_gelu(z) if f.approximate == "tanh" else z * phi(z),
    "prelu": lambda z, f: np.where(z > 0, z, f.init * z),
    "parametric": lambda z, f: FORMULAS[f.function.name](z, f.function),
    "mish": lambda z, f: z * np.tanh(np.logaddexp(0, z)),
    "hardswish": lambda z, f: z * np.clip(z + 3, 0, 6) / 6,
    "relu6": lambda z, f: np.clip(z, 0, 6),
    "hardsigmoid": lambda z, f: np.clip(z + 3, 0, 6) / 6,
}


def applied(backend, activation, z):
    """The activation alone: a network of one unit with weight 1 and bias 0."""
    network = fn.Network(1, [fn.Dense(1, activation, init=([[1.0]], [0.0]))])
    if lacks(backend, network):
        pytest.skip(f"{backend} refuses this network by name")
    model = fn.Model(network, backend=backend, dtype=z.dtype.name)
    return model.predict(z.reshape(-1, 1))[:, 0]


def absolute(activation, z, dtype):
    """What an absolute error may be: the formula of tanh GELU itself cancels below zero."""
    if getattr(activation, "approximate", "none") == "tanh":
        return 4 * float(np.finfo(dtype).eps) * np.abs(z).max()
    return float(np.finfo(dtype).tiny)  # results below it may be flushed to zero


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", EVERYWHERE, ids=label)
def test_an_activation_has_the_values_of_its_formula(backend, activation, dtype):
    z = np.concatenate((np.linspace(-8, 8, 321), [-1e-3, 1e-3, -1e-8, 1e-8, 0.0])).astype(dtype)
    wanted = FORMULAS[activation.name](z.astype(np.float64), activation).astype(dtype)
    # Phi's relative error grows in the far lower tail, as normal_cdf says.
    relative = (
        elementwise(dtype) if activation.name != "gelu" else max(elementwise(dtype), NORMAL_TAIL)
    )
    found = applied(backend, activation, z)
    assert_entries_near(found, wanted, relative, absolute(activation, z, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", EVERYWHERE, ids=label)
def test_an_activation_is_right_where_exponentials_overflow_and_numbers_are_tiny(
    backend, activation, dtype
):
    info = np.finfo(dtype)
    tiny = [info.smallest_subnormal, 100 * info.smallest_subnormal, info.tiny, 1e-30]
    far = [30.0, 90.0, 150.0, 800.0, 1e4]
    z = np.array([*tiny, *(-np.array(tiny)), *far, *(-np.array(far))]).astype(dtype)
    wanted = FORMULAS[activation.name](z.astype(np.float64), activation).astype(dtype)
    relative = (
        NORMAL_TAIL if activation.name == "gelu" and dtype == "float64" else elementwise(dtype)
    )
    # Where a factor is below `tiny` it may be flushed to zero, and then be multiplied by z.
    room = info.tiny * np.maximum(np.abs(z), 1)
    assert_entries_near(applied(backend, activation, z), wanted, relative, room)


#: Limits at minus and plus infinity, where the formula has them.
LIMITS = {
    "identity": (-np.inf, np.inf),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "relu": (0, np.inf),
    "leaky_relu": (-np.inf, np.inf),
    "elu": (-1, np.inf),
    "selu": (-SELU_SCALE * SELU_ALPHA, np.inf),
    "softplus": (0, np.inf),
    "relu6": (0, 6),
    "hardsigmoid": (0, 1),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LIMITS)
def test_an_activation_reaches_its_limits_at_infinity(backend, name, dtype):
    z = np.array([-np.inf, np.inf], dtype)
    found = applied(backend, name, z)
    assert_entries_near(found, np.array(LIMITS[name], dtype), elementwise(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", EVERYWHERE, ids=label)
def test_an_activation_of_nan_is_nan_and_leaves_its_neighbors_alone(backend, activation, dtype):
    z = np.array([0.5, np.nan, -0.5, np.nan, 2.0], dtype)
    found = applied(backend, activation, z)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(z))
    alone = applied(backend, activation, np.array([0.5, -0.5, 2.0], dtype))
    np.testing.assert_array_equal(found[[0, 2, 4]], alone)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_softmax_has_the_values_of_its_formula_and_does_not_overflow(backend, dtype, shift):
    layer = fn.Dense(5, "softmax", init=np.eye(5))
    network = fn.Network(5, [layer], loss="crossentropy")
    model = fn.Model(network, backend=backend, dtype=dtype)
    z = (np.random.default_rng(0).standard_normal((6, 5)) * 8 + shift).astype(dtype)
    wanted = special.softmax(z.astype(np.float64), axis=1)
    found = model.predict(z)
    assert_near(found, wanted, FORWARD[dtype], dtype=dtype)
    assert_near(found.sum(axis=1), np.ones(6), FORWARD[dtype], dtype=dtype)
