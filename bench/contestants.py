"""Who takes part: fastnet's backends, the loop by hand, and the peers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Literal

from bench.workloads import Workload
from fastnet.arrays.checks import Array
from fastnet.benchmark import Contestant, FitWorkload, PredictWorkload
from fastnet.contract import choosing as backends
from fastnet.contract import loading

Kind = Literal["training", "gradient", "prediction"]


@dataclass(frozen=True)
class Peer:
    """Another library, or one way to use it.

    Attributes:
        module: under `bench`, the file that has it.
        libraries: what must be installed.
        how: further arguments of its classes.
        says: how it is used, in a few words.
    """

    module: str
    libraries: tuple[str, ...]
    how: dict[str, Any]
    says: str


PEERS = {
    "torch": Peer("peers.torch_loop", ("torch",), {"way": "eager"}, "eager"),
    "torch fused": Peer("peers.torch_loop", ("torch",), {"way": "fused"}, "fused optimizer"),
    "torch compile": Peer("peers.torch_loop", ("torch",), {"way": "compile"}, "torch.compile"),
    "jax": Peer("peers.jax_loop", ("jax",), {}, "one jitted loop"),
    "scikit-learn": Peer("peers.scikit_learn", ("sklearn",), {}, "MLPRegressor"),
    "onnxruntime": Peer("peers.onnx_runtime", ("onnxruntime", "onnx"), {}, "predictions"),
}

BY_HAND = "by hand"
_HAND = Peer("handwritten", (), {}, "plain NumPy")

#: Where a library's distribution is called otherwise than its module.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}

#: The class of a peer's file for each kind of work.
_CLASSES = {"training": "Trainer", "gradient": "Gradient", "prediction": "Predictor"}

#: Ways that differ in their optimizer alone have nothing of their own to show elsewhere.
_ONLY_TRAIN = ("torch fused",)


def family(name: str) -> Literal["fastnet", "peer", "hand"]:
    """What a contestant is."""
    return "hand" if name == BY_HAND else "peer" if name in PEERS else "fastnet"


def missing(name: str) -> str | None:
    """Why a contestant cannot take part on this machine, with the remedy; None if it can."""
    if family(name) == "fastnet":
        found = backends.probe(name)
        return None if found.usable else f"{name}: {found.reason}. {found.remedy}"
    for library in _peer(name).libraries:
        if find_spec(library) is None:
            return (
                f"{name}: {library} is not installed; "
                "python -m pip install '.[peers]' in a clone brings it"
            )
    return None


def supports(name: str, kind: Kind) -> bool:
    """Whether a contestant does such work at all."""
    if family(name) == "fastnet":
        return True
    if kind != "training" and name in _ONLY_TRAIN:
        return False
    return find_class(name, kind) is not None


def unsupported(name: str, work: Workload) -> str | None:
    """Why a contestant that could take part cannot do this workload; None if it can."""
    if family(name) == "fastnet":
        return None
    asked = getattr(_module(name), "unsupported", None)
    return asked(work) if asked is not None else None


def find_class(name: str, kind: Kind) -> Any:
    """The class of a peer's file; None where it has none for such work."""
    return getattr(_module(name), _CLASSES[kind], None)


#: What a new process does with fastnet.
_IMPORT = "import fastnet; fastnet.backend.load({backend!r})"
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
    """What a new process does: import all that is needed, or train an epoch of `rows` rows of
    tab's network; None where there is no such program.
    """
    if family(name) == "fastnet":
        return (_IMPORT if what == "import" else _FIRST_EPOCH).format(backend=name)
    if name.startswith("torch ") or name not in (BY_HAND, *PEERS):
        return None  # the ways of one library begin alike
    found = getattr(_module(name), "IMPORT" if what == "import" else "FIRST_EPOCH", None)
    return None if found is None else str(found)


def maker(
    name: str, kind: Kind, work: Workload, threads: int, rows: int = 0, dtype: str = "float32"
) -> Callable[[int], Contestant]:
    """Make the contestant, for so many epochs or calls.

    Args:
        name: who.
        kind: of what.
        work: the network, and how it is trained.
        threads: of the processor, at most, for everyone.
        rows: of one prediction.
        dtype: of everything; for fastnet's backends alone.
    """
    if family(name) == "fastnet":
        # Held to so many processors, it takes as many threads by itself, or fewer where that pays.
        own = None if hasattr(os, "sched_setaffinity") else threads
        if kind == "training":
            return lambda times: FitWorkload(work, name, times, own, dtype)
        if kind == "gradient":
            return lambda times: Gradient(work, name, times, own, dtype)
        return lambda times: PredictWorkload(work, name, times, rows, own, dtype)
    peer = _peer(name)
    made = partial(find_class(name, kind), threads=threads, **peer.how)
    if kind == "prediction":
        return lambda times: made(work, times, rows=rows)
    return lambda times: made(work, times)


def import_libraries(name: str) -> None:
    """Import what a contestant stands on: that is no part of its first run."""
    if family(name) == "fastnet":
        loading.load(name)
        libraries: tuple[str, ...] = (name,) if name in ("numba", "cupy") else ()
    else:
        libraries = _peer(name).libraries
    for library in libraries:
        import_module(library)


def versions(name: str) -> dict[str, str]:
    """Of the libraries that a contestant stands on."""
    libraries: tuple[str, ...] = (name,) if name in ("numba", "cupy") else ()
    if name in PEERS:
        libraries = PEERS[name].libraries
    found = {}
    for library in ("numpy", *libraries):
        distribution = DISTRIBUTIONS.get(library, library)
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:  # cupy's wheels are called after CUDA's version
            found[distribution] = str(getattr(import_module(library), "__version__", "?"))
    return found


def _peer(name: str) -> Peer:
    return _HAND if name == BY_HAND else PEERS[name]


def _module(name: str) -> Any:
    return import_module(f"bench.{_peer(name).module}")


class Gradient:
    """`model.loss_and_gradient` of one batch."""

    def __init__(
        self, work: Workload, backend: str, calls: int, threads: int | None, dtype: str
    ) -> None:
        self.units = calls
        self.x, self.y = (array[: work.batch] for array in work.data())
        self.model = model(work, backend, threads, dtype)

    def reset(self) -> None:
        pass

    def run(self) -> None:
        call, x, y = self.model.loss_and_gradient, self.x, self.y
        for _ in range(self.units):
            self.gradient = call(x, y)[1]

    def result(self) -> Array:
        return self.gradient
