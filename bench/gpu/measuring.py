"""A contest: everybody's first steps against NumPy's, then everybody's time."""

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from bench.gpu.contests import CHANGES_AGREE, LOSSES_AGREE, Contest
from bench.gpu.ours import Fastnet, Fit
from fastnet.arrays.checks import Array
from fastnet.contract import choosing as backends

#: Of one timed run, about, in milliseconds; runs of which the median counts; steps of a run at
#: most, so that the table of their rates stays small.
RUN_MILLISECONDS, RUNS, MOST_STEPS = 60.0, 5, 200_000

#: Steps of the runs before: fastnet captures its graph in them, the peers' allocators fill.
WARM_UP = 32

#: Contests that are also timed through `Model.fit`.
FITTED = ("mnist", "64-5-2^17")


class Contestant(Protocol):
    """Who can be timed."""

    name: str

    def begin(self) -> None: ...

    def go(self, steps: int) -> None: ...

    def milliseconds(self, steps: int) -> float: ...

    def parameters(self) -> Array: ...


#: How a contestant is made, by its name.
Makers = dict[str, Callable[[Contest], Any]]


def peers() -> Makers:
    """The peers whose libraries are here, and see a GPU."""
    found: Makers = {}
    try:
        import torch

        from bench.gpu.peer_torch import Torch

        if torch.cuda.is_available():
            for way in ("eager", "graph", "compile"):
                found[f"torch {way}"] = partial(Torch, way=way)
    except ImportError:
        pass
    try:
        import jax

        from bench.gpu.peer_jax import Jax

        if jax.default_backend() == "gpu":
            found["jax"] = Jax
    except (ImportError, RuntimeError):
        pass
    return found


class Reference:
    """NumPy's first steps, kept for all precisions of a network and batch."""

    def __init__(self) -> None:
        self.kept: dict[Any, tuple[Array, Array, Array]] = {}

    def steps(self, contest: Contest) -> tuple[Array, Array, Array]:
        """The first losses, and the parameters before and after."""
        key = (contest.units, contest.batch, contest.activation, contest.rate)
        if key not in self.kept:
            plain = Fastnet(contest, "numpy")
            plain.go(contest.checked_steps)
            self.kept[key] = (plain.losses, plain.start, plain.parameters())
        return self.kept[key]


def apart(contest: Contest, one: Any, reference: Reference) -> tuple[float, float | None]:
    """How far the first steps are from NumPy's: the parameters' change, and the losses.

    Raises:
        AssertionError: if that is farther than rounding explains.
    """
    losses, start, end = reference.steps(contest)
    one.go(contest.checked_steps)
    change = float(np.linalg.norm(one.parameters() - end) / np.linalg.norm(end - start))
    allowed = CHANGES_AGREE[contest.precision]
    assert change <= allowed, f"the change is {change:.2g} from NumPy's, allowed is {allowed:g}"
    found = getattr(one, "losses", None)
    if found is None:
        return change, None
    assert len(found) == len(losses), f"{len(found)} losses of {len(losses)} steps"
    loss = float(np.abs(found / losses - 1).max())
    allowed = LOSSES_AGREE[contest.precision]
    assert loss <= allowed, f"losses are {loss:.2g} from NumPy's, allowed is {allowed:g}"
    return change, loss


def timed(one: Any, run_milliseconds: float = RUN_MILLISECONDS) -> dict[str, Any]:
    """Microseconds of a step: the median of runs, and the fastest and the slowest."""
    fit = getattr(one, "steps_for", lambda steps: steps)
    one.milliseconds(fit(WARM_UP))
    guess = one.milliseconds(fit(WARM_UP)) / fit(WARM_UP)
    steps = int(min(max(run_milliseconds / max(guess, 1e-6), 1), MOST_STEPS))
    # Whole graphs, as long runs are made of.
    steps = fit(steps if steps < WARM_UP else steps // WARM_UP * WARM_UP)
    one.milliseconds(steps)
    found = sorted(one.milliseconds(steps) * 1e3 / steps for _ in range(RUNS))
    return {
        "microseconds": statistics.median(found), "fastest": found[0], "slowest": found[-1],
        "steps": steps,
    }  # fmt: skip


def contest_of(
    contest: Contest,
    makers: Makers,
    reference: Reference,
    until: float,
    run_milliseconds: float = RUN_MILLISECONDS,
) -> dict[str, dict[str, Any]]:
    """Every contestant's figures, by name; "failed" or "left out" says why there are none."""
    results: dict[str, dict[str, Any]] = {}
    for name, make in makers.items():
        if time.monotonic() > until:
            results[name] = {"left out": "no time was left"}
            continue
        try:
            one = make(contest.checked)
            change, loss = apart(contest.checked, one, reference)
            if contest.checked == contest:
                one.begin()
            else:
                one = make(contest)
            results[name] = timed(one, run_milliseconds)
            results[name] |= {"change apart": change, "losses apart": loss}
            if getattr(one, "is_narrow", False):
                results[name]["narrow"] = True
            del one
        except Exception as error:  # a peer's trouble is told, and the rest goes on
            results[name] = {"failed": f"{type(error).__name__}: {error}"[:300]}
        _give_back()
    return results


def fitted(contest: Contest, backend: str, most: int = 2000) -> dict[str, Any]:
    """Microseconds of a step of `Model.fit` of about `most`, with all it does around them."""
    fit = Fit(contest, backend)
    epochs = max(1, most // contest.sets)
    fit.milliseconds(1)
    steps = epochs * contest.sets
    found = sorted(fit.milliseconds(epochs) * 1e3 / steps for _ in range(3))
    return {"microseconds": found[1], "fastest": found[0], "slowest": found[2], "steps": steps}


def _give_back() -> None:
    """Let the next contestant have the memory that the last one had."""
    import sys

    gc.collect()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()
        sys.modules["torch"].compiler.reset()
    if "cupy" in sys.modules and backends.probe("cupy").usable:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
