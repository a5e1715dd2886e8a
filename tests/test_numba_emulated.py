"""The kernels as plain Python: every load and store is checked, and coverage sees them."""

import functools

import child
import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

COMPARED = """
import numpy as np
from numba_cases import compare
with np.errstate(all="ignore"):
    for case in ("one-of-each", "column", "through-one", "vectors", "classes", "narrow"):
        for dtype in ("float32", "float64"):
            print(max(compare(case, dtype, 1, batch=5, epochs=1)),
                  max(compare(case, dtype, 2, 0.3, False, True, epochs=1)), dtype)
"""

TINY = """
import numpy as np, fastnet as fn
with np.errstate(all="ignore"):
    x, y = fn.datasets.xor()
    deeper = fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(2, "gelu"), fn.Dense(1)])
    for network in (fn.datasets.xor_network(True), deeper):
        for dtype in ("float32", "float64"):
            flat = []
            for backend in ("numba", "numpy"):
                model = fn.Model(network, backend=backend, dtype=dtype, seed=1)
                model.fit(x, y, optimizer=fn.SGD(0.5), epochs=20, batch_size=None)
                flat.append(model.parameters.flat)
            print(np.abs(flat[0] - flat[1]).max(), dtype)
"""

SIDE_BY_SIDE = """
import numpy as np, fastnet as fn
with np.errstate(all="ignore"):
    x = np.random.default_rng(0).standard_normal((5, 2))
    layers = [fn.Dense(3, "tanh"), fn.Dense(2, "gelu"), fn.Dense(3, "softmax")]
    network = fn.Network(2, layers, "crossentropy")
    for dtype in ("float32", "float64"):
        flat = []
        for backend in ("numba", "numpy"):
            some = fn.Population(network, members=3, backend=backend, dtype=dtype, seed=1)
            some.fit(x, np.arange(5) % 3, optimizer="adam", epochs=[2, 3, 3], batch_size=None,
                     rows=[range(5), range(5), range(2)], l2=0.1)
            flat.append(some.parameters)
        print(np.abs(flat[0] - flat[1]).max(), dtype)
"""


def printed(code):
    lines = child.run(code, NUMBA_DISABLE_JIT="1").splitlines()
    assert lines
    return [([float(value) for value in line.split()[:-1]], line.split()[-1]) for line in lines]


def test_without_the_compiler_no_kernel_leaves_its_arrays_and_all_agree_with_numpy():
    from numba_cases import NEAR

    for distances, dtype in printed(COMPARED):
        assert max(distances) < 10 * NEAR[dtype]


@pytest.mark.parametrize("code", [TINY, SIDE_BY_SIDE])
def test_without_the_compiler_tiny_networks_agree_with_numpy(code):
    for distances, dtype in printed(code):
        assert max(distances) < {"float32": 1e-4, "float64": 1e-12}[dtype]


def test_an_emulated_load_or_store_outside_its_array_is_an_error():
    from fastnet_numba.simd import emulated

    array = np.zeros(20, np.float32)
    width = emulated.lanes(array)
    for at in (-1, 20 - width + 1):
        with pytest.raises(IndexError):
            emulated.load(array, at)
        with pytest.raises(IndexError):
            emulated.store(array, at, np.zeros(width, np.float32))
    with pytest.raises(IndexError):
        emulated.load_first(array, 19, 2)
    emulated.load_first(array, 19, 1)


@pytest.fixture(params=["float32", "float64"])
def array(request):
    return np.random.default_rng(0).standard_normal(700).astype(request.param)


