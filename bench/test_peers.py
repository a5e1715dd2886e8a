"""The Numba backend through `model.fit` and `model.predict` against its peers: ratios in one run.

Each test has one comparison and what is asked of it. It prints both and stores them; a ratio
that is missed does not fail, because on a busy machine it would. What must hold is that both
arrive at the same parameters, or the same prediction, before a time counts. Then they take
turns, and the median of the rounds' ratios stands.

fastnet's time is that of the call: it checks the data, makes the orders of rows and keeps the
losses. `peers.py` says what the peers need not do. A network is made, and everything compiled,
before.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnet as fn
from bench.peers import (
    Contestant,
    Fastnet,
    Jax,
    Onnxruntime,
    Predict,
    Products,
    Stream,
    Torch,
    Trainer,
    Training,
    Updates,
)
from bench.workloads import WORKLOADS, Workload

pytest.importorskip("numba", reason="numba is not installed: its backend is what is timed here")

ROUNDS = 9

#: Seconds before each turn, in which the threads of the one before go to sleep.
PAUSE = 0.02

#: How far parameters may be apart, of the largest: float32's rounding, grown over the steps.
AGREE = 1e-3

#: How far predictions may be apart, of the largest, and on how many rows that is looked at.
AGREE_PREDICTED, TRIED = 1e-5, 64


@dataclass(frozen=True)
class Asked:
    """A comparison, and what is asked of it.

    Attributes:
        what: is timed, in words.
        against: what it is compared with.
        target: the ratio. "at least": of the other's time to ours; "at most": of ours to it.
        bound: "at least" or "at most".
    """

    what: str
    against: str
    target: float
    bound: str = "at least"


def seconds(contestant: Contestant) -> float:
    """The time of one step."""
    contestant.begin()
    time.sleep(PAUSE)
    began = time.perf_counter()
    contestant.go()
    return (time.perf_counter() - began) / contestant.steps


def take_turns(
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
    asked: Asked,
    ours: Contestant,
    theirs: Sequence[Contestant],
    libraries: Sequence[str] = (),
) -> None:
    """Time them, the faster of `theirs` in each round, and store what came of it."""
    mine: list[float] = []
    others: list[float] = []

    def before() -> None:
        others.append(min(seconds(one) for one in theirs))
        ours.begin()
        gc.collect()
        time.sleep(PAUSE)

    def timed() -> None:
        began = time.perf_counter()
        ours.go()
        mine.append((time.perf_counter() - began) / ours.steps)

    benchmark.pedantic(timed, setup=before, rounds=ROUNDS, warmup_rounds=1)
    if benchmark.disabled:  # each ran once, and the results agree
        return
    pairs = list(zip(mine[1:], others[1:], strict=True))
    if asked.bound == "at least":
        ratio = statistics.median(other / own for own, other in pairs)
        reached = ratio >= asked.target
    else:
        ratio = statistics.median(own / other for own, other in pairs)
        reached = ratio <= asked.target
    benchmark.extra_info.update(
        what=asked.what,
        against=asked.against,
        ratio=ratio,
        bound=asked.bound,
        target=asked.target,
        reached=reached,
        microseconds=statistics.median(mine[1:]) * 1e6,
        microseconds_against=statistics.median(others[1:]) * 1e6,
        versions={name: version(name) for name in ("numpy", "numba", *libraries)},
    )
    with capsys.disabled():
        print(
            f"\n{asked.what} against {asked.against}: {ratio:.3g} x "
            f"({asked.bound} {asked.target:g} asked{'' if reached else ', missed'})"
        )


def agree(ours: Trainer, theirs: Trainer) -> None:
    """Both arrive at the same parameters, which are not those of the start."""
    start = ours.parameters().copy()
    ours.go()
    theirs.go()
    mine, other = ours.parameters(), theirs.parameters()
    assert not np.array_equal(mine, start)
    apart = np.abs(mine - other).max() / np.abs(other).max()
    assert apart < AGREE, f"parameters are {apart:.1e} apart"


def needs(threads: int, *libraries: str) -> list[pytest.MarkDecorator]:
    """Skip where there are fewer processors, or where a library is not installed."""
    found = os.cpu_count() or 1
    few = f"this machine has {found} processors, {threads} are needed"
    return [
        pytest.mark.skipif(found < threads, reason=few),
        *(
            pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
            for name in libraries
        ),
    ]


#: The peers that train: the library, how it is named, and who they are for a training.
PEERS: dict[str, tuple[str, str, Callable[[Training], Sequence[Contestant]]]] = {
    "jax": ("jax", "JAX, one jitted loop", lambda training: [Jax(training)]),
    "torch": ("torch", "torch, eager", lambda training: [Torch(training)]),
    "products": (
        "numpy",
        "the matrix products alone in NumPy",
        lambda training: [Products(training, threads) for threads in (1, 2)],
    ),
}

#: Workload, optimizer, threads, peer, and by how many times a step is to be shorter.
ASKED = [
    ("xor", "sgd", 1, "jax", 12.0),
    ("xor", "sgd", 1, "torch", 1_500.0),
    ("tab", "sgd", 1, "jax", 1.4),
    ("tab", "sgd", 2, "jax", 2.3),
    ("tab32", "sgd", 1, "jax", 1.7),
    ("tab32", "sgd", 1, "torch", 25.0),
    ("tab", "adam", 2, "jax", 2.3),
    ("mnist", "sgd", 2, "jax", 1.5),
    ("mnist", "sgd", 2, "products", 1.0),
    ("wide", "sgd", 2, "torch", 1.0),
    ("wide", "sgd", 2, "jax", 1.0),
]

#: Epochs of a timed training where the workload's own are not a tenth of a second or so.
EPOCHS = {
    ("xor", "fastnet"): 1_000_000,
    ("xor", "jax"): 100_000,
    ("xor", "torch"): 500,
    ("tab", "fastnet"): 50,
    ("tab32", "fastnet"): 25,
    ("tab32", "torch"): 1,
    ("wide", "fastnet"): 4,
}

#: Epochs of the short run that they must agree about; 1 where none are given.
COMMON_EPOCHS = {"xor": 500}


@pytest.mark.parametrize(
    ("name", "optimizer", "threads", "peer", "target"),
    [
        pytest.param(
            *asked,
            id="{}-{}-{} threads-{}".format(*asked),
            marks=[
                *needs(asked[2], PEERS[asked[3]][0]),
                *([pytest.mark.slow] if asked[0] == "wide" else []),
            ],
        )
        for asked in ASKED
    ],
)
def test_training(
    name: str,
    optimizer: str,
    threads: int,
    peer: str,
    target: float,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A training step through `fit`, the shuffle of every epoch included."""
    library, against, made = PEERS[peer]

    def training(epochs: int) -> Training:
        workload = replace(WORKLOADS[name], epochs=epochs)
        return Training(workload, threads, adam=optimizer == "adam")

    common = training(COMMON_EPOCHS.get(name, 1))
    ours, theirs = Fastnet(common), made(common)
    for other in theirs:
        if isinstance(other, Jax | Torch):
            agree(ours, other)
    if benchmark.enabled:
        own = WORKLOADS[name].epochs
        ours = Fastnet(training(EPOCHS.get((name, "fastnet"), own)))
        theirs = made(training(EPOCHS.get((name, peer), own)))
    shape = _shape(WORKLOADS[name].network)
    batch = WORKLOADS[name].batch or WORKLOADS[name].rows
    what = f"{name} ({shape}, batch {batch}, {optimizer.upper()}), {_threads(threads)}"
    take_turns(benchmark, capsys, Asked(what, against, target), ours, theirs, [library])


