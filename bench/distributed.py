"""What a second rank brings on one machine, and what adding up costs: under `mpiexec`.

    mpiexec -n 2 python -m bench.distributed --output bench/results/distributed-DATE.json

Each round trains the same rows an epoch by one rank, the others asleep, in batches of a rank's
part and in whole batches; then by all ranks at the same time, each on its own rows by itself; and
then by all together, each on its part of every batch; with one thread a rank, on a core of its own.
Ratios are of the best rounds, with the median beside them. What is lost is the share of a step of
all ranks by which it takes longer than a rank's own part by itself: adding up, waiting for each
other, and fetching what another has updated from its cache. What ranks apart lose too is not lost
by that, but because a machine's cores do less each when all of them are busy.

A round of all ranks is as slow as the one that has least of its core. So beside every round stands
how often the system took a core away from a rank, and the least share of the round that a rank
computed or waited in a loop: what is missing, others ran. `--output` writes all rounds, and the
table beside it, as Markdown.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastnet as fn
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Inputs, Program, Run, State
from fastnet.definition.optimizers import Optimizer
from fastnet.training.distributed.program import DistributedProgram
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.distributed.shares import Shard, Shares
from fastnet.training.distributed.world import mpi

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

#: Of a round, how much of its core the rank had that had least of it.
_SHARE = "least share of a core"

#: What the columns of the table are called, and how their entries are written.
COLUMNS = {
    "network": "{}", "batch": "{}", "optimizer": "{}", "one rank, parts": "{:.0f}",
    "one rank, whole": "{:.0f}", "all, apart": "{:.0f}", "all ranks": "{:.0f}", "median": "{:.0f}",
    "times, parts": "{:.2f}", "times, whole": "{:.2f}", "lost": "{:.0%}",
}  # fmt: skip


def measure(
    ranks: Ranks, network: fn.Network, part: int, steps: int, rule: Optimizer
) -> dict[str, Any]:
    """Microseconds for a batch: one rank in parts and whole, and all; what is lost; all rounds."""
    model = fn.Model(network, backend="numba", seed=0, threads=1)
    program, batch = model.program, part * ranks.size
    x, y = fn.datasets.synthetic(batch * steps, network.inputs, network.outputs)
    x, y = x.astype(np.float32), y.astype(np.float32).reshape(len(x), -1)
    mine = np.arange(len(x)).reshape(steps, ranks.size, part)[:, ranks.rank].reshape(-1)
    shares = Shares(ranks, len(mine), batch)
    together = DistributedProgram(program, ranks, shares, fn.Distributed(ranks.communicator))
    own = program.upload(Data(Inputs(x[mine]), y[mine]))
    shard = together.upload(Shard(Inputs(x[mine]), y[mine], None, len(x)))
    alone: dict[int, list[float]] = {part: [], batch: []}
    rounds = []
    for _ in range(ROUNDS):
        for rows in alone if ranks.rank == 0 else ():
            data = Data(Inputs(x), y)
            alone[rows].append(_train(program, data, rows, rule, model.parameters.flat))
        _sleep_until_all_are_here(ranks)
        apart = _train(program, own, part, rule, model.parameters.flat)
        _sleep_until_all_are_here(ranks)
        before, began = _taken_away(), time.process_time()
        seconds = _train(together, shard, batch, rule, model.parameters.flat)
        busy = (time.process_time() - began) / seconds
        rounds.append((seconds, busy, _taken_away() - before, apart))
    together.free()
    of_all = np.array(ranks.all_of(rounds))  # (ranks, rounds, 4)
    if ranks.rank:
        return {}
    everyone, apart = of_all[0, :, 0], of_all[:, :, 3].max(axis=0)
    best = {rows: min(seconds) for rows, seconds in alone.items()}
    step = 1e6 / steps
    all_ranks = float(everyone.min())
    return {
        "one rank, parts": best[part] * step,
        "one rank, whole": best[batch] * step,
        "all, apart": float(apart.min()) * step,
        "all ranks": all_ranks * step,
        "median": float(np.median(everyone)) * step,
        "times, parts": best[part] / all_ranks,
        "times, whole": best[batch] / all_ranks,
        "lost": 1 - best[part] / ranks.size / all_ranks,
        "rounds": {
            "all ranks": (everyone * step).tolist(),
            "all, apart": (apart * step).tolist(),
            _SHARE: of_all[:, :, 1].min(axis=0).tolist(),
            "cores taken away": of_all[:, :, 2].sum(axis=0).astype(int).tolist(),
        },
    }


def _taken_away() -> int:
    """How often the system has given this process's core to another."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _train(program: Program, data: Data, batch: int, rule: Optimizer, flat: Array) -> float:
    """Seconds of an epoch, whose rows are shuffled."""
    memory = rule.memory(program.plan.trained, np.dtype(np.float32))
    rows = len(data.own) if isinstance(data, Shard) else len(data)
    order = program.orders(0, range(1), rows)
    run = Run(0, -(-len(data) // batch), batch, order, rule, 1e-3)
    state = State(flat.copy(), memory)
    began = time.perf_counter()
    losses = program.train(state, data, run)
    seconds = time.perf_counter() - began
    assert len(losses) == run.steps, "the loss is not finite"
    assert np.isfinite(losses).all()
    return seconds


def _sleep_until_all_are_here(ranks: Ranks) -> None:
    """A barrier in which nobody spins, so that who computes is not disturbed."""
    request = ranks.communicator.Ibarrier()
    while not request.Test():
        time.sleep(0.0005)


def row_of(found: dict[str, Any]) -> str:
    """A line of the table."""
    return "| " + " | ".join(form.format(found[name]) for name, form in COLUMNS.items()) + " |"


def report(facts: dict[str, Any], lines: list[dict[str, Any]]) -> str:
    """The table, as Markdown."""
    return "\n".join([
        f"# {facts['ranks']} ranks on one machine, {facts['date']}",
        "",
        f"{facts['machine']}; {facts['library']}; {', '.join(map(' '.join, facts['versions']))}.",
        f"`{facts['command']}`",
        "",
        f"One thread a rank, on a core of its own, float32, Numba; the best of {facts['rounds']} "
        "rounds, in microseconds for the rows of a batch. `bench/distributed.py` says what the "
        "columns are.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---" * len(COLUMNS) + "|",
        *map(row_of, lines),
        "",
        "Rounds of all ranks, in the order of time: apart / together, and the least share of a",
        "core that a rank had meanwhile:",
        "",
        *(
            f"- {one['network']}, {one['optimizer']}: "
            + ", ".join(
                f"{apart:.0f} / {together:.0f} ({share:.0%})"
                for apart, together, share in zip(
                    *(one["rounds"][name] for name in ("all, apart", "all ranks", _SHARE)),
                    strict=True,
                )
            )
            for one in lines
        ),
        "",
    ])  # fmt: skip


def main() -> None:
    """Print a line for each workload and optimizer, and write the report."""
    parser = argparse.ArgumentParser(
        prog="mpiexec -n 2 python -m bench.distributed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, help="a .json; the table goes beside it, as .md")
    options = parser.parse_args()
    ranks = Ranks.of(fn.world())
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[ranks.rank % len(cores)]})
    lines = []
    for name, (network, part, steps) in WORKLOADS.items():
        for rule_name, rule in RULES.items():
            found = measure(ranks, network, part, steps, rule)
            if found:
                batch = f"{ranks.size} x {part}"
                lines.append({"network": name, "batch": batch, "optimizer": rule_name, **found})
                print(row_of(lines[-1]), flush=True)
    if ranks.rank or options.output is None:
        return
    facts = {
        "command": " ".join(
            [f"mpiexec -n {ranks.size} python -m bench.distributed", *sys.argv[1:]]
        ),
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.platform(),
        "library": mpi().Get_library_version().split("\n")[0].strip("\0 "),
        "versions": [["fastnet", fn.__version__], ["numpy", np.__version__]],
        "ranks": ranks.size,
        "rounds": ROUNDS,
    }
    options.output.write_text(json.dumps({**facts, "lines": lines}, indent=1) + "\n")
    options.output.with_suffix(".md").write_text(report(facts, lines))


if __name__ == "__main__":
    main()
