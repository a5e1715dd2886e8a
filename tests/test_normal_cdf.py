"""The NumPy backend's normal distribution function, over its whole range."""

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
from compare import assert_entries_near

from fastnet_numpy.activations import NormalCDF


def normal_cdf(z):
    return NormalCDF(z.dtype)(z)


def reference(z):
    """erfc(-z / sqrt(2)) / 2, with the rounding of its argument made good to first order:
    in the far tail it alone costs a relative 1e-13.
    """
    getcontext().prec = 40
    values = []
    for v in z:
        exact = -Decimal(float(v)) / Decimal(2).sqrt()
        x = float(exact)
        left_over = float(exact - Decimal(x))
        slope = -2 / math.sqrt(math.pi) * math.exp(-x * x)
        values.append((math.erfc(x) + slope * left_over) / 2)
    return np.array(values)


def test_it_is_as_accurate_as_it_claims_near_zero():
    z = np.concatenate((np.linspace(-6, 6, 10_001)[1:-1], [1e-300, -1e-300, 1e-16, -1e-16, 0.0]))
    assert_entries_near(normal_cdf(z), reference(z), 1e-14)


def test_it_is_as_accurate_as_it_claims_in_the_far_lower_tail():
    z = np.linspace(-37.5, -6, 10_001)
    assert_entries_near(normal_cdf(z), reference(z), 4e-13, 1e-307)


def test_it_is_one_in_the_far_upper_tail():
    z = np.linspace(6, 1e4, 1_001)
    assert_entries_near(normal_cdf(z), reference(z), 1e-15)


def test_it_keeps_the_dtype_and_is_rounded_once():
    z = np.linspace(-13, 13, 5_001).astype(np.float32)
    found = normal_cdf(z)
    assert found.dtype == np.float32
    wanted = reference(z).astype(np.float32)
    assert_entries_near(found, wanted, float(np.finfo(np.float32).eps), 1e-44)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinities_and_nan_give_their_limits(dtype):
    z = np.array([-np.inf, np.inf, np.nan], dtype)
    with np.errstate(invalid="ignore"):
        found = normal_cdf(z)
    assert_entries_near(found, np.array([0, 1, np.nan], dtype), 0)
