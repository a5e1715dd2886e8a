"""CSV files as blocks of whole rows.

Where rows end is found by counting quotes, so that a file need not fit into memory; what stands
in a block is then read by Polars. Blank lines are no rows.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars

if TYPE_CHECKING:
    import polars as pl

#: A row longer than this is none: somewhere a quote was opened and not closed.
_LONGEST_ROW = 64 * 2**20

#: Without any of these no field is to be stripped, and none is empty in quotes.
_PADDED = (b" ", b"\t", b'"')

_NEWLINE, _RETURN, _QUOTE, _COMMA = b'\n\r",'

#: Columns of a CSV file: each costs Polars and us some microseconds a block and some kilobytes, and
#: a file with more of them is not what it was meant to be.
MOST_COLUMNS = 100_000


def read(file: BinaryIO, what: str, size: int) -> "Iterator[pl.DataFrame]":
    """The rows of a file, of about `size` bytes at a time.

    Returns:
        Every column as text, stripped; a field without any is a null.

    Raises:
        DataError: if it is no CSV; `what` is what the error calls it.
    """
    pending = file.read(size).removeprefix(b"\xef\xbb\xbf")
    if b"\0" in pending[:65_536]:
        raise DataError(
            f"{what} is no text, so no CSV; compressed or Parquet data needs its own ending, "
            "and text must be UTF-8."
        )
    rows: _Rows | None = None
    last = False
    while not last:
        more = file.read(size)
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
            raise self._broken(data, f" ({first_line(error)})") from error
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
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{what} has {len(names):,} columns, and a table may have {MOST_COLUMNS:,}; leave out "
            "those that say nothing, or train on an array with fn.Model."
        )
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


def first_line(error: BaseException) -> str:
    """Of an error's text, without the point at its end."""
    return str(error).strip().split("\n", 1)[0].rstrip(".")
