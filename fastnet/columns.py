"""Tables in files and frames, and their columns as numbers.

Whatever cannot be learned from is refused here, with the column and the row. Rows are counted
from 1, and the header is none.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet import files
from fastnet.checks import Array
from fastnet.errors import DataError, FileAccessError, ModelFileMissing
from fastnet.extras import need

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".csv", ".parquet")

#: What people and programs write where there is no value.
_MISSING = {"na", "n/a", "#n/a", "null", "none", "nil", "?", "-", "."}


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


def read(source: Any) -> "tuple[pl.DataFrame, str]":
    """Read a table.

    Args:
        source: the path of a CSV or Parquet file, a Polars frame, or a mapping of columns.

    Returns:
        The frame, and what to call it in errors.

    Raises:
        DataError: if it is no table, is empty, has ragged rows or a column twice.
        FileAccessError: if the file cannot be read.
        MissingExtra: without Polars (`pip install "fastnet[tables]"`).
    """
    pl = polars()
    what = "the table"
    if isinstance(source, pl.DataFrame):
        frame = source
    elif isinstance(source, Mapping):
        try:
            frame = pl.DataFrame(source)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise DataError(f"the columns make no table: {_first_line(error)}.") from error
    elif isinstance(source, str | os.PathLike):
        what = repr(os.fspath(source))
        frame = _read_file(Path(source), what)
    else:
        raise DataError(
            f"the table is a {type(source).__name__}; it must be a path, a Polars frame "
            "(pl.from_pandas(...) makes one) or a mapping of columns."
        )
    if frame.height == 0:
        raise DataError(f"{what} has no rows.")
    return frame, what


def _read_file(path: Path, what: str) -> "pl.DataFrame":
    pl = polars()
    kind = ending(path, "the table")
    try:
        if path.is_dir():
            raise DataError(f"{what} is a folder; give one file of it.")
        whole = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileMissing(
            error.errno, f"there is no file {what} (looked in {str(Path.cwd())!r})"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot read {what}: {reason}") from error
    if not whole.strip():
        raise DataError(f"{what} is empty; it must hold a header and rows.")
    if kind == ".csv":
        return _read_csv(whole, what)
    try:
        return pl.read_parquet(io.BytesIO(whole))  # type: ignore[no-any-return]
    except (pl.exceptions.PolarsError, OSError) as error:
        hint = f"it is no whole Parquet file ({_first_line(error)})"
        raise DataError(f"{what} cannot be read: {hint}.") from error


def _read_csv(whole: bytes, what: str) -> "pl.DataFrame":
    """Read every column as text, then make numbers of those that are numbers throughout."""
    pl = polars()
    try:
        if b"\0" in whole[:65_536]:
            raise DataError(
                f"{what} is no text, so no CSV; compressed or Parquet data needs its own ending, "
                "and text must be UTF-8."
            )
        text = io.TextIOWrapper(io.BytesIO(whole), "utf-8-sig", newline="")
        names = [name.strip() for name in next(csv.reader(text))]
        _check_names(names, what)
        frame = pl.read_csv(io.BytesIO(whole), infer_schema=False)
    except UnicodeDecodeError as error:
        raise DataError(f"{what} is not UTF-8 text ({error}); save it as UTF-8.") from error
    except (pl.exceptions.PolarsError, csv.Error) as error:
        _check_ragged(whole, what)
        raise DataError(
            f"{what} cannot be read as CSV ({_first_line(error)}); look for an open quote."
        ) from error
    if frame.width != len(names):
        raise DataError(f"{what} cannot be read as CSV; look at its line ends and quotes.")
    frame.columns = names
    frame = frame.with_columns(pl.all().str.strip_chars().replace("", None))
    if any(frame.null_count().row(0)):
        filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
        last = filled.arg_true().max()
        frame = frame.head(0 if last is None else int(last) + 1)  # blank lines at the end
        _check_ragged(whole, what)
    return pl.DataFrame([_typed(column, what) for column in frame])  # type: ignore[no-any-return]


def _check_names(names: list[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{what} has more than one column {twice[0]!r}; give every column a name of its own."
        )
    if "" in names:
        raise DataError(
            f"{what}: column {names.index('') + 1} has no name in the header; give it one, "
            "or leave it out (a saved row number, perhaps)."
        )
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        mark = ";" if ";" in names[0] else "tab"
        raise DataError(
            f"{what} has {mark!r} between its columns; save it with commas between them."
        )


def _check_ragged(whole: bytes, what: str) -> None:
    """Name the first row that has another number of fields than the header."""
    text = io.TextIOWrapper(io.BytesIO(whole), "utf-8-sig", newline="")
    reader = csv.reader(text)
    try:
        width = len(next(reader))
        for row, fields in enumerate(reader, start=1):
            if fields and len(fields) != width:
                raise DataError(
                    f"{what}: data row {row} (it ends in line {reader.line_num}) has "
                    f"{len(fields)} fields, the header names {width}; "
                    "look for a missing or spare comma, or an open quote."
                )
    except (csv.Error, UnicodeDecodeError):
        return  # the caller says what is wrong with the file


def _typed(column: "pl.Series", what: str) -> "pl.Series":
    """A column of text as whole numbers, numbers or truth values, if it is so throughout."""
    pl = polars()
    if column.null_count() == len(column):
        return column
    for kind in (pl.Int64, pl.Float64):
        try:
            found = column.cast(kind)
        except pl.exceptions.PolarsError:
            continue
        if kind == pl.Float64:
            _check_overflow(column, what)
        return found
    if column.is_in(["true", "false", "True", "False", "TRUE", "FALSE"]).all():
        return column.str.to_lowercase() == "true"
    return column


def _check_overflow(column: "pl.Series", what: str) -> None:
    """A column of whole numbers that became floats only because one of them is too long."""
    digits = column.str.contains(r"^[+-]?\d+$")
    if digits.all():
        row = int(column.cast(polars().Int64, strict=False).is_null().arg_true()[0])
        raise DataError(
            f"{what}: column {column.name!r} holds {column[row]} in data row {row + 1}, a whole "
            "number beyond 64 bits; if it is an identifier leave the column out, if it is a "
            "quantity write it with a decimal point."
        )


def numbers(frame: "pl.DataFrame", name: str, what: str, spare: bool = True) -> Array:
    """One column as numbers, truth values as 0 and 1.

    Returns:
        `(rows,)` float64, all finite.

    Raises:
        DataError: for text, dates, missing values, NaN and infinity, with the row.
    """
    pl = polars()
    column = frame[name]
    place = f"{what}: column {name!r}"
    if column.dtype.is_temporal():
        raise DataError(
            f"{place} holds dates or times ({column.dtype}); {_leave_out(spare)}turn it into "
            "numbers, such as days since a first day."
        )
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        _refuse_text(column.cast(pl.String), place, spare)
    present(frame, name, what, spare)
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError(f"{place} holds {column.dtype}; it must hold numbers.")
    values: Array = column.cast(pl.Float64).to_numpy()
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise DataError(
            f"{place} holds {values[row]} in data row {row + 1}; it must be a finite number: "
            "correct it, or leave that row out."
        )
    return values


def present(frame: "pl.DataFrame", name: str, what: str, spare: bool = True) -> None:
    """Make sure that a column has a value in every row.

    Raises:
        DataError: naming the first row that has none.
    """
    column = frame[name]
    missing = column.null_count()
    if not missing:
        return
    if missing == len(column):
        raise DataError(
            f"{what}: column {name!r} has no values at all; {_leave_out(spare)}fill it in."
        )
    row = int(column.is_null().arg_true()[0]) + 1
    also = f" ({missing:,} rows have none)" if missing > 1 else ""
    raise DataError(
        f"{what}: column {name!r} has no value in data row {row}{also}; missing values cannot "
        "be used yet: fill them in, or leave those rows out."
    )


def _leave_out(spare: bool) -> str:
    """What may be done with a column: a trained model needs each of its own."""
    return "leave it out, or " if spare else "the model needs it: "


def _refuse_text(column: "pl.Series", place: str, spare: bool) -> None:
    pl = polars()
    parsed = column.cast(pl.Float64, strict=False)
    wrong = (parsed.is_null() & column.is_not_null()).arg_true()
    if not len(wrong):
        if column.null_count() == len(column):
            return  # nothing at all: `present` says so
        raise DataError(f"{place} holds numbers stored as text; store them as numbers.")
    row = int(wrong[0])
    value = str(column[row])
    if value.strip().lower() in _MISSING:
        raise DataError(
            f"{place} has {value!r} for a missing value in data row {row + 1}; missing values "
            "cannot be used yet: fill them in, or leave those rows out."
        )
    if parsed.count():
        raise DataError(
            f"{place} holds {shorten(value)} in data row {row + 1}, which is not a number; correct "
            f"it, or leave the row{' or the column' if spare else ''} out."
        )
    raise DataError(
        f"{place} holds text ({shorten(value)} in data row {row + 1}); every column but the "
        f"target must hold numbers: {_leave_out(spare)}turn it into numbers."
    )


def shorten(value: object) -> str:
    """A value as an error shows it, on one line and not too long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names as an error lists them, the rest counted."""
    every = [repr(name) for name in names]
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


def render(frame: "pl.DataFrame", kind: str) -> bytes:
    """The bytes of a file of the kind `.csv` or `.parquet`."""
    buffer = io.BytesIO()
    if kind == ".csv":
        frame.write_csv(buffer)
    else:
        frame.write_parquet(buffer)
    return buffer.getvalue()


def write(frame: "pl.DataFrame", path: str | os.PathLike[str]) -> None:
    """Write a table, whole or not at all; the name's ending says which kind.

    Raises:
        DataError: for an ending that is not known.
        FileAccessError: if it cannot be written.
    """
    whole = render(frame, ending(path, "the output"))
    try:
        files.replace(Path(path), whole)
    except OSError as error:
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot write {str(path)!r}: {reason}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
