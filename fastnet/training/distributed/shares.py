"""Which rows each rank takes in a step, and whether all ranks' rows are of a kind."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data
from fastnet.errors import DataError
from fastnet.records import Record
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.stored_rows import StoredRows
from fastnet.training.streaming import Piece

#: Rows that a digest mixes at once: a column of them stays in the cache.
_DIGEST_ROWS = 4096
_FACTOR = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(slots=True)
class Shard(Data):
    """A rank's own rows, which are some of all.

    Its length, which the number of steps is by, is that of all ranks' rows.

    Attributes:
        total: how many rows all ranks have.
    """

    total: int = 0

    def __len__(self) -> int:
        return self.total

    @property
    def own(self) -> Data:
        """The rank's rows by themselves."""
        return Data(self.x, self.y, self.weight)


class StoredShard(Record):
    """A rank's own rows, which stay in files, and are some of all.

    Attributes:
        own: the rank's rows by themselves.
        total: how many rows all ranks have.
    """

    own: StoredRows
    total: int

    def __len__(self) -> int:
        return self.total

    @property
    def weight(self) -> Array | None:
        """Of the rank's rows."""
        return self.own.weight

    def parts_of_digest(self) -> Iterator[Any]:
        """None: all ranks' rows are recognized together, by `digest_of_rows`."""
        return iter(())


def shard_of(own: Data | StoredRows, total: int) -> Shard | StoredShard:
    """A rank's rows, of so many."""
    if isinstance(own, StoredRows):
        return StoredShard(own, total)
    return Shard(own.x, own.y, own.weight, total)


def check_alike(ranks: Ranks, facts: dict[str, Any]) -> None:
    """Make sure that all ranks say the same.

    Args:
        ranks: those who say it.
        facts: plain values by what they are of, such as "the dtype of x".

    Raises:
        DataError: on all ranks, if a value differs; it names the first that does.
    """
    everyone = ranks.all_of(facts)

    def check() -> None:
        for name, value in everyone[0].items():
            for rank, other in enumerate(everyone):
                if other.get(name) != value:
                    raise DataError(
                        f"{name} is {_short(value)} on rank 0, and {_short(other.get(name))} on "
                        f"rank {rank}: all ranks must train alike, each on rows of its own."
                    )

    ranks.together(check)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def facts_of(
    x: Any, y: Any, data: Data | StoredRows, held_out: Data | StoredRows | None
) -> dict[str, Any]:
    """What must be alike of the rows that the ranks' users handed over."""
    facts: dict[str, Any] = {
        "the dtype of x": _dtype(x),
        "the dtype of y": _dtype(y),
        "the kind of targets": "classes" if _labeled(data) else "numbers",
        "sample_weight": "given" if data.weight is not None else "not given",
        "validation": "given" if held_out is not None else "not given",
    }
    if held_out is not None:
        weighted = held_out.weight is not None
        facts["the weights of validation rows"] = "given" if weighted else "not given"
    return facts


def _labeled(data: Data | StoredRows) -> bool:
    return data.labeled if isinstance(data, StoredRows) else data.y.ndim == 1


def _dtype(array: Any) -> str:
    return str(getattr(array, "dtype", type(array).__name__))


class Shares:
    """The rows of each step: those of all ranks in an epoch, cut into batches alike.

    Batch `j` of `total` rows ends where one process's would, at row `e = min((j + 1) batch_size,
    total)`. Of these first `e` rows a rank has what is its part of all rows: `floor(e S_r / total)
    - floor(e S_(r-1) / total)`, with `S_r` the rows of the ranks up to it. So the ranks' parts add
    up to the batch, differ by a row at most from what is fair, and are equal where they can be.
    Only where a rank's part is less than a row may a batch have some rows more or less.

    Args:
        ranks: the processes.
        rows: how many this one has.
        batch_size: rows of a step, over all ranks.

    Attributes:
        rows: how many this rank has.
        batches: steps of an epoch.
        cuts: `(batches + 1,)`, where this rank's part of each batch begins in its epoch's order.
        even: rows of this rank in every batch but the last, which has what is left over; None where
            they vary.
        all_rows: `(batches,)` float64, the rows of each batch over all ranks.
    """

    def __init__(self, ranks: Ranks, rows: int, batch_size: int) -> None:
        counts = np.array(ranks.all_of(rows))
        total, before = int(counts.sum()), int(counts[: ranks.rank].sum())
        self.rows = rows
        self.batches = -(-total // batch_size)
        ends = np.minimum(np.arange(self.batches + 1) * batch_size, total)
        # Rows count up to 2^53 over all epochs, but a product of two counts may need more bits.
        cuts = _parts(ends, before + rows, total) - _parts(ends, before, total)
        self.cuts = np.maximum.accumulate(cuts)
        self.all_rows = ranks.sum(np.diff(self.cuts).astype(np.float64))
        first = max(int(self.cuts[1]), 1)
        regular = np.minimum(np.arange(self.batches + 1) * first, rows)
        even = np.array_equal(regular, self.cuts) and -(-rows // first) == self.batches
        self.even = first if even else None

    def of(self, step: int) -> slice:
        """Where a step's part stands in the order of its epoch."""
        batch = step % self.batches
        return slice(int(self.cuts[batch]), int(self.cuts[batch + 1]))


class PieceShares(Shares):
    """The same for the rows of some steps of an epoch, which are in memory, by places in them.

    Args:
        shares: those of the whole epoch.
        piece: the steps.

    Attributes:
        rows, batches, cuts, even, all_rows: as of `Shares`, for this rank's rows of the piece.
    """

    def __init__(self, shares: Shares, piece: Piece) -> None:  # nothing has to be agreed on
        self.cuts, self.batches = piece.cuts, piece.steps
        self.rows = int(self.cuts[-1])
        first = piece.first_step % shares.batches
        all_rows = shares.all_rows[first : first + piece.steps]
        self.all_rows = np.roll(all_rows, piece.first_step % piece.steps)
        own = np.diff(self.cuts)
        self.even = int(own[0]) if own[0] and (own == own[0]).all() else None


def _parts(ends: Array, rows: int, total: int) -> Array:
    """`floor(ends * rows / total)`, exactly."""
    if total < 2**31:
        return np.asarray(ends * rows // total)
    return np.array([end * rows // total for end in ends.tolist()], np.int64)


def digest_of_rows(data: Data | StoredRows) -> int:
    """A number below 2^64 that rows are recognized by, in whatever order and wherever they are.

    Each row's bits are mixed into a number (by multiplication and shifts, as in SplitMix64: Steele,
    Lea and Flood 2014), and these are added up modulo 2^64. So the digests of parts add up too.
    """
    if isinstance(data, StoredRows):
        return sum(map(digest_of_rows, data.blocks())) % 2**64
    total = 0
    rows = len(data.y)
    for start in range(0, rows, _DIGEST_ROWS):
        mixed = np.zeros(min(rows - start, _DIGEST_ROWS), np.uint64)
        for part in data.parts:
            if part is None:
                continue
            block = part[start : start + _DIGEST_ROWS].reshape(len(mixed), -1)
            bits = block.astype(block.dtype, order="F").view(f"u{block.dtype.itemsize}")
            for column in bits.T:
                mixed = (mixed ^ column) * _FACTOR
                mixed ^= mixed >> np.uint64(29)
        total += int(mixed.sum(dtype=np.uint64))
    return total % 2**64
