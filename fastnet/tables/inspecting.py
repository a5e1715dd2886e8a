"""Inspecting a table before training: what its columns hold, and whether it can be used.

For each column the first rule that applies decides:

- it is named in `drop`: left out;
- it has another role, such as groups or times, and is not named in `categorical` or `date`: left
  out;
- it holds row labels, such as the index that pandas saves, and is not named in `categorical`: left
  out;
- it has no values, or the same value in all training rows: left out;
- it is text, not named in `categorical`, with different values in more than half of the training
  rows that have one (names, identifiers): left out;
- it is named in `categorical`: encoded as text, whatever it holds;
- it is named in `date`: encoded as dates;
- it holds numbers or text: encoded as `fastnet.tables.encoding` describes.

Rows without a target are left out. `missing="error"` refuses them, and all other missing values
in columns that are used.
"""

import difflib
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.advice import setting
from fastnet.arrays.checks import Array
from fastnet.errors import DataError, DefinitionError, unknown
from fastnet.extras import polars
from fastnet.records import Record
from fastnet.tables import columns, dates, reading, targets
from fastnet.tables.columns import Place, listed, shorten
from fastnet.tables.encoding import Categories, Column, Dates, Number, moments
from fastnet.tables.notation import Notation
from fastnet.tables.roles import PURPOSES, READ, REMARKS
from fastnet.tables.schema import TASKS, Class, Table
from fastnet.tables.splitting import RowFacts

if TYPE_CHECKING:
    import polars as pl

#: Text with more distinct values than this fraction of the rows that have one is left out.
MAX_DISTINCT = 0.5


