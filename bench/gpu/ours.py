"""fastnet in a contest: `program.train`, which is what `Model.fit` calls, with data on the device.

`fit` takes arrays of the host and brings them over in each call; the peers have theirs there
already. So a contest is between steps, and one more row tells what `fit` takes as a user has it.
"""

import time
from typing import Any

import numpy as np

import fastnet as fn
from bench.gpu.contests import SEED, Contest
from fastnet.arrays.checks import Array
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters
from fastnet_cupy.program import CudaProgram
from fastnet_cupy.regimes import PATHS


def precision_of(contest: Contest) -> str | None:
    """As `Model(precision=...)` takes it."""
    return None if contest.precision == "float32" else contest.precision


class Fastnet:
    """Steps of a program of fastnet's.

    Args:
        contest: what is trained.
        backend: on what: "cupy", "numpy", or one that a test brings.
        path: through the network, of `PATHS`; None: the one that is chosen for it.
    """

    name = "fastnet"

    def __init__(self, contest: Contest, backend: str = "cupy", path: str | None = None) -> None:
        self.contest = contest
        lowered = lower(contest.network)
        precision = None if backend == "numpy" else precision_of(contest)
        compile_ = loading.load(backend).compile
        self.program: Any = compile_(lowered, np.dtype("float32"), None, precision)
        if path is not None:
            own = np.dtype("float32"), precision, self.program.device, PATHS[path]
            self.program = CudaProgram(lowered, *own)
        self.start = initial_parameters(contest.network, SEED).astype(np.float32)
        put = self.program.to_device
        x, y = contest.data()
        self.data = Data(Inputs(put(x)), put(y))
        self.begin()

    @property
    def is_narrow(self) -> bool:
        """Whether the narrow kernel trains it."""
        held = getattr(self.program, "buffers", None)
        if held is None:
            return False
        batch, regimes = self.contest.batch, self.program.regimes
        return held.shape_from(batch, regimes.narrow_training) is not None

    def begin(self) -> None:
        """Go back to the first weights."""
        put = self.program.to_device
        memory = np.zeros((fn.SGD().slots, self.start.size), np.float32)
        self.state = State(put(self.start.copy()), put(memory))
        self.made = 0

    def go(self, steps: int) -> None:
        """Do the next steps; what was asked of the device is then done."""
        contest = self.contest
        run = Run(self.made, steps, contest.batch, None, fn.SGD(), contest.rate)
        self.losses = self.program.train(self.state, self.data, run)
        self.made += steps

    def milliseconds(self, steps: int) -> float:
        """Time of the next steps, by the device's events where it has them."""
        device = getattr(self.program, "device", None)
        if device is None:
            before = time.perf_counter()
            self.go(steps)
            return (time.perf_counter() - before) * 1e3
        start = device.event()
        self.go(steps)
        return float(device.event().milliseconds_since(start))

    def parameters(self) -> Array:
        """Where the training has come to, flat."""
        return np.asarray(self.program.to_host(self.state.parameters))


class Fit:
    """`Model.fit` as a user has it: arrays of the host go in, every loss comes back.

    Its steps are whole epochs of the contest's sets.
    """

    name = "fastnet fit"

    def __init__(self, contest: Contest, backend: str = "cupy") -> None:
        self.contest, self.backend = contest, backend
        self.x, self.y = contest.data()

    def milliseconds(self, epochs: int) -> float:
        """Time of one fit, from the call to its return."""
        contest = self.contest
        model = fn.Model(
            contest.network, backend=self.backend, dtype="float32", seed=SEED,
            precision=precision_of(contest),
        )  # fmt: skip
        before = time.perf_counter()
        model.fit(
            self.x, self.y, optimizer=fn.SGD(contest.rate), epochs=epochs,
            batch_size=contest.batch,
        )  # fmt: skip
        return (time.perf_counter() - before) * 1e3
