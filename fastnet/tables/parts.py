"""A rank's part of a table's rows: it reads no others.

- Of a CSV file it is as many bytes as every rank's, moved to where rows begin. Whether a line end
  ends a row, or stands in a quoted field, is known from the number of quotes before it: each rank
  counts those in its own bytes, and all add the numbers up.
- Of a Parquet file, and of a frame, it is as many rows: Polars reads the row groups that hold them.
- A file in gzip has no parts: each rank unpacks all of it, and takes every n-th block, of n ranks.

An error names the row of the table, as it does when one process reads it: the rank that finds it
reads the file once more, from its beginning.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from fastnet.errors import DataError, DefinitionError
from fastnet.tables import csv_blocks
from fastnet.tables.reading import ALSO_READ, STANDARD_INPUT, Reader, extension, is_gzip
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.distributed.shares import check_alike

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

#: Bytes that are searched for quotes at a time (a choice).
_SEARCHED_BYTES = 2**22


class PartReader(Reader):
    """Reads this rank's part, which may be a frame without rows. All ranks make one together.

    Args:
        source: as of `Reader`, but not standard input.
        separator: as of `Reader`.
        ranks: those who read the table.

    Raises:
        DataError: if it is not the same table on all ranks; and as of `Reader`.
        DefinitionError: if it is standard input.
    """

    def __init__(self, source: Any, separator: str | None, ranks: Ranks) -> None:
        if isinstance(source, str | os.PathLike) and os.fspath(source) == STANDARD_INPUT:
            raise DefinitionError(
                "standard input is read by one process; give a file where there are several."
            )
        super().__init__(source, separator)
        self._source, self._given_separator = source, separator
        self._rank, self._ranks = ranks.rank, ranks.size
        #: Of a CSV file the bytes of the header, and of this rank's rows; None of another table.
        self._bytes: tuple[range, range] | None = None
        check_alike(ranks, ranks.together(self._look))
        if self._bytes is not None:
            self._divide(ranks)

    def checked(self, read: Callable[["PartReader"], T]) -> T:
        """What `read` makes of this reader; errors are those of the whole table."""
        try:
            return read(self)
        except DataError:
            for _ in Reader(self._source, self._given_separator):
                pass
            raise

    def _look(self) -> dict[str, Any]:
        """Look at the beginning of the table; returns what must be alike on all ranks."""
        reader = Reader(self._source, self._given_separator)
        first = next(reader)
        self.labels, self._no_row = reader.labels, first.clear()
        facts: dict[str, Any] = {f"the columns of {self.name}": first.columns}
        if not isinstance(self._source, str | os.PathLike):
            return facts
        path = Path(self._source)
        size = path.stat().st_size
        if extension(path, "the table", ALSO_READ) != ".parquet":
            with open(path, "rb") as file:
                if not is_gzip(file):
                    kind = extension(path, "the table", ALSO_READ)
                    separator = self._separator_of(kind)
                    self._separator, end = csv_blocks.header(file, self.name, separator)
                    self._bytes = range(end), range(end, size)
        return facts | {f"the size of {self.name} in bytes": size}

    def _divide(self, ranks: Ranks) -> None:
        """Find this rank's rows in a CSV file."""
        assert self._bytes is not None
        header, rows = self._bytes
        first, after = (rows.start + len(rows) * (ranks.rank + n) // ranks.size for n in (0, 1))
        path = Path(self._source)
        quotes = ranks.all_of(ranks.together(lambda: _count_quotes(path, range(first, after))))
        quoted = sum(quotes[: ranks.rank]) % 2 == 1

        def find() -> int:
            if not ranks.rank:
                return first
            with open(path, "rb") as file:
                file.seek(first - 1)
                if file.read(1) == b"\n" and not quoted:
                    return first
                return csv_blocks.next_row(file, self.name, quoted)

        begins = [*ranks.all_of(ranks.together(lambda: self.checked(lambda _: find()))), rows.stop]
        self._bytes = header, range(begins[ranks.rank], begins[ranks.rank + 1])

    def _csv_blocks(self, file: Any, kind: str) -> "Iterator[pl.DataFrame]":
        if self._bytes is not None:
            yield from super()._csv_blocks(io.BufferedReader(_Pieces(file, self._bytes)), kind)
            return
        for number, block in enumerate(super()._csv_blocks(file, kind)):
            if number % self._ranks == self._rank:
                yield block

    def _own(self, rows: int) -> range:
        first, after = (rows * (self._rank + n) // self._ranks for n in (0, 1))
        return range(first, after)

    def _without_rows(self) -> "Iterator[pl.DataFrame]":
        yield self._no_row


def _count_quotes(path: Path, where: range) -> int:
    found = 0
    with open(path, "rb") as file:
        file.seek(where.start)
        for start in range(where.start, where.stop, _SEARCHED_BYTES):
            found += file.read(min(_SEARCHED_BYTES, where.stop - start)).count(b'"')
    return found


class _Pieces(io.RawIOBase):
    """Some pieces of a file, read as one.

    Args:
        file: can be positioned.
        pieces: their bytes.
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[range]) -> None:
        self._file, self._pieces = file, [piece for piece in pieces if piece]

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, out: Any) -> int:
        """Read some bytes, of one piece."""
        if not self._pieces:
            return 0
        piece = self._pieces[0]
        self._file.seek(piece.start)
        found = self._file.read(min(len(out), len(piece)))
        out[: len(found)] = found
        rest = piece[len(found) :] if found else range(0)
        self._pieces[:1] = [rest] if rest else []
        return len(found)
