"""Cases for kernels/step.cu: rows, orders, the weights' sum, penalties, loss, update, recast."""

import math
from typing import Any

import numpy as np
from cuda_cases import (
    BF16,
    BOTH,
    FLOAT64,
    Case,
    Out,
    a_run,
    batch_of,
    block,
    draw,
    network,
    orders,
    rounding,
    settings_of,
    share_out,
    steps_of,
    tables,
)
from tolerances import FORWARD

import fastnet as fn
from fastnet import random
from fastnet.definition import optimizers
from fastnet_cupy import control
from fastnet_cupy.names import Control
from fastnet_numpy.optimizers import UPDATES

#: Sums that are kept in float64 whatever the kind of number.
SUM = (1e-13, 0.0)


class EpsilonBefore(optimizers.Adam):
    """As scikit-learn has it."""

    epsilon_before_correction = True


OPTIMIZERS = {
    "sgd": optimizers.SGD(0.1),
    "momentum": optimizers.SGD(0.1, momentum=0.9),
    "nesterov": optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": optimizers.Adam(0.01),
    "adam-epsilon": EpsilonBefore(0.01, epsilon=0.1),
    "rmsprop": optimizers.RMSprop(0.01),
    "rmsprop-momentum": optimizers.RMSprop(0.01, momentum=0.8),
    "adagrad": optimizers.Adagrad(0.1),
    "rprop": optimizers.Rprop(0.01, step_sizes=(1e-6, 0.5)),
    "lion": optimizers.Lion(0.01),
}


def cases() -> list[Case]:
    """All of them."""
    return [
        *(case for number in BOTH for case in _masses(number)),
        *(case for number in BOTH for case in _collects(number)),
        *_totals(),
        *_moves(),
        *(case for number in BOTH for case in _statistics(number)),
        *_conversions(),
        *(case for number in BOTH for case in _looks(number)),
        *_orders(),
    ]


def _looks(number: Any) -> list[Case]:
    """Rows that are good to learn from, and others."""
    largest = float(np.finfo(number.real).max)
    values = np.abs(draw(11, 333, number, 0.1))
    values[:4] = 0, 1, largest, -largest
    made = []
    for name, bad, least, most, wrong in [
        ("finite", [], -largest, largest, 0),
        ("not-finite", [np.nan, np.inf, -np.inf], -largest, largest, 3),
        ("counts", [-1e-30], 0, largest, 2),
        ("shares", [np.nan, 1.0000002, -0.0], 0, 1, 4),
    ]:
        given = values.copy()
        given[330 - 50 * len(bad) : 330 : 50] = bad
        arguments = {
            "values": given, "count": 333, "least": least, "most": most,
            "found": Out([7 + wrong], "i8", [7]),
        }  # fmt: skip
        made.append(Case(name, "step.cu", "count_outside", number, arguments, 3, 64))
    return made


def _orders() -> list[Case]:
    """Whole numbers, whatever the kind of number."""
    labels = np.arange(333) % 5
    labels[[9, 99, 332]] = -1, 5, 2**40
    arguments = {"labels": labels, "count": 333, "classes": 5, "found": Out([3], "i8", [0])}
    made = [Case("labels", "step.cu", "count_unknown", BF16, arguments, 3, 64)]
    for name, seed, first, epochs, rows in [
        ("one-row", 3, 0, 1, 1), ("later", 2**64 - 1, 2**32 - 1, 3, 333), ("fours", 0, 7, 2, 64),
    ]:  # fmt: skip
        numbers = range(first, first + epochs)
        words = np.array([random.words(seed, random.SHUFFLE, epoch, rows) for epoch in numbers])
        keys = (words.astype(np.int64) - 2**31 << 32) + np.arange(rows)
        arguments = {
            "seed": seed, "first": first, "epochs": epochs, "rows": rows, "keys": Out(keys, "i8"),
        }  # fmt: skip
        made.append(Case(name, "step.cu", "draw_keys", BF16, arguments, 3, 64))
        kept = Out(keys % 2**32, "i8", keys)
        arguments = {"keys": kept, "count": keys.size}
        made.append(Case(name, "step.cu", "keep_rows", BF16, arguments, 3, 64))
    return made


