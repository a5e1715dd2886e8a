"""Contests: `python -m bench.gpu first|second [RESULTS.json]`, as `bash bench/gpu.sh` runs them."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.gpu import ceilings, machine, measuring, table
from bench.gpu.contests import Contest, both_paths, contests, small
from bench.gpu.ours import Fastnet
from fastnet.contract import loading

COMMAND = "bash bench/gpu.sh"

#: Peers that compile every contest anew, which takes longer than to time it.
COMPILING = ("jax", "torch compile")

#: Who takes part in a contest.
Round = Callable[[Contest], measuring.Makers]


def all_results(
    asked: Sequence[Contest],
    rounds: Sequence[Round],
    found: dict[str, float],
    until: float,
    run_milliseconds: float = measuring.RUN_MILLISECONDS,
    keep: Callable[[list[dict[str, Any]]], None] = lambda results: None,
) -> list[dict[str, Any]]:
    """Hold the contests, round after round, and print each one's line.

    Args:
        asked: in this order.
        rounds: of contestants; one of them is "fastnet", in the first.
        found: the machine's ceilings.
        until: when no further contestant begins, by `time.monotonic`.
        run_milliseconds: of one timed run, about.
        keep: is given the results so far, after each contest.
    """
    reference = measuring.Reference()
    print(table.HEAD, flush=True)
    results: dict[Contest, dict[str, Any]] = {}
    for makers in rounds:
        for contest in asked:
            who = results[contest]["contestants"] if contest in results else {}
            who |= measuring.contest_of(
                contest, makers(contest), reference, until, run_milliseconds
            )
            results[contest] = table.row(contest, ceilings.floor(contest, found), who)
            keep([*results.values()])
            print(table.line(results[contest]), flush=True)
    for row in results.values():
        for note in table.notes(row):
            print(note)
    return [*results.values()]


def rounds_of(asked: argparse.Namespace) -> list[Round]:
    """Who takes part in a call.

    The first is ours alone, layer by layer too where the narrow path is chosen. In the second come
    the peers, and last those that compile.
    """
    ours = partial(Fastnet, backend=asked.backend)
    if asked.call == "first":

        def both(contest: Contest) -> measuring.Makers:
            makers: measuring.Makers = {"fastnet": ours}
            if both_paths(contest):
                makers["fastnet layered"] = partial(ours, path="layered")
            return makers

        return [both]
    there = {} if asked.small else measuring.peers()
    print(f"Peers: {', '.join(there) or 'none'}.\n")
    quick = {name: make for name, make in there.items() if name not in COMPILING}
    return [
        lambda contest: {"fastnet": ours, **quick},
        *(lambda contest, name=name: {name: there[name]} for name in there if name in COMPILING),
    ]


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    made.add_argument("call", choices=("first", "second"), help="all contests alone; peers")
    made.add_argument("results", nargs="?", type=Path, help="a JSON file to write")
    made.add_argument("--backend", default="cupy", help="that runs the contests (cupy)")
    made.add_argument("--seconds", type=float, default=240.0, help="after which none begins")
    made.add_argument("--only", default="", help="contests whose name has this in it")
    made.add_argument("--small", action="store_true", help="tiny contests, without peers")
    made.add_argument("--checked", default="", help="what was checked before, for the file")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold the contests; 1 if fastnet failed in one, 2 if it cannot run here."""
    asked = parser().parse_args(arguments)
    until = time.monotonic() + asked.seconds
    # Else JAX takes most of the GPU's memory at its first use.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    probe = machine.probe(asked.backend)
    if not probe.usable:
        print(f"fastnet cannot run on a GPU here: {probe.reason}. {probe.remedy}", file=sys.stderr)
        return 2
    stored: dict[str, Any] = {
        "datetime": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"{COMMAND} {asked.call}",
        "backend": dict(loading.load(asked.backend).describe()),
        "machine": machine.facts(), "versions": machine.versions(),
        "checked": [step for step in asked.checked.split(";") if step.strip()],
    }  # fmt: skip

    def keep(**more: Any) -> None:
        """Write the file anew: what is measured is there, should the machine go."""
        stored.update(more)
        if asked.results is not None:
            asked.results.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")

    program = Fastnet(small()[0], asked.backend).program
    device: Any = program.device
    found = ceilings.measure(device, *((2**16, 64) if asked.small else (2**28, 8192)))
    rates = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in found.items() if name != "copy")
    print(f"Ceilings: copy {found['copy'] / 1e9:,.3g} GB/s; products in TFLOP/s: {rates}.\n")
    keep(ceilings=found)
    if asked.call == "first":
        apart = ceilings.sums(device, *((64, 64, 64) if asked.small else (4096, 4096, 8192)))
        print(f"Microseconds of a weight's gradient, without and with the bias's: {apart}.\n")
        keep(weight_gradient_microseconds=apart)
        size = 2**12 if asked.small else 2**26
        host = ceilings.sent(device, 4 * size), ceilings.shuffled(program, size)
        print(f"From the host {host[0] / 1e9:.3g} GB/s; {host[1]:.3g} rows/s are shuffled.\n")
        keep(bytes_from_host_per_second=host[0], rows_shuffled_per_second=host[1])
    every = small() if asked.small else contests()
    if asked.call == "second":
        every = [contest for contest in every if contest.goals]
    every = [contest for contest in every if asked.only in contest.name]
    spent = 1.0 if asked.small else measuring.RUN_MILLISECONDS
    results = all_results(
        every, rounds_of(asked), found, until, spent, lambda results: keep(results=results)
    )
    if asked.call == "first":
        found_from = table.layered_from(results)
        print(f"\nFor regimes.py: LAYERED_FROM = {found_from}")
        keep(layered_from=[[*kind, batch] for kind, batch in found_from.items()])
    if asked.call == "second" and not asked.small:
        for row in results:
            if row["contest"] in measuring.FITTED:
                contest = next(one for one in every if one.name == row["contest"])
                row["contestants"]["fastnet fit"] = who = measuring.fitted(contest, asked.backend)
                print(f"{contest.name}: {who['microseconds']:,.3g} us a step through Model.fit")
        keep(results=results)
    if asked.results is not None:
        print(f"\nWritten to {asked.results}.")
    return int(any("failed" in row["contestants"]["fastnet"] for row in results) or not results)


if __name__ == "__main__":
    sys.exit(main())
