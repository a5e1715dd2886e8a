"""A run's results as a table, and which goals it reached."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.gpu.contests import Contest, Goal

PEERS = ("torch eager", "torch graph", "torch compile", "jax")


def reached(goal: Goal, contest: Contest, who: Mapping[str, Any]) -> tuple[float, bool] | None:
    """What was measured against a goal, and whether it is reached; None: it was not measured."""
    ours = who.get("fastnet", {}).get("microseconds")
    if ours is None:
        return None
    if goal.measure == "microseconds":
        return ours, ours <= goal.value
    if goal.measure == "examples":
        found = contest.batch / ours * 1e6
        return found, found >= goal.value
    times = [
        who[name]["microseconds"]
        for name in PEERS
        if name in who and name.startswith(goal.measure) and "microseconds" in who[name]
    ]
    if not times:
        return None
    ratio = min(times) / ours
    return ratio, ratio >= goal.value


def row(contest: Contest, floor: float, who: Mapping[str, Any]) -> dict[str, Any]:
    """A contest's results as they are stored."""
    goals = []
    for goal in contest.goals:
        found = reached(goal, contest, who)
        measured = {} if found is None else {"measured": found[0], "reached": found[1]}
        goals.append({"goal": goal.what, **measured})
    ours = who.get("fastnet", {}).get("microseconds")
    counted = {} if ours is None else {
        "examples_per_second": contest.batch / ours * 1e6, "over_floor": ours / (floor * 1e6),
    }  # fmt: skip
    return {
        "contest": contest.name, "precision": contest.precision, "batch": contest.batch,
        "units": contest.units, "sets": contest.sets, "flops": contest.flops,
        "bytes": contest.bytes, "floor_microseconds": floor * 1e6, **counted,
        "contestants": dict(who), "goals": goals,
    }  # fmt: skip


def layered_from(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], int]:
    """From how many rows on contests took less time layer by layer, though narrow ones.

    Returns:
        What `LAYERED_FROM` in `fastnet_cupy/regimes.py` should hold, besides what it has: all
        contests of a kind of number and a widest layer, of as many rows or more, were faster so.
    """
    faster: dict[tuple[str, int], dict[int, bool]] = {}
    for row in rows:
        who = row["contestants"]
        ours, layered = (who.get(name, {}) for name in ("fastnet", "fastnet layered"))
        if not ours.get("narrow") or "microseconds" not in layered:
            continue
        by_batch = faster.setdefault((row["precision"], max(row["units"])), {})
        better = layered["microseconds"] < ours["microseconds"]
        by_batch[row["batch"]] = by_batch.get(row["batch"], True) and better
    found = {}
    for kind, by_batch in faster.items():
        for batch in sorted(by_batch, reverse=True):
            if not by_batch[batch]:
                break
            found[kind] = batch
    return found


def _short(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _ratio(results: Mapping[str, Any], name: str) -> str:
    """How many times as fast as a peer; "-" where it is absent, "x" where it failed."""
    found, ours = results.get(name), results.get("fastnet", {}).get("microseconds")
    if found is None or ours is None or "left out" in found:
        return "-"
    return f"{found['microseconds'] / ours:.2f}" if "microseconds" in found else "x"


def line(stored: Mapping[str, Any]) -> str:
    """A line of the table."""
    who = stored["contestants"]
    ours = who.get("fastnet", {})
    verdicts = {True: "yes", False: "no", None: "not measured"}
    goals = "; ".join(f"{g['goal']}: {verdicts[g.get('reached')]}" for g in stored["goals"])
    cells = [
        f"{stored['contest']:<15}", f"{stored['precision']:<8}",
        f"{_short(ours['microseconds']) if 'microseconds' in ours else 'failed':>9}",
        f"{_short(stored['floor_microseconds']):>9}",
        f"{_short(stored['over_floor']) if 'over_floor' in stored else '-':>7}",
        f"{stored.get('examples_per_second', 0):>9.2e}",
        *(f"{_ratio(who, name):>13}" for name in PEERS), goals,
    ]  # fmt: skip
    return " | ".join(cells).rstrip(" |")


HEAD = "\n".join(
    [
        "Times are of one step in microseconds; a peer's column says how many times as long it",
        "takes (-: absent or no time left, x: failed). Goals are for an H200.",
        "",
        " | ".join(
            [
                f"{'contest':<15}", f"{'numbers':<8}", f"{'time':>9}", f"{'floor':>9}",
                f"{'/floor':>7}", f"{'rows/s':>9}", *(f"{name:>13}" for name in PEERS), "goals",
            ]
        ),
    ]
)  # fmt: skip


def notes(stored: Mapping[str, Any]) -> list[str]:
    """What went wrong in a contest, or was left out; and the layered path's time beside ours."""
    layered = stored["contestants"].get("fastnet layered", {}).get("microseconds")
    what = f"{stored['contest']} {stored['precision']}"
    beside = [] if layered is None else [f"{what}: {_short(layered)} us layer by layer"]
    return beside + [
        f"{stored['contest']} {stored['precision']}, {name}: {what} - {found[what]}"
        for name, found in stored["contestants"].items()
        for what in ("failed", "left out")
        if what in found
    ]
