"""Cases for kernels/tiny.cu: whole runs of a tiny network, against the NumPy backend's."""

from dataclasses import replace
from typing import Any

import numpy as np
from cuda_cases import FLOAT32, FLOAT64, REALS, Case, Out, block, draw, network, orders, tables
from samples import label, rows_for, weights_for
from tolerances import TRAJECTORY

import fastnet as fn
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.definition import optimizers
from fastnet_cupy import control, tiny
from fastnet_cupy.layout import lay_out
from fastnet_cupy.names import Control
from fastnet_numpy.program import NumpyProgram

STEPS = 7
DECAYS, FACTORS = np.linspace(0.5, 0, STEPS), np.array([1, 0.5, 0, 1.5, 1, 0.75, 1])

#: Parameters after some steps, relative to the norm. float32: that many steps of rounding.
NEAR = {"float64": TRAJECTORY, "float32": 1e-5}


def cases() -> list[Case]:
    """All of them."""
    return [case for number in REALS for case in [*_networks(number), *_objectives(number)]]


def by_constants(case: Case) -> Case:
    """The same launch of the kernel whose table is constants."""
    table = ",".join(map(str, case.arguments["int_table"].tolist()))
    return replace(case, defines=(("FN_TABLE", table),))


#: The one network whose table is made constants, here and under the sanitizers.
OWN = "own-table"


def _networks(number: Any) -> list[Case]:
    adam, softmax = optimizers.Adam(0.01), fn.Softmax()
    net = network(3, (5, "tanh"), (2,))[0]
    own = _run("", number, net, adam, rows=9, batch=4, chunk=3)
    return [
        replace(own, name="general-table"),
        *([by_constants(replace(own, name=OWN))] if number == FLOAT32 else []),
        _run("one-of-each", number, network(1, (1,))[0], optimizers.SGD(0.1), 1, 1, 1, threads=32),
        _run("one-layer", number, network(6, (7, "gelu"))[0], adam, 40, 40, 40, threads=256),
        _run("resident", number, network(3, (9, "relu"), (1,))[0], adam, 30, 30, 64),
        _run("labels", number, network(4, (6, "elu"), (3, softmax), loss="crossentropy")[0], adam,
             21, 10, 4, ordered=True),
        _run("onehot", number, network(4, (6, "relu"), (40, softmax), loss="crossentropy")[0],
             adam, 21, 10, 10, form="onehot", weighted=True),
        _run("softmax-mse", number, network(4, (6, "silu"), (3, softmax))[0], adam, 21, 8, 5,
             weighted=True, ordered=True),
        _run("logits", number, network(2, (5, "selu"), (4, "softplus"), (1, "sigmoid"),
             loss="binary_crossentropy")[0], adam, 33, 8, 3),
        _run("no-bias", number, network(5, fn.Dense(4, "leaky_relu", bias=False),
             fn.Dense(3, "sigmoid", bias=False), loss="mae")[0], adam, 19, 5, 5, threads=96),
        _run("dropout", number, network(6, 0.2, (8, "relu"), 0.5, (5, "tanh"), 0.25, 0.1, (2,))[0],
             adam, 23, 9, 4, ordered=True, first_step=2**32 + 1, seed=2**63 + 9,
             dropout_factor=FACTORS),
        _run("wide", number, network(17, (40, "tanh"), (3,), loss="huber")[0], adam, 65, 65, 33,
             threads=256),
    ]  # fmt: skip


