"""The workloads that every benchmark shares: what is trained, on what, how."""

from dataclasses import dataclass

import fastnet as fn
from fastnet.checks import Array


@dataclass(frozen=True)
class Workload:
    """A network and its training.

    Attributes:
        name: as in the reports.
        network: what is trained.
        rows: of data.
        batch: rows of a step; None: all.
        epochs: of one timed fit.
        learning_rate: of plain gradient descent.
        dtype: of everything.
    """

    name: str
    network: fn.Network
    rows: int
    batch: int | None
    epochs: int
    learning_rate: float
    dtype: str = "float32"

    @property
    def steps(self) -> int:
        """Training steps of one timed fit."""
        return self.epochs * -(-self.rows // (self.batch or self.rows))

    def data(self) -> tuple[Array, Array]:
        """The rows."""
        if self.name == "xor":
            return fn.datasets.xor()
        return fn.datasets.synthetic(self.rows, self.network.inputs, self.network.outputs)


def _relu(inputs: int, *units: int) -> fn.Network:
    *hidden, outputs = units
    return fn.Network(inputs, [*(fn.Dense(u, "relu") for u in hidden), fn.Dense(outputs)], "mse")


#: Each takes about a fifth of a second on NumPy, `wide` but for its size.
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("xor", fn.datasets.xor_network(True), 4, None, 10_000, 2.0, "float64"),
        Workload("tab", _relu(32, 64, 64, 1), 12_800, 256, 25, 0.05),
        Workload("tab32", _relu(32, 64, 64, 1), 12_800, 32, 10, 0.05),
        Workload("mnist", _relu(784, 128, 10), 12_800, 128, 5, 0.05),
        Workload("wide", _relu(1024, 2048, 2048, 10), 2_048, 1_024, 1, 0.01),
    )
}
