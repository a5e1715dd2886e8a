"""Which backends there are, and which one runs a model.

An argument, a `with` block or an environment variable chooses. A backend that cannot run is an
error; no other is used in its place.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import numpy as np

from fastnet.arrays import checks
from fastnet.contract.loading import load
from fastnet.contract.plan import Plan
from fastnet.contract.program import Backend, Probe, Program
from fastnet.errors import BackendUnavailable, DefinitionError, unknown

#: What `auto` means: the first of these that is usable here. A GPU is used when asked for.
AUTOMATIC = ("numba", "numpy")


#: Precisions of matrix products below float32, used only on request: TensorFloat-32 multiplies 10
#: bits of the significand of float32 numbers; bf16 and fp16 store the values between layers in 16
#: bits. Sums, parameters and updates stay float32 in all of them.
PRECISIONS = ("tf32", "bf16", "fp16")


def requested_precision(precision: str | None, backend: Backend, dtype: str) -> str | None:
    """Check that `backend` has the requested precision.

    Raises:
        DefinitionError: if there is no such precision, or the dtype is not float32.
        BackendUnavailable: if the backend does not have it.
    """
    if precision is None:
        return None
    if precision not in PRECISIONS:
        raise DefinitionError(unknown("precision", precision, PRECISIONS))
    if dtype != "float32":
        raise DefinitionError(
            f"precision {precision!r} requires dtype 'float32', not {dtype!r}; leave one out."
        )
    if precision not in backend.precisions:
        raise BackendUnavailable(
            f"backend {backend.name!r} does not have precision {precision!r}; backend='cupy' "
            "does, on an NVIDIA GPU. Leave precision out for products in float32."
        )
    return precision


def probe(name: str) -> Probe:
    """Whether the backend called `name` can run here; never raises for a known name."""
    try:
        backend: Backend = load(name)
        return backend.probe()
    except BackendUnavailable as error:
        reason, _, remedy = str(error).partition("; ")
        return Probe(False, reason.removeprefix(f"backend {name!r} is "), remedy)


_using: ContextVar[str | None] = ContextVar("fastnet_backend", default=None)


@contextmanager
def using(name: str) -> Iterator[None]:
    """Make models with the backend called `name` inside a `with` block.

    It takes precedence over `FASTNET_BACKEND`; `Model(backend=...)` takes precedence over it. It
    applies to models made inside the block, in this thread or task.

    Args:
        name: as for `Model(backend=...)`.

    Raises:
        BackendUnavailable: at once, if the backend cannot run here.
    """
    choose(name)
    token = _using.set(name)
    try:
        yield
    finally:
        _using.reset(token)


def choose(name: str | None = None) -> Backend:
    """The backend to use: `name`, else that of `using`, else `FASTNET_BACKEND`, else auto.

    Raises:
        BackendUnavailable: if it is unknown or cannot run here; nothing else is taken instead.
    """
    asked = name or _using.get()
    if asked is None:
        asked = os.environ.get("FASTNET_BACKEND", "").strip() or "auto"
        if asked != "auto":
            try:
                return choose(asked)
            except BackendUnavailable as error:
                raise BackendUnavailable(f"{error} (FASTNET_BACKEND asks for it.)") from error
    if asked == "auto":
        asked = next((name for name in AUTOMATIC if probe(name).usable), AUTOMATIC[-1])
    backend: Backend = load(asked)
    found = backend.probe()
    if not found.usable:
        raise BackendUnavailable(
            f"backend {asked!r} cannot run here: {found.reason}. {found.remedy}".rstrip()
        )
    return backend


def requested_threads(threads: int | None = None) -> int | None:
    """The number of threads: `threads`, else `FASTNET_NUM_THREADS`, else None: the backend chooses.

    The variable, which may have been set for another machine, asks for no more threads than there
    are processors: threads that take turns wait for each other.

    Raises:
        DefinitionError: if that is not a whole number above 0.
    """
    if threads is not None:
        return checks.integer(threads, "threads")
    text = os.environ.get("FASTNET_NUM_THREADS", "").strip()
    if not text:
        return None
    asked = checks.integer(int(text) if text.isdecimal() else text, "FASTNET_NUM_THREADS")
    return min(asked, processors())


def compiled(
    backend: Backend, plan: Plan, dtype: str, threads: int | None, precision: str | None
) -> Program:
    """Compile a plan for a backend, with the threads and the precision that were asked for.

    Raises:
        DefinitionError: if the threads or the precision are invalid.
        BackendUnavailable: if the backend lacks the precision, or an operation of the plan.
    """
    return backend.compile(
        plan,
        np.dtype(dtype),
        requested_threads(threads),
        requested_precision(precision, backend, dtype),
    )


#: Where Linux tells of the limits of a container.
LIMITS = "/sys/fs/cgroup"


def processors() -> int:
    """How many processors this process may use: whole ones of a container's share of their time."""
    if hasattr(os, "sched_getaffinity"):
        return max(int(min(len(os.sched_getaffinity(0)), _share())), 1)
    return os.cpu_count() or 1


@cache
def _share() -> float:
    """Of how many processors a container may use the time; infinite where there is no limit.

    As Docker and Kubernetes set it (`--cpus`, `limits`): in `cpu.max` of cgroup v2, or in two files
    of v1, microseconds of each period. Threads beyond that would be halted in every period, while
    the others wait for them.
    """
    try:
        try:
            quota, period = _limit("cpu.max").split()
        except FileNotFoundError:
            quota, period = (_limit(f"cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
        share = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number either
        return math.inf
    return share if share > 0 else math.inf  # -1 for none


def _limit(name: str) -> str:
    with open(os.path.join(LIMITS, name)) as file:  # pathlib is slow to import
        return file.read()
