"""A table in a scratch folder: its columns one by one, and its encoded rows.

A table that does not fit into memory is taken apart twice. First into columns: what a column holds,
its median and its categories then come from the column as a whole, by the same code as for a table
in memory, so they are the same. Then into rows that are encoded for the network: its inputs as
floats, and of one-hot inputs only which of them is 1.
"""

import contextlib
import copy
import errno
import shutil
from collections.abc import Iterator, MutableMapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from fastnet import files
from fastnet.arrays.checks import Array
from fastnet.arrays.stored import Stored
from fastnet.errors import FileAccessError
from fastnet.extras import polars
from fastnet.tables.encoding import Categories
from fastnet.tables.schema import Table

if TYPE_CHECKING:
    import polars as pl

#: Rows that are encoded at a time.
ENCODED_ROWS = 65_536

#: How columns of text are compressed on the disk.
_COMPRESSION: Final = "lz4"

#: How a file of a column of numbers ends: float64, one behind the other.
_NUMBERS = ".float64"


class Spool:
    """The blocks of a table, in files, to be read again column by column.

    Args:
        folder: where.
        column_bytes: of columns that are read at a time, about.

    Attributes:
        columns, width, height: those of the table.
    """

    def __init__(self, folder: Path, column_bytes: int) -> None:
        self.folder, self.column_bytes = folder, column_bytes
        self.columns: list[str] = []
        self.height: int = 0
        self.bytes: float = 0
        self._files: list[Path] = []

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.columns)

    def add(self, block: "pl.DataFrame") -> None:
        """Write a block behind the others.

        Raises:
            FileAccessError: if the disk is full, say.
        """
        path = self.folder / f"{len(self._files):06}.arrow"
        with _writing(path) as file:
            _to_file(file, block)
        self._files.append(path)
        self.columns = block.columns
        self.height += block.height
        self.bytes += block.estimated_size()

    def __getitem__(self, name: str) -> "pl.Series":
        return self._read([name])[name]

    def iter_columns(self) -> "Iterator[pl.Series]":
        """Each column, a few of them in memory at a time."""
        step = max(int(self.width * self.column_bytes / max(self.bytes, 1)), 1)
        for first in range(0, self.width, step):
            yield from self._read(self.columns[first : first + step]).iter_columns()

    def _read(self, names: list[str]) -> "pl.DataFrame":
        pl = polars()
        parts = [pl.scan_ipc(path).select(names).collect() for path in self._files]
        return pl.concat(parts).select(names)  # type: ignore[no-any-return]

    def remove(self) -> None:
        """Remove the files, once no column is needed any more."""
        for path in self._files:
            path.unlink(missing_ok=True)


class StoredColumns(MutableMapping[str, Any]):
    """Inspected columns, in files: numbers as float64, text as it is.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[str, Path | None] = {}
        self._number = count()

    def __setitem__(self, name: str, values: Any) -> None:
        if name in self._paths:
            del self[name]
        path = None
        if isinstance(values, np.ndarray):
            path = self.folder / f"column-{next(self._number)}{_NUMBERS}"
            with _writing(path) as file:
                file.write(np.ascontiguousarray(values, np.float64).data)
        elif values is not None:
            path = self.folder / f"column-{next(self._number)}.arrow"
            with _writing(path) as file:
                _to_file(file, values.alias("column").to_frame())
        self._paths[name] = path

    def __getitem__(self, name: str) -> Any:
        path = self._paths[name]
        if path is None:
            return None
        if path.suffix == _NUMBERS:
            return np.fromfile(path, np.float64)
        return polars().scan_ipc(path).collect()["column"]

    def __delitem__(self, name: str) -> None:
        path = self._paths.pop(name)
        if path is not None:
            path.unlink()

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def numbers(self, name: str) -> Stored:
        """A column of numbers, to be read by slices."""
        path = self._paths[name]
        assert path is not None, f"column {name!r} has no numbers"
        return Stored(np.memmap(path, np.float64, "r"), f"column {name!r}")


def codes(column: Categories, values: "pl.Series") -> Array:
    """Which of a text column's inputs is 1 in each row, from 1; 0: none. `(rows,)` uint32."""
    found = np.empty(len(values), np.uint32)
    for start in range(0, len(values), ENCODED_ROWS):
        here = values[start : start + ENCODED_ROWS]
        hot = np.empty((len(here), len(column.inputs)), np.float32)
        column.encode(here, hot)
        found[start : start + len(here)] = np.where(hot.any(axis=1), hot.argmax(axis=1) + 1, 0)
    return found