def _masses(number: Any) -> list[Case]:
    weights = np.abs(draw(1, 301, number))
    weights[::4] = 0
    order = orders(301, 3)
    made = []
    for name, threads, state, its_order in [
        ("one-row", 32, block(rows=301, batch=1, index=5), None),
        ("a-row-a-thread", 64, block(rows=301, batch=64, index=1), None),
        ("tail-in-order", 64, block(rows=301, batch=100, index=7, ordered=True), order),
        (
            "later-epoch",
            256,
            block(rows=301, batch=150, first_step=8, index=2, ordered=True),
            order,
        ),
        ("streamed", 96, block(rows=9000, batch=100, index=5, streamed=3), None),
        ("as-many-as-can-be", 1024, block(rows=301, batch=300), None),
        ("late-step", 64, block(rows=301, batch=300, first_step=2**33 + 1), None),
    ]:
        batch = batch_of(state, its_order)
        scalars = [weights[batch.rows].sum(dtype="f8"), 7, 8]
        arguments = {
            "control": state, "weights": weights, "order": its_order,
            "sums": Out(scalars, "f8", [6, 7, 8], near=SUM),
        }  # fmt: skip
        made.append(Case(name, "step.cu", "mass", number, arguments, threads=threads))
    several = block(rows=301, batch=300, ordered=True)
    batch = batch_of(several, order)
    parts = share_out(len(batch.rows), 32, 3, weights[batch.rows].astype("f8"))
    sums = Out([*parts, 7], "f8", [4, 5, 6, 7], near=SUM)
    arguments = {"control": several, "weights": weights, "order": order, "sums": sums}
    made.append(Case("three-blocks", "step.cu", "mass", number, arguments, 3, 32))
    for count in (2, 77):
        parts = np.abs(draw(3, count, FLOAT64))
        scalars = Out([parts.sum(), 7, 8], "f8", [6, 7, 8], near=SUM)
        arguments = {"sums": parts, "count": count, "scalars": scalars}
        made.append(Case(f"{count}-parts", "step.cu", "add_up_mass", number, arguments, 1, 32))
    return made


def _is_weight(layout: Any) -> np.ndarray:
    weight = np.zeros(layout.size, bool)
    for layer in layout.layers:
        layer.weight_of(weight)[:] = True
    return weight


