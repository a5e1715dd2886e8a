"""Who has which rows of a table: one process all of them, or each of several its part.

Several processes (`DividedTable`) read a part each. Then one whole column at a time is gathered on
all of them, so its median and its categories come from the same code as in one process, and are the
same everywhere. Each of n ranks then keeps every n-th row: however the file is sorted, that is an
even share of the training rows and of every other part.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.many.ensemble import Ensemble
from fastnet.model import Model
from fastnet.tables.evaluating import Evaluation, Rows, judge, predicted
from fastnet.tables.inspecting import ColumnStore
from fastnet.tables.on_disk import EncodedRows
from fastnet.tables.reading import Reader
from fastnet.tables.schema import Table
from fastnet.training.distributed.world import Distributed

T = TypeVar("T")


class WholeTable:
    """One process, which has all rows.

    Attributes:
        communicator: for `Model.fit`; None: it trains alone.
        size: how many processes there are.
        rank: this one's number.
    """

    communicator: Any = None
    size: int = 1
    rank: int = 0

    def read(self, source: Any, separator: str | None, take: Callable[[Reader], T]) -> T:
        """What `take` makes of the table's reader."""
        return take(Reader(source, separator))

    def store(self, opened: ColumnStore) -> ColumnStore:
        """The columns of all rows, from those of the rows that were read here."""
        return opened

    def own(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inspected columns of this process's rows."""
        return values

    def share(self, rows: Array) -> tuple[Array, Array]:
        """Which of some rows are this process's, and their places in its columns, `(n,)` each."""
        return rows, rows

    def part(self, rows: Rows) -> Rows:
        """This process's rows of some that all have."""
        return rows

    def sum(self, number: int) -> int:
        """The sum of all processes' numbers."""
        return number

    def union(self, values: Iterable[Any]) -> set[Any]:
        """What any process has."""
        return set(values)

    def together(self, action: Callable[[], T]) -> T:
        """What `action` returns here; an error of any process is raised on all."""
        return action()

    def on_first(self, action: Callable[[], T]) -> T:
        """What `action` returns on the first process, which alone does it."""
        return action()

    def judge(self, model: Model | Ensemble, table: Table, rows: Rows) -> Evaluation:
        """Compare the predictions for all processes' rows with what is true."""
        return judge(model, table, rows)


class DividedTable(WholeTable):
    """The ranks of a communicator; all of them call each method, in the same order.

    Args:
        options: how they train together.
    """

    def __init__(self, options: Distributed) -> None:
        from fastnet.training.distributed.ranks import Ranks

        self.communicator, self.ranks = options, Ranks.of(options.communicator)
        self.size, self.rank = self.ranks.size, self.ranks.rank

    def read(self, source: Any, separator: str | None, take: Callable[[Reader], T]) -> T:
        """What `take` makes of the reader of this rank's part."""
        from fastnet.tables.parts import PartReader

        reader = PartReader(source, separator, self.ranks)
        return self.together(lambda: reader.checked(take))

    def store(self, opened: ColumnStore) -> ColumnStore:
        """The columns of all ranks' rows, one at a time."""
        frame = _FrameOfAll(self, opened.frame)
        if not frame.height:
            raise DataError(f"{opened.name} has no rows.")
        return replace(opened, frame=frame, values=_ValuesOfAll(self, opened.values))

    def own(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inspected columns of this rank's rows."""
        assert isinstance(values, _ValuesOfAll)
        return values.own

    def share(self, rows: Array) -> tuple[Array, Array]:
        """Which of some rows are this rank's, and their places in its columns."""
        mine = rows[rows % self.size == self.rank]
        return mine, mine // self.size

    def part(self, rows: Rows) -> Rows:
        """A piece of rows that all ranks have, as long as other ranks'; it stays where it is."""
        first, after = (len(rows) * (self.rank + n) // self.size for n in (0, 1))
        if not isinstance(rows.x, EncodedRows):
            return rows.take(slice(first, after))
        x: Any = rows.x.piece(first, after)
        weight = None if rows.weight is None else rows.weight[first:after]
        return Rows(x, rows.y[first:after], rows.targets[first:after], weight)

    def sum(self, number: int) -> int:
        """The sum of all ranks' numbers."""
        return sum(self.ranks.all_of(number))

    def union(self, values: Iterable[Any]) -> set[Any]:
        """What any rank has."""
        return set().union(*self.ranks.all_of(set(values)))

    def together(self, action: Callable[[], T]) -> T:
        """What `action` returns here; the first rank's error is raised on all."""
        return self.ranks.together(action)

    def on_first(self, action: Callable[[], T]) -> T:
        """What `action` returns on rank 0, which alone does it."""
        return self.ranks.on_first(action)

    def judge(self, model: Model | Ensemble, table: Table, rows: Rows) -> Evaluation:
        """Compare the predictions for all ranks' rows with what is true, a rank's at a time."""
        found = self.together(lambda: predicted(model, table, rows))
        found.take(self.ranks.all_of(found.found))
        evaluation = found.evaluation()
        assert evaluation is not None
        return evaluation


class _FrameOfAll:
    """A table whose rows the ranks have read, as `ColumnStore.frame`."""

    def __init__(self, shared: DividedTable, own: Any) -> None:
        self._ranks, self._own = shared.ranks, own
        self.columns: list[str] = own.columns
        self.width = len(self.columns)
        self.height = shared.sum(own.height)

    def __getitem__(self, name: str) -> Any:
        return _joined(self._ranks.all_of(self._own[name]))

    def iter_columns(self) -> Iterator[Any]:
        """Each column, the parts of all ranks one behind the other."""
        for column in self._own.iter_columns():
            yield _joined(self._ranks.all_of(column))


class _ValuesOfAll(MutableMapping[str, Any]):
    """Inspected columns, of which each of n ranks keeps every n-th row.

    Args:
        shared: the ranks.
        own: where this one keeps its rows.
    """

    def __init__(self, shared: DividedTable, own: MutableMapping[str, Any]) -> None:
        self._ranks, self.own = shared.ranks, own

    def __setitem__(self, name: str, values: Any) -> None:
        mine = slice(self._ranks.rank, None, self._ranks.size)
        self.own[name] = None if values is None else values[mine]

    def __getitem__(self, name: str) -> Any:
        own = self.own[name]
        return None if own is None else _interleaved(self._ranks.all_of(own))

    def __delitem__(self, name: str) -> None:
        del self.own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.own)

    def __len__(self) -> int:
        return len(self.own)


def _joined(parts: Sequence[Any]) -> Any:
    """One behind the other."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return polars().concat(parts)


def _interleaved(parts: Sequence[Any]) -> Any:
    """All values in their order, from ranks that have every n-th each."""
    whole, size = _joined(parts), len(parts)
    rows = len(whole)
    place = np.empty(rows, np.intp)
    begin = 0
    for rank, part in enumerate(parts):
        place[rank::size] = np.arange(begin, begin + len(part))
        begin += len(part)
    return whole[place]


def shared_by(communicator: Any) -> WholeTable:
    """Those who train on a table together: of `train(communicator=...)`.

    Raises:
        DefinitionError: if it is no communicator.
    """
    if communicator is None:
        return WholeTable()
    options = Distributed.of(communicator)
    return WholeTable() if options.communicator.size == 1 else DividedTable(options)
