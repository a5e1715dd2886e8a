"""Tables in files and frames, read whole or block by block, and written likewise.

A block is what fits well into memory, some ten megabytes, so that files may be larger than it.
The columns of a CSV file stay text: what they hold is decided by `fastnet.columns`. Rows are
counted from 1; the header is none, and blank lines are none.
"""

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnet import files
from fastnet.errors import DataError, FileAccessError, ModelFileMissing
from fastnet.extras import polars
from fastnet.tables import csv_blocks
from fastnet.tables.csv_blocks import first_line

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".csv", ".parquet")

#: Bytes of CSV that are read at a time, and cells of other tables.
BLOCK_BYTES = 8 * 2**20
BLOCK_CELLS = 2**20


def ending(path: str | os.PathLike[str], what: str) -> str:
    """The kind of table that a file's name promises.

    Raises:
        DataError: if it is none that can be read and written here.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in ENDINGS:
        raise DataError(
            f"{what} is {str(path)!r}; its name must end in {' or '.join(ENDINGS)}, "
            "which says how it is read and written."
        )
    return suffix


def name_of(source: Any) -> str:
    """What errors call a table."""
    return repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else "the table"


def read(source: Any) -> "pl.DataFrame":
    """Read a table whole.

    Args:
        source: the path of a CSV or Parquet file, a Polars frame, or a mapping of columns.

    Raises:
        DataError: if it is no table, is empty, has ragged rows or a column twice.
        FileAccessError: if the file cannot be read.
        MissingExtra: without Polars.
    """
    parts = list(blocks(source))
    return polars().concat(parts) if len(parts) > 1 else parts[0]


def blocks(source: Any) -> "Iterator[pl.DataFrame]":
    """Read a table block by block, at least one; arguments and errors are those of `read`."""
    pl = polars()
    what = name_of(source)
    if isinstance(source, str | os.PathLike):
        found = _file_blocks(Path(source), what)
    elif isinstance(source, pl.DataFrame):
        found = _slices(source, source.height, source.width)
    elif isinstance(source, Mapping):
        try:
            frame = pl.DataFrame(source)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise DataError(f"the columns make no table: {first_line(error)}.") from error
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
        raise DataError(f"{what} has no rows.")


def _slices(frame: Any, rows: int, columns: int) -> "Iterator[pl.DataFrame]":
    """Of a frame, or of a scan, which is collected slice by slice."""
    step = max(BLOCK_CELLS // max(columns, 1), 1)
    for first in range(0, rows, step):
        part = frame.slice(first, step)
        yield part if isinstance(part, polars().DataFrame) else part.collect()


def _file_blocks(path: Path, what: str) -> "Iterator[pl.DataFrame]":
    kind = ending(path, "the table")
    try:
        if path.is_dir():
            raise DataError(f"{what} is a folder; give one file of it.")
        with open(path, "rb") as file:
            if kind == ".csv":  # read once, from the beginning, so that it may be a pipe
                yield from csv_blocks.read(file, what, BLOCK_BYTES)
            elif not os.fstat(file.fileno()).st_size:
                raise DataError(f"{what} is empty; it must hold a header and rows.")
            else:
                yield from _parquet_blocks(path, what)
    except FileNotFoundError as error:
        raise ModelFileMissing(
            error.errno, f"there is no file {what} (looked in {str(Path.cwd())!r})"
        ) from error
    except OSError as error:
        if isinstance(error, FileAccessError):
            raise
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot read {what}: {reason}") from error


def _parquet_blocks(path: Path, what: str) -> "Iterator[pl.DataFrame]":
    pl = polars()
    try:
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        columns = len(scan.collect_schema())
        yield from _slices(scan, scan.select(pl.len()).collect().item(), columns)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        hint = f"it is no whole Parquet file ({first_line(error)})"
        raise DataError(f"{what} cannot be read: {hint}.") from error


def write_csv(frames: "Iterable[pl.DataFrame]", put: Callable[[bytes], Any]) -> None:
    """Write frames one after the other as one CSV; `put` takes each one's bytes."""
    for index, frame in enumerate(frames):
        buffer = io.BytesIO()
        frame.write_csv(buffer, include_header=index == 0)
        put(buffer.getvalue())


def write(frames: "Iterable[pl.DataFrame]", path: str | os.PathLike[str]) -> None:
    """Write frames one after the other as one table, whole or not at all.

    The name's ending says which kind. The frames of a Parquet file are first kept in files of
    their own in the same folder, since its rows are told only at its end.

    Raises:
        DataError: for an ending that is not known.
        FileAccessError: if it cannot be written.
    """
    kind, target = ending(path, "the output"), Path(path)
    try:
        with files.replacing(target) as file:
            if kind == ".csv":
                write_csv(frames, file.write)
            else:
                with _parts(frames, target.absolute().parent) as scan:
                    scan.sink_parquet(file)
    except OSError as error:
        if isinstance(error, FileAccessError):
            raise
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot write {str(path)!r}: {reason}") from error


@contextmanager
def _parts(frames: "Iterable[pl.DataFrame]", folder: Path) -> "Iterator[pl.LazyFrame]":
    """The frames as one scan of files that are gone afterwards."""
    pl = polars()
    with tempfile.TemporaryDirectory(prefix=".fastnet-", dir=folder) as parts:
        paths = []
        for index, frame in enumerate(frames):
            paths.append(Path(parts) / f"{index}.parquet")
            frame.write_parquet(paths[-1])
        yield pl.scan_parquet(paths, glob=False, hive_partitioning=False)