def _collects(number: Any) -> list[Case]:
    _, wide = network(7, (33, "tanh"), (5, "relu"))
    _, least = network(1, (1,))
    _, norms = network(3, (4,), fn.BatchNorm(), (2,))
    no = math.inf
    made = []
    for name, layout, blocks, threads, objective, scale, spread in [
        ("plain", wide, 3, 64, [0, 0, no, no], 1.0, 1.0),
        ("penalties", wide, 2, 96, [0.1, 0.2, no, no], 1.0, 1.0),
        ("l1-alone", wide, 1, 256, [0.1, 0, no, 1], 1.0, 1.0),
        ("cut-and-scaled", wide, 1, 32, [0, 0.3, 0.5, 1], 2.0**20, 2.0**20),
        ("statistics", norms, 2, 64, [0, 0.3, 0.5, 1], 2.0**20, 2.0**20),
        ("two-parameters", least, 2, 64, [0.1, 0.2, 0.5, no], 1.0, 1.0),
        ("overflowing", wide, 3, 64, [0, 0, no, 1], 1.0, 1e30 if number == BF16 else 1e200),
        ("not-a-number", wide, 3, 64, [0, 0, 0.5, 1], 1.0, 1.0),
    ]:
        passed = draw(2, layout.size, number, spread)
        if name == "not-a-number":
            passed[70] = np.nan
        p = draw(3, layout.size, number)
        p[::5] = 0
        l1, l2, limit, longest = objective
        run = {"l1": l1, "clip_value": limit, "clip_norm": longest}
        l2s = np.full(9, 1e30)  # of other steps: one of them would show
        l2s[4] = l2
        gradient = passed.astype("f8") / scale
        wide_p, weight = p.astype("f8"), _is_weight(layout)
        penalty = np.where(weight, l1 * np.abs(wide_p) + l2 / 2 * wide_p**2, 0)
        gradient += np.where(weight, l1 * np.sign(wide_p) + l2 * wide_p, 0)
        gradient[layout.trained :] = passed[layout.trained :]
        cut = np.clip(gradient, -limit, limit)
        cut[layout.trained :] = 0
        with np.errstate(over="ignore"):
            sums = [penalty, cut**2, (cut * 2.0**-512) ** 2]
            by_block = [share_out(layout.size, threads, blocks, s) for s in sums]
        near, in_place = rounding(number)[0], name == "penalties"
        # SHRINK^2 brings a number of usual size to the subnormal ones, 5e-324 apart.
        errors = [(near, 0.0), (near, 0.0), (near, layout.size * 5e-324)]
        relative, absolute = np.array(errors).T[:, :, None] * np.ones((1, 3, blocks))
        arguments = {
            "int_table": tables(layout)["int_table"], "control": block(4, rows=4, batch=4),
            "settings": settings_of(**run), "steps": steps_of(layout, l2=l2s),
            "scalars": np.array([np.nan, np.nan, scale]), "parameters": p,
            "passed": "gradient" if in_place else passed,
            "gradient": Out(
                gradient, number.real, passed if in_place else None,
                near=(near, near * spread / scale),
            ),
            "sums": Out(np.stack(by_block), "f8", near=(relative, absolute)),
        }  # fmt: skip
        made.append(Case(name, "step.cu", "collect", number, arguments, blocks, threads))
    return made


def _totals() -> list[Case]:
    """All its numbers are float64, whatever the kind of number."""
    _, means = network(3, (4, "relu"), (5,))
    _, classes = network(3, (5, "softmax"), loss="crossentropy")
    no, huge, made = math.inf, 1e160, []
    for name, layout, count, weighted, mass, spread, blocks, limit, stopped in [
        ("rows", means, 1, 0, np.nan, 1.0, 0, no, 0),
        ("weights", means, 3, 1, 2.5, 1.0, 0, no, 0),
        ("classes", classes, 300, 0, np.nan, 1.0, 0, no, 0),
        ("no-weights", means, 2, 1, 0.0, 0.0, 70, no, 0),
        ("long-gradient", means, 2, 0, np.nan, 1.0, 70, 0.25, 0),
        ("short-gradient", classes, 2, 1, 3.0, 1.0, 1, 1e9, 0),
        ("longer-than-1e154", means, 2, 0, np.nan, 1.0, 3, 2.0, 0),
        ("infinite-loss", means, 2, 0, np.nan, no, 3, 2.0, 0),
        ("loss-is-no-number", classes, 2, 0, np.nan, np.nan, 0, no, 0),
        ("stopped-before", means, 2, 1, 2.5, 1.0, 3, 2.0, 1),
    ]:
        generator = np.random.default_rng(len(name))
        state = block(rows=10, batch=4, index=5)  # the tail: two rows
        state[Control.STOPPED] = stopped
        loss_parts = spread * generator.uniform(1, 2, count)
        entries = generator.uniform(1, 2, max(blocks, 1))  # a gradient's, one a block
        if name == "longer-than-1e154":
            entries *= huge
        penalties = generator.uniform(size=max(blocks, 1))
        with np.errstate(over="ignore"):
            squares, shrunk = entries**2, (entries * 2.0**-512) ** 2
        rows = mass if weighted else 2.0
        each = layout.loss.each
        loss = loss_parts.sum() / each / rows if rows else 0.0
        factor = 1.0
        if blocks:
            loss += penalties.sum()
            peak = entries.max()
            length = peak * np.linalg.norm(entries / peak)
            factor = min(limit / length, 1.0)
        after = state.copy()
        after[Control.NOW], after[Control.NEXT] = 5, 6
        after[Control.STOPPED] = stopped or not np.isfinite(loss)
        losses, masses = np.full(9, np.nan), np.full(9, np.nan)
        if stopped:
            factor = 7.0
        else:
            losses[5], masses[5] = loss, rows
        arguments = {
            "int_table": tables(layout)["int_table"], "control": Out(after, "i8", state),
            "scalars": Out([mass, factor, 2.0], "f8", [mass, 7.0, 2.0], near=SUM),
            "settings": settings_of(clip_norm=limit) if blocks else None, "weighted": weighted,
            "parts": loss_parts, "count": count, "blocks": blocks,
            "sums": np.stack((penalties, squares, shrunk)) if blocks else None,
            "losses": Out(losses, "f8", near=SUM), "masses": Out(masses, "f8", near=SUM),
        }  # fmt: skip
        made.append(Case(name, "step.cu", "total", BF16, arguments, threads=64))
    return made