class EncodedRows:
    """Rows as a network takes them, in files; slices are arrays.

    Args:
        folder: where the files are.
        name: what they begin with.
        table: the schema.
        rows: how many.
        dtype: of the inputs.

    Attributes:
        shape, dtype: `(rows, inputs)`.
    """

    def __init__(self, folder: Path, name: str, table: Table, rows: int, dtype: str) -> None:
        self._folder, self._name = folder, name
        self.shape, self.dtype = (rows, len(table.features)), np.dtype(dtype)
        #: The inputs of each column of text, and all others.
        self._hot: list[slice] = []
        others: list[int] = []
        first = 0
        for column in table.columns:
            inputs = slice(first, first + len(column.inputs))
            if isinstance(column, Categories):
                self._hot.append(inputs)
            else:
                others += range(inputs.start, inputs.stop)
            first = inputs.stop
        self._others = np.array(others, np.intp)
        most = max((one.stop - one.start for one in self._hot), default=0)
        self._code = np.dtype(np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.uint32)
        self._parts: list[Stored] | None = None
        #: The row of the files that is the first of these, and how many they have.
        self._first, self._all = 0, rows

    def piece(self, first: int, after: int) -> "EncodedRows":
        """Some rows, which stay in the files."""
        found = copy.copy(self)
        found.shape = (after - first, self.shape[1])
        found._first = self._first + first
        return found

    @property
    def path(self) -> Path:
        """The file of the floats; that of the codes is beside it."""
        return self._folder / f"{self._name}.floats"

    @property
    def row_bytes(self) -> int:
        """The bytes of a row in the files."""
        return len(self._others) * self.dtype.itemsize + len(self._hot) * self._code.itemsize

    def check(self) -> None:
        """Make sure that the files are there, and hold these rows.

        Raises:
            OSError: if one is not there.
            ValueError: if one is of another size.
        """
        for path, row in (
            (self.path, len(self._others) * self.dtype.itemsize),
            (self.path.with_suffix(".codes"), len(self._hot) * self._code.itemsize),
        ):
            if path.stat().st_size != self.shape[0] * row:
                raise ValueError(f"{path} has {path.stat().st_size} bytes")

    def write(self, blocks: Iterator[tuple[Array, Array]]) -> None:
        """Write all rows.

        Args:
            blocks: of some rows each, the floats and the codes: `empty` gives room for both.

        Raises:
            FileAccessError: if there is no room for them.
        """
        needed, free = self.shape[0] * self.row_bytes, shutil.disk_usage(self._folder).free
        if needed > free:
            raise FileAccessError(
                errno.ENOSPC,
                f"encoding the table takes {needed / 1e9:.2f} GB in {str(self._folder.parent)!r}, "
                f"where {free / 1e9:.2f} GB are free. Make room, or choose another folder",
            )
        floats, codes = self.path, self.path.with_suffix(".codes")
        with _writing(floats) as floats_file, _writing(codes) as codes_file:
            for some_floats, some_codes in blocks:
                floats_file.write(some_floats.data)
                codes_file.write(some_codes.data)

    def empty(self, rows: int) -> tuple[Array, Array]:
        """Room for the floats and the codes of so many rows, C-contiguous."""
        floats = np.empty((rows, len(self._others)), self.dtype)
        return floats, np.empty((rows, len(self._hot)), self._code)

    def __getitem__(self, rows: slice) -> Array:
        start, stop, step = rows.indices(self.shape[0])
        floats, codes = self._opened()
        out = np.zeros((max(stop - start, 0), self.shape[1]), self.dtype)
        start, stop = self._first + start, self._first + stop
        if floats is not None:
            out[:, self._others] = floats.read(start, stop)
        if codes is not None:
            found = codes.read(start, stop)
            for place, inputs in enumerate(self._hot):
                out[:, inputs] = found[:, place : place + 1] == np.arange(
                    1, inputs.stop - inputs.start + 1
                )
        return out[::step]

    def _opened(self) -> tuple[Stored | None, Stored | None]:
        rows = self._all
        if self._parts is None:
            self._parts = [
                Stored(np.memmap(path, dtype, "r", shape=(rows, width)), "the scratch file")
                for path, dtype, width in (
                    (self.path, self.dtype, len(self._others)),
                    (self.path.with_suffix(".codes"), self._code, len(self._hot)),
                )
                if width
            ]
        parts = iter(self._parts)
        floats = next(parts) if len(self._others) else None
        return floats, next(parts) if self._hot else None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    """A new file; an error of the disk names it, and what to do."""
    try:
        with open(path, "wb") as file:
            yield file
    except OSError as error:
        raise files.unwritable(path, error) from error


def _to_file(file: BinaryIO, frame: "pl.DataFrame") -> None:
    # In memory first: of a full disk Polars' own error does not tell the number.
    file.write(frame.write_ipc(None, compression=_COMPRESSION).getbuffer())
