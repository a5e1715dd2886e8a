"""The workloads of all contestants.

- `NAMED`: networks and trainings as people have them, and the smallest and largest ones;
- `SERIES`: depth 1 to 8, width 8 to 2,048, batch 1 to 65,536;
- `MAP`: widths 4 to 2,048 by batches 1 to 65,536;
- `PREDICTED`: networks and rows per call of `predict`.

Those of `fastnet bench` are in `fastnet.benchmark.QUICK`.
"""

from dataclasses import replace

from fastnet.benchmark import QUICK, Workload, relu_network
from fastnet.definition.layers import Dense
from fastnet.definition.network import Network
from fastnet.definition.optimizers import SGD, Adam

__all__ = ["MAP", "NAMED", "PREDICTED", "SERIES", "TAB", "TRAINED", "Workload"]

TAB = QUICK["tab"]

#: Few and small steps: Adam divides by the size of gradients, so the rounding of the smallest ones
#: is soon seen.
_REAL = {
    n: Workload(f"real{n}", relu_network(64, n, n, n, 1), 2_560, 256, Adam(1e-4))
    for n in (256, 512)
}

#: That of SimpleChains.jl's documentation ("Small Multi-Layer Perceptron"), with random targets.
_CHAIN = Workload(
    "chain",
    Network(4, [Dense(32, "tanh"), Dense(16, "tanh"), Dense(4)], loss="mse"),
    10_000, 10_000, Adam(1e-3), check_epochs=10,
)  # fmt: skip


def _float64(work: Workload) -> Workload:
    return replace(work, name=f"{work.name}-f64", dtype="float64")


#: XOR; tables, narrow and as wide as most people have them; digits; large matrix products, where a
#: BLAS is at its best; the same in float64; and networks of so few units that vectors are hard to
#: fill.
NAMED = {
    work.name: work
    for work in (
        QUICK["xor"],
        Workload("narrow", relu_network(32, 8, 8, 1), 12_800, 256, SGD(0.05)),
        QUICK["tab32"],
        TAB,
        replace(TAB, name="tab-adam", optimizer=Adam(1e-3)),
        *_REAL.values(),
        QUICK["mnist"],
        Workload("wide", relu_network(1024, 2048, 2048, 10), 2_048, 1_024, SGD(0.01), slow=True),
        _CHAIN,
        Workload("1-1", relu_network(1, 1), 100_000, 100_000, SGD(0.1), check_epochs=10),
        Workload("4-3-1", relu_network(4, 3, 1), 100_000, 100_000, SGD(0.1), check_epochs=10),
        Workload("4-16-1", relu_network(4, 16, 1), 65_536, 4_096, SGD(0.05)),
        *(_float64(work) for work in (TAB, *_REAL.values())),
    )
}


def _in_series(axis: str, value: int, sizes: list[int], batch: int, rows: int) -> Workload:
    slow = value >= 2_048
    rule = SGD(1e-3)  # small steps: eight layers of ReLU amplify rounding
    network = relu_network(*sizes)
    return Workload(f"{axis} {value}", network, rows, batch, rule, 1, axis, value, slow)


SERIES = {
    work.name: work
    for work in (
        *(_in_series("depth", n, [32, *[64] * n, 1], 256, 12_800) for n in (1, 2, 4, 8)),
        *(
            _in_series("width", n, [32, n, n, 1], 256, 12_800 if n < 512 else 2_048)
            for n in (8, 17, 32, 128, 512, 2_048)
        ),
        *(
            _in_series("batch", n, [32, 64, 64, 1], n, 1_024 if n == 1 else max(2 * n, 16_384))
            for n in (1, 16, 256, 4_096, 65_536)
        ),
    )
}

#: Operations of a step up to which a cell of the map is measured: more take seconds a step.
MAP_FLOPS = 1.2e11


def _in_map(width: int, batch: int) -> Workload:
    """Each row of the map is a series of its own: "map 256", the widths at 256 rows a batch. Its
    steps are so small that 2,048 units do not diverge on single rows.
    """
    rows = max(2 * batch, min(1_024, 65_536 // width))
    made = _in_series(f"map {batch}", width, [32, width, width, 1], batch, rows)
    return replace(made, name=f"map {width} x {batch}", optimizer=SGD(1e-4), slow=width > 8)


MAP = {
    work.name: work
    for batch in (1, 16, 256, 4_096, 65_536)
    for width in (4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048)
    if (work := _in_map(width, batch)).flops <= MAP_FLOPS
}

TRAINED = {**NAMED, **SERIES, **MAP}

_SQUARE = Workload("512-512", relu_network(512, 512, 512), 256, 256, SGD(0.01))

#: Networks to predict with, and the rows of a call.
PREDICTED = (
    *((TAB, rows) for rows in (1, 64, 100_000)),
    (_SQUARE, 4_096),
    (_float64(_SQUARE), 4_096),
)
