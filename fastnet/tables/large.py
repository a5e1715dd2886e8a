"""Training on a table that is larger than memory.

    with kept.fit_of("table.parquet", "price", recipe, memory="2GB", beside="price.model") as fit:
        fit.run().model.save("price.model")

`fastnet.tables.on_disk` says what lies in the scratch folder meanwhile. What stays in memory is a
column at a time, some numbers for each row (its target, which part it is of), and two buffers of
rows in training. Without a refit the model is bit for bit that of the table in memory where one
buffer holds all training rows; else rows are shuffled in blocks (`fn.BlockShuffle`).
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastnet.advice import setting
from fastnet.arrays.checks import Array
from fastnet.arrays.stored import Stored
from fastnet.errors import DataError, DefinitionError
from fastnet.tables.encoding import Categories
from fastnet.tables.evaluating import Rows, of_encoded
from fastnet.tables.fitting import TableFit
from fastnet.tables.inspecting import ColumnStore, InspectedTable
from fastnet.tables.on_disk import ENCODED_ROWS, EncodedRows, Spool, StoredColumns, codes
from fastnet.tables.reading import STANDARD_INPUT, Reader, extension, state_of
from fastnet.tables.recipe import Recipe
from fastnet.training.blocks import BlockShuffle

#: Called with what is being done, how many rows of it are done, and of how many; None: not known.
Report = Callable[[str, int, int | None], None]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}

#: How much memory a table takes that is trained on as a whole, for a byte of its file: text is also
#: there as numbers and as inputs, and Parquet and gzip are compressed. A choice, on the safe side.
_GROWTH = {".csv": 5, ".tsv": 5, ".parquet": 20, ".csv.gz": 25, ".tsv.gz": 25}

#: The part of the memory that columns take that are read together, while they are still text.
_COLUMNS_SHARE = 1 / 16

#: Bytes that stay in memory for each row, all the time: targets, the parts' rows, what splits them.
_BYTES_OF_ROW = 64


def memory_bytes(memory: str | int) -> int:
    """Read an amount of memory: bytes, or text such as "2GB", "500 MB" or "1.5GiB".

    Raises:
        DefinitionError: if it is none, or less than 100 MB.
    """
    found = -1.0
    if isinstance(memory, str):
        parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", memory.lower())
        if parts is not None:
            unit = _UNITS[parts[2]]
            if parts[3]:
                unit = 1024 ** (list(_UNITS).index(parts[2]))
            found = float(parts[1]) * unit
    elif not isinstance(memory, bool) and isinstance(memory, int):
        found = memory
    if found < 10**8:
        raise DefinitionError(
            f"memory is {memory!r}; it must be 100MB or more, as in 2GB or 500MB."
        )
    return int(found)


def fits(source: Any, memory: int, processes: int = 1) -> bool:
    """Whether a table can be trained on in so many bytes a process; one that is a frame can."""
    if not isinstance(source, str | os.PathLike):
        return True
    path = Path(source)
    if str(path) == STANDARD_INPUT:
        return False
    try:
        size = path.stat().st_size
    except OSError:  # which is told by what reads it
        return True
    return size * _GROWTH[extension(path, "the table", tuple(_GROWTH))] <= memory * processes


class LargeTableFit(TableFit):
    """A table in a scratch folder, split and encoded, and the model to train on it.

    Args:
        source: a path, or "-" for CSV on standard input.
        target: the column to predict.
        recipe: the settings.
        memory: bytes.
        folder: the scratch folder.
        report: is told how far reading and encoding are.
        held_out: as of `TableFit`.
    """

    in_memory = False

    def __init__(
        self,
        source: Any,
        target: str,
        recipe: Recipe,
        memory: int,
        folder: Path,
        report: Report | None = None,
        **held_out: Any,
    ) -> None:
        self.memory, self.folder = memory, folder
        self.report = report or (lambda what, done, rows: None)
        self.shuffle = BlockShuffle.within(memory)
        self._spool: Spool | None = None
        self._encoded = 0
        self._columns: list[Stored] = []
        super().__init__(source, target, recipe, **held_out)

    def _open(self, source: Any, recipe: Recipe) -> ColumnStore:
        """Read the table once, from beginning to end, into the scratch folder."""
        before = state_of(source)
        spool = self._spool = Spool(self.folder, int(self.memory * _COLUMNS_SHARE))

        def take(reader: Reader) -> ColumnStore:
            most = self.memory // 2 // _BYTES_OF_ROW
            for block in reader:
                spool.add(block)
                self.report("reading", spool.height, None)
                if spool.height * self.among.size > most:
                    raise DataError(
                        f"{reader.name} has more than {most:,} rows, for each of which some "
                        f"numbers stay in memory; give more ({setting('memory')}), or fewer rows."
                    )
            if state_of(source) != before:
                raise DataError(
                    f"{reader.name} changed while it was being read; train again, on a file that "
                    "nothing writes to."
                )
            return ColumnStore.of(reader, spool, StoredColumns(self.folder))

        opened = self.among.store(self.among.read(source, recipe.separator, take))
        self.report("looking at columns", 0, None)
        return opened

    def _rows(self, inspected: InspectedTable, rows: Array) -> Rows:
        """Encode some rows, block by block, into the scratch folder."""
        if not self._encoded:
            self._prepare(inspected)
        rows, places = self.among.share(rows)
        name, dtype = f"rows-{self._encoded}", self.model.dtype
        self._encoded += 1
        x = EncodedRows(self.folder, name, self.table, len(rows), dtype)
        x.write(self._blocks(x, places))
        weight = None if inspected.weight is None else inspected.weight[rows]
        whole: Any = x
        return of_encoded(self.table, whole, inspected.y[rows], weight)

    def _prepare(self, inspected: InspectedTable) -> None:
        """Make codes of text, a column at a time, and remove what is not needed any more."""
        assert self._spool is not None
        self._spool.remove()
        stored = self.among.own(inspected.values)
        assert isinstance(stored, StoredColumns)
        for name in set(stored) - set(self.table.names):
            del stored[name]
        for column in self.table.columns:
            if isinstance(column, Categories):
                stored[column.name] = codes(column, stored[column.name])
            self._columns.append(stored.numbers(column.name))

    def _blocks(self, x: EncodedRows, rows: Array) -> Iterator[tuple[Array, Array]]:
        """The floats and the codes of some rows, in ascending order, block by block."""
        for start in range(0, len(rows), ENCODED_ROWS):
            here = rows[start : start + ENCODED_ROWS]
            first, end = int(here[0]), int(here[-1]) + 1
            floats, hot = x.empty(len(here))
            place = of_text = 0
            for column, stored in zip(self.table.columns, self._columns, strict=True):
                values = stored.read(first, end)[here - first]
                if isinstance(column, Categories):
                    hot[:, of_text] = values
                    of_text += 1
                    continue
                width = len(column.inputs)
                with np.errstate(over="ignore"):
                    column.encode(values, floats[:, place : place + width])
                place += width
            yield floats, hot
            self.report("encoding", start + len(here), len(rows))
