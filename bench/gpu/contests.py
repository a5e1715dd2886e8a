"""What is trained on a GPU, by everybody alike: networks, batches, precisions, data, goals.

All begin with the same weights and take the same batches in the same order: `sets` of them, one
after the other and then again, so that no step finds its rows in the GPU's caches.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

import fastnet as fn
from fastnet.arrays.checks import Array

SEED = 1

#: Of the rows of all sets together, in bytes: several times the L2 cache of any GPU.
ROTATED_BYTES = 2**28
#: Sets, at most: more would only take memory on the host.
MOST_SETS = 512
#: Rows that are drawn; larger data repeats them.
DRAWN_ROWS = 2**17
#: Rows of a batch whose steps are compared with NumPy's, at most.
CHECKED_ROWS = 2**14

#: How far losses may be from NumPy's in float32, and a run's change of the parameters from
#: NumPy's change, relative to it: the significand's bits, and what layers make of them.
LOSSES_AGREE = {"float32": 1e-4, "tf32": 5e-3, "bf16": 3e-2, "fp16": 5e-3}
CHANGES_AGREE = {"float32": 1e-3, "tf32": 3e-2, "bf16": 0.15, "fp16": 3e-2}


@dataclass(frozen=True)
class Goal:
    """What fastnet is to reach in a contest, on an H200.

    Attributes:
        what: in words.
        measure: "microseconds" of a step, at most; "examples" a second, at least; or the name
            of a peer (or "torch", its fastest way), to be this many times as fast as.
        value: the number.
    """

    what: str
    measure: str
    value: float


@dataclass(frozen=True)
class Contest:
    """One training, as every contestant is given it.

    Attributes:
        name: as in the table.
        units: of the input and of each layer.
        batch: rows of a step.
        precision: "float32", "tf32", "bf16" or "fp16".
        activation: of the hidden layers.
        last: of the last one.
        rate: the learning rate of plain gradient descent.
        goals: what is to be reached.
    """

    name: str
    units: tuple[int, ...]
    batch: int
    precision: str = "float32"
    activation: str = "relu"
    last: str = "identity"
    rate: float = 0.05
    goals: tuple[Goal, ...] = ()

    @property
    def network(self) -> fn.Network:
        """With the mean squared error."""
        if self.name == "xor":
            return fn.datasets.xor_network(True)
        inputs, *hidden, outputs = self.units
        layers = [*(fn.Dense(units, self.activation) for units in hidden)]
        return fn.Network(inputs, [*layers, fn.Dense(outputs, self.last)], "mse")

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, its target too."""
        return 4 * (self.units[0] + self.units[-1])

    @property
    def sets(self) -> int:
        """Batches that take turns, a power of two; XOR has but its four rows."""
        if self.name == "xor":
            return 1
        wanted = max(ROTATED_BYTES // (self.batch * self.row_bytes), 2)
        return int(min(2 ** (wanted.bit_length() - 1), MOST_SETS))

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum((i + 1) * j for i, j in zip(self.units[:-1], self.units[1:], strict=True))

    @property
    def flops(self) -> int:
        """Of a step: 2 B P forward, as many for the weights' gradient, and 2 B (P - P1) back.

        B is the batch, P the weights, P1 those of the first layer, through which no derivative
        goes back. Activations, the loss and the update are not counted.
        """
        weights = [i * j for i, j in zip(self.units[:-1], self.units[1:], strict=True)]
        return 2 * self.batch * (3 * sum(weights) - weights[0])

    @property
    def bytes(self) -> int:
        """Of a step that keeps everything else on the chip: its rows once, parameters twice."""
        return self.batch * self.row_bytes + 2 * 4 * self.parameters

    @property
    def checked(self) -> "Contest":
        """The same with no more rows than are compared with NumPy's."""
        return replace(self, batch=min(self.batch, CHECKED_ROWS))

    @property
    def checked_steps(self) -> int:
        """Steps that are compared with NumPy's: fewer where they take it long."""
        return 4 if self.flops < 5e10 else 2

    def data(self) -> tuple[Array, Array]:
        """x `(sets * batch, inputs)` and y `(sets * batch, outputs)`, float32."""
        if self.name == "xor":
            x, y = fn.datasets.xor()
            return x.astype(np.float32), y.astype(np.float32)
        return _rows(self.sets * self.batch, self.units[0], self.units[-1])

    def start(self) -> list[tuple[Array, Array]]:
        """Each layer's first weights `(inputs, units)` and bias `(units,)`, float32."""
        given = fn.Model(self.network, backend="numpy", dtype="float32", seed=SEED).parameters
        return [(given[f"{i}.weight"], given[f"{i}.bias"]) for i in range(len(given) // 2)]

    def activations(self) -> list[str]:
        """Each layer's."""
        layers = self.network.layers
        return [layer.activation.name for layer in layers if isinstance(layer, fn.Dense)]


@cache
def _rows(rows: int, inputs: int, outputs: int) -> tuple[Array, Array]:
    """Random rows; their targets are what a small teacher says of them."""
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((min(rows, DRAWN_ROWS), inputs), np.float32)
    teacher = rng.standard_normal((inputs, outputs), np.float32) / np.float32(math.sqrt(inputs))
    return np.resize(x, (rows, inputs)), np.resize(np.tanh(x @ teacher), (rows, outputs))


_WIDE = 4096

#: Width, hidden layers, batch: every one in every precision, with half as many inputs as the
#: layers are wide, and this many outputs: surrogates of simulations look like that.
OUTPUTS = 16
SIZES = [
    (width, hidden, batch)
    for batch in (2**17, 2**21, 2**14)
    for width in (64, 128)
    for hidden in (5, 2)
]
PRECISIONS = ("fp16", "bf16", "tf32", "float32")


def _square(width: int, hidden: int, batch: int, precision: str) -> Contest:
    goals: tuple[Goal, ...] = ()
    if (width, hidden, batch, precision) == (64, 5, 2**21, "fp16"):
        goals = (
            Goal("at least 1e9 examples/s", "examples", 1e9),
            Goal("at least 3 x torch.compile", "torch compile", 3.0),
        )
    units = (width // 2, *[width] * hidden, OUTPUTS)
    name = f"{width}-{hidden}-2^{batch.bit_length() - 1}"
    return Contest(name, units, batch, precision, goals=goals)


def contests() -> list[Contest]:
    """All, those that goals are set for first: where time ends, the others are left out."""
    xor = Contest(
        "xor", (3, 4, 1), 4, "float32", "sigmoid", "sigmoid", 2.0,
        (Goal("at most 0.5 us a step", "microseconds", 0.5),),
    )  # fmt: skip
    mnist = Contest(
        "mnist", (784, 128, 10), 128,
        goals=(Goal("at least 5 x torch eager", "torch eager", 5.0),),
    )  # fmt: skip
    wide = Contest(
        "4096-4096-4096", (_WIDE, _WIDE, _WIDE), 8192, "bf16", rate=0.01,
        goals=(Goal("within 5% of torch's fastest", "torch", 0.95),),
    )  # fmt: skip
    squares = [_square(*size, precision) for precision in PRECISIONS for size in SIZES]
    asked = [xor, mnist, *(one for one in squares if one.goals), wide]
    return [*asked, *(one for one in squares if not one.goals)]


#: Batches at which the layered path is held against the narrow one.
PATH_BATCHES = (2**7, 2**14, 2**17)


def both_paths(contest: Contest) -> bool:
    """Whether the layered path takes a contest too, where the narrow one is chosen."""
    return contest.name.endswith(tuple(f"-2^{n.bit_length() - 1}" for n in PATH_BATCHES))


def small() -> list[Contest]:
    """Of every kind one, so small that the simulated device has it done in seconds."""
    return [
        Contest("xor", (3, 4, 1), 4, "float32", "sigmoid", "sigmoid", 2.0,
                (Goal("at most 0.5 us a step", "microseconds", 0.5),)),
        Contest("16-2-2^7", (16, 16, 16), 128, "fp16"),
        Contest("20-24-3", (20, 24, 3), 32, "tf32"),
    ]  # fmt: skip
