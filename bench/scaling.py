"""From how many rows a rank on scaling stays above 90 %: a calculation from measured steps.

    python -m bench.scaling

A step of `n` rows on one rank takes `a + b n`, which is measured here for each network (float32,
Numba, one thread, Adam). Adding up over `R` ranks, each on a machine of its own, takes two
exchanges (`fastnet.training.distributed.sums.InOrder`), each of `R - 1` messages of `bytes / R`:

    t = 2 (R - 1) (latency + bytes / (R bandwidth))

Nothing overlaps: a step takes `a + b n + t`, and scaling is `(a + b n) / (a + b n + t)`. With
`average_every=k`, parameters and memory are added up, three times the bytes, once in `k` steps. The
latencies are assumptions: 30 µs for a message at 1 Gbit/s, 15 at 10, and 2 at 100 (RDMA).
"""

import math
import time

import numpy as np

import fastnet as fn
from fastnet.contract.program import Data, Inputs, Run, State

#: Inputs, units of a hidden layer, and hidden layers; there is one output.
NETWORKS = {
    "32-64-64-1": (32, 64, 2),
    "64-256-256-256-1": (64, 256, 3),
    "784-128-1": (784, 128, 1),
    "64-512-512-512-1": (64, 512, 3),
    "1024-2048-2048-1": (1024, 2048, 2),
}

#: Bits a second, and seconds that a message takes besides.
WIRES = {"1 Gbit/s": (1e9, 30e-6), "10 Gbit/s": (10e9, 15e-6), "100 Gbit/s": (100e9, 2e-6)}
RANKS = (2, 4, 16, 64, 256, 1024)
BATCHES = (64, 256)
ROUNDS = 9
WANTED = 0.9

#: Vectors of the parameters' length that an average adds up: they and Adam's two.
AVERAGED = 3


def step_seconds(inputs: int, width: int, layers: int) -> tuple[float, float, int]:
    """`a` and `b` of a step, and the bytes of a gradient."""
    hidden = [fn.Dense(width, "relu") for _ in range(layers)]
    model = fn.Model(fn.Network(inputs, [*hidden, fn.Dense(1)]), backend="numba", seed=0, threads=1)
    program, rule = model.program, fn.Adam(1e-3)
    best = []
    for batch in BATCHES:
        steps = max(int(2e9 / (batch * program.plan.products * 6)), 2)
        x, y = fn.datasets.synthetic(batch * steps, inputs, 1)
        data = Data(Inputs(x.astype(np.float32)), y.astype(np.float32).reshape(-1, 1))
        taken = []
        for _ in range(ROUNDS):
            memory = rule.memory(program.plan.trained, np.dtype(np.float32))
            state = State(model.parameters.flat.copy(), memory)
            began = time.perf_counter()
            program.train(state, data, Run(0, steps, batch, None, rule, 1e-3))
            taken.append((time.perf_counter() - began) / steps)
        best.append(min(taken))
    b = max(best[1] - best[0], 0.0) / (BATCHES[1] - BATCHES[0])
    return max(best[0] - b * BATCHES[0], 0.0), b, program.plan.trained * 4


def adding_seconds(ranks: int, size: int, bits: float, latency: float) -> float:
    """To add up so many bytes over so many ranks."""
    return 2 * (ranks - 1) * (latency + size * 8 / ranks / bits)


def rows_needed(a: float, b: float, adding: float) -> int:
    """The rows a rank from which scaling is `WANTED`."""
    step = adding * WANTED / (1 - WANTED)
    return max(math.ceil((step - a) / b), 1)


def main() -> None:
    """Print a table for each network."""
    for name, shape in NETWORKS.items():
        a, b, size = step_seconds(*shape)
        print(f"\n{name}: {a * 1e6:.0f} µs + {b * 1e6:.2f} µs a row, {size / 1e3:,.0f} KB\n")
        print("| wire | average_every | " + " | ".join(f"{r:,} ranks" for r in RANKS) + " |")
        print("|---|---|" + "---|" * len(RANKS))
        for wire, (bits, latency) in WIRES.items():
            for every in (1, 64):
                sent = size if every == 1 else size * AVERAGED
                cells = [
                    f"{rows_needed(a, b, adding_seconds(r, sent, bits, latency) / every):,}"
                    for r in RANKS
                ]
                print(f"| {wire} | {every} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
