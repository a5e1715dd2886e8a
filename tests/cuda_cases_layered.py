"""Cases for kernels/layered.cu: rows in, activations, losses, and the way back."""

import math
from typing import Any

import numpy as np
from cuda_cases import (
    BF16,
    BOTH,
    FACTORS,
    FLOAT64,
    FP16,
    TF32,
    Case,
    Out,
    activated,
    batch_of,
    block,
    draw,
    mask_of,
    network,
    orders,
    rounding,
    row_losses,
    share_out,
    slope_from_output,
    soft,
    steps_of,
    tables,
)
from samples import EVERYWHERE, FREE_LOSSES, RATE, label
from simulated.products import as_read, as_stored
from tolerances import NORMAL_TAIL

import fastnet as fn
from fastnet_cupy.names import Control

#: What a unit learns of its activation is an operation of its own, which kernels do not have.
ACTIVATIONS = [activation for activation in EVERYWHERE if activation.alpha_start is None]


def cases() -> list[Case]:
    """All of them."""
    made = []
    # float32 is what sums are kept in for TF32, BF16 and FP16, so it needs no build of its own.
    for number in (FLOAT64, TF32, BF16, FP16):
        made += [*_gathers(number), *_activates(number), *_output_derivatives(number)]
        made += [*_through_slopes(number), *_sums(number)]
    for number in BOTH:
        made += [*_finishes(number), *_softmaxes(number), *_losses(number), *_predictions(number)]
    return [*made, *_scales(), *_advances()]


def _stored(values: np.ndarray, number: Any) -> np.ndarray:
    """Values as layers hand them to each other."""
    return as_read(values, TF32) if number == TF32 else as_stored(values, number)


def _gathers(number: Any) -> list[Case]:
    rows = 50
    order, late = orders(rows, 2), {"first_step": 2**32 + 5, "seed": 2**63 + 11}
    made = []
    for name, inputs, drops, buffer, settings, its_order in [
        ("whole", 7, (), 50, {"rows": rows, "batch": 50}, None),
        ("one-row", 7, (), 1, {"rows": rows, "batch": 1, "index": 3}, None),
        ("tail", 7, (), 20, {"rows": rows, "batch": 20, "index": 2}, None),
        ("order", 7, (), 20, {"rows": rows, "batch": 20, "index": 4, "ordered": True}, order),
        ("streamed", 7, (), 8, {"rows": 999, "batch": 8, "index": 7, "streamed": 6}, None),
        ("fours", 8, (), 20, {"rows": rows, "batch": 20, "index": 4, "ordered": True}, order),
        ("fours-tail", 4, (), 20, {"rows": rows, "batch": 20, "index": 2}, None),
        ("dropout", 7, (0.25, 0.5), 20, dict(rows=rows, batch=20, index=2, **late),
         None),
        ("fours-dropout", 8, (0.25,), 20, dict(rows=rows, batch=20, **late), None),
        ("no-dropout-now", 8, (0.25,), 20, dict(rows=rows, batch=20, **late), None),
    ]:  # fmt: skip
        _, layout = network(inputs, *drops, (5, "relu"), 0.5, (3,))
        state = block(dropout=layout if name.endswith("dropout") else None, **settings)
        data_x = draw(1, (rows, inputs), number)
        batch = batch_of(state, its_order)
        there = np.minimum(np.arange(buffer), len(batch.rows) - 1)  # a tail repeats its last row
        x = data_x[batch.rows[there]].astype("f8")
        if state[Control.DROPPING]:
            x *= mask_of(layout.masks, state, batch.step, x.shape)
        near = rounding(number, stored=True)
        arguments = {
            **tables(layout), "control": state, "steps": steps_of(layout, dropout_factor=FACTORS),
            "order": its_order, "data_x": data_x, "buffer": buffer,
            "x": None if name == "tail" else Out(x, number.store, near=near),
            "wide": Out(x, number.real, near=rounding(number)) if "a" in name else None,
        }  # fmt: skip
        made.append(Case(name, "layered.cu", "gather", number, arguments, blocks=2))
    return made


