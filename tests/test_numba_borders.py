"""Nothing outside a buffer is touched: behind and before each lies a page that nobody may read."""

import sys

import child
import pytest

pytest.importorskip("numba", reason="numba is not installed")

CODE = """
import ctypes, mmap, sys
import numpy as np
import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters
from fastnet.training.rows import as_outputs
from fastnet.arrays import cache_lines
from fastnet_numba import tabulating
from graphs import MIXED, mixed
from numba_cases import CASES, data, network
from samples import rows_for, weights_for

tabulating.WORTH_SWEEPING = 1  # layers of any size are updated on the way back
libc = ctypes.CDLL(None, use_errno=True)
PAGE, kept = mmap.PAGESIZE, []
AT_END = sys.argv[1] == "end"

def guarded(array):
    '''A copy that ends where a forbidden page begins, or begins where one ends.'''
    array = np.ascontiguousarray(array)
    pages = -(-max(array.nbytes, 1) // PAGE)
    region = mmap.mmap(-1, (pages + 2) * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(region))
    kept.append(region)
    for page in (0, pages + 1):
        assert libc.mprotect(ctypes.c_void_p(base + page * PAGE), PAGE, 0) == 0
    skip = PAGE + (pages * PAGE - array.nbytes if AT_END else 0)
    made = np.frombuffer(region, array.dtype, array.size, skip).reshape(array.shape)
    made[...] = array
    return made

cache_lines.zeros = lambda entries, dtype: guarded(np.zeros(entries, dtype))
cache_lines.empty = lambda entries, dtype: guarded(np.full(entries, np.nan, dtype))

def drive(case, net, x, y, weight, dtype, threads):
    program = loading.load("numba").compile(lower(net), np.dtype(dtype), threads, None)
    flat = guarded(initial_parameters(net, 1).astype(dtype))
    y = as_outputs(y if y.dtype.kind == "i" else y.astype(dtype), net)
    rows = Data(Inputs(guarded(x)), guarded(y), guarded(weight))
    program.predict(flat, rows.x)
    program.predict_at_once(flat, guarded(x[:3]))
    program.loss(flat, rows)
    program.gradient(flat, rows, 0.1, 0.1, (1, 2))
    trained = program.plan.trained
    rules = (fn.Adam(0.01), fn.SGD(0.01), fn.Rprop(0.01), fn.Lion(0.01))
    for rule in rules[: 1 if case == "large" else None]:  # updates do not depend on the size
        memory = guarded(rule.memory(trained, np.dtype(dtype)))
        order = guarded(np.stack([np.random.default_rng(i).permutation(len(x))
                                  for i in range(4)]).astype(np.intp))
        batch = max(len(x) // 3, 1)
        steps = -(-len(x) // batch) * 2
        rates = guarded(np.full(steps, 1e-3))
        run = Run(0, steps, batch, order, rule, rates, 0.01, 0.01, 0.1,
                  clip_value=1.0, clip_norm=1.0, seed=3)
        state = State(flat, memory)
        losses = program.train(state, rows, run)
        assert np.isfinite(losses).all(), (case, losses)
        sweeping = Run(0, 4, 5, None, rule, 1e-3)  # small batches, and nothing between
        program.train(state, rows, sweeping)
        gradient = guarded(program.batch_gradient(state, rows, run, 1)[2])
        program.update(state, gradient, run, 1)
        if program.lane_plan is not None:  # side by side, one more than a vector has lanes
            runs = [Run(0, 3, len(x), None, rule, 0.01, 0.01) for _ in range(17)]
            states = [State(flat.copy(), memory.copy()) for _ in runs]
            program.train_many(states, [rows] * len(runs), runs)

for dtype in (np.float32, np.float64):
    # Without dropout the rows of narrow networks are in the lanes.
    for threads, dropout in ((1, 0.25), (2, 0.25), (1, 0.0)):
        for case in CASES:
            if case != "large" or threads == 2:
                drive(case, network(case, dropout), *data(case, dtype), dtype, threads)
    for case in MIXED:
        x, y = rows_for(mixed(case), 7)
        drive(case, mixed(case), x.astype(dtype), y, weights_for(7).astype(dtype), dtype, 2)
x, y = fn.datasets.xor()
program = loading.load("numba").compile(lower(fn.datasets.xor_network(True)),
                                        np.dtype("float32"), 1, None)
flat = guarded(initial_parameters(fn.datasets.xor_network(True), 1).astype("f4"))
run = Run(0, 9, 4, None, fn.SGD(0.1), guarded(np.full(9, 0.1)))
rows = Data(Inputs(guarded(x.astype("f4"))), guarded(y.astype("f4")))
program.train(State(flat, guarded(np.zeros((0, len(flat)), "f4"))), rows, run)
print("untouched")
sys.stdout.flush()
import os
os._exit(0)  # the regions are still exported
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pages are protected by POSIX's mprotect")
@pytest.mark.parametrize("side", ["end", "begin"])
def test_no_kernel_reads_or_writes_outside_a_buffer(side):
    assert child.run(CODE, side) == "untouched\n"
