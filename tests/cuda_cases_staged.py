"""Cases for kernels/staged.cu: norms, factors, learned activations, sums, and the way back."""

import math
from typing import Any

import numpy as np
from cuda_cases import (
    BOTH,
    FACTORS,
    Case,
    Out,
    activated,
    block,
    draw,
    mask_of,
    network,
    rounding,
    steps_of,
    tables,
)

import fastnet as fn
from fastnet_cupy.names import SUM_COLUMNS, Control
from fastnet_numpy.normalizing import normalized, normalized_back


def cases() -> list[Case]:
    """All of them."""
    made = []
    for number in BOTH:
        made += [*_transforms(number), *_transforms_back(number), *_norms(number)]
        made += [*_products(number), *_batches(number)]
    return made


def _case(name: str, kernel: str, number: Any, arguments: dict[str, Any], blocks: int = 2) -> Case:
    threads = 256 if kernel.startswith(("sum_", "batch_")) else 64
    return Case(name, "staged.cu", kernel, number, arguments, blocks, threads)


def _stage(units: int, activation: Any, rate: float | None = None) -> Any:
    """The layout of a network whose stage 1 has an activation and maybe dropout."""
    drops = () if rate is None else (rate,)
    return network(3, (units,), fn.Scale(), fn.Activate(activation), *drops, (2,))[1]


def _transforms(number: Any) -> list[Case]:
    rows, units, made = 7, 21, []
    for name, activation, parts, rate in [
        ("plain", fn.Identity(), (), None),
        ("sum", fn.ReLU(), ("other",), None),
        ("scaled", fn.GELU(), ("scale", "shift"), 0.3),
        ("prelu", fn.PReLU(), ("alpha", "complement"), None),
        ("learned", fn.Parametric("mish"), ("shift", "alpha"), 0.25),
    ]:
        layout = _stage(units, activation, rate)
        state = block(rows=rows, batch=rows, index=3, dropout=layout if rate else None, seed=2**63)
        x, other = (draw(at, (rows, units), number, 2) for at in (1, 2))
        scale, shift, alpha = (draw(at, units, number) for at in (3, 4, 5))
        u = x.astype("f8") + (other if "other" in parts else 0)
        u = u * (scale if "scale" in parts else 1) + (shift if "shift" in parts else 0)
        plain = getattr(activation, "function", activation)
        a, slope = activated(fn.ReLU() if name == "prelu" else plain, u)
        learned = np.zeros_like(u)
        if "alpha" in parts:
            w = alpha.astype("f8")
            learned = a - u
            if "complement" in parts:
                w, learned = 1 - w, -learned
            a, slope = (1 - w) * u + w * a, 1 - w + w * slope
        if rate:
            mask = mask_of(layout.layers[1].masks, state, 3, x.shape)
            a, slope, learned = a * mask, slope * mask, learned * mask
        relative, absolute = rounding(number)
        near, kept = (relative, 4 * absolute), name != "sum"
        stored = rounding(number, stored=True)
        arguments = {
            **tables(layout), "control": state, "steps": steps_of(layout, dropout_factor=FACTORS),
            "l": 1, "count": x.size, "x": x, "other": other if "other" in parts else None,
            "scale": scale if "scale" in parts else None,
            "shift": shift if "shift" in parts else None,
            "alpha": alpha if "alpha" in parts else None, "complement": "complement" in parts,
            "wide": Out(a, number.real, near=near),
            "a": Out(a, number.store, near=(stored[0], stored[1] * 4)) if kept else None,
            "slope": Out(slope, number.real, near=near) if kept else None,
            "learned": Out(learned, number.real, near=near) if "alpha" in parts else None,
        }  # fmt: skip
        made.append(_case(name, "transform", number, arguments))
    return made


def _transforms_back(number: Any) -> list[Case]:
    rows, units, made = 7, 21, []
    near, stored = rounding(number), rounding(number, stored=True)
    d, z, scale, before = (
        draw(at, shape, number)
        for at, shape in enumerate([(rows, units), (rows, units), units, (rows, units)])
    )
    for name, given in [
        ("sum", {"before"}),
        ("onward", {"slope", "scale"}),
        ("from-output", {"a", "scale", "before"}),
    ]:
        a, slope = activated(fn.Tanh(), z)
        steep = 1 - a.astype("f8") ** 2 if "a" in given else slope.astype("f8")
        du = d * steep if given & {"a", "slope"} else d.astype("f8")
        onward = du * (scale if "scale" in given else 1) + (before if "before" in given else 0)
        arguments = {
            **tables(_stage(units, fn.Tanh())), "l": 1, "count": d.size, "d": d,
            "a": a if "a" in given else None, "slope": slope if "slope" in given else None,
            "scale": scale if "scale" in given else None,
            "before": before if "before" in given else None,
            "du": Out(du, number.real, near=near) if name == "onward" else None,
            "stored": None if name == "sum" else Out(du, number.store, near=stored),
            "onward": Out(onward, number.real, near=near),
        }  # fmt: skip
        made.append(_case(name, "transform_back", number, arguments))
    return made


