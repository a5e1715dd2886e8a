"""CSV files as blocks of whole rows, each read by Polars.

Why Polars does not cut the blocks itself (`scan_csv(...).collect_batches()`, Polars 2.1):

- it fills a row that is too short with nulls and says nothing, and takes a blank line for a row;
- its errors name no row, and a quote that is never closed makes it read the file to its end;
- it maps the file into memory, which cannot be done with a pipe.

So this module cuts a file into blocks at line ends outside of quotes, and counts the separators.
The separator is a comma, or else the mark that splits the header and the first row alike.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from fastnet.errors import DataError, DefinitionError
from fastnet.extras import polars

if TYPE_CHECKING:
    import polars as pl

#: Bytes after which a row is taken for an error: a quote was opened and not closed.
_LONGEST_ROW = 64 * 2**20

#: The most columns. Each costs some microseconds and kilobytes a block, and a file with more of
#: them is usually a mistake.
MOST_COLUMNS = 100_000

#: From a quote to the next; a doubled quote inside a field ends one match and begins another.
_QUOTED = re.compile(rb'"[^"]*"?')


#: What may stand between columns, in the order in which it is looked for.
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}

#: Names for a tab in options, where it is hard to type.
_TAB = ("tab", "\\t")


def check_separator(separator: str | None) -> str | None:
    """Make sure that a separator is one character of one byte; "tab" is one too.

    Raises:
        DefinitionError: if it is not.
    """
    if separator in _TAB:
        return "\t"
    if separator is None or (
        isinstance(separator, str)
        and len(separator) == 1
        and separator.isascii()
        and not (separator.isalnum() or separator in '"\n\r.+-_\0')
    ):
        return separator
    raise DefinitionError(
        f"separator is {separator!r}; it must be one character, such as ',' or ';', or tab."
    )


def read(
    file: BinaryIO, name: str, size: int, separator: str | None, wide: int, least_rows: int
) -> "Iterator[tuple[pl.DataFrame, str | None]]":
    """Read the rows of a CSV file, about `size` bytes at a time.

    Args:
        file: open for reading, at its beginning; it is read once, so it may be a pipe.
        name: the file, as errors name it.
        size: bytes of a block.
        separator: what stands between columns; None: found in the first lines.
        wide: tables with more columns than this have larger blocks,
        least_rows: of about this many rows.

    Yields:
        Frames whose columns are all text, stripped; an empty field is null. Blank lines are
        skipped. With each, the name that a first column without one was given, as pandas names
        it; None if it has a name.

    Raises:
        DataError: if the file is not CSV, with the row or the line.
    """
    blocks = _Blocks(file, name, separator)
    if len(blocks.names) > wide:
        size = max(size, least_rows * blocks.first_row_bytes)
    while data := blocks.take(size):
        yield blocks.parse(data), blocks.first_label


def header(file: BinaryIO, name: str, separator: str | None) -> tuple[str, int]:
    """What stands between the columns, and how many bytes lie before the first row.

    Args:
        file: open for reading, at its beginning.
        name: the file, as errors name it.
        separator: None: found in the first lines.

    Raises:
        DataError: if the header is none.
    """
    blocks = _Blocks(file, name, separator)
    return blocks.separator, file.tell() - len(blocks._ahead)


def next_row(file: BinaryIO, name: str, quoted: bool) -> int:
    """The byte at which the next row begins.

    Args:
        file: open for reading, at any byte.
        name: the file, as errors name it.
        quoted: whether that byte is inside quotes.

    Raises:
        DataError: if the row that ends before it is too long to be one.
    """
    began, odd, ended = file.tell(), quoted, False
    while not ended:
        line = file.readline(_LONGEST_ROW)
        odd ^= line.count(b'"') % 2 == 1
        ended = not line or (line.endswith(b"\n") and not odd)
        if file.tell() - began > 2 * _LONGEST_ROW:
            raise DataError(f"{name} has a row longer than {_LONGEST_ROW:,} bytes.")
    return file.tell()


class _Blocks:
    """The blocks of a CSV file, and how far it has been read."""

    def __init__(self, file: BinaryIO, name: str, separator: str | None) -> None:
        self.file, self.name, self.separator = file, name, separator or ","
        #: The name that a first column without one was given.
        self.first_label: str | None = None
        #: Bytes that have been read, and not yet taken.
        self._ahead = b""
        #: The first line and the first row (both from 1) of the next block.
        self.line, self.row = 1, 1
        self.names = self._header(separator is None)
        self._mark = self.separator.encode()
        #: White space that is no separator, which makes a line blank.
        self._blank = bytes(set(b" \t\r\x0b\x0c") - set(self._mark))

    def take(self, size: int) -> bytes:
        """Take the next bytes, at least `size` of them, to the end of a row; none: the file ends.

        An even number of quotes means that the line end is not inside a quoted field.
        """
        ahead, self._ahead = self._ahead, b""
        data = bytearray(ahead)
        if not ahead or len(ahead) < size:
            data += self.file.read(max(size - len(ahead), 0)) + self.file.readline(_LONGEST_ROW)
        odd = data.count(b'"') % 2
        while odd or not data.endswith(b"\n"):
            line = self.file.readline(_LONGEST_ROW)
            if not line:
                break
            data += line
            odd ^= line.count(b'"') % 2
            if len(data) > size + _LONGEST_ROW:
                raise DataError(
                    f"{self.name} has a row longer than {_LONGEST_ROW:,} bytes; look for an open "
                    f"quote {_odd_line(data, self.line)}."
                )
        if b"\0" in data:
            raise DataError(
                f"{self.name} is not text, so not CSV; compressed or Parquet data needs its own "
                "ending, and text must be UTF-8."
            )
        if data and not data.endswith(b"\n"):
            data += b"\n"
        return bytes(data)

    def _header(self, find: bool) -> list[str]:
        """Take the names from the first line that is not blank, and find the separator."""
        line = self.take(0).removeprefix(b"\xef\xbb\xbf")
        while line and not line.strip():
            self.line += 1
            line = self.take(0)
        if not line:
            raise DataError(f"{self.name} is empty; it must hold a header and rows.")
        if b"\r" in line.rstrip(b"\r\n") and b'"' not in line:
            raise DataError(
                f"{self.name} has lines that end in a carriage return alone, as old Macs wrote "
                "them; save it with the usual line ends."
            )
        blank, row = b"", self.take(0)
        while row and not row.strip():
            blank, row = blank + row, self.take(0)
        self._ahead, self.first_row_bytes = blank + row, len(row)
        if find:
            self.separator = _find_separator(line, row)
        try:
            text = io.StringIO(line.decode(), newline="")
            fields = next(csv.reader(text, delimiter=self.separator))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.name} is not UTF-8 text ({error} in the header); save it as UTF-8."
            ) from error
        except csv.Error as error:
            raise DataError(f"{self.name}: the header is not CSV ({error}).") from error
        self.line += line.count(b"\n")
        names = [name.strip() for name in fields]
        if len(names) > 1 and not names[0]:
            names[0] = self.first_label = _index_name(names)
        _check_names(names, self.name)
        return names

    def parse(self, data: bytes) -> "pl.DataFrame":
        """Make a frame of whole rows."""
        pl = polars()
        outside = _QUOTED.sub(b'"', data) if b'"' in data else data
        height, commas = outside.count(b"\n"), len(self.names) - 1
        # Polars itself refuses a row that is too long, so no row is too short where the sum is
        # right. A single column has no commas to count.
        rows = None
        if not commas or outside.count(self._mark) != commas * height:
            rows = self._check_rows(data)
        try:
            # Polars takes the number of columns from the first row, so that must not be blank.
            first, schema = self._mark * commas + b"\n", dict.fromkeys(self.names, pl.String)
            frame = pl.read_csv(
                first + data, has_header=False, schema=schema, separator=self.separator
            ).slice(1)
            if frame.height != height:  # with stray quotes; Polars 1.30 does not notice
                raise pl.exceptions.ComputeError(f"{frame.height} rows in {height} lines")
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            self._check_rows(data)
            raise self._unreadable(data, error) from error
        if rows is not None:
            frame = frame.filter(rows)
        self.row += frame.height
        self.line += data.count(b"\n")
        # Without any of these marks no field has a margin, and none is empty in quotes.
        if any(mark in data for mark in (b" ", b"\t", b'"')):
            frame = frame.with_columns(pl.all().str.strip_chars().replace("", None))
        return frame  # type: ignore[no-any-return]

    def _check_rows(self, data: bytes) -> list[bool]:
        """Make sure that rows have as many fields as the header.

        Returns:
            For each line outside of quotes, whether it is a row: a blank line is not.
        """
        commas, line, rows = len(self.names) - 1, self.line - 1, []
        # In a single column white space is an empty field.
        blank = self._blank if commas else b"\r"
        # A line end inside a field becomes a 0, so that lines can still be counted.
        outside = _QUOTED.sub(lambda quoted: b'"' + b"\0" * quoted[0].count(b"\n"), data)
        for text in outside.split(b"\n")[:-1]:
            line += 1 + text.count(b"\0")
            rows.append(bool(text.strip(blank)))
            if rows[-1] and text.count(self._mark) != commas:
                between = _SEPARATORS.get(self.separator, repr(self.separator))
                raise DataError(
                    f"{self.name}: data row {self.row - 1 + sum(rows)} (it ends in line {line}) "
                    f"has {text.count(self._mark) + 1} fields, the header names {commas + 1}; "
                    f"look for a missing or spare {between}, or an open quote."
                )
        return rows

    def _unreadable(self, data: bytes, error: BaseException) -> DataError:
        try:
            data.decode()
        except UnicodeDecodeError as wrong:
            row = self.row + sum(self._check_rows(data[: wrong.start]))
            return DataError(
                f"{self.name} is not UTF-8 text: data row {row} holds the byte "
                f"0x{data[wrong.start]:02x}; save it as UTF-8 (it may be Latin-1 or Windows-1252)."
            )
        return DataError(
            f"{self.name} cannot be read as CSV ({first_line(error)}); look for an open quote "
            f"{_odd_line(data, self.line)}."
        )


def _odd_line(data: bytes | bytearray, first: int) -> str:
    """Where a quote may be open: the first line with an odd number of quotes."""
    for number, line in enumerate(data.split(b"\n"), start=first):
        if line.count(b'"') % 2:
            return f"(perhaps in line {number})"
    return f"(from line {first} on)"


def _find_separator(header: bytes, row: bytes) -> str:
    """The mark that splits the header and the first row into equally many fields, most of all."""
    outside = [_QUOTED.sub(b'"', line) for line in (header, row)]
    counts = {mark: [line.count(mark.encode()) for line in outside] for mark in _SEPARATORS}
    fits = [mark for mark, (names, values) in counts.items() if names and names == values]
    best = max(fits, key=lambda mark: counts[mark][0], default=",")
    if not fits and not counts[","][0]:  # for the error that names the row
        best = max(counts, key=lambda mark: counts[mark][0])
    return best


def _index_name(names: list[str]) -> str:
    """What pandas calls a first column without a name."""
    name, times = "Unnamed: 0", 0
    while name in names:
        times += 1
        name = f"Unnamed: 0.{times}"
    return name


def _check_names(names: list[str], file_name: str) -> None:
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{file_name} has {len(names):,} columns, and a table may have {MOST_COLUMNS:,}; "
            "leave out those that carry no information, or train on an array with fn.Model."
        )
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        raise DataError(
            f"{file_name} has more than one column {repeated[0]!r}; give every column a name "
            "of its own (the first line must hold the names)."
        )
    if "" in names:
        raise DataError(
            f"{file_name}: column {names.index('') + 1} has no name in the header; give it one, "
            "or take it out of the file."
        )
    for name in names:
        if "\n" in name or "\r" in name:
            raise DataError(
                f"{file_name}: a column's name spans several lines ({name[:60]!r}); look at the "
                "header's quotes and line ends."
            )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without the period at its end."""
    return str(error).strip().split("\n", 1)[0].rstrip(".")