def _at_ends(z: np.ndarray) -> np.ndarray:
    """With what activations may stumble over."""
    ends = [0, np.nan, np.inf, -np.inf, 100, -100, 1e-30, -1e-30]
    z.reshape(-1)[: len(ends)] = ends[: z.size]
    return z


def _activates(number: Any) -> list[Case]:
    rows, units, made = 13, 21, []
    for activation in ACTIVATIONS:
        _, layout = network(4, 0.5, (3,), 0.3, (units, activation), 0.25, 0.5, (2,))
        masks = layout.layers[1].masks
        for name, biased, sloped, dropping in [
            ("bias", True, True, False),
            ("no-bias", False, False, False),
            ("dropout", True, True, True),
        ]:
            z, bias = _at_ends(draw(4, (rows, units), number, 3)), draw(5, units, number)
            state = block(
                rows=rows, batch=rows, index=3, dropout=layout if dropping else None, seed=2**63
            )
            a, slope = activated(activation, z.astype("f8") + (bias if biased else 0))
            if dropping:
                mask = mask_of(masks, state, 3, z.shape)
                with np.errstate(invalid="ignore"):
                    a, slope = a * mask, slope * mask
            if number == FP16:
                a = np.where(np.abs(a) >= 65520, np.copysign(np.inf, a), a)
            near = rounding(number, stored=True)
            arguments = {
                **tables(layout), "control": state,
                "steps": steps_of(layout, dropout_factor=FACTORS), "l": 1, "count": z.size, "z": z,
                 "bias": bias if biased else None, "a": Out(a, number.store, near=near),
                "slope": Out(slope, number.store, near=near) if sloped else None,
            }  # fmt: skip
            title = f"{label(activation)}-{name}"
            made.append(Case(title, "layered.cu", "activate", number, arguments, blocks=3))
    return made


def _finishes(number: Any) -> list[Case]:
    made = [_tail(number)]
    for activation in ACTIVATIONS:
        for rows, units, sloped in [(1, 1, True), (9, 33, True), (9, 33, False)]:
            _, layout = network(4, (3, "relu"), (units, activation))
            z, bias = draw(6, (rows, units), number, 3), draw(7, units, number)
            if not sloped:
                z, bias = _at_ends(z), None
            a, slope = activated(activation, z.astype("f8") + (0 if bias is None else bias))
            arguments = {
                **tables(layout), "l": 1, "count": z.size,
                "bias": bias, "out": Out(a, number.real, z, near=rounding(number)),
                "slope": Out(slope, number.real, near=rounding(number)) if sloped else None,
            }  # fmt: skip
            name = f"{label(activation)}-{rows}-{units}" + ("" if sloped else "-plain")
            made.append(Case(name, "layered.cu", "finish_output", number, arguments, blocks=2))
    return made


def _tail(number: Any) -> Case:
    """GELU's lower tail, whose numbers are small but must keep their digits."""
    _, layout = network(1, (1, "gelu"))
    z = np.linspace(-12, -2, 333).astype(number.real)
    a, _ = activated(fn.GELU(), z.astype("f8"))
    near = (max(rounding(number)[0], NORMAL_TAIL), 0.0)
    arguments = {
        **tables(layout), "l": 0, "count": z.size, "bias": None,
        "out": Out(a, number.real, z, near=near), "slope": None,
    }  # fmt: skip
    return Case("gelu-tail", "layered.cu", "finish_output", number, arguments, blocks=2)


def _softmaxes(number: Any) -> list[Case]:
    made = []
    for rows, n, lanes, blocks in [
        (1, 1, 1, 2), (37, 2, 2, 3), (9, 5, 8, 2), (33, 40, 32, 3), (5, 70, 16, 1), (70, 3, 4, 2),
    ]:  # fmt: skip
        z = draw(8, (rows, n), number, 10)
        z[0] = 1000  # whose exponential overflows
        if rows > 2:
            z[1, 0], z[2] = -np.inf, np.nan
        wanted = Out(soft(z.astype("f8")), number.real, z, near=rounding(number))
        arguments = {"p": wanted, "rows": rows, "n": n, "lanes": lanes}
        name = f"{rows}-{n}-{lanes}"
        made.append(Case(name, "layered.cu", "softmax", number, arguments, blocks))
    return made


