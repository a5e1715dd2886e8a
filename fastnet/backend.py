"""The contract between fastnet and a backend, and the choice of one.

The unit of work that crosses this border is a run of many training steps, not an operation:
a border crossed once per operation is what makes small networks slow.
"""

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastnet import checks
from fastnet.checks import Array
from fastnet.errors import BackendUnavailable, DefinitionError, FastnetError, unknown
from fastnet.optimizers import Optimizer
from fastnet.plan import Plan

#: Raised by one whenever something below changes its meaning. Checked on loading, because a
#: checkout's fastnet can meet an installed backend.
CONTRACT = 2

#: The backends of this project, by the package that holds each; others join through the
#: entry-point group `fastnet.backends`, whose entries name an object that is a `Backend`.
BUILT_IN = {"numpy": "fastnet_numpy", "numba": "fastnet_numba", "cupy": "fastnet_cupy"}
ENTRY_POINTS = "fastnet.backends"

#: What `auto` means: the first of these that is usable here. A GPU is used when asked for.
AUTOMATIC = ("numba", "numpy")


@dataclass
class Data:
    """Rows to learn from, as host or device arrays.

    Attributes:
        x: `(rows, inputs)`.
        y: `(rows, outputs)`, or class indices `(rows,)` of an integer type.
        weight: `(rows,)`, or None where all rows count alike.
    """

    x: Any
    y: Any
    weight: Any = None


@dataclass
class State:
    """What training changes, as host or device arrays. `train` updates it in place.

    Attributes:
        parameters: the flat vector, `(size,)`.
        memory: the optimizer's, `(slots, size)`.
        updates: how many updates this memory has seen (Adam's t - 1).
    """

    parameters: Any
    memory: Any
    updates: int = 0


@dataclass(frozen=True)
class Run:
    """Some training steps in a row, with all they need, computed beforehand.

    Step `s` (counted over the whole training) is batch `s % batches` of its epoch, where
    `batches = ceil(rows / batch_size)`; the last batch of an epoch holds the rows that are
    left over.

    Attributes:
        first_step: the number of the first step.
        learning_rates: `(steps,)` float64, one a step.
        batch_size: rows of a batch, at most.
        order: `(epochs, rows)` intp: the order of the rows in each epoch that the run
            touches; None: as they come. It is not changed afterwards: a backend may know it again.
        optimizer: its constants.
        l1: adds l1 * sum |w| over the weights (not the biases) to each step's loss.
        l2: adds l2 / 2 * sum w^2 likewise: a number; or, for a program with `l2_by_step`,
            `(steps,)` float64, one a step.
        clip_value: each entry of the gradient is then cut to [-clip_value, clip_value].
        clip_norm: the gradient is then scaled down to this Euclidean norm, if it is longer.
        seed: the key of the dropout masks; their stream is the step's number.
    """

    first_step: int
    learning_rates: Array
    batch_size: int
    order: Array | None
    optimizer: Optimizer
    l1: float = 0.0
    l2: float | Array = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    seed: int = 0


