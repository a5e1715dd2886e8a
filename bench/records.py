"""What a benchmark stores beside its times, in pytest-benchmark's `extra_info`.

The suite writes it, `bench.report` reads it. Times are pytest-benchmark's own `stats`, in seconds
of one `unit`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

Kind = Literal["training", "prediction", "gradient", "process", "ceiling"]


@dataclass(frozen=True)
class Record:
    """One contestant at one workload.

    Attributes:
        kind: what is measured.
        workload: its name; for a process the measure ("import", "first step, warm", ...), for a
            ceiling "matrix product" or "copy".
        contestant: who, as in the charts: "numpy", "numba", "by hand", "torch", "jax", ...
        family: "fastnet", "peer", or "hand" for loops written by hand in NumPy.
        what: the workload in words: "32-64-64-1, relu, batch 256, SGD, float32".
        unit: what one time is of: "step", "call", "process"; of a ceiling "product" or "copy".
        threads: how many processors everyone in this run had.
        axis, value: the series that the workload belongs to ("width", "depth", "batch", "rows")
            and its place in it; None where it is in none.
        flops, bytes: what one unit must compute and move at the least; 0 where nobody counted.
        warm_up: seconds of the first, untimed run, with all that is compiled in it.
        apart: how far the results were from NumPy's in float64, of the largest number.
        turn: units in one timed turn.
        amount: bytes, where bytes are measured and not time (memory, installed size).
        rate: of a ceiling, operations or bytes a second.
        versions: of the libraries that took part.
    """

    kind: Kind
    workload: str
    contestant: str
    family: Literal["fastnet", "peer", "hand"]
    what: str
    unit: str
    threads: int
    axis: str | None = None
    value: int | None = None
    flops: float = 0.0
    bytes: float = 0.0
    warm_up: float | None = None
    apart: float | None = None
    turn: int = 1
    amount: float | None = None
    rate: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The plain form, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read the plain form.

        Raises:
            ValueError: if it lacks something, or holds what is not known here.
        """
        known = {entry.name for entry in fields(cls)}
        if set(plain) != known:
            wrong = sorted(set(plain) ^ known)
            raise ValueError(f"a record that this version did not write: {', '.join(wrong)}.")
        return cls(**plain)