def _losses(number: Any) -> list[Case]:
    made = []
    for loss in (loss for loss in FREE_LOSSES if loss.outputs_per_target == 1):
        made.append(_loss(number, (1,), loss, 1, "y", None, 1))
        made.append(_loss(number, (5,), loss, 8, "y", "some", 2))
        made.append(_loss(number, (3, fn.Softmax()), loss, 4, "y", "some", 2))  # behind a softmax
    for loss in (fn.GaussianNLL(), fn.Quantile((0.1, 0.8))):
        for units, lanes, weighted in ((2, 1, None), (6, 4, "some"), (70, 32, "some")):
            made.append(_loss(number, (units,), loss, lanes, "y", weighted, 2))
    made.append(_loss(number, (70,), fn.MSE(), 32, "y", "some", 3))
    made.append(_loss(number, (70,), fn.MSE(), 2, "y", None, 3))
    made.append(_loss(number, (4,), fn.MSE(), 4, "y", "some", 2, "stored"))
    made.append(_loss(number, (3, fn.Softmax()), fn.MSE(), 4, "y", "some", 2, "real"))
    for form in ("y", "labels"):
        last, loss = ((4,), fn.MSE()) if form == "y" else ((4, fn.Softmax()), fn.Crossentropy())
        made.append(_loss(number, last, loss, 4, form, "some", 2, "neither"))
    made.append(_loss(number, (5,), fn.MSE(), 8, "y", "none", 2))
    made.append(_loss(number, (5,), fn.MAE(), 16, "y", "spoilt", 2))
    made.append(_loss(number, (3, fn.Sigmoid()), RATE[1], 4, "y", "some", 2))
    for smoothing in (0.0, 0.1):
        loss = fn.BinaryCrossentropy(smoothing)
        made.append(_loss(number, (3, fn.Sigmoid()), loss, 4, "y", None, 2))
    for form in ("labels", "onehot", "soft"):
        for units, lanes in [(2, 1), (5, 8), (40, 32)]:
            net = (units, fn.Softmax())
            made.append(_loss(number, net, fn.Crossentropy(), lanes, form, "some", 2))
        made.append(_loss(number, (40, fn.Softmax()), fn.Crossentropy(0.1), 32, form, "some", 2))
        made.append(_loss(number, (7, fn.Softmax()), fn.Crossentropy(), 8, form, None, 1))
    return made