class Program(Protocol):
    """A plan, compiled by a backend for one dtype. May be used from several threads at once.

    Attributes:
        l2_by_step: whether `Run.l2` may be another number at every step. Where it may not, a run
            ends where the number changes, which is slower and comes to the same.
    """

    l2_by_step: bool = False

    def to_device(self, array: Array) -> Any:
        """Hand over a host array; the backend may keep it or copy it."""
        ...

    def to_host(self, array: Any) -> Array:
        """The host's view or copy of an array that the backend holds."""
        ...

    def predict(self, parameters: Any, x: Any) -> Array:
        """Predictions `(rows, outputs)`, a new host array."""
        ...

    def predict_at_once(self, parameters: Any, x: Any) -> Any:
        """Predictions for what a user handed over, if that needs neither a check nor a change.

        For few rows the checks take longer than the network, and rows on a device should stay
        there: a backend that can tell sooner answers here. `parameters` are the host's.

        Returns:
            The same as `predict`, for rows on the backend's device an array there; None where `x`
            has to be looked at first.
        """
        return None

    def loss(self, parameters: Any, data: Data) -> float:
        """The loss over all rows of `data`, without dropout or penalties."""
        ...

    def gradient(
        self,
        parameters: Any,
        data: Data,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[float, Array]:
        """The loss with penalties and its gradient, `(size,)`, a new host array.

        `dropout` is the seed and step whose masks are applied; None: no dropout.
        """
        ...

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place.

        Returns:
            `(steps,)` float64: the loss of each step's batch before its update, penalties
            included. At the first loss that is not finite it stops before the update, and
            returns the losses so far, that one last.
        """
        ...


@dataclass(frozen=True)
class Probe:
    """Whether a backend can run here; if not, why, and what to do about it."""

    usable: bool
    reason: str = ""
    remedy: str = ""


class Backend(Protocol):
    """What a backend package offers, as `BACKEND` in its `__init__.py`."""

    name: str
    contract: int
    #: What `Model(precision=...)` may ask of it, beside None.
    precisions: tuple[str, ...]

    def probe(self) -> Probe:
        """Look whether it can run here, without raising."""
        ...

    def describe(self) -> Mapping[str, str]:
        """Facts for a person: "versions", "device", "threads"."""
        ...

    def compile(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> Program:
        """Make `plan` runnable.

        Args:
            plan: what.
            dtype: of parameters and data.
            threads: of the processor (None: as the backend thinks best).
            precision: of products, one of `precisions`; None: the dtype's own.
        """
        ...


#: Precisions of matrix products below float32, which only who asks for them gets: TensorFloat-32
#: multiplies 10 bits of significand of float32 numbers; bf16 and fp16 store what layers hand to
#: each other in 16 bits. Sums, parameters and updates stay float32 in all of them.
PRECISIONS = ("tf32", "bf16", "fp16")


def requested_precision(precision: str | None, backend: Backend, dtype: str) -> str | None:
    """The precision asked for, if `backend` has it.

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
            f"precision {precision!r} goes with dtype 'float32', not {dtype!r}; leave one out."
        )
    if precision not in backend.precisions:
        raise BackendUnavailable(
            f"backend {backend.name!r} does not have precision {precision!r}; backend='cupy' "
            "does, on an NVIDIA GPU. Leave precision out for products in float32."
        )
    return precision


def known() -> list[str]:
    """The names of all backends, installed or not: ours first, then others'."""
    return [*BUILT_IN, *(name for name in _others() if name not in BUILT_IN)]


def _others() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def load(name: str) -> Backend:
    """Import a backend by its name.

    Raises:
        BackendUnavailable: if the name is unknown, it is not installed, or it was made for
            another version of the contract.
    """
    try:
        if name in BUILT_IN:
            backend = importlib.import_module(BUILT_IN[name]).BACKEND
        else:
            others = _others()
            if name not in others:
                raise BackendUnavailable(unknown("backend", name, ["auto", *known()]))
            backend = others[name].load()
    except FastnetError:
        raise
    except Exception as error:  # somebody else's module may raise anything
        if isinstance(error, ImportError) and error.name == BUILT_IN.get(name, ""):
            raise BackendUnavailable(
                f"backend {name!r} is not in this version of fastnet (there is no package "
                f"{error.name!r}); use 'numpy'."
            ) from error
        raise BackendUnavailable(f"backend {name!r} could not be imported: {error}.") from error
    contract = getattr(backend, "contract", None)
    if contract != CONTRACT:
        raise BackendUnavailable(
            f"backend {name!r} was made for contract {contract}, this fastnet has {CONTRACT}; "
            "install versions of the two that belong together."
        )
    return backend  # type: ignore[no-any-return]  # an entry point's type is not known


def probe(name: str) -> Probe:
    """Whether the backend called `name` can run here; never raises for a known name."""
    try:
        return load(name).probe()
    except BackendUnavailable as error:
        reason, _, remedy = str(error).partition("; ")
        return Probe(False, reason.removeprefix(f"backend {name!r} is "), remedy)


_using: ContextVar[str | None] = ContextVar("fastnet_backend", default=None)


@contextmanager
def using(name: str) -> Iterator[None]:
    """Make models with the backend called `name` inside a `with` block.

    It goes before `FASTNET_BACKEND`, and `Model(backend=...)` goes before it. It holds for
    models made inside the block, in this thread or task.

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
    backend = load(asked)
    found = backend.probe()
    if not found.usable:
        raise BackendUnavailable(
            f"backend {asked!r} cannot run here: {found.reason}. {found.remedy}".rstrip()
        )
    return backend


def requested_threads(threads: int | None = None) -> int | None:
    """The threads asked for: `threads`, else `FASTNET_NUM_THREADS`, else None: as it pays.

    Raises:
        DefinitionError: if that is not a whole number above 0.
    """
    if threads is not None:
        return checks.whole(threads, "threads")
    text = os.environ.get("FASTNET_NUM_THREADS", "").strip()
    if not text:
        return None
    return checks.whole(int(text) if text.isdecimal() else text, "FASTNET_NUM_THREADS")
