"""What was reached against what was asked, as a Markdown table, from a run's JSON.

    python -m pytest bench/test_{peers,startup,choices}.py --benchmark-json=RESULTS.json
    python -m bench.report RESULTS.json > RESULTS.md

Ratios hold for the machine they were taken on, and nothing else at work on it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMAND = (
    "python -m pytest bench/test_peers.py bench/test_startup.py bench/test_choices.py "
    "--benchmark-json={}"
)


def report(results: Mapping[str, Any], command: str) -> str:
    """The table.

    Args:
        results: what pytest-benchmark stored; of its benchmarks those that have a target.
        command: what made them.
    """
    asked = [one["extra_info"] for one in results["benchmarks"] if "target" in one["extra_info"]]
    machine, cpu = results["machine_info"], results["machine_info"]["cpu"]
    versions = {"Python": machine["python_version"]}
    for info in asked:
        versions.update(info["versions"])
    lines = [
        "# What was reached against what was asked",
        "",
        f"- Machine: {cpu.get('brand_raw', machine['machine'])}, {cpu['count']} processors, "
        f"{machine['system']} {machine['machine']}",
        f"- Versions: {', '.join(f'{name} {number}' for name, number in versions.items())}",
        f"- Made on {results['datetime'][:10]} by `{command}`",
        "",
        "Ratios are medians of rounds in which both take turns; times are of one step, call or",
        "update.",
        "",
        "| what | against | asked | reached | | time | the other's |",
        "|---|---|---|---|---|---|---|",
        *map(_row, asked),
        "",
        f"{sum(info['reached'] for info in asked)} of {len(asked)} reached.",
    ]
    return "\n".join(lines)


def _row(info: Mapping[str, Any]) -> str:
    verdict = "yes" if info["reached"] else "**no**"
    if "seconds" in info:
        asked, reached = f"{info['target']:g} s", f"{info['seconds']:.2f} s"
        cells = [info["what"], "", f"{info['bound']} {asked}", reached, verdict, "", ""]
    else:
        asked, reached = f"{info['target']:,g} x", f"{_short(info['ratio'])} x"
        times = [_time(info[name]) for name in ("microseconds", "microseconds_against")]
        what = [info["what"], info["against"]]
        cells = [*what, f"{info['bound']} {asked}", reached, verdict, *times]
    return f"| {' | '.join(cells)} |"


def _short(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _time(microseconds: float) -> str:
    """With a unit that suits it."""
    if microseconds >= 1e4:
        return f"{_short(microseconds / 1e3)} ms"
    return f"{_short(microseconds)} µs"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    print(report(json.loads(file.read_text(encoding="utf-8")), COMMAND.format(file)))
