"""Results that are alike on every machine: write them to a file, or compare two files.

python .ci/results.py HERE.npz
python .ci/results.py HERE.npz THERE.npz
"""

import sys

import numpy as np

import fastnet as fn
from fastnet import random

#: The allowed difference of what was computed, divided by the largest value: sums may have another
#: order. All other results must have the same bits.
COMPUTED = {"float32": 1e-5, "float64": 1e-12}


def results() -> dict[str, np.ndarray]:
    """What is drawn, and parameters and predictions after 200 steps, by name."""
    found = {
        "words (shuffles, dropout masks)": random.words(1, random.DROPOUT, 0, 100_000),
        "a shuffle": random.permutation(1, random.SHUFFLE, 0, 100_000),
        "uniform draws": random.uniform(1, random.WEIGHTS, 0, 100_000),
        "normal draws": random.normal(1, random.WEIGHTS, 0, 100_000),
    }
    x = random.uniform(2, random.DATA, 0, 320 * 10).reshape(320, 10) - 0.5
    y = (x[:, :1] * x[:, 1:2]) + x[:, 2:3]
    for activation in ("relu", "tanh"):
        hidden = [fn.Dense(32, activation), fn.Dropout(0.1), fn.Dense(32, activation)]
        network = fn.Network(10, [*hidden, fn.Dense(1)])
        for dtype in COMPUTED:
            for backend in ("numpy", "numba"):
                model = fn.Model(network, backend=backend, dtype=dtype, seed=3, threads=1)
                model.fit(x, y, optimizer=fn.Adam(1e-3), epochs=20, batch_size=32)
                name = f"{activation}, {dtype}, {backend}"
                found[f"parameters: {name}"] = model.parameters.flat.copy()
                found[f"predictions: {name}"] = model.predict(x)
    return found


def agree(here: str, there: str) -> bool:
    """Print how far apart each result of two files is; whether all are near enough."""
    good = True
    with np.load(here) as ours, np.load(there) as theirs:
        for name, value in ours.items():
            other = theirs[name]
            apart = np.abs(value.astype(np.float64) - other).max() / np.abs(value).max()
            computed = ":" in name
            near = apart <= COMPUTED[str(value.dtype)] if computed else np.array_equal(value, other)
            text = f"{np.sum(value != other):,} of {value.size:,} differ, by {apart:.1e} at most"
            print(f"{'ok' if near else 'DIFFERENT'}: {name}: {text}")
            good &= bool(near)
    return good


if __name__ == "__main__":
    if len(sys.argv) == 2:
        np.savez(sys.argv[1], **results())
    else:
        sys.exit(not agree(*sys.argv[1:]))
