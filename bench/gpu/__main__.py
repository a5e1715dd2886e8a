"""All contests: `python -m bench.gpu [RESULTS.json]`; `bash bench/gpu.sh` runs this last."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.gpu import ceilings, machine, measuring, table
from bench.gpu.contests import Contest, contests, small
from bench.gpu.ours import Fastnet
from fastnet.contract import loading

COMMAND = "bash bench/gpu.sh"


def all_results(
    asked: Sequence[Contest],
    makers: measuring.Makers,
    found: dict[str, float],
    seconds: float,
    fit: Callable[[Contest], dict[str, Any]] | None = None,
    run_milliseconds: float = measuring.RUN_MILLISECONDS,
    keep: Callable[[list[dict[str, Any]]], None] = lambda results: None,
) -> list[dict[str, Any]]:
    """Hold the contests, and print each one's line.

    Args:
        asked: in this order.
        makers: of the contestants.
        found: the machine's ceilings.
        seconds: after which no further contestant begins.
        fit: times `Model.fit` in some of them.
        run_milliseconds: of one timed run, about.
        keep: is given the results so far, after each contest.
    """
    until, reference = time.monotonic() + seconds, measuring.Reference()
    print(table.HEAD, flush=True)
    results = []
    for contest in asked:
        if time.monotonic() > until:
            print(f"{contest.name:<15} | {contest.precision:<8} | left out: no time was left")
            continue
        who = measuring.contest_of(contest, makers, reference, until, run_milliseconds)
        if fit is not None and contest.name in measuring.FITTED:
            try:
                who["fastnet fit"] = fit(contest)
            except Exception as error:
                who["fastnet fit"] = {"failed": f"{type(error).__name__}: {error}"[:300]}
        row = table.row(contest, ceilings.floor(contest, found), who)
        results.append(row)
        keep(results)
        print(table.line(row), flush=True)
    for row in results:
        for note in table.notes(row):
            print(note)
        through = row["contestants"].get("fastnet fit", {}).get("microseconds")
        if through is not None:
            what = f"{row['contest']} {row['precision']}"
            print(f"{what}: {through:,.3g} us a step through Model.fit, data from the host")
    return results


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
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
    # Else JAX takes most of the GPU's memory at its first use.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    probe = machine.probe(asked.backend)
    if not probe.usable:
        print(f"fastnet cannot run on a GPU here: {probe.reason}. {probe.remedy}", file=sys.stderr)
        return 2
    who = small() if asked.small else contests()
    who = [contest for contest in who if asked.only in contest.name]
    device: Any = Fastnet(small()[0], asked.backend).program.device
    sizes = (2**16, 64) if asked.small else (2**28, 8192)
    found = ceilings.measure(device, *sizes)
    rates = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in found.items() if name != "copy")
    print(f"Ceilings: copy {found['copy'] / 1e9:,.3g} GB/s; products in TFLOP/s: {rates}.\n")
    makers: measuring.Makers = {"fastnet": lambda contest: Fastnet(contest, asked.backend)}
    makers |= {} if asked.small else measuring.peers()
    print(f"Contestants: {', '.join(makers)}.\n")
    fit = None if asked.small else lambda contest: measuring.fitted(contest, asked.backend)
    spent = 1.0 if asked.small else measuring.RUN_MILLISECONDS
    stored: dict[str, Any] = {
        "datetime": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"{COMMAND} {asked.results}",
        "backend": dict(loading.load(asked.backend).describe()),
        "machine": machine.facts(), "versions": machine.versions(),
        "checked": [step for step in asked.checked.split(";") if step.strip()],
        "ceilings": found,
    }  # fmt: skip

    def keep(results: list[dict[str, Any]]) -> None:
        if asked.results is not None:
            text = json.dumps({**stored, "results": results}, indent=1)
            asked.results.write_text(text + "\n", encoding="utf-8")

    results = all_results(who, makers, found, asked.seconds, fit, spent, keep)
    if asked.results is not None:
        print(f"\nWritten to {asked.results}.")
    return int(any("failed" in row["contestants"]["fastnet"] for row in results) or not results)


if __name__ == "__main__":
    sys.exit(main())
