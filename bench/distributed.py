"""What a second rank brings on one machine, and what adding up costs: under `mpiexec`.

    mpiexec -n 2 python -m bench.distributed

Each round trains the same rows an epoch by one rank, the others asleep, in batches of a rank's
part and in whole batches, and then by all ranks, each on its part of every batch; with one thread a
rank, on a core of its own. Ratios are of the best rounds; the share of adding up includes the time
that ranks wait for each other in it.
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

ROUNDS, STEPS = 25, 24

#: The networks, and the rows of a rank's part of a batch.
WORKLOADS = {
    "784-128-10": (fn.Network(784, [fn.Dense(128, "relu"), fn.Dense(10)]), 128),
    "64-256-256-256-1": (
        fn.Network(64, [*(fn.Dense(256, "relu") for _ in range(3)), fn.Dense(1)]),
        256,
    ),
}

RULES: dict[str, Optimizer] = {"sgd": fn.SGD(1e-3), "adam": fn.Adam(1e-3)}


def measure(ranks: Ranks, network: fn.Network, part: int, rule: Optimizer) -> dict[str, float]:
    """Microseconds for a batch: one rank in parts and whole, and all; the share of adding up."""
    model = fn.Model(network, backend="numba", seed=0, threads=1)
    program, batch = model.program, part * ranks.size
    x, y = fn.datasets.synthetic(batch * STEPS, network.inputs, network.outputs)
    x, y = x.astype(np.float32), y.astype(np.float32).reshape(len(x), -1)
    mine = np.arange(len(x)).reshape(STEPS, ranks.size, part)[:, ranks.rank].reshape(-1)
    shares = Shares(ranks, len(mine), batch)
    together = DistributedProgram(program, ranks, shares, fn.Distributed(ranks.communicator))
    shard = together.upload(Shard(Inputs(x[mine]), y[mine], None, len(x)))
    alone: dict[int, list[float]] = {part: [], batch: []}
    everyone, adding = [], []
    for _ in range(ROUNDS):
        for rows in alone if ranks.rank == 0 else ():
            data = Data(Inputs(x), y)
            alone[rows].append(_train(program, data, rows, rule, model.parameters.flat))
        _sleep_until_all_are_here(ranks)
        before = together.adding
        everyone.append(_train(together, shard, batch, rule, model.parameters.flat))
        adding.append(together.adding - before)
    together.free()
    if ranks.rank:
        return {}
    best = int(np.argmin(everyone))
    step = 1e6 / STEPS
    return {
        "parts": min(alone[part]) * step,
        "whole": min(alone[batch]) * step,
        "all": everyone[best] * step,
        "adding": adding[best] / everyone[best],
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
        print(f"{ranks.size} ranks, one thread each, float32, Numba; {platform.machine()}\n")
        print("Microseconds for the rows of a batch, and how many times faster all ranks are:\n")
        print(
            "| network | batch | optimizer | one rank, parts | one rank, whole | all ranks |",
            end="",
        )
        print(" times, parts | times, whole | adding up |")
        print("|---" * 9 + "|")
    for name, (network, part) in WORKLOADS.items():
        for rule_name, rule in RULES.items():
            found = measure(ranks, network, part, rule)
            if found:
                print(
                    f"| {name} | {ranks.size} x {part} | {rule_name} | {found['parts']:.0f} | "
                    f"{found['whole']:.0f} | {found['all']:.0f} | "
                    f"{found['parts'] / found['all']:.2f} | {found['whole'] / found['all']:.2f} | "
                    f"{found['adding']:.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