def _norms(number: Any) -> list[Case]:
    made = []
    relative, absolute = rounding(number)
    for rows, n, lanes in [(1, 1, 1), (9, 5, 8), (70, 3, 4), (5, 70, 32)]:
        x, du, before = (draw(at, (rows, n), number, 2) for at in range(3))
        scale, shape = draw(3, n, number), {"rows": rows, "n": n, "lanes": lanes}
        z, s = normalized(x.astype("f8"), 0.125)
        near, name = (relative, 4 * absolute), f"{rows}-{n}"
        arguments = {
            **shape, "epsilon": np.float64(0.125), "x": x, "z": Out(z, number.real, near=near),
            "s": Out(s, number.real, near=near) if n > 1 else None,
        }  # fmt: skip
        made.append(_case(name, "normalize", number, arguments))
        kept, deviation = z.astype(number.real), s.astype(number.real)
        scaled = n > 3
        e = du.astype("f8") * (scale if scaled else 1)
        onward = normalized_back(e, kept.astype("f8"), deviation.astype("f8"), 1)
        wanted = onward + (before if scaled else 0)
        arguments = {
            **shape, "du": du, "z": kept, "s": deviation, "scale": scale if scaled else None,
            "before": before if scaled else None,
            "onward": Out(wanted, number.real, near=(relative, 16 * absolute)),
        }  # fmt: skip
        made.append(_case(name, "normalize_back", number, arguments))
    return made


def _parts(values: np.ndarray, each: int) -> np.ndarray:
    """The sums of the columns of every `each` rows."""
    return np.add.reduceat(values, np.arange(0, len(values), each))


def _products(number: Any) -> list[Case]:
    made = []
    relative, absolute = rounding(number)
    for name, rows, columns, each, plain, product in [
        ("both", 40, 33, 13, True, True), ("factors", 5, 3, 512, False, True),
        ("plain", 33, 70, 16, True, False),
    ]:  # fmt: skip
        d, z = (draw(at, (rows, columns), number) for at in (1, 2))
        wide = d.astype("f8")
        wanted = ([wide * z] if product else []) + ([wide] if plain else [])
        arguments = {
            "d": d, "z": z if product else None, "plain": plain, "rows": rows, "columns": columns,
            "rows_of_part": each, "sums": Out(_parts(np.hstack(wanted), each), number.real,
                                              near=(relative, absolute * math.sqrt(rows))),
        }  # fmt: skip
        blocks = math.ceil(rows / each) * math.ceil(columns / SUM_COLUMNS)
        made.append(_case(name, "sum_products", number, arguments, blocks))
    return made


def _batches(number: Any) -> list[Case]:
    """Batches in a buffer of 20 rows: a whole one, a tail, one row, a prediction.

    All but the first are for few threads, of which races are looked for.
    """
    buffer, epsilon, made = 20, 0.125, []
    relative, absolute = rounding(number)
    near = (relative, 16 * absolute)
    for name, index, size, training, columns, each in [
        ("whole", 0, 53, True, 33, 8), ("tail", 2, 53, True, 5, 10),
        ("one-row", 2, 41, True, 1, 512), ("running", 0, 53, False, 3, 512),
    ]:  # fmt: skip
        parts = math.ceil(buffer / each)
        blocks = parts * math.ceil(columns / SUM_COLUMNS)
        state = block(rows=size, batch=buffer, index=index)
        state[Control.TRAINING] = training
        rows = min(buffer, size - index * buffer)
        own = training and rows > 1
        x, du, before = (draw(at, (buffer, columns), number, 2) for at in range(3))
        x[rows:], du[rows:], before[rows:] = x[rows - 1], 0, 0
        wide, here = x.astype("f8"), np.arange(buffer)[:, None] < rows
        scale = draw(3, columns, number)
        running, spread = draw(4, columns, number), np.abs(draw(5, columns, number))
        mean, variance = wide[:rows].mean(0), wide[:rows].var(0)
        sums, squares = _parts(wide * here, each), _parts((wide - mean) ** 2 * here, each)
        shape = {"columns": columns, "rows_of_part": each}
        wanted = Out(sums, "f8", near=(1e-12, 1e-12))
        arguments = {"control": state, "x": x, **shape, "sums": wanted}
        made.append(_case(name, "batch_sums", number, arguments, blocks))
        arguments = {
            "control": state, "x": x, **shape, "parts": parts, "sums": sums,
            "squares": Out(squares, "f8", near=(relative, relative)),
        }  # fmt: skip
        made.append(_case(name, "batch_squares", number, arguments, blocks))
        found = (running, spread, spread)
        if own:
            found = (mean, variance, variance * rows / (rows - 1))
        s = np.sqrt(found[1] + epsilon)
        z = (wide - found[0]) / s
        arguments = {
            "control": state, "x": x, "buffer": buffer, **shape, "parts": parts,
            "sums": sums if training else None, "squares": squares if training else None,
            "epsilon": np.float64(epsilon), "means": running, "variances": spread,
            "z": Out(z, number.real, near=near),
            **{key: Out(value, number.real, near=near) if training else None for key, value in
               zip(("s", "batch_means", "batch_variances"), (s, found[0], found[2]), strict=True)},
        }  # fmt: skip
        made.append(_case(name, "batch_normalize", number, arguments, blocks))
        kept, deviation, scaled = z.astype(number.real), s.astype(number.real), name != "tail"
        e, wide_s = du.astype("f8") * (scale if scaled else 1), deviation.astype("f8")
        onward = e / wide_s
        if own:
            onward[:rows] = normalized_back(e[:rows], kept[:rows].astype("f8"), wide_s, 0)
        by_part = _parts(np.hstack([du * kept, du]).astype("f8"), each).astype(number.real)
        arguments = {
            "control": state, "du": du, "z": kept, "s": deviation,
            "scale": scale if scaled else None, "buffer": buffer, **shape, "parts": parts,
            "sums": by_part, "before": before if scaled else None,
            "onward": Out(onward + (before if scaled else 0), number.real, near=near),
        }  # fmt: skip
        made.append(_case(name, "batch_normalize_back", number, arguments, blocks))
    return made