def _loss(
    number: Any, last: Any, loss: Any, lanes: int, form: str, weighted: str | None, blocks: int,
    given: str = "both",
) -> Case:  # fmt: skip
    """A batch of 41 rows in a buffer of 50, the second of the epoch, in an order.

    `given`: "both" derivatives, the "stored" one alone, the "real" one alone, or "neither".
    """
    _, layout = network(2, (3, "tanh"), last, loss=loss)
    generator = np.random.default_rng(len(str(last)))
    rows, buffer, n, threads, size = 41, 50, layout.outputs, 64, 91
    state, order = block(rows=size, batch=50, index=1, ordered=True), orders(size, 1)
    where = batch_of(state, order).rows
    assert len(where) == rows
    p = draw(9, (buffer, n), number, 2)
    if layout.softmax:
        p = soft(p.astype("f8")).astype(number.real)
    if loss == RATE[1]:
        p = np.abs(p)
    y = np.abs(draw(10, (buffer, n), number))
    if form != "y":
        p[:3] *= 100
        labels = generator.integers(0, n, buffer)
        y = np.eye(n, dtype=number.real)[labels]
        y = 0.7 * y + 0.1 / n if form == "soft" else y
    elif loss.targets == "probability":
        y = y / (1 + y)
        y[0], p[0] = 1, 50
    else:
        p[1, 0] = y[1, 0]  # where the sign is 0
    p[rows:] = np.nan  # nobody's
    weights = np.abs(draw(11, buffer, number))
    weights[1::3] = 0
    if weighted == "none":
        weights[:] = 0
    if weighted == "spoilt":
        p[7, -1] = np.nan
        p[1, 0] = np.inf  # of a row that does not count
    slope = None
    if layout.outputs == 5 and not layout.softmax and form == "y":
        slope = draw(18, (buffer, n), number)
    held = labels[:rows] if form == "labels" else y[:rows].astype("f8")
    counting = weights[:rows] if weighted else None
    t, each, d = row_losses(loss, layout, p[:rows].astype("f8"), held, counting)
    if slope is not None:
        d = d * slope[:rows]
    at_once = threads // lanes
    owner = np.arange(rows) // at_once % blocks
    peaks = [np.abs(d[owner == b]).max(initial=0) for b in range(blocks)]
    derivative = np.zeros((buffer, n))
    derivative[:rows] = d

    def near(stored: bool = False) -> tuple[float, float]:
        relative, absolute = rounding(number, stored=stored)
        return relative, absolute * np.nanmax(np.abs(d), initial=0)

    def placed(values: np.ndarray, dtype: Any) -> np.ndarray:
        data = np.full((size, *values.shape[1:]), -1 if values.dtype.kind == "i" else np.nan, dtype)
        data[where] = values[:rows]
        return data

    relative, absolute = rounding(number)
    # A row's loss is the difference of terms that may be larger than it is.
    sums = (relative, absolute * np.nansum(np.abs(t)))
    real_d, stored = (given in kinds for kinds in (("both", "real"), ("both", "stored")))
    arguments = {
        **tables(layout), "control": state, "order": order,
        "scalars": np.array([weights[:rows].sum(dtype="f8"), np.nan, np.nan]), "p": p,
        "data_y": None if form == "labels" else placed(y, number.real),
        "data_labels": placed(labels, "i8") if form == "labels" else None,
        "data_weights": placed(weights, number.real) if weighted else None,
        "buffer": buffer, "lanes": lanes, "slope": slope,
        "real_d": Out(derivative, number.real, near=near()) if real_d else None,
        "d": Out(_cut(derivative, number), number.store, near=near(True)) if stored else None,
        "parts": Out(share_out(rows, at_once, blocks, each), "f8", near=sums),
        "peaks": None if given == "neither" else Out(peaks, number.real, near=near()),
    }  # fmt: skip
    name = "-".join([label(loss), "x".join(map(str, (n, lanes))), form, weighted or "alike"])
    name += ("-softmax" if layout.softmax else "") + ("" if given == "both" else f"-{given}")
    return Case(name, "layered.cu", "losses", number, arguments, blocks, threads)


def _scales() -> list[Case]:
    made = []
    for name, peaks in [
        ("one", [3e-7]),
        ("power-of-two", [0.5, 0.25]),
        ("many", np.linspace(1e-9, 7.9, 70)),
        ("zero", [0.0] * 33),
        ("infinite", [1.0, np.inf]),
        ("no-number", [*[1.0] * 40, np.nan]),
        ("capped", [0.0, 2.0**-122]),
        ("subnormal", [1e-42]),
        ("least", [2.0**-149]),
        ("largest", [1e-30, 3.4e38]),
    ]:
        array = np.array(peaks, "f4")
        peak, scale = float(array.max()), 1.0
        if peak == 0:
            scale = 2.0**126
        elif math.isfinite(peak):
            scale = min(16 * 2.0 ** -(math.floor(math.log2(peak)) + 1), 2.0**126)
        scalars = Out([1, 2, scale], "f8", [1, 2, 3])
        arguments = {"peaks": array, "count": len(peaks), "scalars": scalars}
        made.append(Case(name, "layered.cu", "choose_scale", BF16, arguments, threads=32))
    return made


def _cut(values: np.ndarray, number: Any) -> np.ndarray:
    return np.clip(values, -65504, 65504) if number == FP16 else values