def _moves() -> list[Case]:
    made = []
    for number in BOTH:
        for name, optimizer in OPTIMIZERS.items():
            made.append(_move(name, number, optimizer, 333, 2, 64))
        adam = OPTIMIZERS["adam"]
        made.append(_move("decay", number, adam, 333, 2, 64, decay=0.5))
        made.append(_move("factors", number, adam, 333, 2, 64, decay=0.5, factors=True))
        made.append(_move("one-parameter", number, adam, 1, 1, 32))
        made.append(_move("cut-and-scaled", number, adam, 70, 1, 32, scale=2.0**12, limit=0.5))
        made.append(_move("stopped", number, adam, 70, 1, 64, stopped=True))
        for rows, size in [(1, 1), (5, 70), (9, 320)]:
            made.append(_move(f"{rows}-parts", number, adam, size, 0, 256, 2.0**4, parts=rows))
        for total, stopped in (("loss", False), ("stopping", False), ("loss", True)):
            name = f"total-{total}" + ("-stopped" if stopped else "")
            made.append(_move(name, number, adam, 333, 3, 64, stopped=stopped, total=total))
        made.append(_move("total-parts", number, adam, 70, 0, 256, 2.0**4, parts=3, total="loss"))
        made.append(_move("stopped-parts", number, adam, 70, 0, 256, stopped=True, parts=3))
    return made


