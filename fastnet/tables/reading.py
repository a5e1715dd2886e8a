"""Reading tables from files and frames, whole or block by block.

A block has about ten megabytes, so that a file may be larger than memory. The columns of a CSV
file stay text: `fastnet.tables.columns` decides what they hold. Rows are counted from 1, without
the header and without blank lines.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnet.errors import DataError, FileAccessError, FileMissing
from fastnet.extras import polars
from fastnet.tables import csv_blocks
from fastnet.tables.csv_blocks import first_line

if TYPE_CHECKING:
    import polars as pl

EXTENSIONS = (".csv", ".parquet")

#: The size of a block: bytes of a CSV file, cells of other tables. A choice, not measured: large
#: enough for Polars' threads, small beside any machine's memory.
BLOCK_BYTES = 8 * 2**20
BLOCK_CELLS = 2**20


def extension(path: str | os.PathLike[str], option: str) -> str:
    """The extension of a table's file name; `option` is what errors call the path.

    Raises:
        DataError: for any other than `EXTENSIONS`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in EXTENSIONS:
        raise DataError(
            f"{option} is {str(path)!r}; its name must end in {' or '.join(EXTENSIONS)}, "
            "which decides how it is read and written."
        )
    return suffix


def source_name(source: Any) -> str:
    """A table, as errors name it."""
    return repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else "the table"


def read(source: Any) -> "pl.DataFrame":
    """Read a whole table.

    Args:
        source: the path of a CSV or Parquet file, a Polars frame, or a mapping of columns.

    Raises:
        DataError: if it is not a table, is empty, or has rows of unequal length or two columns
            of one name.
        FileAccessError: if the file cannot be read.
        MissingExtra: without Polars.
    """
    parts = list(blocks(source))
    return polars().concat(parts) if len(parts) > 1 else parts[0]


def blocks(source: Any) -> "Iterator[pl.DataFrame]":
    """Read a table block by block, at least one; arguments and errors are those of `read`."""
    pl = polars()
    name = source_name(source)
    if isinstance(source, str | os.PathLike):
        found = _file_blocks(Path(source), name)
    elif isinstance(source, pl.DataFrame):
        found = _slices(source, source.height, source.width)
    elif isinstance(source, Mapping):
        try:
            frame = pl.DataFrame(source)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise DataError(f"the columns do not make a table: {first_line(error)}.") from error
        found = _slices(frame, frame.height, frame.width)
    else:
        raise DataError(
            f"the table is a {type(source).__name__}; it must be a path, a Polars frame "
            "(pl.from_pandas(...) makes one) or a mapping of columns."
        )
    rows = 0
    for block in found:
        if block.height:
            rows += block.height
            yield block
    if not rows:
        raise DataError(f"{name} has no rows.")


def _slices(frame: Any, rows: int, columns: int) -> "Iterator[pl.DataFrame]":
    """Slice a frame, or a scan, which is collected slice by slice."""
    step = max(BLOCK_CELLS // max(columns, 1), 1)
    for first in range(0, rows, step):
        part = frame.slice(first, step)
        yield part if isinstance(part, polars().DataFrame) else part.collect()


def _file_blocks(path: Path, name: str) -> "Iterator[pl.DataFrame]":
    kind = extension(path, "the table")
    try:
        if path.is_dir():
            raise DataError(f"{name} is a folder; give one file of it.")
        with open(path, "rb") as file:
            if kind == ".csv":  # read once, from beginning to end, so that it may be a pipe
                yield from csv_blocks.read(file, name, BLOCK_BYTES)
            elif not os.fstat(file.fileno()).st_size:
                raise DataError(f"{name} is empty; it must hold a header and rows.")
            else:
                yield from _parquet_blocks(path, name)
    except FileNotFoundError as error:
        raise FileMissing(
            error.errno, f"there is no file {name} (looked in {str(Path.cwd())!r})"
        ) from error
    except OSError as error:
        if isinstance(error, FileAccessError):
            raise
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot read {name}: {reason}") from error


def _parquet_blocks(path: Path, name: str) -> "Iterator[pl.DataFrame]":
    pl = polars()
    try:
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        columns = len(scan.collect_schema())
        yield from _slices(scan, scan.select(pl.len()).collect().item(), columns)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(
            f"{name} cannot be read as a Parquet file ({first_line(error)}): write it again, and "
            "columns of a type that Polars does not have, such as decimal256, as another type."
        ) from error