def _objectives(number: Any) -> list[Case]:
    net = network(3, (5, "tanh"), (4, "relu"), (2,))[0]
    made = []
    for optimizer in [
        optimizers.SGD(0.1), optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        optimizers.RMSprop(0.01, momentum=0.5), optimizers.Rprop(0.01),
    ]:  # fmt: skip
        made.append(_run(label(optimizer), number, net, optimizer, 20, 6, 4))
    sgd, adam = optimizers.SGD(0.1), optimizers.Adam(0.01)
    settings: Any
    for name, optimizer, settings in [
        ("l1-l2", adam, {"l1": 0.01, "l2": 0.1}),
        ("by-step", adam, {"l2": np.linspace(0, 0.3, STEPS), "weight_decay": DECAYS}),
        ("clip-value", sgd, {"clip_value": 0.05}),
        ("clip-norm", sgd, {"clip_norm": 0.1}),
        ("all-at-once", sgd, {"l1": 0.01, "l2": 0.1, "clip_value": 0.2, "clip_norm": 0.3}),
    ]:
        made.append(_run(name, number, net, optimizer, 20, 6, 4, weighted=True, **settings))
    made.append(_run("one-warp", number, net, sgd, 20, 6, 4, threads=32, l1=0.01, l2=0.1))
    # Entries whose squares overflow, in float64 too; the loss does not.
    line, huge = network(3, (2,), loss="mae")[0], 1e160 if number == FLOAT64 else 1e20
    made.append(_run("long-gradient", number, line, sgd, 20, 6, 4, scale=huge, clip_norm=1.0))
    made.append(_run("stops-at-nan", number, net, sgd, 20, 6, 4, scale=np.nan))
    return made


def _run(
    name: str, number: Any, net: fn.Network, optimizer: Any, rows: int, batch: int, chunk: int, *,
    form: str = "index", weighted: bool = False, ordered: bool = False, first_step: int = 0,
    seed: int = 0, threads: int = 64, scale: float = 1.0, **settings: Any,
) -> Case:  # fmt: skip
    """Some steps, the first after three updates."""
    plan = lower(net)
    layout, real = lay_out(plan), np.dtype(number.real)
    x, y = rows_for(net, rows, form=form)
    if scale != 1:
        x[13] *= scale  # of the third batch
    x, y = x.astype(real), y if y.ndim == 1 else y.astype(real)
    weights = weights_for(rows).astype(real) if weighted else None
    batches = -(-rows // batch)
    order = orders(rows, (first_step + STEPS - 1) // batches - first_step // batches + 1)
    order = order if ordered else None
    rates = np.linspace(0.5, 1, STEPS) * optimizer.learning_rate
    run = Run(first_step, STEPS, batch, order, optimizer, rates, seed=seed, **settings)
    p = draw(1, plan.size, number, 0.7)
    slots = optimizer.slots
    memory = np.abs(draw(2, (slots, plan.size), number)) * 0.1
    state = State(p.astype("f8"), memory.astype("f8"), updates=3)
    wide = [None if a is None else a if a.dtype.kind == "i" else a.astype("f8")
            for a in (x, y, weights)]  # fmt: skip
    data = Data(Inputs(wide[0]), *wide[1:])
    losses = NumpyProgram(plan, np.dtype("f8"), 1).train(state, data, run)
    made = state.updates - 3
    before = block(rows=rows, batch=batch, steps=STEPS, first_step=first_step, ordered=ordered)
    control.drop(before, layout, run)
    before[Control.OPTIMIZER], before[Control.SLOTS] = control.code(optimizer), slots
    after = before.copy()
    after[Control.NOW] = made
    near, kept = NEAR[number.real], np.full(STEPS, np.nan)
    kept[: len(losses)] = losses
    labels = y.astype("i8") if y.ndim == 1 else None
    fixed, each = tiny._entries(layout, slots)
    arguments = {
        **tables(layout), "settings": control.settings(run),
        "steps": control.step_table(layout, run, 3),
        "parameters": Out(state.parameters, number.real, p, norm=near),
        "memory": Out(state.memory, number.real, memory, norm=near) if slots else None,
        "data_x": x, "data_y": None if y.ndim == 1 else y, "labels": labels, "weights": weights,
        "order": order, "losses": Out(kept, "f8", near=(near, 0.0)),
        "control": Out(after, "i8", before),
        "chunk_rows": chunk, "networks": None,
    }  # fmt: skip
    shared = (fixed + each * chunk) * real.itemsize
    return Case(name, "tiny.cu", "tiny_train", number, arguments, 1, threads, shared)
