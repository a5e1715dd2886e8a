"""How many threads a step is shared out over."""

import os

from fastnet.plan import Affine, Plan

#: Multiply-adds of a step's forward pass from which a second thread pays.
WORTH_SHARING = 2**19


def available() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wanted(plan: Plan, rows: int, asked: int | None) -> int:
    """The threads for batches of `rows` rows."""
    if asked is not None:
        return asked
    work = rows * sum(op.inputs * op.units for op in plan.operations if isinstance(op, Affine))
    return max(min(available(), work // WORTH_SHARING), 1)