def test_compiled_lanes_do_what_their_twins_say(array):
    import numba

    from fastnet_numba.simd import emulated, vectors

    bits = 23 if array.itemsize == 4 else 52  # of the mantissa

    def through(v):
        def steps(m, out, count, order):
            i = v.lanes(m)
            x = v.load(m, 3)
            v.store(out, 0, v.choose(x > 0.0, v.square_root(x) * 2.0, v.absolute(x) / 3.0))
            v.store(out, i, v.load_first(m, 5, count))
            v.store(out, 2 * i, v.every(m, 7.0))
            v.store(out, 3 * i, v.keep_first(x, count))
            v.store(
                out, 4 * i, v.power_of_two(v.exponent(v.absolute(x))) * v.mantissa(v.absolute(x))
            )
            v.store(out, 5 * i, v.copy_sign(v.absolute(x) + 1.0, x))
            out[6 * i] = v.highest(x)
            out[6 * i + 1] = v.total(x)
            v.transpose(out, 7 * i, i, m, 40, 9, min(count, i), min(count + 1, i))
            at = 7 * i + i * i
            v.spread(out, at, i, m, order, 1, 9)
            v.spread(out, at + 8 * i, i, m, order[:0], 1, 9)
            v.spread_few(out, at + 16 * i, i, m, order, 1, min(count, i), 9, 2, min(count, 4))
            v.spread_few(out, at + 20 * i, i, m, order[:0], 1, min(count, i), 9, 5, min(count, 4))
            v.spread_in_order(out, at + 24 * i, i, m, 7)
            at += 28 * i
            block = v.choose(v.load_block(m, 3) < 0.5, 2.0, v.in_rows(x))
            v.store(out, at, v.low(block) * v.high(block))
            v.store(out, at + 2 * i, v.raised(v.every(block, 1.5 * 2.0**bits + 3.0)))

        return steps

    compiled = numba.njit(through(vectors))
    order = np.random.default_rng(1).permutation(70)[:40]
    for count in (0, 1, emulated.lanes(array) - 1, emulated.lanes(array), 99):
        found, wanted = np.full((2, 1200), 5, array.dtype)
        compiled(array, found, count, order)
        through(emulated)(array, wanted, count, order)
        np.testing.assert_allclose(found, wanted, rtol=2e-6 if array.itemsize == 4 else 1e-15)


@functools.cache
def compiled_product(dtype):
    """The compiled product, on its own, and the tiles' address for the dtype."""
    import numba

    from fastnet_numba.simd import tiles

    address = tiles.address_of_tiles
    product = tiles.product
    where = numba.njit(lambda like: address(like))(np.zeros(1, dtype))

    @numba.njit
    def compiled(tiles, c, cr, a, ar, ac, b, br, rows, columns, depth, begin, end, e, er):
        product(tiles, c, 3, cr, a, 2, ar, ac, b, 1, br, rows, columns, depth, begin, end, e, 4, er)

    return compiled, where


@pytest.mark.parametrize("begin", [0, 1, 2, 3])
@pytest.mark.parametrize("end", [0, 1, 2, 3])
def test_the_compiled_product_is_its_twin(array, begin, end):
    from fastnet_numba.simd import emulated

    compiled, where = compiled_product(array.dtype)
    sizes = [(1, 1, 1), (1, 40, 3), (6, 64, 5), (7, 17, 9), (13, 3, 2), (5, 33, 1), (11, 16, 4)]
    for rows, columns, depth in sizes:
        for strides in ((depth, 1), (1, rows)):
            plain = (columns, array, *strides, array, columns, rows, columns, depth, begin, end)
            found, wanted = np.full((2, 800), 0.5, array.dtype)
            compiled(where, found, *plain, array, columns)
            a = (array, 2, *strides, array, 1, columns, rows, columns, depth, begin, end)
            emulated.product(0, wanted, 3, columns, *a, array, 4, 0 if begin == 2 else columns)
            if begin >= 2 and end >= 2:
                continue  # a bias and a slope never come together
            tolerance = 1e-5 if array.itemsize == 4 else 1e-13
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("begin", [0, 1])
def test_the_compiled_product_of_rows_is_its_twin(array, begin):
    import numba

    from fastnet_numba.simd import dots as compiled_dots
    from fastnet_numba.simd import emulated

    dots = compiled_dots.dots
    where = compiled_product(array.dtype)[1]

    @numba.njit
    def compiled(tiles, c, cr, a, ar, b, br, rows, columns, depth, begin, sums):
        dots(tiles, c, 3, cr, a, 2, ar, b, 1, br, rows, columns, depth, begin, sums)

    for rows, columns, depth in [(1, 1, 1), (1, 9, 3), (4, 4, 16), (7, 6, 17), (3, 2, 40)]:
        for sums in (-1, 80):
            given = (columns, array, 49, array, 50, rows, columns, depth, begin, sums)
            found, wanted = np.full((2, 100), 0.5, array.dtype)
            compiled(where, found, *given)
            a = (array, 2, 49, array, 1, 50, rows, columns, depth, begin, sums)
            emulated.dots(0, wanted, 3, columns, *a)
            tolerance = 1e-5 if array.itemsize == 4 else 1e-13
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