def _shape(network: fn.Network) -> str:
    units = [layer.units for layer in network.layers if isinstance(layer, fn.Dense)]
    return "-".join(map(str, [network.inputs, *units]))


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


#: How many times ReLU's and the squared error's time others may take, and outputs for classes.
OTHERS_MAY_TAKE, CLASSES = 1.3, 10


@pytest.mark.parametrize("function", ["tanh", "sigmoid", "gelu", "crossentropy"])
@pytest.mark.parametrize("name", ["tab", "mnist"])
def test_other_functions(
    name: str, function: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step with another activation, or another loss, against one with ReLU and MSE."""
    given = WORKLOADS[name]
    units = [layer.units for layer in given.network.layers if isinstance(layer, fn.Dense)]
    *hidden, outputs = units
    classes = function == "crossentropy"

    def training(activation: str, last: str, loss: str, epochs: int) -> Training:
        layers = [fn.Dense(count, activation) for count in hidden]
        layers.append(fn.Dense(CLASSES if classes else outputs, last))
        network = fn.Network(given.network.inputs, layers, loss)
        return Training(replace(given, network=network, epochs=epochs))

    def pair(epochs: int) -> tuple[Training, Training]:
        plain = training("relu", "identity", "mse", epochs)
        if classes:
            return training("relu", "softmax", "crossentropy", epochs), plain
        return training(function, "identity", "mse", epochs), plain

    ours, plain = pair(1)
    agree(Fastnet(ours), Fastnet(ours, backend="numpy"))
    if benchmark.enabled:
        ours, plain = pair(given.epochs)
    what = f"{name} ({_shape(ours.workload.network)}) with {function}, one thread"
    against = "fastnet's own time with ReLU and MSE"
    asked = Asked(what, against, OTHERS_MAY_TAKE, "at most")
    take_turns(benchmark, capsys, asked, Fastnet(ours), [Fastnet(plain)])


#: Units of each layer, rows, threads, calls of ours and theirs, and by how many times we are to
#: be faster. The peer may have one thread or two, whichever is faster.
PREDICTIONS = [
    ((3, 4, 1), 1, 1, (100_000, 10_000), 8.0),
    ((32, 64, 64, 1), 1, 1, (100_000, 10_000), 6.0),
    ((784, 128, 10), 1, 1, (20_000, 10_000), 2.0),
    ((32, 64, 64, 1), 100_000, 2, (10, 5), 1.5),
]


@pytest.mark.parametrize(
    ("sizes", "rows", "threads", "calls", "target"),
    [
        pytest.param(
            *given,
            id="{}-{} rows".format("-".join(map(str, given[0])), given[1]),
            marks=needs(given[2], "onnx", "onnxruntime"),
        )
        for given in PREDICTIONS
    ],
)
def test_predict(
    sizes: tuple[int, ...],
    rows: int,
    threads: int,
    calls: tuple[int, int],
    target: float,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A call of `predict` against one of `session.run`."""
    inputs, *hidden, outputs = sizes
    layers = [*(fn.Dense(units, "relu") for units in hidden), fn.Dense(outputs)]
    workload = Workload("predict", fn.Network(inputs, layers), rows, rows, 1, 0.1)
    parts = np.split(fn.datasets.synthetic(max(rows, TRIED), inputs)[0], max(TRIED // rows, 1))
    if benchmark.disabled:
        calls = (1, 1)
    ours = Predict(Training(workload, threads).model(), parts[0], calls[0])
    theirs = [Onnxruntime(Training(workload, count), parts[0], calls[1]) for count in (1, 2)]
    mine = np.stack([ours.answer(part) for part in parts])
    for one in theirs:
        answers = np.stack([one.answer(part) for part in parts])
        assert answers.shape == mine.shape
        apart = np.abs(mine - answers).max() / np.abs(answers).max()
        assert apart < AGREE_PREDICTED, f"predictions are {apart:.1e} apart"
    count = "one row" if rows == 1 else f"{rows:,} rows"
    what = f"predict {count} of {_shape(workload.network)}, {_threads(threads)}"
    asked = Asked(what, "onnxruntime", target)
    take_turns(benchmark, capsys, asked, ours, theirs, ["onnxruntime"])


#: Of a copy's speed; and the numbers read and written in the time of a measurement.
ADAM_REACHES, ADAM_ENTRIES = 0.9, 200_000_000


@pytest.mark.parametrize("size", [100_000, 1_000_000, 6_300_000])
def test_adam(size: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """The update alone, against a loop that moves as many bytes and only adds."""
    updates = 1 if benchmark.disabled else ADAM_ENTRIES // size
    ours, theirs = Updates(size, updates), Stream(size, updates)
    for one in (ours, theirs):
        one.go()
    assert np.isfinite(ours.p).all()
    what = f"Adam's update of {size:,} parameters, one thread"
    against = "a loop that moves the same bytes"
    take_turns(benchmark, capsys, Asked(what, against, ADAM_REACHES), ours, [theirs])
