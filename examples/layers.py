"""What each layer buys: deep networks on digits, and numbers with categories.

    python examples/layers.py --plot layers.png

Two questions, each answered by the error on rows held out, the mean of several seeds:

1. Networks of thirteen layers learn scikit-learn's digits. At this depth plain ones learn slowly
   and by luck; norms and residual blocks carry the gradient through. Two layers do as well on so
   easy a task: depth has to be worth its cost.
2. Rents of flats, made up here: each of 100 districts has a level and a price of space, and the
   rent also goes up and down with the distance from the center. Embeddings replace a hundred
   one-hot columns by eight, at the same error; what a dense network follows slowly, the waves, is
   what numeric embeddings make easy.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import fastnet as fn
from fastnet import plots

DEPTH, UNITS, DISTRICTS = 12, 64, 100


def towers() -> dict[str, list[Any]]:
    """The layers of networks on digits."""

    def repeat(*block: Any) -> list[Any]:
        return [fn.Dense(UNITS, "relu"), *block * (DEPTH - 1), fn.Dense(10, "softmax")]

    dense, linear, relu = fn.Dense(UNITS, "relu"), fn.Dense(UNITS), fn.Activate("relu")
    return {
        "dense": repeat(dense),
        "learned slopes (PReLU)": repeat(fn.Dense(UNITS, "prelu")),
        "batch norms": repeat(linear, fn.BatchNorm(), relu),
        "residual, batch norms": repeat(fn.Residual([fn.BatchNorm(), dense])),
        "residual, layer norms": repeat(fn.Residual([fn.LayerNorm(), dense])),
        "two layers, dense": [dense, dense, fn.Dense(10, "softmax")],
    }


def digit_errors(seeds: int, epochs: int) -> dict[str, list[float]]:
    """The share of digits that are read wrongly, in percent, by network and seed."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))
    x, y = data.data[order] / 16, data.target[order]
    errors: dict[str, list[float]] = {}
    for name, layers in towers().items():
        net = fn.Network(64, layers, loss="crossentropy")
        for seed in range(seeds):
            model = fn.Model(net, seed=seed)
            # Plain descent at one rate for all, so that the layers make the difference.
            model.fit(x[:900], y[:900], optimizer=fn.SGD(0.03, momentum=0.9), epochs=epochs,
                      batch_size=32, clip_norm=1.0)  # fmt: skip
            wrong = model.predict(x[900:]).argmax(axis=1) != y[900:]
            errors.setdefault(name, []).append(100 * float(wrong.mean()))
    return errors


def flats(rows: int) -> tuple[tuple[Any, Any], Any]:
    """Space and distance, standardized, with districts' codes; and the rent."""
    generator = np.random.default_rng(1)
    level, price = generator.standard_normal((2, DISTRICTS))
    space, distance = generator.uniform(size=(2, rows))
    district = generator.integers(DISTRICTS, size=rows)
    rent = level[district] + price[district] * space + np.sin(6 * np.pi * distance)
    rent += 0.1 * generator.standard_normal(rows)
    numbers = np.column_stack((space, distance))
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    return (numbers, district[:, None] + 1), rent  # code 0 is for a district not seen before


def rent_errors(seeds: int, epochs: int) -> dict[str, list[float]]:
    """The root of the mean squared error, by network and seed; the noise alone is 0.1."""
    (numbers, codes), y = flats(4_000)
    train, test = slice(2_500), slice(2_500, None)
    first: dict[str, list[Any]] = {
        "districts one-hot": [],
        "districts embedded": [fn.Embed(8)],
        "and numbers piecewise linear": [fn.Embed(8, numbers=fn.PiecewiseLinear(bins=16))],
        "and numbers periodic": [fn.Embed(8, numbers=fn.Periodic(scale=0.3))],
    }
    errors: dict[str, list[float]] = {}
    for name, layers in first.items():
        hidden = [fn.Dense(UNITS, "silu"), fn.Dense(UNITS, "silu")]
        net = fn.Network(fn.Inputs(2, (DISTRICTS + 1,)), [*layers, *hidden, fn.Dense(1)])
        for seed in range(seeds):
            x = numbers[train], codes[train]
            # The bins of piecewise linear embeddings are quantiles of the training rows.
            model = fn.Model(net, seed=seed, init_rows=x if "piecewise" in name else None)
            model.fit(x, y[train], optimizer=fn.Adam(fn.Cosine(4e-3)), epochs=epochs, batch_size=64)
            missed = model.predict((numbers[test], codes[test])).ravel() - y[test]
            errors.setdefault(name, []).append(float(np.sqrt(np.mean(missed**2))))
    return errors


def draw(axes: Any, title: str, errors: Mapping[str, Sequence[float]]) -> None:
    """A dot for each seed, and a line at their mean."""
    for place, found in enumerate(errors.values()):
        axes.plot(found, [place] * len(found), "o", color=plots.COLORS[0], alpha=0.5)
        axes.plot(np.mean(found), place, "|", color=plots.COLORS[1], markersize=18, mew=2.5)
    axes.set_yticks(range(len(errors)), list(errors))
    axes.set_ylim(len(errors) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{title} (dots: seeds, line: their mean)")
    axes.grid(axis="x", alpha=0.3)


def main() -> None:
    """Train all, print their errors and draw them."""
    parser = argparse.ArgumentParser(description="What each layer buys, on digits and on rents.")
    parser.add_argument("--seeds", type=int, default=4, help="networks of each kind; default: 4")
    parser.add_argument("--epochs", type=int, default=30, help="default: 30")
    parser.add_argument("--plot", type=Path, help="file for a chart of the errors")
    options = parser.parse_args()
    for name in ("seeds", "epochs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}; it must be 1 or more.")
    if options.plot is not None:
        try:
            plots.check(options.plot, "plot")
        except fn.FastnetError as error:
            raise SystemExit(f"error: {error}") from None
    parts = {
        "digits read wrongly, %": digit_errors(options.seeds, options.epochs),
        "error of rents": rent_errors(options.seeds, options.epochs),
    }
    for title, errors in parts.items():
        print(title)
        for name, found in errors.items():
            print(f"  {name:29} {np.mean(found):.3g}")
    if options.plot is not None:
        figure = plots.figure(6.4, 5.6)
        for axes, (title, errors) in zip(figure.subplots(2), parts.items(), strict=True):
            draw(axes, title, errors)
        plots.save(figure, options.plot)
        print(f"chart written to {str(options.plot)!r}")


if __name__ == "__main__":
    main()
