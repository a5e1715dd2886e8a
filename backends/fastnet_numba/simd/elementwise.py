"""Elementary functions of vectors, lane by lane and without branches.

Each function states its largest error in ulp (spacings of the dtype at the exact result), with
and without fused multiply-adds, as `tests/test_numba_elementwise.py` measures it: over a dense
sweep of all float32 numbers, and over a sample of float64's. Subnormal results are right to one
spacing, the normal distribution's to its bound. NaN gives NaN; infinities, zeros and tiny
arguments give what they give in NumPy.

The constants are minimax fits of relative error (Remez's algorithm in 50 digits): of polynomials
each coefficient in turn was rounded to the dtype and those after it fitted anew.
"""

import math
from typing import Any

from fastnet.definition.activations import NORMAL_TAIL
from fastnet_numba.simd.traced import traced
from fastnet_numba.simd.vectors import (
    absolute,
    choose,
    copy_sign,
    every,
    exponent,
    fma,
    mantissa,
    pick,
    polynomial,
    polynomial_in_pairs,
    power_of_two,
    raised,
)

Vector = Any  # as `vectors.py` has it

_INF, _NAN = math.inf, math.nan
_LOG2_E = 1 / math.log(2)
_SQRT_2 = math.sqrt(2)

#: Adding and subtracting it rounds to a whole number: where numbers are this large, the spacing
#: is 1.
_MAGIC32, _MAGIC64 = 1.5 * 2**23, 1.5 * 2**52

#: With the exponent's bias added to it, the whole number stands where `raised` makes 2^n of it.
_RAISING32, _RAISING64 = _MAGIC32 + 127, _MAGIC64 + 1023

#: log(2) in two parts (Cody and Waite, 1980); the first has so few bits (16, and 32 as in
#: fdlibm's e_exp.c) that whole multiples of it are exact, fused or not.
_HIGH32, _LOW32 = 0.693145751953125, 1.4286068e-06
_HIGH64, _LOW64 = 0.6931471803691238, 1.9082149292705877e-10

#: (exp(r) - 1 - r) / r^2 for |r| <= 0.376 in float32, log(2) / 2 in float64, relative to
#: exp(r) - 1.
_Q32 = (0.49999997, 0.16666496, 0.041667387, 0.00837251, 0.0013882957)
_Q64 = (
    0.5000000000000006,
    0.16666666666665664,
    0.041666666666565454,
    0.008333333333610625,
    0.00138888889406443,
    0.00019841269897786034,
    2.4801489102436407e-05,
    2.7556777883478015e-06,
    2.763385947022707e-07,
    2.5374515768735837e-08,
)

#: (exp(r) - 1) / r and exp(r).
_P32, _P64 = (1.0, *_Q32), (1.0, *_Q64)
_EXP32, _EXP64 = (1.0, *_P32), (1.0, *_P64)

#: (exp(-r) - 1) / r.
_FALL32, _FALL64 = (
    tuple(c if n % 2 else -c for n, c in enumerate(coefficients)) for coefficients in (_P32, _P64)
)

#: (sqrt(w) coth(sqrt(w)) - 1) / w for sqrt(w) <= log(2) / 4.
_COTH32 = (0.3333325, -0.022133702)
_COTH64 = (
    0.33333333333333204,
    -0.022222222221609807,
    0.002116402022508779,
    -0.00021163393119204223,
    2.118698674837964e-05,
)

#: (2 atanh(s) - 2 s) / s^3 in s^2, for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1).
_LOG32 = (0.66666776, 0.3997758, 0.29870927)
_LOG64 = (
    0.6666666666666734,
    0.399999999994164,
    0.28571428742111205,
    0.22222198594351197,
    0.18183563497432007,
    0.15314066392890135,
    0.14795834346613576,
)

#: The same, for |s| <= 1 / 3.
_LOG1P32 = (0.6666641, 0.4002175, 0.27998188, 0.28029743)
_LOG1P64 = (
    0.6666666666667789,
    0.3999999999599326,
    0.28571429063699744,
    0.22222192625543621,
    0.18182821631546284,
    0.15364176256461265,
    0.1358740550245066,
    0.09897454610060497,
    0.1775072885687047,
)

#: exp(x^2 / 2) erfc(x / sqrt(2)) = A(x) / B(x).
(_A32, _B32, _), (_A64, _B64, _) = NORMAL_TAIL[4], NORMAL_TAIL[8]

#: By so much a result is scaled up where it may be subnormal: its exponent, and its inverse.
_UP32, _UP64 = 24.0, 53.0
_DOWN32, _DOWN64 = 2.0**-24, 2.0**-53


#: cos(pi r / 2) and sin(pi r / 2) / r in r^2 for |r| <= 1 / 2, by Taylor: what they leave out is
#: less than a tenth of a spacing.
_COS64 = tuple((-1) ** n * (math.pi / 2) ** (2 * n) / math.factorial(2 * n) for n in range(9))
_SIN64 = tuple(
    (-1) ** n * (math.pi / 2) ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(9)
)
_COS32, _SIN32 = _COS64[:6], _SIN64[:5]


