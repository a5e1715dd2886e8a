"""A table before the training: what its columns hold, and whether it can be learned from.

What becomes of a column, in this order:

- one that `drop` names is left out;
- one without values, or with one and the same in all training rows, is left out;
- text that `categorical` does not name, and that differs in more than half of the training rows
  that have it (names, identifiers), is left out;
- numbers and text are encoded as `fastnet.encoding` says; so are the columns that `categorical`
  names, whatever they hold, as text.

Rows without a target are left out. `missing="error"` refuses them, and all other missing values
in columns that are used.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError, DefinitionError, unknown
from fastnet.extras import polars
from fastnet.tables import columns
from fastnet.tables import reading as table_files
from fastnet.tables.columns import Place, listed, shorten
from fastnet.tables.encoding import Categories, Column, Number, moments
from fastnet.tables.schema import TASKS, Class, Table, in_64_bits

if TYPE_CHECKING:
    import polars as pl

#: Text with more different values than this part of the rows that have it is left out.
DIFFERENT = 0.5

_FILL_IN = (
    "fill it in, leave those rows out, or let the median or a category of its own take its "
    "place (--missing impute)"
)


@dataclass(frozen=True)
class ColumnReport:
    """What became of a column.

    Attributes:
        name: the column's.
        kind: "number", "categories" or "left out".
        inputs: the names of its inputs.
        missing: rows that have no value in it, of those that have a target; None where it was
            not looked at.
        remark: how it is encoded, or why it is not, in a few words.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    missing: int | None
    remark: str


@dataclass(frozen=True)
class InspectedTable:
    """A table that can be learned from.

    Attributes:
        what: the table, as errors call it.
        target, task, classes: as `fastnet.tables.Table` has them.
        values: by column, numbers `(rows,)` with NaN where missing, or text; None where there is
            nothing.
        dropped: the columns left out on demand.
        forced: the columns taken for categories on demand.
        y: `(rows,)`, class indices or numbers.
        without_target: how many rows were left out.
        codes: the columns of numbers some of which begin with a needless 0, as codes do.
    """

    what: str
    target: str
    task: str
    classes: tuple[Class, ...]
    values: "Mapping[str, Array | pl.Series | None]"
    dropped: tuple[str, ...]
    forced: tuple[str, ...]
    y: Array
    without_target: int
    codes: frozenset[str] = frozenset()

    def learn(self, rows: Array, most: int, fills: bool) -> tuple[Table, tuple[ColumnReport, ...]]:
        """Choose the columns, and learn from the given rows how they are encoded.

        Args:
            rows: the training rows' indices.
            most: categories of a text column.
            fills: take missing values; else they are refused.

        Returns:
            The facts, and what became of each column, in the table's order.

        Raises:
            DataError: if values are missing that may not be, no column is left, or numbers are
                too large to be squared.
        """
        used: list[Column] = []
        treated = []
        for name, values in self.values.items():
            reason = self._reason(name, values, rows)
            gaps = None if name in self.dropped else len(self.y)
            if values is not None:
                gaps = int(columns.missing(values).sum())
            if values is None or reason:
                treated.append(ColumnReport(name, "left out", (), gaps, reason))
                continue
            if not fills:
                columns.refuse_missing(values, Place(self.what, name), _FILL_IN)
            column: Column = (
                Number.of(name, values[rows], fills)
                if isinstance(values, np.ndarray)
                else Categories.of(name, values.gather(rows), most, fills)
            )
            used.append(column)
            remark = _remark(column, values)
            if name in self.codes and isinstance(column, Number):
                remark = "codes, as 01? if so, --categorical" + (f"; {remark}" if remark else "")
            treated.append(ColumnReport(name, column.kind, column.inputs, gaps, remark))
        if not used:
            raise DataError(
                f"{self.what} has no column to learn from but the target {self.target!r}"
                + "".join(f"; {t.name!r} is left out: {t.remark}" for t in treated[:3])
                + "."
            )
        table = Table(
            tuple(used),
            self.target,
            self.task,
            self.classes,
            left_out=tuple(t.name for t in treated if not t.inputs),
        )
        if self.task == "classification":
            return table, tuple(treated)
        mean, scale = moments(self.y[rows], self.target)
        return replace(table, target_mean=mean, target_scale=scale), tuple(treated)

    def _reason(self, name: str, values: Any, rows: Array) -> str:
        """Why a column is left out; empty: it is not."""
        if name in self.dropped:
            return "as you asked"
        if values is None:
            return "it has no values"
        if isinstance(values, np.ndarray):
            known = values[rows]
            present = known[~np.isnan(known)]
            if len(present) and len(present) == len(known) and present.min() == present.max():
                return f"{present[0]:g} in every training row"
        else:
            known = values.gather(rows)
            present = known.drop_nulls()
            different = present.n_unique()
            if different == 1 and len(present) == len(known):
                return f"{shorten(present[0], 24)} in every training row"
            if different > DIFFERENT * len(present) and name not in self.forced:
                return f"text, {different:,} different in {len(present):,} rows"
        return "" if len(present) else "it has no values in the training rows"