class ColumnReport(Record):
    """How a column is used.

    Attributes:
        name: the column's.
        kind: "number", "categories", "dates" or "left out".
        inputs: the names of its inputs.
        missing: the number of rows with a target but no value in this column; None for a column
            that was not read.
        remark: how it is encoded, or why it is left out, in a few words.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    missing: int | None
    remark: str


@dataclass(frozen=True)
class InspectedTable:
    """A table that can be used for training, without the rows that have no target.

    Attributes:
        name: the table, as errors name it.
        target, task, classes: as in `fastnet.tables.Table`.
        values: by column, numbers `(rows,)` with NaN where missing, or text; days since 1970-01-01
            for dates; None for a column without values.
        drop: the columns to leave out.
        categorical: the columns to treat as text.
        y: `(rows,)`, class indices or numbers.
        weight: `(rows,)`, how much each row counts, or None.
        roles: the columns that say something about the rows: `(role, column)` each.
        without_target: how many rows were left out.
        leading_zeros: the columns of numbers in which some begin with 0, as codes may.
        labels: the columns that are no inputs because they hold row labels or have another role,
            and what they are.
        exact: the columns of text whose spelling matters: `columns.ambiguous`.
        dates: the columns of dates, and how those in text are written.
        notation: how numbers are written in text.
        facts: what decides which rows are held out.
        remarks: what may not be as its owner means it, a sentence each.
    """

    name: str
    target: str
    task: str
    classes: tuple[Class, ...]
    values: "Mapping[str, Array | pl.Series | None]"
    drop: tuple[str, ...]
    categorical: tuple[str, ...]
    y: Array
    without_target: int
    facts: RowFacts
    weight: Array | None = None
    roles: tuple[tuple[str, str], ...] = ()
    leading_zeros: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    exact: frozenset[str] = frozenset()
    dates: Mapping[str, str] = field(default_factory=dict)
    notation: Notation = columns.USUAL
    remarks: tuple[str, ...] = ()

    def fit_encoding(
        self,
        rows: Array,
        max_categories: int,
        impute: bool,
        log_target: bool = False,
        bins: int = 0,
    ) -> tuple[Table, tuple[ColumnReport, ...]]:
        """Choose the columns, and learn their encoding from the training rows.

        Args:
            rows: the training rows' indices.
            max_categories: of a text column.
            impute: replace missing values; else they are refused.
            log_target: what `learns_logarithm` returned.
            bins: of a column of numbers, at most.

        Returns:
            The schema, and a report on each column in the table's order.

        Raises:
            DataError: if values are missing that must not be, no column is left, or numbers are
                too large to be squared.
        """
        used: list[Column] = []
        reports = []
        for name, values in self.values.items():
            reason = self._reason(name, values, rows)
            gaps = None if name in self.drop or name in self.labels else len(self.y)
            if values is not None:
                gaps = int(columns.missing(values).sum())
            if values is None or reason:
                reports.append(ColumnReport(name, "left out", (), gaps, reason))
                continue
            if not impute:
                imputed = f"have it imputed ({setting('missing', 'impute')})"
                remedy = f"fill it in, leave those rows out, or {imputed}"
                columns.refuse_missing(values, Place(self.name, name), remedy)
            column: Column
            if isinstance(values, np.ndarray) and name in self.dates:
                column = Dates.fit(name, values[rows], impute, self.dates[name])
            elif isinstance(values, np.ndarray):
                column = Number.fit(name, values[rows], impute, bins)
            else:
                spelling = "exact" if name in self.exact else "one"
                known = values.gather(rows)
                column = Categories.fit(name, known, max_categories, impute, spelling)
            used.append(column)
            remark = _remark(column, values, name in self.leading_zeros)
            reports.append(ColumnReport(name, column.kind, column.inputs, gaps, remark))
        if not used:
            raise DataError(
                f"{self.name} has no usable column but the target {self.target!r}"
                + "".join(f"; {r.name!r} is left out: {r.remark}" for r in reports[:3])
                + "."
            )
        table = Table(
            tuple(used),
            self.target,
            self.task,
            self.classes,
            left_out=tuple(report.name for report in reports if not report.inputs),
            decimal=self.notation.decimal,
            thousands=self.notation.thousands,
            weights=next((name for role, name in self.roles if role == "weights"), None),
            ids=tuple(name for role, name in self.roles if role == "id"),
        )
        reports = _with_features(reports, table)
        if self.task == "classification":
            return table, tuple(reports)
        y = np.log(self.y[rows]) if log_target else self.y[rows]
        mean, scale = moments(y, self.target)
        table = replace(table, target_mean=mean, target_scale=scale, log_target=log_target)
        return table, tuple(reports)

    def learns_logarithm(self, rows: Array, wanted: bool | None) -> bool:
        """Whether the logarithm of the target is learned.

        Args:
            rows: the indices of all rows that a model is going to be trained on.
            wanted: what the recipe says; None: if `targets.suits_logarithm`.

        Raises:
            DataError: if it is wanted, and there is none.
            DefinitionError: if it is wanted of classes.
        """
        if self.task == "classification":
            if wanted:
                raise DefinitionError("log_target is for a regression; leave it out.")
            return False
        y = self.y[rows]
        if wanted and y.min() <= 0:
            raise DataError(
                f"{self.name}: the target {self.target!r} is {y.min():g} in a row to train on, "
                "which has no logarithm; leave log_target out."
            )
        return targets.suits_logarithm(y) if wanted is None else wanted

    def _reason(self, name: str, values: Any, rows: Array) -> str:
        """Why a column is left out; empty if it is not."""
        if name in self.drop:
            return "on request"
        if name in self.labels:
            return self.labels[name]
        if values is None:
            return "it has no values"
        if isinstance(values, np.ndarray):
            known = values[rows]
            present = known[~np.isnan(known)]
            if len(present) and len(present) == len(known) and present.min() == present.max():
                one = dates.written(present[0]) if name in self.dates else f"{present[0]:g}"
                return f"{one} in every training row"
        else:
            known = values.gather(rows)
            present = known.drop_nulls()
            distinct = present.n_unique()
            if distinct == 1 and len(present) == len(known):
                return f"{shorten(present[0], 24)} in every training row"
            if distinct > MAX_DISTINCT * len(present) and name not in self.categorical:
                return f"text, {distinct:,} different in {len(present):,} rows"
        return "" if len(present) else "it has no values in the training rows"


class ColumnStore(Record):
    """A table that was opened, and where its columns go once they are inspected.

    Attributes:
        name: the table, as errors name it.
        labels: as of `Reader`, complete.
        separated: as of `Reader`.
        frame: its columns: a Polars frame, or what has of one the attributes `columns`, `width`,
            `height`, the method `iter_columns` and columns by name.
        values: the mapping that `InspectedTable.values` will be.
    """

    name: str
    labels: Mapping[str, str]
    separated: bool
    frame: Any
    values: MutableMapping[str, Any]

    @classmethod
    def of(
        cls, reader: reading.Reader, frame: Any, values: MutableMapping[str, Any]
    ) -> "ColumnStore":
        """The table of a reader that has read all of it."""
        return cls(reader.name, reader.labels, reader.separated, frame, values)


def inspect_table(
    source: Any,
    target: str,
    task: str | None = None,
    *,
    drop: Iterable[str] = (),
    categorical: Iterable[str] = (),
    date: Iterable[str] = (),
    missing: str = "impute",
    separator: str | None = None,
    notation: Notation = columns.USUAL,
    roles: Iterable[tuple[str, str]] = (),
) -> InspectedTable:
    """Read a table, and make sure that it can be used for training.

    Args:
        source: a path, a frame or a mapping of columns; or a table in columns of its own.
        target: the column to predict.
        task: "classification" or "regression"; None: as the target suggests. Text, booleans and
            integers are classes, other numbers make a regression.
        drop: columns to leave out.
        categorical: columns to treat as text, whatever they hold; the target may be one.
        date: columns of dates and times.
        missing: "impute" or "error", for rows without a target; `InspectedTable.fit_encoding`
            checks the other columns.
        separator: what stands between the columns of a CSV file; None: found in its first lines.
        notation: how numbers are written in text.
        roles: the columns that say something about the rows, `(role, column)` each:
            `fastnet.tables.roles`.

    Raises:
        DataError: if it cannot be used, with the column and the row.
        DefinitionError: for an unknown task.
    """
    if task is not None and task not in TASKS:
        raise DefinitionError(unknown("task", task, TASKS))
    opened = source
    if not isinstance(source, ColumnStore):
        reader = reading.Reader(source, separator)
        opened = ColumnStore.of(reader, reader.whole(), {})
    frame, table_name, values = opened.frame, opened.name, opened.values
    target = str(target)  # a frame of pandas may have numbers for names; they become text
    drop, categorical, date = tuple(drop), tuple(categorical), tuple(date)
    roles = tuple(roles)
    _check_names(opened, target, drop, categorical, date, roles)
    if target in categorical and task == "regression":
        raise DefinitionError(
            f"categorical names the target {target!r}, so it is text, and a regression needs "
            f"numbers; take it out of categorical, or leave out {setting('task', 'regression')}."
        )
    place = Place(table_name, target, role="target")
    goal = targets.values(frame[target], task, place, notation, target in categorical)
    has_target = np.asarray(goal.is_not_null().to_numpy())
    if not has_target.any():
        raise DataError(f"{place} has no values at all; fill it in.")
    if missing == "error" and not has_target.all():
        row = int(np.argmin(has_target)) + 1
        count = int((~has_target).sum())
        also = f" ({count:,} rows have none)" if count > 1 else ""
        raise DataError(
            f"{place} has no value in data row {row}{also}; fill it in, leave those rows out, or "
            f"have them left out ({setting('missing', 'impute')})."
        )
    labels = {**opened.labels, **{name: REMARKS[role] for role, name in roles}}
    inputs = {target, *categorical, *date}
    labels = {name: why for name, why in labels.items() if name not in inputs}
    leading_zeros, exact, forms = set(), set(), {}
    for given in frame.iter_columns():
        name = given.name
        if name == target:
            continue
        column: Any = None
        if name not in drop and name not in labels:
            at = Place(table_name, name)
            kind, column = "text", None
            if name in date:
                kind, (column, forms[name]) = "dates", dates.parse(given, at)
            elif name not in categorical:
                kind, column = columns.infer(given, at, notation)
            elif given.dtype == polars().String:
                column = columns.texts(given, at)
            if kind == "number" and columns.has_leading_zeros(given):
                leading_zeros.add(name)
            if kind == "text":
                words = columns.spelled(given, at, notation)
                if column is not None and columns.ambiguous(column, words):
                    exact.add(name)
                else:
                    column = words
        values[name] = None if column is None else _filter(column, has_target)
    rows = np.flatnonzero(has_target)
    encoded = targets.encode(goal.gather(rows), task, place, rows)
    read = {
        role: READ[role](frame[n].gather(rows), Place(table_name, n, row_numbers=rows), notation)
        for role, n in roles
        if role in READ
    }
    return InspectedTable(
        name=table_name,
        target=target,
        task="classification" if encoded.classes else "regression",
        classes=encoded.classes,
        values=values,
        drop=drop,
        categorical=categorical,
        y=encoded.y,
        without_target=frame.height - len(rows),
        facts=RowFacts(
            len(rows),
            encoded.y if encoded.classes else None,
            read.get("group"),
            read.get("time"),
            next((name for role, name in roles if role in ("group", "time")), ""),
        ),
        weight=read.get("weights"),
        roles=roles,
        leading_zeros=frozenset(leading_zeros),
        labels=labels,
        exact=frozenset(exact),
        dates=forms,
        notation=notation,
        remarks=(*_row_numbers(values, forms), *([encoded.remark] if encoded.remark else [])),
    )


def _check_names(
    opened: ColumnStore,
    target: str,
    drop: tuple[str, ...],
    categorical: tuple[str, ...],
    date: tuple[str, ...],
    roles: tuple[tuple[str, str], ...],
) -> None:
    frame, table_name = opened.frame, opened.name
    for name, role in [
        (target, "to be the target"),
        *((name, PURPOSES[role]) for role, name in roles),
        *((name, "to leave out") for name in drop),
        *((name, "to treat as categories") for name in categorical),
        *((name, "to treat as dates") for name in date),
    ]:
        if name not in frame.columns:
            near = difflib.get_close_matches(name, frame.columns, n=1, cutoff=0.5)
            guess = f"; did you mean {near[0]!r}?" if near else "."
            alone = opened.separated and frame.width == 1
            single = f"; {columns.one_column()}" if alone else ""
            raise DataError(
                f"{table_name} has no column {name!r} {role}{guess} "
                f"Its columns: {listed(frame.columns)}{single}."
            )
    for role, names in (("drop", drop), ("date", date)):
        if target in names:
            raise DefinitionError(f"{role} names the target {target!r}; it is for other columns.")
    for role, name in roles:
        if name == target:
            raise DefinitionError(f"{role} names the target {target!r}; it is for other columns.")
    if not set(frame.columns) - {target, *drop}:
        raise DataError(
            f"{table_name} has no column but the target {target!r}; nothing to learn from."
        )


def _filter(values: Any, rows: Array) -> Any:
    return values[rows] if isinstance(values, np.ndarray) else values.filter(rows)


def _all_different(values: Array) -> bool:
    """Whether they are whole numbers, all different, as row numbers and identifiers are."""
    known = values[~np.isnan(values)]
    if len(known) < 3 or (np.rint(known) != known).any():
        return False
    return len(np.unique(known)) == len(known)


def _row_numbers(values: Mapping[str, Any], dates: Iterable[str]) -> list[str]:
    """A remark on columns that may be row numbers, which would tell a model where a row was."""
    found = [  # a column at a time: they may be in files
        name
        for name, given in values.items()
        if isinstance(given, np.ndarray) and name not in dates and _all_different(given)
    ]
    if not found:
        return []
    return [
        f"{listed(found)}: whole numbers, all different; if they number or identify the rows, "
        f"leave them out ({setting('drop')})"
    ]


def _with_features(reports: list[ColumnReport], table: Table) -> list[ColumnReport]:
    """The reports with the names that the inputs have in the whole table."""
    names = iter(table.features)
    return [replace(one, inputs=tuple(next(names) for _ in one.inputs)) for one in reports]


def _remark(column: Column, values: Any, leading_zeros: bool) -> str:
    """How a column is encoded, in a few words."""
    if isinstance(column, Number):
        found = []
        if leading_zeros:
            found.append(f"codes such as 01? if so, {setting('categorical', [column.name])}")
        elif _all_different(values):
            found.append(f"a row number? if so, {setting('drop', [column.name])}")
        if column.indicator:
            found.append(f"median {column.fill:.6g} imputed, plus an indicator")
        if column.edges:
            found.append(f"also in {len(column.edges) - 1} bins")
        return "; ".join(found)
    if isinstance(column, Dates):
        return _date_remark(column)
    return listed(column.values, 3) + (", the rest as other" if column.other else "")


def _date_remark(column: Dates) -> str:
    parts = ", ".join(dict.fromkeys(part.partition(" ")[0] for part in column.parts))
    if not column.indicator:
        return parts
    return f"{parts}; {dates.written(column.fill or 0.0)} imputed, plus an indicator"
