"""A tutorial's training rule, with its three mistakes, compared with exact gradients.

    python examples/tutorial_xor.py --plot tutorial_xor.png

A well-known kind of tutorial trains 3 inputs, 4 hidden units and 1 output on XOR, in NumPy.
It prints a falling error and looks right, but three lines of it are not the gradient:

1. the sigmoid's derivative is computed at the activation instead of its input: one sigmoid too
   many;
2. the output bias changes by the mean of the deltas, while the weights change by their sum;
3. the hidden bias changes by the mean over the units, not over the examples. This runs only
   because there happen to be four of each.

Its steps are otherwise plain gradient descent, so fastnet with `SGD(2.0)` on the mean squared
error, from the same initial weights, differs in these three lines only.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnet as fn
from fastnet import plots

Array = NDArray[np.float64]

#: The steps after which the errors are printed.
SHOWN = (0, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000)

#: Steps between two errors in the chart.
EVERY = 100


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), as the tutorial writes it."""
    return np.asarray(1 / (1 + np.exp(-z)))


def slope(a: Array) -> Array:
    """The first mistake: this is the derivative at z, but the tutorial passes the activation."""
    return sigmoid(a) * (1 - sigmoid(a))


def tutorial(steps: int) -> list[float]:
    """Train by the tutorial's rule; mean |y - prediction| before each step and after the last."""
    x, y = fn.datasets.xor()
    start = fn.Model(fn.datasets.xor_network(tutorial_start=True), dtype="float64", seed=0)
    w1, b1, w2, b2 = (
        np.array(start.parameters[name]) for name in ("0.weight", "0.bias", "1.weight", "1.bias")
    )
    errors = []
    for step in range(steps + 1):
        hidden = sigmoid(x @ w1 + b1)
        output = sigmoid(hidden @ w2 + b2)
        error = y - output
        errors.append(float(np.mean(np.abs(error))))
        if step == steps:
            break
        output_delta = error * slope(output)
        hidden_delta = (output_delta @ w2.T) * slope(hidden)
        w2 += hidden.T @ output_delta
        w1 += x.T @ hidden_delta
        b2 += np.mean(output_delta)  # the second mistake
        b1 += np.mean(hidden_delta, axis=1)  # the third mistake
    return errors


def exact(steps: int) -> dict[int, float]:
    """Train with exact gradients from the same initial weights; mean |y - prediction| by step."""
    x, y = fn.datasets.xor()
    model = fn.Model(fn.datasets.xor_network(tutorial_start=True), dtype="float64", seed=0)

    def error() -> float:
        return float(np.mean(np.abs(y - model.predict(x))))

    errors = {0: error()}
    for done in range(0, steps, EVERY):
        end = min(done + EVERY, steps)
        model.fit(x, y, optimizer=fn.SGD(2.0), epochs=end, initial_epoch=done, batch_size=None)
        errors[end] = error()
    return errors


def draw(mistaken: list[float], exact_by_step: dict[int, float], path: Path) -> None:
    """Draw both errors over the steps."""
    figure = plots.figure(7.2, 4.2)
    axes: Any = figure.add_subplot()
    steps = np.arange(0, len(mistaken), EVERY)
    axes.plot(steps, np.array(mistaken)[steps], color="#D55E00", label="the tutorial's rule")
    axes.plot(
        list(exact_by_step), list(exact_by_step.values()), color="#0072B2", label="exact gradients"
    )
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("mean |y - prediction|")
    axes.set_title("XOR from the same initial weights", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    plots.save(figure, path)


def main() -> None:
    """Train by both and print their errors."""
    parser = argparse.ArgumentParser(description="The tutorial's rule and exact gradients.")
    parser.add_argument("--steps", type=int, default=60_000, help="default: 60000")
    parser.add_argument("--plot", type=Path, help="file for a chart of the errors")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps is {options.steps}; it must be 1 or more.")
    if options.plot is not None:
        try:
            plots.check(options.plot, "plot")
        except fn.FastnetError as error:
            raise SystemExit(f"error: {error}") from None
    mistaken, exact_by_step = tutorial(options.steps), exact(options.steps)
    print("mean |y - prediction|")
    print("  step  the tutorial's rule  exact gradients")
    for step in sorted({*SHOWN, options.steps}):
        if step in exact_by_step:
            print(f"{step:>6,}  {mistaken[step]!r:<19}  {exact_by_step[step]!r}")
    if options.plot is not None:
        draw(mistaken, exact_by_step, options.plot)
        print(f"chart written to {str(options.plot)!r}")


if __name__ == "__main__":
    main()
