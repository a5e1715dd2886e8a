"""What a benchmark stores beside its times, in pytest-benchmark's `extra_info`.

The suite writes it, `bench.report` reads it. Times are pytest-benchmark's own `stats`, in seconds
of one `unit`.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

#: The ceiling of arithmetic in each dtype, as a record's `workload`.
MATRIX_PRODUCT = {"float32": "matrix product", "float64": "matrix product, float64"}

#: The files in the folder `bench` that `python -m bench` writes.
WRITTEN = ("results/**", "**/REPORT.md", "**/TABLES.md", "**/charts/**")

Kind = Literal["training", "prediction", "gradient", "process", "ceiling"]
Family = Literal["fastnet", "peer", "hand"]


@dataclass(frozen=True)
class Record:
    """One contestant at one workload.

    Attributes:
        kind: what is measured.
        workload: its name; for a process the measure ("import", "first epoch", ...), for a
            ceiling a `MATRIX_PRODUCT` or "copy".
        contestant: "numpy", "numba", "by hand", "torch", "jax", ...
        family: "fastnet", "peer", or "hand" for loops written by hand in NumPy.
        what: the workload in words: "32-64-64-1, relu, batch 256, SGD, float32".
        unit: what one time is for: "step", "call", "process"; for a ceiling "product" or "copy".
        threads: the number of processors that each contestant had.
        axis, value: the series that the workload belongs to ("width", "depth", "batch",
            "map 256": the widths at 256 rows a batch) and its value in it; None without a series.
        flops, bytes: the least that one unit must compute and move; 0 where it is not counted.
        warm_up: seconds to create the contestant and to run it once, untimed, with all
            compilation; what is cached on disk helps, imports are done before.
        difference: the largest deviation from NumPy's results in float64, divided by the largest
            absolute value of these.
        units_per_round: units in one timed round.
        amount: bytes, where bytes are measured instead of time (memory, installed size).
        rate: for a ceiling, operations or bytes per second.
        versions: of the libraries used.
    """

    kind: Kind
    workload: str
    contestant: str
    family: Family
    what: str
    unit: str
    threads: int
    axis: str | None = None
    value: int | None = None
    flops: float = 0.0
    bytes: float = 0.0
    warm_up: float | None = None
    difference: float | None = None
    units_per_round: int = 1
    amount: float | None = None
    rate: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read such a dict.

        Raises:
            ValueError: if fields are missing or unknown.
        """
        known = {entry.name for entry in fields(cls)}
        if set(plain) != known:
            wrong = sorted(set(plain) ^ known)
            raise ValueError(f"missing or unknown fields in a record: {', '.join(wrong)}")
        return cls(**plain)


def changed(folder: Path) -> bool:
    """Whether tracked files of a repository have changed, apart from results and reports.

    A benchmark writes those: pytest-benchmark opens its file before it asks.
    """
    status = ("git", "status", "--porcelain", "--untracked-files=no", "--", ".")
    written = (f":(exclude,glob)bench/{name}" for name in WRITTEN)
    try:
        found = subprocess.run([*status, *written], cwd=folder, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False  # no repository
    return bool(found.stdout.strip())