@traced
def larger(x: Vector, y: Vector) -> Vector:
    """max(x, y), NaN where either is."""
    return choose(y > x, y, choose(x >= y, x, y + x))


@traced
def _reduced(x: Vector) -> tuple[Vector, Vector]:
    """n, r: x = n log(2) + r, n whole, |r| <= log(2) / 2."""
    magic = pick(x, _MAGIC32, _MAGIC64)
    n = fma(x, _LOG2_E, magic) - magic
    r = fma(n, pick(x, -_HIGH32, -_HIGH64), x)
    return n, fma(n, pick(x, -_LOW32, -_LOW64), r)


@traced
def _scaled_exp(x: Vector, rest: Vector) -> Vector:
    """exp(x - rest) times 2^24 in float32, 2^53 in float64: normal, for x <= 0 and a small rest."""
    n, r = _reduced(x)
    return polynomial(r - rest, _EXP32, _EXP64) * power_of_two(n + pick(x, _UP32, _UP64))


@traced
def exp(x: Vector) -> Vector:
    """e^x = 2^n e^r: 1.3 ulp in float32, 1.4 in float64."""
    least, most = pick(x, -104.0, -745.2), pick(x, 89.0, 709.8)
    x = choose(x > most, most, x)
    x = choose(x < least, least, x)
    n, r = _reduced(x)
    # 2^n in two factors, because it may lie beyond the normal numbers at either end.
    low = x < -60.0
    scale = power_of_two(n + choose(low, every(x, 64.0), -1.0))
    return polynomial(r, _EXP32, _EXP64) * scale * choose(low, every(x, 2.0**-64), 2.0)


@traced
def expm1(x: Vector) -> Vector:
    """e^x - 1 = 2^n (e^r - 1) + (2^n - 1): 1.9 ulp in float32, 1.9 in float64."""
    most = pick(x, 89.0, 709.8)
    y = choose(x > most, most, x)
    y = choose(y < -40.0, -40.0, y)
    n, r = _reduced(y)
    half = power_of_two(n - 1.0)
    y = fma(half, fma(r * r, polynomial(r, _Q32, _Q64), r), half - 0.5)
    # So small an x is the result, with its sign and its last subnormal bit.
    return choose(absolute(x) < 2.0**-60, x, y + y)


@traced
def log(x: Vector) -> Vector:
    """k ln(2) + ln(1 + f), x = 2^k (1 + f): 0.9 ulp in float32, 0.9 in float64.

    ln(1 + f) = 2 atanh(s) = f - (h - s (h + s^2 P(s^2))), s = f / (2 + f), h = f^2 / 2, as in
    fdlibm's e_log.c.
    """
    tiny = x < pick(x, 2.0**-126, 2.0**-1022)
    y = choose(tiny, x * pick(x, 2.0**24, 2.0**53), x)
    k, m = exponent(y), mantissa(y)
    k = choose(tiny, k - pick(x, _UP32, _UP64), k)
    above = m > _SQRT_2
    k, m = choose(above, k + 1.0, k), choose(above, 0.5 * m, m)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    h = 0.5 * f * f
    part = fma(s, fma(z, polynomial(z, _LOG32, _LOG64), h), k * pick(x, _LOW32, _LOW64))
    y = fma(k, pick(x, _HIGH32, _HIGH64), f - (h - part))
    y = choose(x > 0.0, y, choose(x < 0.0, every(x, _NAN), -_INF))
    return choose(x < _INF, y, x)


@traced
def log1p(x: Vector) -> Vector:
    """log(u) + (1 + x - u) / u, u = 1 + x rounded: 1.3 ulp in float32, 1.2 in float64.

    1 + x - u = x - (u - 1), both differences exact: the correction of fdlibm's s_log1p.c.
    """
    u = 1.0 + x
    y = log(u) + choose(u > 0.0, (x - (u - 1.0)) / u, 0.0)
    return choose(x < _INF, copy_sign(y, x), x)


def _logistic(z: Vector, fall: Any) -> Vector:
    """1 / (1 + exp(-z)), with `fall` for the polynomial.

    1 + exp(-z) = 2^n + (2^n (exp(-r) - 1) + 1), r = z + n log(2), all scaled down, so that 2^n does
    not overflow where the result is subnormal.
    """
    least, magic = pick(z, -104.0, -745.2), pick(z, _RAISING32 - _UP32, _RAISING64 - _UP64)
    x = choose(z < least, least, z)
    x = choose(x > 60.0, 60.0, x)
    t = fma(x, -_LOG2_E, magic)
    n = t - magic
    r = fma(n, pick(z, _HIGH32, _HIGH64), x)
    r = fma(n, pick(z, _LOW32, _LOW64), r)
    one = pick(z, _DOWN32, _DOWN64)
    e = raised(t)
    return one / (e + fma(e * r, fall(r, _FALL32, _FALL64), one))


@traced
def sigmoid(z: Vector) -> Vector:
    """1 / (1 + exp(-z)): 2 ulp in float32, 2 in float64."""
    return _logistic(z, polynomial)