def examine(
    source: Any,
    target: str,
    task: str | None = None,
    *,
    drop: Iterable[str] = (),
    categorical: Iterable[str] = (),
    missing: str = "impute",
) -> InspectedTable:
    """Read a table and make sure that it can be learned from.

    Args:
        source: a path, a Polars frame or a mapping of columns.
        target: the column to predict.
        task: "classification" or "regression"; None: as the target is. Text, truth values
            and whole numbers are classes, other numbers are quantities.
        drop: columns to leave out.
        categorical: columns to take for text, whatever they hold.
        missing: "impute" or "error", for rows without a target; `InspectedTable.learn` looks at the
            other columns.

    Raises:
        DataError: if it cannot, with the column and the row.
        DefinitionError: for another task.
    """
    if task is not None and task not in TASKS:
        raise DefinitionError(unknown("task", task, TASKS))
    frame, what = table_files.read(source), table_files.name_of(source)
    dropped, forced = tuple(drop), tuple(categorical)
    _check_names(frame, what, target, dropped, forced)
    aim = Place(what, target, role="target")
    there = _has_target(frame[target], aim)
    if not there.any():
        raise DataError(f"{aim} has no values at all; fill it in.")
    if missing == "error" and not there.all():
        row = int(np.argmin(there)) + 1
        also = f" ({int((~there).sum()):,} rows have none)" if (~there).sum() > 1 else ""
        raise DataError(
            f"{aim} has no value in data row {row}{also}; fill it in, leave those rows out, or "
            "let them be left out (--missing impute)."
        )
    values: dict[str, Any] = {}
    codes = set()
    for name in frame.columns:
        if name == target:
            continue
        place = Place(what, name)
        if name in dropped:
            found: Any = None
        elif name in forced:
            found = columns.texts(frame[name], place)
        else:
            kind, found = columns.judge(frame[name], place)
            if kind == "number" and columns.begins_with_0(frame[name]):
                codes.add(name)
        values[name] = found if found is None or there.all() else _filtered(found, there)
    rows = np.flatnonzero(there)
    column = frame[target].gather(rows)
    classes, y = _targets(column, task, aim, rows)
    found_task = "classification" if classes else "regression"
    lost = frame.height - len(rows)
    return InspectedTable(
        what, target, found_task, classes, values, dropped, forced, y, lost, frozenset(codes)
    )


def _check_names(
    frame: "pl.DataFrame", what: str, target: str, dropped: tuple[str, ...], forced: tuple[str, ...]
) -> None:
    for name, role in [
        (target, "to be the target"),
        *((name, "to leave out") for name in dropped),
        *((name, "to take for categories") for name in forced),
    ]:
        if name not in frame.columns:
            near = difflib.get_close_matches(name, frame.columns, n=1, cutoff=0.5)
            guess = f"; did you mean {near[0]!r}?" if near else "."
            raise DataError(
                f"{what} has no column {name!r} {role}{guess} Its columns: {listed(frame.columns)}."
            )
    if target in dropped or target in forced:
        option = "drop" if target in dropped else "categorical"
        raise DefinitionError(f"{option} names the target {target!r}; it is for other columns.")
    if not set(frame.columns) - {target, *dropped}:
        raise DataError(f"{what} has no column but the target {target!r}; nothing to learn from.")


