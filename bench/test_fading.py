"""Whether a long regularized training stays as fast as it begins.

Without a bound in the updates (`fastnet.definition.optimizers`), what the data do not hold up fades
into subnormal numbers, and an epoch takes many times as long on processors that compute with those
in microcode. Some of the inputs are zero, so that the weights behind them fade soon.
"""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnet as fn
from fastnet.arrays.checks import Array
from fastnet.training.history import History

ROWS, INPUTS, ZEROS, BATCH = 6_000, 20, 4, 32

#: The most that a late epoch may take, in times of an early one, in the best of so many tries:
#: wide, because the machine may be busy.
MOST, TRIES = 1.25, 3

#: The optimizers, each with an L2 penalty or a decay by which weights fade within the run.
SETTINGS = {
    "adam": (fn.Adam(), 0.003),
    "adamw": (fn.AdamW(weight_decay=20.0), 0.0),
    "sgd": (fn.SGD(0.1), 0.2),
    "momentum": (fn.SGD(0.05, momentum=0.9), 0.03),
    "nesterov": (fn.SGD(0.05, momentum=0.9, nesterov=True), 0.03),
    "rmsprop": (fn.RMSprop(0.001), 0.003),
    "adagrad": (fn.Adagrad(), 0.003),
    "rprop": (fn.Rprop(0.001), 0.003),
    "lion": (fn.Lion(weight_decay=200.0), 0.0),
}

#: float64 takes longer to get there.
CASES = [(name, "float32", 40) for name in SETTINGS] + [("adam", "float64", 120)]


def rows() -> tuple[Array, Array]:
    """Rows of three classes."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((ROWS, INPUTS))
    noise = generator.standard_normal(ROWS) / 2
    x[:, INPUTS - ZEROS :] = 0
    return x, (x[:, 0] + x[:, 1] ** 2 + noise > 1).astype(int) + (x[:, 2] > 1)


def fastest(seconds: list[float]) -> float:
    """Of the last five epochs."""
    return min(seconds[-5:])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("name", "dtype", "epochs"), CASES)
def test_a_late_epoch_takes_as_long_as_an_early_one(
    name: str,
    dtype: str,
    epochs: int,
    backend: str,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Print the ratio, and how many weights have become 0; none may be subnormal."""
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    x, y = rows()
    optimizer, l2 = SETTINGS[name]
    hidden = [fn.Dense(128, "relu"), fn.Dense(128, "relu")]
    network = fn.Network(INPUTS, [*hidden, fn.Dense(3, "softmax")], "crossentropy")
    models: list[fn.Model] = []
    ratios: list[float] = []

    def fit(epochs: int) -> History:
        model = fn.Model(network, backend=backend, dtype=dtype, seed=1, threads=1)
        models.append(model)
        return model.fit(x, y, optimizer=optimizer, l2=l2, epochs=epochs, batch_size=BATCH)

    def measure() -> None:
        fit(1)
        while len(ratios) < TRIES and not (ratios and ratios[-1] <= MOST):
            seconds = fit(epochs).seconds
            ratios.append(fastest(seconds) / fastest(seconds[:8]))

    benchmark.pedantic(measure, rounds=1)
    size = np.abs(models[-1].parameters.flat)
    zeros, subnormal = (size == 0).sum(), ((size > 0) & (size < np.finfo(dtype).tiny)).sum()
    benchmark.extra_info.update(ratio=min(ratios), zeros=int(zeros), subnormal=int(subnormal))
    with capsys.disabled():
        print(
            f"\n{backend}, {name}, {dtype}: epoch {epochs} takes {min(ratios):.2f} times as long "
            f"as the eighth; of {size.size:,} parameters {zeros:,} are 0, {subnormal} subnormal"
        )
    assert subnormal == 0
    assert min(ratios) <= MOST, f"tries: {ratios}"
