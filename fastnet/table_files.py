"""Tables in files and frames, read whole or block by block, and written likewise.

A block is what fits well into memory, some ten megabytes, so that files may be larger than it.
The columns of a CSV file stay text: what they hold is decided by `fastnet.columns`. Rows are
counted from 1; the header is none, and blank lines are none.
"""

import csv
import io
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastnet import files
from fastnet.checks import Array
from fastnet.errors import DataError, FileAccessError, ModelFileMissing
from fastnet.extras import need

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".csv", ".parquet")

#: Bytes of CSV that are read at a time, and cells of other tables.
BLOCK_BYTES = 8 * 2**20
BLOCK_CELLS = 2**20

#: A row longer than this is none: somewhere a quote was opened and not closed.
_LONGEST_ROW = 64 * 2**20

#: Without any of these no field is to be stripped, and none is empty in quotes.
_PADDED = (b" ", b"\t", b'"')

_NEWLINE, _RETURN, _QUOTE, _COMMA = b'\n\r",'


def polars() -> Any:
    """The library that tables are read with.

    Raises:
        MissingExtra: if it is not installed.
    """
    return need("polars", "tables", "reading tables")


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
        MissingExtra: without Polars (`pip install "fastnet[tables]"`).
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
            raise DataError(f"the columns make no table: {_first_line(error)}.") from error
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
                yield from _csv_blocks(file, what)
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
        hint = f"it is no whole Parquet file ({_first_line(error)})"
        raise DataError(f"{what} cannot be read: {hint}.") from error


def _csv_blocks(file: BinaryIO, what: str) -> "Iterator[pl.DataFrame]":
    """Whole rows, every column as text, stripped; a field without any is a null."""
    pending = file.read(BLOCK_BYTES).removeprefix(b"\xef\xbb\xbf")
    if b"\0" in pending[:65_536]:
        raise DataError(
            f"{what} is no text, so no CSV; compressed or Parquet data needs its own ending, "
            "and text must be UTF-8."
        )
    rows: _Rows | None = None
    last = False
    while not last:
        more = file.read(BLOCK_BYTES)
        last, data = not more, pending + more
        newlines, commas = _marks(data)
        whole = len(data) if last else int(newlines[-1]) + 1 if len(newlines) else 0
        if not whole and len(data) > _LONGEST_ROW:
            raise DataError(
                f"{what} has a row longer than {_LONGEST_ROW:,} bytes; look for an open quote "
                f"{_odd_line(data, rows.line if rows else 1)}."
            )
        pending = data[whole:]
        data = data[:whole]
        if whole and (not len(newlines) or newlines[-1] != whole - 1):
            newlines = np.append(newlines, whole)  # the last row has no line end
        if rows is None and whole:
            rows = _Rows(what)
            start = rows.read_header(data, newlines)
            data, newlines, commas = data[start:], newlines - start, commas - start
        if rows is not None and data:
            yield rows.parse(data, newlines[newlines >= 0], commas[commas >= 0])
    if rows is None:
        raise DataError(f"{what} is empty; it must hold a header and rows.")


def _marks(data: bytes) -> tuple[Array, Array]:
    """Where newlines and commas stand outside of quotes."""
    characters = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(characters == _NEWLINE)
    commas = np.flatnonzero(characters == _COMMA)
    quotes = np.flatnonzero(characters == _QUOTE)
    if len(quotes):  # after an even number of them, a doubled one counts as two
        newlines = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        commas = commas[np.searchsorted(quotes, commas) % 2 == 0]
    return newlines, commas