@traced
def sigmoid_alone(z: Vector) -> Vector:
    """The same, sooner for one vector, and later for many: 2 ulp in float32, 2 in float64."""
    return _logistic(z, polynomial_in_pairs)


@traced
def tanh(x: Vector) -> Vector:
    """(q - p) / (q + p) with the sign of x, q / p = exp(2|x|): 2.2 ulp in float32, 2.7 in float64.

    exp(2|x|) = 2^n exp(2 r), and exp(2 r) = (coth(r) + 1) / (coth(r) - 1), as in
    fdlibm's e_exp.c; times r: q = 2^n (1 + g + r), p = 1 + g - r, g = r coth(r) - 1. Written as
    (q - p) / ((q - p) + 2 p), the error of q - p goes out where it is large. There is no need to
    subtract n log(2) / 2 in parts: its error grows with n, but tanh's slope falls faster. Without
    fused multiply-adds it is 2.9 ulp in float32, 2.7 in float64.
    """
    magic, most = pick(x, _RAISING32, _RAISING64), pick(x, 9.5, 20.0)
    y = absolute(x)
    y = choose(y > most, most, y)
    t = fma(y, 2 * _LOG2_E, magic)
    n = t - magic
    r = fma(n, -0.5 / _LOG2_E, y)
    e = raised(t)
    w = r * r
    g = w * polynomial(w, _COTH32, _COTH64)
    down = e - 1.0
    difference = down + fma(e + 1.0, r, down * g)
    return copy_sign(difference / (difference + fma(2.0, g - r, 2.0)), x)


@traced
def softplus(z: Vector) -> Vector:
    """log(1 + exp(z)) = max(z, 0) + log(1 + e), e = exp(-|z|): 2.1 ulp in float32, 2.4 in float64.

    log(1 + e) = 2 atanh(s) = e - s (e - s^2 P(s^2)), s = e / (2 + e).
    """
    least = pick(z, -104.0, -745.2)
    x = -absolute(z)
    x = choose(x < least, least, x)
    e = _scaled_exp(x, every(x, 0.0)) * pick(z, _DOWN32, _DOWN64)
    s = e / (2.0 + e)
    w = s * s
    y = fma(-s, e - w * polynomial(w, _LOG1P32, _LOG1P64), e)
    return choose(z > 0.0, z + y, y)


@traced
def _bell(x: Vector) -> Vector:
    """exp(-x^2 / 2), scaled like `_scaled_exp`, for 0 <= x <= 14.4 in float32, 38.6 in float64.

    x = a + b, where a has so few bits that a^2 is exact: x^2 = a^2 + b (x + a).
    """
    magic = pick(x, 1.5 * 2**15, 1.5 * 2**32)
    a = (x + magic) - magic
    return _scaled_exp(-0.5 * a * a, 0.5 * (x - a) * (x + a))


@traced
def normal_pdf(z: Vector) -> Vector:
    """exp(-z^2 / 2) / sqrt(2 pi): 2.2 ulp in float32, 2.2 in float64."""
    most = pick(z, 14.4, 38.6)
    x = absolute(z)
    x = choose(x > most, most, x)
    c = 1 / math.sqrt(2 * math.pi)
    return _bell(x) * pick(z, c * _DOWN32, c * _DOWN64)


@traced
def normal_cdf(z: Vector) -> Vector:
    """erfc(-z / sqrt(2)) / 2: 7 ulp in float32, 10 in float64.

    Below zero it is exp(-z^2 / 2) A(|z|) / (2 B(|z|)), above zero 1 less that at -z. A and B: one
    rational approximation, as in Cody, Rational Chebyshev approximations for the error function
    (1969), but over the whole range.
    """
    most = pick(z, 14.4, 38.6)
    x = absolute(z)
    x = choose(x > most, most, x)
    ratio = _bell(x) * polynomial(x, _A32, _A64) / polynomial(x, _B32, _B64)
    tail = ratio * pick(z, 0.5 * _DOWN32, 0.5 * _DOWN64)
    return choose(z > 0.0, 1.0 - tail, tail)


@traced
def on_circle(quarters: Vector) -> tuple[Vector, Vector]:
    """cos and sin of pi / 2 times `quarters`: 2 ulp, and where the result is near 0, of 1.

    quarters = q + r with q whole and |r| <= 1 / 2, exactly; q = 4 n + h with h from -2 to 2.
    """
    magic = pick(quarters, _MAGIC32, _MAGIC64)
    q = (quarters + magic) - magic
    r = quarters - q
    square = r * r
    even, odd = polynomial(square, _COS32, _COS64), r * polynomial(square, _SIN32, _SIN64)
    h = q - 4.0 * ((q * 0.25 + magic) - magic)
    turned, opposite = absolute(absolute(h) - 1.0) < 0.5, absolute(h) > 1.5
    cos, sin = choose(turned, odd, even), choose(turned, even, odd)
    cos = choose(opposite, -1.0 * cos, choose(h > 0.5, -1.0 * cos, cos))
    sin = choose(opposite, -1.0 * sin, choose(h < -0.5, -1.0 * sin, sin))
    return cos, sin
