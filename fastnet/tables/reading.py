"""Reading tables from files and frames, whole or block by block.

A block has about ten megabytes, so that a file may be larger than memory. The columns of a CSV
file stay text: `fastnet.tables.columns` decides what they hold. Rows are counted from 1, without
the header and without blank lines.

Some columns are the labels of rows, which say nothing about them, or too much: what pandas and R
save beside a table. `Reader.labels` names them.
"""

import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnet.errors import DataError, FileAccessError, FileMissing
from fastnet.extras import polars
from fastnet.tables import csv_blocks, frames
from fastnet.tables.csv_blocks import first_line

if TYPE_CHECKING:
    import polars as pl

#: What is read and written, and what is read, too.
EXTENSIONS = (".csv", ".parquet")
ALSO_READ = (".tsv", ".csv.gz", ".tsv.gz")

#: The path that means standard input, which holds CSV.
STANDARD_INPUT = "-"

#: The size of a block: bytes of a CSV file, cells of other tables. A choice, not measured: large
#: enough for Polars' threads, small beside any machine's memory.
BLOCK_BYTES = 8 * 2**20
BLOCK_CELLS = 2**20

#: More columns than this make a block larger, not shorter: each costs some time in every block.
WIDE = 4096

#: The names that pandas gives to an index that was saved without one; in CSV it has none.
_INDEX = re.compile(r"|Unnamed: 0(\.\d+)*|__index_level_\d+__")


def extension(path: str | os.PathLike[str], option: str, more: tuple[str, ...] = ()) -> str:
    """The extension of a table's file name.

    Args:
        path: the file.
        option: what errors call it.
        more: endings other than `EXTENSIONS` that will do.

    Raises:
        DataError: if it has none of them.
    """
    name = Path(path).name.lower()
    for suffix in (*EXTENSIONS, *more):
        if name.endswith(suffix) and name != suffix:
            return suffix
    also = f" (or {', '.join(more)})" if more else ""
    raise DataError(
        f"{option} is {str(path)!r}; its name must end in {' or '.join(EXTENSIONS)}{also}, which "
        "decides how it is read and written."
    )


def is_table(path: str) -> bool:
    """Whether a file has the name of a table that can be read."""
    try:
        return bool(extension(path, "", ALSO_READ))
    except DataError:
        return False


def source_name(source: Any) -> str:
    """A table, as errors name it."""
    if not isinstance(source, str | os.PathLike):
        return "the table"
    path = os.fspath(source)
    return "standard input" if path == STANDARD_INPUT else repr(path)


def read(source: Any, separator: str | None = None) -> "pl.DataFrame":
    """Read a whole table; arguments and errors are those of `Reader`."""
    return Reader(source, separator).whole()