class _Rows:
    """The rows of a CSV file as frames, and where in the file they are."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.names: list[str] = []
        #: Rows and lines that are done.
        self.rows, self.line = 0, 1

    def read_header(self, data: bytes, newlines: Array) -> int:
        """Take the names from the first line that is not blank; say where it ends."""
        start = 0
        for newline in newlines.tolist():
            line = data[start:newline]
            start = newline + 1
            self.line += line.count(b"\n") + 1
            if line.strip():
                break
        else:
            raise DataError(f"{self.what} is empty; it must hold a header and rows.")
        if b"\r" in line.rstrip(b"\r") and b'"' not in line:
            raise DataError(
                f"{self.what} has lines that end in a carriage return alone, as old Macs wrote "
                "them; save it with the usual line ends."
            )
        try:
            fields = next(csv.reader(io.StringIO(line.decode(), newline="")))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.what} is not UTF-8 text ({error} in the header); save it as UTF-8."
            ) from error
        except csv.Error as error:
            raise DataError(f"{self.what}: the header is no CSV ({error}).") from error
        self.names = [name.strip() for name in fields]
        _check_names(self.names, self.what)
        return min(int(start), len(data))

    def parse(self, data: bytes, ends: Array, commas: Array) -> "pl.DataFrame":
        """Make a frame of whole rows; `ends` are the places of their line ends."""
        pl = polars()
        data, ends = self._without_blank_lines(data, ends, commas)
        try:
            schema = dict.fromkeys(self.names, pl.String)
            frame = (
                pl.read_csv(data, has_header=False, schema=schema)
                if len(ends)
                else pl.DataFrame(schema=schema)
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            self._check_encoding(data, ends)
            raise self._broken(data, f" ({_first_line(error)})") from error
        if frame.height != len(ends):
            raise self._broken(data, "")
        self.rows += frame.height
        self.line += data.count(b"\n")
        if any(mark in data for mark in _PADDED):
            frame = frame.with_columns(pl.all().str.strip_chars().replace("", None))
        return frame  # type: ignore[no-any-return]

    def _without_blank_lines(self, data: bytes, ends: Array, commas: Array) -> tuple[bytes, Array]:
        """Leave blank lines out; name the first row of another length than the header."""
        starts = np.concatenate(([0], ends[:-1] + 1))
        fields = np.diff(np.searchsorted(commas, ends), prepend=0) + 1
        characters = np.frombuffer(data, np.uint8)
        lengths = ends - starts
        bare = lengths == 0
        bare[lengths == 1] = characters[starts[lengths == 1]] == _RETURN
        doubtful = np.flatnonzero(bare | (fields != len(self.names)))
        if not len(doubtful):
            return data, ends
        kept = np.ones(len(data), bool)
        for blank, index in enumerate(doubtful.tolist()):
            start, end = int(starts[index]), int(ends[index])
            if data[start:end].strip():
                line = self.line + data.count(b"\n", 0, end)
                raise DataError(
                    f"{self.what}: data row {self.rows + index - blank + 1} (it ends in line "
                    f"{line}) has {fields[index]} fields, the header names {len(self.names)}; "
                    "look for a missing or spare comma, or an open quote."
                )
            kept[start : end + 1] = False
        self.line += len(doubtful)
        left = characters[kept].tobytes()
        return left, (np.cumsum(kept) - 1)[np.minimum(np.delete(ends, doubtful), len(data) - 1)]

    def _check_encoding(self, data: bytes, ends: Array) -> None:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            row = self.rows + int(np.searchsorted(ends, error.start)) + 1
            raise DataError(
                f"{self.what} is not UTF-8 text: data row {row} holds the byte "
                f"0x{data[error.start]:02x}; save it as UTF-8 (it may be Latin-1 or Windows-1252)."
            ) from error

    def _broken(self, data: bytes, reason: str) -> DataError:
        return DataError(
            f"{self.what} cannot be read as CSV{reason}; look for an open quote "
            f"{_odd_line(data, self.line)}."
        )


def _odd_line(data: bytes, first: int) -> str:
    """Where a quote may have been left open: the first line with an odd number of them."""
    for number, line in enumerate(data.split(b"\n"), start=first):
        if line.count(b'"') % 2:
            return f"(perhaps in line {number})"
    return f"(from line {first} on)"


def _check_names(names: list[str], what: str) -> None:
    if len(names) == 1:
        for mark, name in ((";", "';'"), ("\t", "a tab"), ("|", "'|'")):
            if mark in names[0]:
                raise DataError(
                    f"{what} has {name} between its columns; save it with commas between them."
                )
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise DataError(
            f"{what} has more than one column {twice[0]!r}; give every column a name of its own "
            "(the first line must hold the names)."
        )
    if "" in names:
        raise DataError(
            f"{what}: column {names.index('') + 1} has no name in the header; give it one, "
            "or leave it out (a saved row number, perhaps)."
        )
    for name in names:
        if "\n" in name or "\r" in name:
            raise DataError(
                f"{what}: a column's name runs over several lines ({name[:60]!r}); look at the "
                "header's quotes and line ends."
            )


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


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
