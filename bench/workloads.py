"""The workloads of all contestants.

- `NAMED`: xor, tab32, tab, tab-adam, mnist, wide;
- `SERIES`: depth 1 to 8, width 8 to 2,048, batch 1 to 65,536;
- `PREDICTED`: rows per call of `predict`.

Those of `fastnet bench` are in `fastnet.benchmark.QUICK`.
"""

from dataclasses import replace

from fastnet.benchmark import QUICK, Workload, relu_network
from fastnet.definition.optimizers import SGD, Adam

__all__ = ["NAMED", "PREDICTED", "SERIES", "TAB", "TRAINED", "Workload"]

TAB = QUICK["tab"]

#: XOR, tables, digits, and large matrix products, where a BLAS is at its best.
NAMED = {
    work.name: work
    for work in (
        QUICK["xor"],
        QUICK["tab32"],
        TAB,
        replace(TAB, name="tab-adam", optimizer=Adam(1e-3)),
        QUICK["mnist"],
        Workload("wide", relu_network(1024, 2048, 2048, 10), 2_048, 1_024, SGD(0.01), slow=True),
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
            for n in (8, 32, 128, 512, 2_048)
        ),
        *(
            _in_series("batch", n, [32, 64, 64, 1], n, 1_024 if n == 1 else max(2 * n, 16_384))
            for n in (1, 16, 256, 4_096, 65_536)
        ),
    )
}

TRAINED = {**NAMED, **SERIES}

#: Rows per call of `predict`, with tab's network.
PREDICTED = (1, 64, 100_000)