def _move(
    name: str, number: Any, optimizer: Any, size: int, blocks: int, threads: int,
    scale: float = 1.0, limit: float = math.inf, stopped: bool = False, decay: float = 0.0,
    factors: bool = False, parts: int = 0, total: str = "",
) -> Case:  # fmt: skip
    """The second step of a run that begins after six updates; its gradient may be in parts.

    `total`: "loss", or "stopping" where it is not finite: the update does what else `total` does.
    """
    factor, slots = 0.75, optimizer.slots
    lrs = np.array([1e30, 0.3 if optimizer.name == "sgd" else 0.02, 1e30])
    passed = draw(4, size, number, scale)
    p = draw(5, size, number)
    memory = np.abs(draw(6, (optimizer.slots, size), number)) + number_one(number)
    if optimizer.name == "rprop":
        memory[0, ::2] *= -1  # the last gradient; 0 keeps the sign
        memory[0, ::7] = 0
    state = block(rows=4, batch=4, index=1 if total else 2, now=0 if total else 1)
    state[Control.STOPPED] = stopped
    state[Control.OPTIMIZER], state[Control.SLOTS] = control.code(optimizer), slots
    layout = network(3, (4, "relu"), (5,))[1]
    loss_parts = np.abs(draw(10, 70, FLOAT64))
    after, losses, masses = state.copy(), np.full(3, np.nan), np.full(3, np.nan)
    if total:
        after[Control.NOW], after[Control.NEXT] = 1, 2
    if total and not stopped:
        loss_parts[66] = math.inf if total == "stopping" else 1
        losses[1], masses[1] = loss_parts.sum() / layout.loss.each / 2.5, 2.5
        after[Control.STOPPED] = stopped = total == "stopping"
    run = a_run(
        steps=3, optimizer=optimizer, learning_rate=lrs, weight_decay=decay, clip_value=limit
    )
    stride = math.ceil(size / 32) * 32
    rows = draw(9, (parts, stride), number, scale)
    gradient = (rows[:, :size].sum(0, dtype="f8") if parts else passed.astype("f8")) / scale
    gradient = np.clip(gradient, -limit, limit) * factor
    moved, kept = p.astype("f8"), memory.astype("f8")
    own = np.abs(draw(8, (2, size), number)) if factors else None
    if not stopped:
        lr = lrs[1] * (1 if own is None else own[0].astype("f8"))
        moved *= 1 - lr * decay * (1 if own is None else own[1].astype("f8"))
        kind, constants = optimizer.canonical()
        UPDATES[kind](constants, kept, size, np.dtype("f8"), factors)(moved, gradient, lr, 8)
    copied, near = None, FORWARD[number.real]
    if number.is_16_bit:
        start = np.full(size, np.nan) if stopped else moved
        copied = Out(start, number.store, near=rounding(number, stored=True))
    arguments = {
        "int_table": tables(layout)["int_table"], "control": Out(after, "i8", state),
        "scalars": np.array([2.5, factor, scale]), "settings": control.settings(run),
        "weighted": bool(total), "own_parts": loss_parts, "own_count": 70 if total else 0,
        "losses": Out(losses, "f8", near=SUM), "masses": Out(masses, "f8", near=SUM),
        "steps": control.step_table(network(1, (1,))[1], run, 6),
        "gradient": passed, "scaled": scale != 1, "size": size, "factors": own,
        "parameters": Out(moved, number.real, p, norm=near),
        "memory": Out(kept, number.real, memory, norm=near) if slots else None,
        "copy": copied,
    }  # fmt: skip
    if not parts:
        return Case(name, "step.cu", "update_parameters", number, arguments, blocks, threads)
    del arguments["gradient"]
    arguments |= {"parts": rows, "rows": parts, "stride": stride}
    return Case(name, "step.cu", "update_by_parts", number, arguments, stride // 32, threads)


def number_one(number: Any) -> Any:
    """A 1 that keeps memories away from zero, where a root is steep."""
    return np.dtype(number.real).type(1)


def _statistics(number: Any) -> list[Case]:
    made = []
    batch, shares, statistics = (draw(at, 333, number) for at in range(3))
    for name, stopped in [("moved", False), ("stopped", True)]:
        state = block(rows=4, batch=4)
        state[Control.STOPPED] = stopped
        wide = statistics.astype("f8")
        wanted = wide if stopped else wide + (batch - wide) * shares
        arguments = {
            "control": state, "batch": batch, "shares": shares, "count": 333,
            "statistics": Out(wanted, number.real, statistics, near=rounding(number)),
        }  # fmt: skip
        made.append(Case(name, "step.cu", "move_statistics", number, arguments, 3, 64))
    return made


def _conversions() -> list[Case]:
    p = draw(7, 333, BF16)
    p[:3] = [0, 1 + 2.0**-12, -3e38]
    copy = Out(p, BF16.store, near=(2.0 ** -(BF16.mantissa + 1), 0.0))
    arguments = {"parameters": p, "size": 333, "copy": copy}
    return [Case("three-blocks", "step.cu", "convert", BF16, arguments, 3, 64)]
