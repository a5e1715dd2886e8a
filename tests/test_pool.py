"""Memory of large arrays serves the next ones, and never two at once."""

import gc
import threading
import weakref

import numpy as np
import pytest

import fastnet as fn
from fastnet.arrays import cache_lines, pool

DOUBLE = np.dtype(np.float64)
ENTRIES = pool.LEAST_BYTES // 8


@pytest.fixture(autouse=True)
def nothing_kept():
    pool._unused.clear()


def place(array):
    return array.ctypes.data


def test_an_array_takes_the_memory_of_one_that_is_gone():
    first = cache_lines.empty(ENTRIES + 100, DOUBLE)
    first[...] = 7
    before = place(first)
    del first
    second = cache_lines.zeros(ENTRIES, DOUBLE)  # a little smaller
    assert place(second) == before
    assert place(second) % cache_lines.LINE == 0
    assert not second.any()
    assert place(cache_lines.empty(ENTRIES, DOUBLE)) != before


def test_a_view_keeps_the_memory():
    view = cache_lines.empty(ENTRIES, DOUBLE)[5:10].reshape(1, -1)
    view[...] = 7
    other = cache_lines.zeros(ENTRIES, DOUBLE)
    assert not np.shares_memory(view, other)
    assert (view == 7).all()


def test_no_array_takes_memory_much_larger_than_it_needs():
    before = place(cache_lines.empty(2 * ENTRIES, DOUBLE))
    assert place(cache_lines.empty(ENTRIES, DOUBLE)) != before


def test_what_is_kept_is_bounded_and_the_longest_unused_goes_first():
    many = [cache_lines.empty(n * ENTRIES, DOUBLE) for n in range(1, 40)]
    held = [place(one) for one in many]
    for n in range(len(many)):
        many[n] = None
    kept = list(pool._unused.values())
    assert 0 < sum(memory.nbytes for memory in kept) <= pool.KEPT_BYTES
    last = [start for start in held if any(place(m) <= start < place(m) + m.nbytes for m in kept)]
    assert last == held[-len(kept) :]


def test_small_arrays_take_no_part():
    for make in (cache_lines.zeros, cache_lines.empty):
        make(ENTRIES - 1, DOUBLE)
    assert not pool._unused


def test_memory_too_large_to_keep_pushes_nothing_out():
    small = cache_lines.empty(ENTRIES, DOUBLE)
    large = cache_lines.empty(pool.KEPT_BYTES // 8 + ENTRIES, DOUBLE)
    del small
    kept = set(pool._unused)
    del large
    assert kept
    assert set(pool._unused) == kept


def test_arrays_of_several_threads_never_share_memory():
    faults = []

    def work(number):
        for turn in range(300):
            one = cache_lines.zeros(ENTRIES + 16 * (turn % 3), DOUBLE)
            if one.any():
                faults.append("not zero")
            one[...] = number
            if turn % 7 == 0:
                cycle = [one]
                cycle.append(cycle)  # its memory comes back whenever Python finds the cycle
            if (one != number).any():
                faults.append("shared")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_fit_takes_the_memory_that_one_before_it_has_left(backend):
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
    network = fn.Network(4, [fn.Dense(300, "relu"), fn.Dense(300, "relu"), fn.Dense(1)])

    def left_by_a_fit():
        model = fn.Model(network, backend=backend, seed=1)
        model.fit(x, x[:, :1], epochs=2, batch_size=4)
        program, flat = weakref.ref(model.program), model.parameters.flat.copy()
        del model
        assert program() is None
        return flat, set(pool._unused)

    gc.collect()
    gc.disable()  # nothing shall wait until Python looks for cycles
    try:
        (flat, left), (same, again) = left_by_a_fit(), left_by_a_fit()
    finally:
        gc.enable()
    np.testing.assert_array_equal(same, flat)
    assert len(left) >= 3
    assert again <= left  # by the identity of the memory