def _filtered(values: Any, there: Array) -> Any:
    return values[there] if isinstance(values, np.ndarray) else values.filter(there)


def _has_target(column: "pl.Series", place: Place) -> Array:
    """Which rows have a target; a word for a missing number counts only beside numbers."""
    pl = polars()
    if column.dtype.is_float():
        column = column.fill_nan(None)
    elif column.dtype == pl.String:
        _, values = columns.judge(column, place)
        return np.zeros(len(column), bool) if values is None else ~columns.missing(values)
    return np.asarray(column.is_not_null().to_numpy())


def _targets(
    column: "pl.Series", task: str | None, place: Place, rows: Array
) -> tuple[tuple[Class, ...], Array]:
    """The classes in order, none for a regression, and class indices or numbers `(rows,)`."""
    pl = polars()
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        column = _typed(columns.texts(column, place), place)
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean)):
        raise DataError(f"{place} holds {column.dtype}; it must hold numbers or text.")
    fractions = column.dtype.is_float() or column.dtype.is_decimal()
    if (task or ("regression" if fractions else "classification")) == "classification":
        return _classes(column, place, rows)
    if column.dtype == pl.String:
        raise DataError(
            f"{place} holds text ({shorten(column[0])} in data row {rows[0] + 1}), so it is no "
            "quantity; use task 'classification', or correct it."
        )
    y = column.cast(pl.Float64).to_numpy()
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise DataError(
            f"{place} holds {y[row]} in data row {rows[row] + 1}; it must be a finite number: "
            "correct it, or leave that row out."
        )
    if y.min() == y.max():
        raise DataError(f"{place} is {y[0]:g} in every row; nothing to learn.")
    return (), y


def _typed(column: "pl.Series", place: Place) -> "pl.Series":
    """Text as whole numbers, numbers or truth values, if it is so throughout."""
    pl = polars()
    kind, values = columns.judge(column, place)
    if kind != "number":
        return column
    if column.str.to_lowercase().is_in(["true", "false"]).all():
        return column.str.to_lowercase() == "true"
    whole = column.cast(pl.Int64, strict=False)
    return whole if not whole.null_count() else pl.Series(values)


def _classes(column: "pl.Series", place: Place, rows: Array) -> tuple[tuple[Class, ...], Array]:
    """The classes in order, and the index of each row's."""
    pl = polars()
    if column.dtype.is_float() or column.dtype.is_decimal():
        values = column.cast(pl.Float64).to_numpy()
        uneven = (np.rint(values) != values) | (np.abs(values) >= 2**53)
        if uneven.any():
            row = int(np.argmax(uneven))
            raise DataError(
                f"{place} is {values[row]:g} in data row {rows[row] + 1}; classes are whole "
                "numbers or text. For a quantity use task 'regression'."
            )
        column = pl.Series(values).cast(pl.Int64)
    classes = tuple(column.unique().sort().to_list())
    if len(classes) < 2:
        raise DataError(
            f"{place} is {shorten(classes[0])} in every row; a classification needs two classes "
            "or more."
        )
    if column.dtype.is_integer() and not in_64_bits(classes):
        raise DataError(f"{place} holds whole numbers beyond 64 bits.")
    # Ranks among the values are the places in their order.
    return classes, (column.rank("dense").cast(pl.Int64) - 1).to_numpy().astype(np.intp)


def _remark(column: Column, values: Any) -> str:
    """How a column is encoded, in a few words."""
    if isinstance(column, Number):
        if column.indicator:
            return f"median {column.fill:.6g} imputed; an input says where"
        steps = np.diff(values)
        if len(steps) > 1 and (steps == 1).all():
            return "a row number? if so, --drop it"
        return ""
    shown = listed(column.values, 3)
    return shown + (", the rest as other" if column.other else "")
