"""A table, split into rows to train on, to choose the epoch by and to test on, and encoded."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Self

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract import choosing
from fastnet.errors import DataError, DefinitionError
from fastnet.tables import folding, reading, refitting
from fastnet.tables.evaluating import Rows, encoded, read
from fastnet.tables.inspecting import ColumnReport, ColumnStore, InspectedTable, inspect_table
from fastnet.tables.reading import STANDARD_INPUT, Reader
from fastnet.tables.recipe import Recipe
from fastnet.tables.schema import Class, Table
from fastnet.tables.sharing import WholeTable
from fastnet.tables.splitting import folds, hold_out

#: The parts of a table, as `SplitTable` calls them.
PARTS = ("training", "validation", "test")


class SplitTable:
    """A table, split and encoded.

    Args:
        source: a path, a frame or a mapping of columns, as in `train`.
        target: the column to predict.
        recipe: the settings.
        validation: a table of validation rows, in place of `recipe.validation`; None: none.
        test: a table of test rows, in place of `recipe.test`; None: none.
        among: who has which rows: this process all of them, or each of several its share.

    Attributes:
        recipe: the settings.
        refits: whether the model is trained again, on training and validation rows.
        by_folds: whether folds of these rows choose the epochs of that, and bins.
        table: what the model must know of the table.
        columns: how each column is used.
        without_target: how many rows were left out because they have no target.
        remarks: what may not be as its owner means it, a sentence each.
        facts: what decides which training rows are held out together.
        training: the training rows that this process has.
        validation, test: likewise rows that are held out, or None.
        rows: how many each part has, over all processes.

    Raises:
        DataError: if the table cannot be used for training, with the column and the row.
        DefinitionError: for settings that do not fit it.
        BackendUnavailable: if the backend is unknown or cannot run here.
    """

    #: As for the argument.
    among = WholeTable()

    #: Whether all rows, as they were read, stay in memory.
    in_memory = True

    by_folds = False

    recipe: Recipe
    table: Table
    columns: tuple[ColumnReport, ...]
    without_target: int
    remarks: tuple[str, ...]
    training: Rows
    validation: Rows | None
    test: Rows | None
    rows: dict[str, int]

    def __init__(
        self,
        source: Any,
        target: str,
        recipe: Recipe,
        *,
        validation: Any = None,
        test: Any = None,
        among: WholeTable | None = None,
    ) -> None:
        self.among = among or self.among
        _check(recipe)
        inspected = _inspected(self._open(source, recipe), target, recipe)
        rest, tested = hold_out(
            inspected.facts, recipe.seed, recipe.test if test is None else 0, "test"
        )
        if str(test) == STANDARD_INPUT and recipe.refit is not False:  # which can be read once
            test = reading.read(test, recipe.separator)
        self._set_up(recipe, inspected, rest, tested, validation, test)

    @classmethod
    def folds(
        cls, source: Any, target: str, recipe: Recipe, count: int, *, validation: Any = None
    ) -> "Iterator[Self]":
        """One for each fold of a cross-validation, whose test rows are those of the fold.

        Args:
            source: as above.
            target: as above.
            recipe: as above; with a `test` of 0.
            count: of folds, at least 2.
            validation: as above.

        Raises:
            DataError: if the table cannot be used for training, or has too few rows.
            DefinitionError: for settings that do not fit it.
            BackendUnavailable: if the backend is unknown or cannot run here.
        """
        if checks.integer(count, "folds") < 2:
            raise DefinitionError(f"folds is {count}; a cross-validation needs at least 2.")
        _check(recipe)
        inspected = _inspected(source, target, recipe)
        if recipe.test:
            raise DefinitionError(
                f"test is {recipe.test:g}, and a cross-validation tests every row; leave it out."
            )
        for rest, tested in folds(inspected.facts, recipe.seed, count):
            fit = cls.__new__(cls)
            fit._set_up(recipe, inspected, rest, tested, validation, None)
            yield fit

    def _set_up(
        self,
        recipe: Recipe,
        inspected: InspectedTable,
        rest: Array,
        tested: Array,
        validation: Any,
        test: Any,
    ) -> None:
        """Hold validation rows out of the rest, and encode all."""
        self.recipe, self.remarks = recipe, inspected.remarks
        fraction = recipe.validation if validation is None else 0
        kept, chosen = hold_out(inspected.facts.take(rest), recipe.seed, fraction, "validation")
        training, validated = rest[kept], rest[chosen]
        self.facts = inspected.facts.take(training)
        self.refits = refitting.wanted(
            recipe,
            len(rest),
            in_memory=self.in_memory,
            held_out=len(validated) > 0,
            own_table=validation is not None,
            intervals=recipe.members > 1 and not inspected.classes,
        )
        learned = rest if self.refits else training
        self.table, self.columns = inspected.fit_encoding(
            training,
            recipe.categories,
            recipe.missing == "impute",
            inspected.learns_logarithm(learned, recipe.log_target),
            recipe.bins or 0,
        )
        self.by_folds = folding.wanted(
            recipe,
            inspected.facts.take(rest),
            len(self.table.features),
            in_memory=self.in_memory,
            held_out=len(validated) > 0,
            own_table=validation is not None,
        )
        if self.refits or self.by_folds:
            self._source = inspected, rest, tested, test
        self.without_target = inspected.without_target
        self._begin()

        def encoded_rows(rows: Array) -> Rows:
            return self.among.together(partial(self._rows, inspected, rows))

        self.training = encoded_rows(training)
        self.validation = encoded_rows(validated) if len(validated) else None
        self.test = encoded_rows(tested) if len(tested) else None
        if validation is not None:
            self.validation = self._read(validation)
        if test is not None:
            self.test = self._read(test)
        for part, rows in self._parts().items():
            weighs = rows.weight is None or bool(rows.weight.any())
            if not self.among.sum(weighs):
                raise DataError(
                    f"column {self.table.weights!r}: the weights of all {part} rows are 0; at "
                    "least one must be above 0."
                )
        self.rows = self._count()

    def _begin(self) -> None:
        """What is checked and made once the schema is known, before rows are encoded."""

    def _parts(self) -> dict[str, Rows]:
        """The parts that there are."""
        parts = {name: getattr(self, name) for name in PARTS}
        return {name: rows for name, rows in parts.items() if rows is not None}

    def _count(self) -> dict[str, int]:
        return {name: self.among.sum(len(rows)) for name, rows in self._parts().items()}

    def _open(self, source: Any, recipe: Recipe) -> ColumnStore:
        """Read the table."""

        def whole(reader: Reader) -> ColumnStore:
            return ColumnStore.of(reader, reader.whole(), {})

        return self.among.store(self.among.read(source, recipe.separator, whole))

    def unseen_classes(self) -> list[Class]:
        """The classes without a row to learn from: all their rows are held out."""
        learned = [self.training]
        if self.refits and self.validation is not None:
            learned.append(self.validation)
        seen = self.among.union(np.unique(np.concatenate([one.y for one in learned])).tolist())
        return [name for index, name in enumerate(self.table.classes) if index not in seen]

    def _read(self, source: Any) -> Rows:
        """The rows of a table of their own."""
        rows, without = read(self.table, source, self.recipe.dtype, self.recipe.separator)
        self.without_target += without
        return self.among.part(rows)

    def _rows(self, inspected: InspectedTable, rows: Array) -> Rows:
        """Those of some rows of the table that this process has, as the network takes them."""
        rows, places = self.among.share(rows)
        columns, values = self.among.own(inspected.values), list[Any]()
        for name in self.table.names:
            own = columns[name]
            values.append(own[places] if isinstance(own, np.ndarray) else own.gather(places))
        weight = None if inspected.weight is None else inspected.weight[rows]
        return encoded(self.table, values, inspected.y[rows], weight, self.recipe.dtype)


def _check(recipe: Recipe) -> None:
    """Make sure that there are settings and a backend, before a large table is read."""
    if not isinstance(recipe, Recipe):
        raise DefinitionError(f"recipe is {recipe!r}; it must be a tables.Recipe(...).")
    choosing.choose(recipe.backend)


def _inspected(source: Any, target: str, recipe: Recipe) -> InspectedTable:
    """Inspect a table, which may have been read, by the recipe's settings."""
    return inspect_table(
        source,
        target,
        recipe.task,
        drop=recipe.drop,
        categorical=recipe.categorical,
        date=recipe.date,
        missing=recipe.missing,
        separator=recipe.separator,
        notation=recipe.notation,
        roles=recipe.roles,
    )
