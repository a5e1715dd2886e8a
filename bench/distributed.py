"""What a second rank brings on one machine, and what adding up costs: under `mpiexec`.

    mpiexec -n 2 python -m bench.distributed

Each round trains the same rows an epoch by one rank, the others asleep, in batches of a rank's
part and in whole batches, and then by all ranks, each on its part of every batch; with one thread a
rank, on a core of its own. Ratios are of the best rounds, with the median beside them. What is lost
is the share of a step of all ranks by which it takes longer than a rank's own part by itself:
adding up, waiting for each other, and fetching what another has updated from its cache.
"""

import os
import platform
import time

import numpy as np

import fastnet as fn
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Inputs, Program, Run, State
from fastnet.definition.optimizers import Optimizer
from fastnet.training.distributed.program import DistributedProgram
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.distributed.shares import Shard, Shares

ROUNDS = 14

#: The networks, the rows of a rank's part of a batch, and how many steps make a run of some 0.05 s,
#: as those of a fit are (`RUN_SECONDS` in fastnet/training/pacing.py).
WORKLOADS = {
    "784-128-10": (fn.Network(784, [fn.Dense(128, "relu"), fn.Dense(10)]), 128, 96),
    "64-256-256-256-1": (
        fn.Network(64, [*(fn.Dense(256, "relu") for _ in range(3)), fn.Dense(1)]),
        256,
        24,
    ),
}

RULES: dict[str, Optimizer] = {"sgd": fn.SGD(1e-3), "adam": fn.Adam(1e-3)}


def measure(
    ranks: Ranks, network: fn.Network, part: int, steps: int, rule: Optimizer
) -> dict[str, float]:
    """Microseconds for a batch: one rank in parts and whole, and all; what is lost."""
    model = fn.Model(network, backend="numba", seed=0, threads=1)
    program, batch = model.program, part * ranks.size
    x, y = fn.datasets.synthetic(batch * steps, network.inputs, network.outputs)
    x, y = x.astype(np.float32), y.astype(np.float32).reshape(len(x), -1)
    mine = np.arange(len(x)).reshape(steps, ranks.size, part)[:, ranks.rank].reshape(-1)
    shares = Shares(ranks, len(mine), batch)
    together = DistributedProgram(program, ranks, shares, fn.Distributed(ranks.communicator))
    shard = together.upload(Shard(Inputs(x[mine]), y[mine], None, len(x)))
    alone: dict[int, list[float]] = {part: [], batch: []}
    everyone = []
    for _ in range(ROUNDS):
        for rows in alone if ranks.rank == 0 else ():
            data = Data(Inputs(x), y)
            alone[rows].append(_train(program, data, rows, rule, model.parameters.flat))
        _sleep_until_all_are_here(ranks)
        everyone.append(_train(together, shard, batch, rule, model.parameters.flat))
    together.free()
    if ranks.rank:
        return {}
    best = {rows: min(seconds) for rows, seconds in alone.items()}
    step = 1e6 / steps
    return {
        "parts": best[part] * step,
        "whole": best[batch] * step,
        "all": min(everyone) * step,
        "median": float(np.median(everyone)) * step,
        "lost": 1 - best[part] / ranks.size / min(everyone),
    }


def _train(program: Program, data: Data, batch: int, rule: Optimizer, flat: Array) -> float:
    """Seconds of an epoch, whose rows are shuffled."""
    memory = rule.memory(program.plan.trained, np.dtype(np.float32))
    order = program.orders(0, range(1), len(data))
    run = Run(0, -(-len(data) // batch), batch, order, rule, 1e-3)
    state = State(flat.copy(), memory)
    began = time.perf_counter()
    program.train(state, data, run)
    return time.perf_counter() - began


def _sleep_until_all_are_here(ranks: Ranks) -> None:
    """A barrier in which nobody spins, so that who computes is not disturbed."""
    request = ranks.communicator.Ibarrier()
    while not request.Test():
        time.sleep(0.0005)


def main() -> None:
    """Print a line for each workload and optimizer."""
    ranks = Ranks.of(fn.world())
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[ranks.rank % len(cores)]})
    if ranks.rank == 0:
        print(
            f"{ranks.size} ranks on a core each, one thread each, float32, Numba; "
            f"{platform.machine()}; best of {ROUNDS} rounds\n"
        )
        print("Microseconds for the rows of a batch, and how many times faster all ranks are:\n")
        print(
            "| network | batch | optimizer | one rank, parts | one rank, whole | all ranks |",
            end="",
        )
        print(" median | times, parts | times, whole | lost |")
        print("|---" * 10 + "|")
    for name, (network, part, steps) in WORKLOADS.items():
        for rule_name, rule in RULES.items():
            found = measure(ranks, network, part, steps, rule)
            if found:
                print(
                    f"| {name} | {ranks.size} x {part} | {rule_name} | {found['parts']:.0f} | "
                    f"{found['whole']:.0f} | {found['all']:.0f} | {found['median']:.0f} | "
                    f"{found['parts'] / found['all']:.2f} | {found['whole'] / found['all']:.2f} | "
                    f"{found['lost']:.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
