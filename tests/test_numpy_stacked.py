"""Small networks that NumPy trains stacked have the bits of each trained alone."""

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters
from fastnet_numpy import stacked

TANH = fn.Network(5, [fn.Dense(17, "tanh"), fn.Dense(3, "gelu", bias=False), fn.Dense(1)])
CLASSES = fn.Network(7, [fn.Dense(33, "relu"), fn.Dense(4, "softmax")], "crossentropy")
LINE = fn.Network(1, [fn.Dense(1)], "huber")


def networks(program, network, members, rows, batch, rule, shared):
    """Members that differ in all that may differ in a stack, on rows of their own or the same."""
    dtype, lowered = program.dtype, program.plan
    batches, every = -(-rows // batch), []
    for n in range(members):
        x, y = rows_for(network, rows, seed=0 if shared else n)
        y = y if y.dtype.kind == "i" else y.astype(dtype)
        data = Data(Inputs(x.astype(dtype)), y)
        data = every[0][1] if shared and every else data
        flat = initial_parameters(network, n).astype(dtype)
        order = np.stack([np.random.default_rng([n, e]).permutation(rows) for e in range(3)])
        rate = np.linspace(0.02, 0, 2 * batches) if n % 3 == 0 else 0.01 * n
        run = Run(
            1, 2 * batches, batch, order if shared else None, rule, rate, l2=0.01 * n,
            weight_decay=rule.decoupled_decay, reports_penalty=False,
        )  # fmt: skip
        every.append((State(flat, rule.memory(lowered.trained, dtype), 4), data, run))
    return every


def copied(one):
    state, data, run = one
    return State(state.parameters.copy(), state.memory.copy(), state.updates), data, run


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("network", "members", "rows", "batch", "rule"),
    [
        (TANH, 17, 21, 8, fn.Adam()),
        (TANH, 2, 1, 1, fn.SGD()),
        (CLASSES, 5, 40, 40, fn.AdamW(weight_decay=0.1)),
        (CLASSES, 17, 7, 3, fn.SGD(momentum=0.9, nesterov=True)),
        (LINE, 3, 9, 4, fn.RMSprop()),
    ],
)
def test_stacked_networks_have_the_bits_of_each_alone(
    network, members, rows, batch, rule, shared, dtype, monkeypatch
):
    program = loading.load("numpy").compile(lower(network), np.dtype(dtype), None, None)
    together = networks(program, network, members, rows, batch, rule, shared)
    apart = [copied(one) for one in together]
    if members == 5:
        apart[2][0].parameters[-1] = together[2][0].parameters[-1] = np.inf
        monkeypatch.setattr(stacked, "MOST_ENTRIES", 4 * batch * (33 + 4))  # 4 and 1
    counts, stack = [], stacked.Stack.train
    monkeypatch.setattr(stacked.Stack, "train", lambda one: counts.append(one.count) or stack(one))
    found = program.train_many(*zip(*together, strict=True))
    assert counts == [min(members, 4) if members == 5 else members]
    for losses, (state, _, _), alone in zip(found, together, apart, strict=True):
        assert_same_bits(losses, program.train(*alone))
        assert_same_bits(state.parameters, alone[0].parameters)
        assert_same_bits(state.memory, alone[0].memory)
        assert state.updates == alone[0].updates
    assert (len(found[2 % members]) == 1) == (members == 5)


@pytest.mark.parametrize(
    "change",
    [{"l1": 0.1}, {"clip_norm": 1.0}, {"clip_value": 0.1}, {"reports_penalty": True}],
    ids=str,
)
def test_what_stacks_cannot_do_is_done_alone(change, monkeypatch):
    monkeypatch.setattr(stacked, "Stack", None)
    program = loading.load("numpy").compile(lower(TANH), np.dtype("float64"), None, None)
    made = networks(program, TANH, 3, 9, 4, fn.Adam(), True)[1:]
    found = program.train_many(
        *zip(*[(state, data, replace(run, **change)) for state, data, run in made], strict=True)
    )
    assert all(len(losses) == 6 for losses in found)
