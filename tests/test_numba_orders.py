"""The Numba backend's orders of the rows, however many sorts and however full places."""

import numpy as np
import pytest
from compare import assert_same_bits

import fastnet as fn
from fastnet import random
from fastnet.contract import loading
from fastnet.contract.lowering import lower

shuffling = pytest.importorskip("fastnet_numba.shuffling", reason="numba is not installed")


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 1_000, 12_345])
@pytest.mark.parametrize("bits", [(3, 2, 12, 2, 16), (3, 2, 4, 2, 2), (99, 0, 0, 7, 1)])
def test_orders_are_the_same_by_two_sorts_and_with_crowded_places(rows, bits, monkeypatch):
    for name, value in zip(("AT_ONCE", "BUCKET", "BUCKETS", "PAIRS", "PLACES"), bits, strict=True):
        monkeypatch.setattr(shuffling, name, value)
    plan = lower(fn.Network(2, [fn.Dense(1)]))
    program = loading.load("numba").compile(plan, np.dtype(np.float32), None, None)
    epochs = range(2**32 - 1, 2**32 + 1)
    wanted = [random.permutation(2**40 + 9, random.SHUFFLE, epoch, rows) for epoch in epochs]
    assert_same_bits(program.orders(2**40 + 9, epochs, rows), np.stack(wanted))