class Reader:
    """An iterator of a table's blocks, of which there is at least one.

    Args:
        source: the path of a CSV or Parquet file, "-" for standard input, a frame of Polars,
            pandas or another library that Narwhals knows, or a mapping of columns.
        separator: what stands between the columns of a CSV file; None: found in its first lines.

    Attributes:
        name: the table, as errors name it.
        separated: whether a mark separates the columns, as in a CSV file; known after the first
            block.
        labels: the columns that hold row labels, and what they are; complete after the first
            block.

    Raises:
        DataError: if it is not a table, is empty, or has rows of unequal length or two columns
            of one name.
        FileAccessError: if the file cannot be read.
        MissingExtra: without Polars.
    """

    def __init__(self, source: Any, separator: str | None = None) -> None:
        self.name = source_name(source)
        self.separated = False
        self.labels: dict[str, str] = {}
        self._separator = csv_blocks.check_separator(separator)
        self._found = self._blocks(source)

    def __iter__(self) -> "Iterator[pl.DataFrame]":
        return self

    def __next__(self) -> "pl.DataFrame":
        return next(self._found)

    def whole(self) -> "pl.DataFrame":
        """The rest of the table as one frame."""
        parts = list(self)
        return polars().concat(parts) if len(parts) > 1 else parts[0]

    def _blocks(self, source: Any) -> "Iterator[pl.DataFrame]":
        if isinstance(source, str | os.PathLike):
            found = self._file_blocks(Path(source))
        else:
            frame = source if isinstance(source, polars().DataFrame) else frames.to_polars(source)
            found = self._slices(frame, frame.height, frame.width)
        rows = 0
        for block in found:
            if not rows:
                for name in block.columns:
                    if _INDEX.fullmatch(name):
                        self.labels.setdefault(name, "row labels: a saved index")
            if block.height:
                rows += block.height
                yield block
        if not rows:
            yield from self._without_rows()

    def _without_rows(self) -> "Iterator[pl.DataFrame]":
        raise DataError(f"{self.name} has no rows.")

    def _file_blocks(self, path: Path) -> "Iterator[pl.DataFrame]":
        polars()  # before a file is opened
        name, standard = self.name, str(path) == STANDARD_INPUT
        if not standard and os.path.isdir(path):
            raise DataError(f"{name} is a folder; give one file of it.")
        kind = ".csv" if standard else extension(path, "the table", ALSO_READ)
        self.separated = kind != ".parquet"
        try:
            with nullcontext(sys.stdin.buffer) if standard else open(path, "rb") as file:
                if kind != ".parquet":  # read once, from beginning to end, so that it may be a pipe
                    yield from self._csv_blocks(file, kind)
                elif not os.fstat(file.fileno()).st_size:
                    raise DataError(f"{name} is empty; it must hold a header and rows.")
                else:
                    yield from self._parquet_blocks(path)
        except FileNotFoundError as error:
            raise FileMissing(
                error.errno, f"there is no file {name} (looked in {str(Path.cwd())!r})"
            ) from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{name} is not a complete gzip file ({first_line(error)}); write it again."
            ) from error
        except OSError as error:
            if isinstance(error, FileAccessError):
                raise
            reason = error.strerror or error
            raise FileAccessError(error.errno, f"cannot read {name}: {reason}") from error

    def _csv_blocks(self, file: Any, kind: str) -> "Iterator[pl.DataFrame]":
        separator = self._separator_of(kind)
        if not hasattr(file, "peek"):
            file = io.BufferedReader(file)
        plain: Any = gzip.GzipFile(fileobj=file) if is_gzip(file) else file
        rows = BLOCK_CELLS // WIDE
        found = csv_blocks.read(plain, self.name, BLOCK_BYTES, separator, WIDE, rows)
        for block, first_label in found:
            if first_label is not None:
                self.labels[first_label] = "row labels: the first column, without a name"
            yield block

    def _separator_of(self, kind: str) -> str | None:
        """What stands between columns, or None, by the ending of the file."""
        return self._separator or ("\t" if kind.startswith(".tsv") else None)

    def _parquet_blocks(self, path: Path) -> "Iterator[pl.DataFrame]":
        pl = polars()
        try:
            scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            columns = scan.collect_schema().names()
            index = _pandas_index(pl.read_parquet_metadata(path))
            self.labels |= {n: "row labels: the index in pandas" for n in columns if n in index}
            rows = scan.select(pl.len()).collect().item()
            yield from self._slices(scan, rows, len(columns))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DataError(
                f"{self.name} cannot be read as a Parquet file ({first_line(error)}): write it "
                "again, and columns of a type that Polars does not have, such as decimal256, as "
                "another type."
            ) from error

    def _slices(self, frame: Any, rows: int, columns: int) -> "Iterator[pl.DataFrame]":
        """Slice a frame, or a scan, which is collected slice by slice."""
        step = max(BLOCK_CELLS // min(max(columns, 1), WIDE), 1)
        own = self._own(rows)
        for first in range(own.start, own.stop, step):
            part = frame.slice(first, min(step, own.stop - first))
            yield part if isinstance(part, polars().DataFrame) else part.collect()

    def _own(self, rows: int) -> range:
        """Which of so many rows to read."""
        return range(rows)


def state_of(source: Any) -> tuple[int, int] | None:
    """What a change of a file changes; None of what is none."""
    try:
        found = os.stat(source)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def is_gzip(file: Any) -> bool:
    """Whether a file that can peek begins as gzip does."""
    return bool(file.peek(2)[:2] == b"\x1f\x8b")


def _pandas_index(metadata: dict[str, str]) -> set[str]:
    """The columns that pandas noted as the index of its frame."""
    try:
        noted = json.loads(metadata.get("pandas", "{}"))["index_columns"]
        return {name for name in noted if isinstance(name, str)}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
