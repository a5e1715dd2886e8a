"""The contestants: fastnet's backends, the loop by hand, and the peers (other libraries)."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Literal

from bench.workloads import Workload
from fastnet.arrays.checks import Array
from fastnet.benchmark import Contestant, FitWorkload, PredictWorkload, new_model
from fastnet.contract import choosing, loading

Kind = Literal["training", "gradient", "prediction"]


@dataclass(frozen=True)
class Peer:
    """Another library, or one way to use it.

    Attributes:
        module: of its classes, in `bench`.
        libraries: the modules that must be installed.
        options: further arguments of its classes.
    """

    module: str
    libraries: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


PEERS = {
    "torch": Peer("peers.torch_loop", ("torch",), {"mode": "eager"}),
    "torch fused": Peer("peers.torch_loop", ("torch",), {"mode": "fused"}),
    "torch compile": Peer("peers.torch_loop", ("torch",), {"mode": "compile"}),
    "jax": Peer("peers.jax_loop", ("jax",)),
    "scikit-learn": Peer("peers.scikit_learn", ("sklearn",)),
    "onnxruntime": Peer("peers.onnx_runtime", ("onnxruntime", "onnx")),
}

BY_HAND = "by hand"
_HAND = Peer("handwritten", ())

#: Distributions whose name differs from that of their module.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}

#: The class of a peer's module for each kind of work.
_CLASSES = {"training": "Trainer", "gradient": "Gradient", "prediction": "Predictor"}

#: A contestant that differs from another only in its optimizer.
_ONLY_TRAIN = ("torch fused",)

#: The peers in the map, the fastest of the series, each with the operations of a step from which it
#: takes part: PyTorch's calls alone take longer than JAX's whole step of fewer.
_IN_MAP = {"jax": 0.0, "torch": 1e7, "torch compile": 1e7}


def family(name: str) -> Literal["fastnet", "peer", "hand"]:
    """Whether a contestant is a backend of fastnet, a peer, or the loop by hand."""
    return "hand" if name == BY_HAND else "peer" if name in PEERS else "fastnet"


def missing(name: str) -> str | None:
    """Why a contestant cannot run on this machine, with the remedy; None if it can."""
    if family(name) == "fastnet":
        found = choosing.probe(name)
        return None if found.usable else f"{name}: {found.reason}. {found.remedy}"
    for library in _peer(name).libraries:
        if find_spec(library) is None:
            distribution = DISTRIBUTIONS.get(library, library)
            return f"{name}: {library} is not installed: python -m pip install {distribution}"
    return None


def supports(name: str, kind: Kind, work: Workload) -> bool:
    """Whether a contestant has this kind of work, and takes part in it."""
    in_map = (work.axis or "").startswith("map ")
    if family(name) == "fastnet":
        return not (in_map and name == "numpy")
    if in_map and work.flops < _IN_MAP.get(name, math.inf):
        return False
    if kind != "training" and name in _ONLY_TRAIN:
        return False
    return find_class(name, kind) is not None


def unsupported(name: str, work: Workload) -> str | None:
    """Why a contestant that runs here does not support this workload; None if it does."""
    if family(name) == "fastnet":
        return None
    check = getattr(_module(name), "unsupported", None)
    return check(work) if check is not None else None


def find_class(name: str, kind: Kind) -> Any:
    """The class of a peer's module for this kind of work, or None."""
    return getattr(_module(name), _CLASSES[kind], None)


#: Programs of a new process with fastnet.
_IMPORT = "import fastnet; from fastnet.contract.loading import load; load({backend!r})"
_FIRST_EPOCH = """
import numpy as np
import fastnet as fn
random = np.random.default_rng(0)
x = random.standard_normal((rows, 32), np.float32)
y = random.standard_normal((rows, 1), np.float32)
network = fn.Network(32, [fn.Dense(64, "relu"), fn.Dense(64, "relu"), fn.Dense(1)])
model = fn.Model(network, backend={backend!r})
model.fit(x, y, optimizer=fn.SGD(0.05), epochs=1, batch_size=32)
"""


def program(name: str, what: Literal["import", "epoch"]) -> str | None:
    """The program of a new process: import what is needed, or train tab's network for an epoch of
    `rows` rows; None where there is none.
    """
    if family(name) == "fastnet":
        return (_IMPORT if what == "import" else _FIRST_EPOCH).format(backend=name)
    if name.startswith("torch "):
        return None  # the modes of PyTorch start alike
    found = getattr(_module(name), "IMPORT" if what == "import" else "FIRST_EPOCH", None)
    return None if found is None else str(found)


def maker(
    name: str, kind: Kind, work: Workload, threads: int, rows: int = 0, dtype: str | None = None
) -> Callable[[int], Contestant]:
    """A function that makes the contestant for a number of epochs or calls.

    Args:
        name: of the contestant.
        kind: of work.
        work: the network and its training.
        threads: the most that it may use.
        rows: of one prediction.
        dtype: of data and parameters, for fastnet's backends; None: the workload's.
    """
    if family(name) == "fastnet":
        # Limited to so many processors, it chooses as many threads, or fewer if these are faster.
        own = None if hasattr(os, "sched_setaffinity") else threads
        if kind == "training":
            return lambda times: FitWorkload(work, name, times, own, dtype)
        if kind == "gradient":
            return lambda times: Gradient(work, name, times, own, dtype)
        return lambda times: PredictWorkload(work, name, times, rows, own, dtype)
    peer = _peer(name)
    made = partial(find_class(name, kind), threads=threads, **peer.options)
    if kind == "prediction":
        return lambda times: made(work, times, rows=rows)
    return lambda times: made(work, times)


def import_libraries(name: str) -> None:
    """Import a contestant's libraries, which is no part of its first run."""
    if family(name) == "fastnet":
        loading.load(name)
        libraries: tuple[str, ...] = (name,) if name in ("numba", "cupy") else ()
    else:
        libraries = _peer(name).libraries
    for library in libraries:
        import_module(library)


def versions(name: str) -> dict[str, str]:
    """The versions of the libraries that a contestant uses."""
    libraries: tuple[str, ...] = (name,) if name in ("numba", "cupy") else ()
    if name in PEERS:
        libraries = PEERS[name].libraries
    found = {}
    for library in ("numpy", *libraries):
        distribution = DISTRIBUTIONS.get(library, library)
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:  # cupy's distributions are named after CUDA's version
            found[distribution] = str(getattr(import_module(library), "__version__", "?"))
    return found


def _peer(name: str) -> Peer:
    return _HAND if name == BY_HAND else PEERS[name]


def _module(name: str) -> Any:
    return import_module(f"bench.{_peer(name).module}")


class Gradient:
    """Repeated calls of `Model.loss_and_gradient` with one batch."""

    def __init__(
        self, work: Workload, backend: str, calls: int, threads: int | None, dtype: str | None
    ) -> None:
        self.units = calls
        self.x, self.y = (array[: work.batch] for array in work.data())
        self.model = new_model(work, backend, threads, dtype or work.dtype)

    def reset(self) -> None:
        pass

    def run(self) -> None:
        call, x, y = self.model.loss_and_gradient, self.x, self.y
        for _ in range(self.units):
            self.gradient = call(x, y)[1]

    def result(self) -> Array:
        return self.gradient