def _output_derivatives(number: Any) -> list[Case]:
    made = []
    for name, count, scale in [("one", 1, 1.0), ("scale", 150, 2.0**12)]:
        d = draw(12, count, number)
        d[0] = 3e4  # beyond fp16 with the scale, not infinite
        wide, near = d.astype("f8") * scale, rounding(number, stored=True)
        arguments = {
            "scalars": np.array([np.nan, np.nan, scale]), "count": count, "real_d": d,
            "d": Out(_cut(wide, number), number.store, near=near), "wide": None,
        }  # fmt: skip
        if name == "scale":  # in place
            in_full = Out(wide, number.real, d, near=rounding(number))
            arguments |= {"real_d": "wide", "wide": in_full}
        made.append(Case(name, "layered.cu", "output_derivative", number, arguments, 2))
    return made


def _through_slopes(number: Any) -> list[Case]:
    made = []
    near = rounding(number, stored=True)
    for activation in [None, "kept", *ACTIVATIONS[:6]]:
        count = 1 if activation is None else 200
        wide, z = draw(14, count, number, 4), draw(15, count, number)
        z[-1] = 0  # where a slope jumps
        plain = "identity" if activation in (None, "kept") else activation
        layout = network(2, (3, "relu"), (4, plain))[1]
        a, slope, steep = None, None, np.ones(count)
        if activation == "kept":
            slope = _stored(z, number)
            steep = as_read(slope, number).astype("f8")
        elif activation is not None:
            a = _stored(activated(activation, z)[0], number)
            # The slope from the output as it is stored.
            steep = slope_from_output(activation, as_read(a, number).astype("f8"))
        wide[0] = 7e4
        arguments = {
            **tables(layout), "l": 1, "count": count, "wide_d": wide, "a": a, "slope": slope,
            "d": Out(_cut(wide * steep, number), number.store, near=near),
        }  # fmt: skip
        name = "one" if activation is None else "kept" if a is None else label(activation)
        made.append(Case(name, "layered.cu", "through_slope", number, arguments, 2))
    return made


def _sums(number: Any) -> list[Case]:
    made = []
    for rows, columns, each in [(1, 1, 512), (40, 31, 13), (600, 33, 512), (17, 70, 5)]:
        parts, groups = math.ceil(rows / each), math.ceil(columns / 32)
        d = _stored(draw(16, (rows, columns), number), number)
        wide = as_read(d, number).astype("f8")
        between = np.add.reduceat(wide, np.arange(0, rows, each))
        relative, absolute = rounding(number)
        near = (relative, absolute * math.sqrt(rows))
        shape, name = {"rows": rows, "columns": columns}, f"{rows}-{columns}"
        arguments = {
            "d": d, **shape, "rows_of_part": each, "parts": Out(between, number.real, near=near),
        }  # fmt: skip
        case = Case(name, "layered.cu", "sum_columns", number, arguments, groups * parts, 256)
        made.append(case)
        if number in BOTH:
            arguments = {
                "parts": between.astype(number.real), "rows": parts, "columns": columns,
                "rows_of_part": parts, "sums": Out(wide.sum(0), number.real, near=near),
            }  # fmt: skip
            made.append(Case(name, "layered.cu", "sum_parts", number, arguments, groups, 256))
    return made


def _predictions(number: Any) -> list[Case]:
    _, plain = network(2, (3, "sigmoid"))
    _, logits = network(2, (3, "sigmoid"), loss="binary_crossentropy")
    made = []
    for name, layout, batch, index in [
        ("one-row", plain, 1, 7), ("plain", plain, 30, 0), ("sigmoid", logits, 30, 1),
    ]:  # fmt: skip
        p, rows = draw(17, (batch, 3), number), 41
        state = block(rows=rows, batch=batch, index=index)
        where, out = batch_of(state).rows, np.full((rows, 3), np.nan)
        out[where] = p[: len(where)]
        if layout == logits:
            out = 1 / (1 + np.exp(-out))
        arguments = {
            "int_table": tables(layout)["int_table"], "control": state, "p": p,
            "out": Out(out, number.real, near=rounding(number)),
        }  # fmt: skip
        made.append(Case(name, "layered.cu", "store_predictions", number, arguments, blocks=2))
    return made


def _advances() -> list[Case]:
    before = block(rows=9, batch=2, index=3)
    arguments = {"control": Out(block(rows=9, batch=2, index=4), "i8", before)}
    return [Case("one-step", "layered.cu", "advance", BF16, arguments, threads=32)]
