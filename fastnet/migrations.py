"""Reading files of earlier formats: what they hold, in the terms of the present one.

Format 2 (2026-11) renamed constants of optimizers and schedules, and gave SGD without momentum no
memory.
"""

from typing import Any

from fastnet.arrays.checks import Array

#: What the constants of format 1 are called in format 2, by the name of the optimizer or schedule.
RENAMED_IN_2: dict[str, dict[str, str]] = {
    "step": {"every": "step_size", "factor": "gamma"},
    "exponential": {"factor": "gamma"},
    "inverse_scaling": {"power": "power_t"},
    "cosine": {"end": "eta_min"},
    "warm_up": {"start": "start_factor"},
    "one_cycle": {"up": "pct_start", "divide": "div_factor", "final": "final_div_factor"},
    "reduce_on_plateau": {"least": "min_lr"},
    "rmsprop": {"decay": "alpha"},
}


def migrate(
    version: int, kind: str, facts: Any, arrays: dict[str, Array]
) -> tuple[Any, dict[str, Array]]:
    """Turn the contents of a file of format `version` into those of the present format.

    A file that is not as its format says is left for its reader to refuse.

    Args:
        version: of the file.
        kind: "model" or "checkpoint".
        facts: as the file has them.
        arrays: by name, as the file has them.
    """
    if version < 2 and kind == "checkpoint" and isinstance(facts, dict):
        facts, arrays = _checkpoint_of_1(facts, arrays)
    return facts, arrays


def _checkpoint_of_1(
    facts: dict[str, Any], arrays: dict[str, Array]
) -> tuple[dict[str, Any], dict[str, Array]]:
    same = facts.get("same")
    if not isinstance(same, dict) or not isinstance(same.get("optimizer"), dict):
        return facts, arrays
    optimizer = same["optimizer"]
    if optimizer.get("name") == "sgd" and not optimizer.get("momentum") and "memory" in arrays:
        arrays = {**arrays, "memory": arrays["memory"][:0]}
    return {**facts, "same": {**same, "optimizer": _renamed(optimizer)}}, arrays


def _renamed(spec: Any) -> Any:
    """The plain form of an optimizer or schedule of format 1, and of those inside it."""
    if not isinstance(spec, dict):
        return spec
    new = RENAMED_IN_2.get(str(spec.get("name")), {})
    renamed = {new.get(name, name): _renamed(value) for name, value in spec.items()}
    if spec.get("name") == "rprop" and {"shrink", "grow", "smallest", "largest"} <= set(spec):
        renamed["etas"] = [renamed.pop("shrink"), renamed.pop("grow")]
        renamed["step_sizes"] = [renamed.pop("smallest"), renamed.pop("largest")]
    return renamed
