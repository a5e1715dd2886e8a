"""Shuffles are the same bits on every backend."""

import numpy as np
import pytest
from compare import assert_same_bits

import fastnet as fn
from fastnet import random
from fastnet.contract import loading
from fastnet.contract.lowering import lower


@pytest.fixture(scope="module")
def program(backend):
    plan = lower(fn.Network(2, [fn.Dense(1)]))
    return loading.load(backend).compile(plan, np.dtype(np.float32), None, None)


# Each power of two and its neighbors: where the number of bits changes by which a backend sorts.
@pytest.mark.parametrize(
    "rows", [0, 1, 2, 3, 5, 17, 1_000, 1_024, 1_025, 2_048, 2_049, 4_096, 16_385, 100_003]
)
def test_orders_are_those_of_the_definition(program, rows):
    epochs = range(3, 5)
    found = program.to_host(program.orders(7, epochs, rows))
    assert found.dtype == np.intp
    assert_same_bits(
        found, np.stack([random.permutation(7, random.SHUFFLE, e, rows) for e in epochs])
    )


@pytest.mark.parametrize("seed", [0, 2**33 + 1, 2**64 - 1])
@pytest.mark.parametrize("epochs", [range(1), range(2**32 - 1, 2**32 + 2), range(5, 5)])
def test_orders_depend_on_the_whole_seed_and_epoch(program, seed, epochs):
    wanted = [random.permutation(seed, random.SHUFFLE, epoch, 40) for epoch in epochs]
    found = program.to_host(program.orders(seed, epochs, 40))
    assert_same_bits(found, np.array(wanted, np.intp).reshape(len(epochs), 40))
