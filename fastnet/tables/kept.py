"""Encoded tables that are kept in a folder, for many trainings: what `fastnet convert` writes.

The folder holds the rows as `fastnet.tables.on_disk` encodes them, and `table.json`: the schema,
the report on the columns, and the settings that decided on the encoding and on the rows held out.
"""

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import files
from fastnet.arrays.checks import Array
from fastnet.contract import choosing
from fastnet.errors import DataError, DefinitionError, FileAccessError
from fastnet.tables import refitting
from fastnet.tables.evaluating import Rows
from fastnet.tables.fitting import TableFit
from fastnet.tables.inspecting import ColumnReport
from fastnet.tables.large import LargeTableFit, Report, fits, memory_bytes
from fastnet.tables.on_disk import EncodedRows
from fastnet.tables.reading import STANDARD_INPUT
from fastnet.tables.recipe import Recipe
from fastnet.tables.schema import Table
from fastnet.tables.sharing import WholeTable
from fastnet.tables.split_table import PARTS
from fastnet.training.blocks import BlockShuffle

#: The version of the folder's contents.
FORMAT = 1

_FACTS = "table.json"

#: What that file holds beside its format, in JSON's types.
_KINDS = {
    "table": dict, "columns": list, "without_target": int, "remarks": list, "settings": dict,
    "parts": dict,
}  # fmt: skip

#: The settings that a kept table has fixed.
FIXED = (
    "task", "validation", "test", "group", "time", "weights", "id", "dtype", "missing",
    "categories", "drop", "categorical", "date", "separator", "decimal", "thousands", "log_target",
    "bins",
)  # fmt: skip


def convert(
    source: Any,
    folder: str | os.PathLike[str],
    target: str,
    recipe: Recipe,
    *,
    memory: str | int = "2GB",
    report: Report | None = None,
) -> dict[str, int]:
    """Encode a table, and keep the result in a new folder, whole or not at all.

    Args:
        source: a path, or "-" for CSV on standard input.
        folder: is made; it must not exist.
        target: the column to predict.
        recipe: the settings; those of the network and the training are not used.
        memory: about how much may be used meanwhile, as for `fastnet.tables.train`.
        report: is told how far it is.

    Returns:
        How many rows each part has.

    Raises:
        DataError: if the table cannot be used for training.
        DefinitionError: for settings that do not fit it, or if the folder exists.
        FileAccessError: if the folder cannot be written.
    """
    path = Path(folder)
    if path.exists():
        raise DefinitionError(f"{str(folder)!r} exists already; remove it, or name another folder.")
    with files.scratch_folder(path) as scratch:
        fit = LargeTableFit(source, target, recipe, memory_bytes(memory), scratch, report)
        facts: dict[str, Any] = {
            "format": FORMAT,
            "table": fit.table.to_dict(),
            "columns": [asdict(column) for column in fit.columns],
            "without_target": fit.without_target,
            "remarks": list(fit.remarks),
            "settings": {name: getattr(recipe, name) for name in FIXED},
            "parts": {},
        }
        keep = {_FACTS}
        for name in PARTS:
            rows = getattr(fit, name)
            if rows is None:
                continue
            x: Any = rows.x
            written = {x.path.name, x.path.with_suffix(".codes").name}
            facts["parts"][name] = {"rows": len(rows), "file": x.path.stem}
            for what in ("y", "targets", "weight"):
                file = f"{name}.{what}.npy"
                if getattr(rows, what) is not None:
                    _save(scratch / file, getattr(rows, what))
                    written.add(file)
            keep |= written
        for one in scratch.iterdir():
            if one.name not in keep:
                one.unlink()
        files.replace(scratch / _FACTS, json.dumps(facts).encode())
        try:
            os.rename(scratch, path)
        except OSError as error:
            raise files.unwritable(path, error) from error
    return {name: part["rows"] for name, part in facts["parts"].items()}


def is_kept(source: Any) -> bool:
    """Whether a source is a folder that `convert` wrote."""
    try:
        return (Path(source) / _FACTS).is_file()
    except (TypeError, ValueError, OSError):
        return False


class KeptTableFit(TableFit):
    """A table in a folder that `convert` wrote, and the model to train on it.

    Args:
        folder: the folder.
        target: the column to predict, which the folder has fixed; None: that one.
        recipe: the settings; what the folder has fixed must be as there, or the default.
        memory: as for `fastnet.tables.train`; None: as `fit` does with arrays in files.
        among: as of `TableFit`.
        given: settings that must be as there even where they have their default.

    Raises:
        DataError: if the folder is incomplete.
        DefinitionError: for settings that are not those of the folder.
    """

    def __init__(  # not TableFit's: nothing is read, inspected or encoded
        self,
        folder: str | os.PathLike[str],
        target: str | None,
        recipe: Recipe,
        memory: str | int | None = None,
        among: WholeTable | None = None,
        given: Collection[str] = (),
    ) -> None:
        self.among = among or self.among
        path = Path(folder)
        facts = _read(path)
        self.recipe = _with_fixed(recipe, facts["settings"], path, given)
        choosing.choose(recipe.backend)
        if memory is not None:
            self.shuffle = BlockShuffle.within(memory_bytes(memory))
        self.table = Table.from_dict(facts["table"])
        if target is not None and target != self.table.target:
            raise DefinitionError(
                f"target is {target!r}, and {str(folder)!r} was converted for "
                f"{self.table.target!r}; convert the table again for another target."
            )
        try:
            reports = [{**one, "inputs": tuple(one["inputs"])} for one in facts["columns"]]
            self.columns = tuple(ColumnReport(**one) for one in reports)
        except (TypeError, KeyError) as error:
            raise _incomplete(path) from error
        self.without_target, self.remarks = facts["without_target"], tuple(facts["remarks"])
        self._begin()
        parts = [self._part(path, name, facts["parts"].get(name)) for name in PARTS]
        if parts[0] is None:
            raise _incomplete(path)
        self.training, self.validation, self.test = parts[0], parts[1], parts[2]
        self.rows = self._count()
        learned = self.rows["training"] + self.rows.get("validation", 0)
        self.refits = refitting.wanted(recipe, learned, held_out=parts[1] is not None)

    def _part(self, path: Path, name: str, part: Any) -> Rows | None:
        if part is None:
            return None
        try:
            x: Any = EncodedRows(path, part["file"], self.table, part["rows"], self.recipe.dtype)
            x.check()
            y, targets = (np.load(path / f"{name}.{what}.npy") for what in ("y", "targets"))
            weight = np.load(path / f"{name}.weight.npy") if self.table.weights else None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _incomplete(path) from error
        return self.among.part(Rows(x, y, targets, weight))


@contextlib.contextmanager
def fit_of(
    source: Any,
    target: str | None,
    recipe: Recipe,
    *,
    memory: str | int | None = None,
    beside: str | os.PathLike[str] | None = None,
    report: Report | None = None,
    among: WholeTable | None = None,
    given: Collection[str] = (),
    **held_out: Any,
) -> Iterator[TableFit]:
    """A `TableFit` in bounded memory, for as long as the context lasts.

    Args:
        source: as for `TableFit`; or a folder that `convert` wrote.
        target: the column to predict; None: the one of that folder.
        recipe: the settings.
        memory: about how much the table may take in each process, beyond Python and the model;
            None: any.
        beside: the file beside which the scratch folder is made; None: the table.
        report: is told how far reading and encoding are.
        among: as of `TableFit`.
        given: the names of the recipe's settings that are known to be meant, as of `KeptTableFit`.
        held_out: `validation` and `test`, tables that are read as a whole.

    Raises:
        DataError: if the table cannot be used, changes while it is read, or has more rows than the
            memory allows.
        DefinitionError: for settings that do not fit it.
        FileAccessError: if the scratch folder cannot be written.
    """
    if is_kept(source):
        if any(one is not None for one in held_out.values()):
            raise DefinitionError(
                f"{str(source)!r} has its own validation and test rows; leave these tables out."
            )
        _check_alone(recipe)
        yield KeptTableFit(source, target, recipe, memory, among, given)
        return
    if target is None:
        if isinstance(source, str | os.PathLike) and os.path.isdir(source):
            raise DataError(
                f"{str(source)!r} is a folder, but none that `fastnet convert` wrote: it has no "
                f"{_FACTS}; give a file, or convert the table again."
            )
        raise DefinitionError("target is None; name the column to predict.")
    room = None if memory is None else memory_bytes(memory)
    among = among or WholeTable()
    if room is None or fits(source, room, among.size):
        if beside is not None:
            among.on_first(partial(files.sweep_scratch, Path(beside)))
        yield TableFit(source, target, recipe, among=among, **held_out)
        return
    _check_alone(recipe)
    if beside is None:
        beside = "fastnet" if str(source) == STANDARD_INPUT else source
    among.on_first(partial(files.sweep_scratch, Path(beside)))
    with files.scratch_folder(Path(beside), sweep=False) as folder:
        fit = LargeTableFit(source, target, recipe, room, folder, report, among=among, **held_out)
        yield fit


def _check_alone(recipe: Recipe) -> None:
    given = {"members": recipe.members > 1, "search": recipe.search is not None}
    for name in (name for name, several in given.items() if several):
        raise DefinitionError(
            f"{name} is {getattr(recipe, name)}, and several networks are trained on a table in "
            f"memory: give the table itself, no folder, and more memory; or leave {name} out."
        )


def _with_fixed(
    recipe: Recipe, settings: Mapping[str, Any], path: Path, given: Collection[str]
) -> Recipe:
    defaults = {field.name: field.default for field in fields(Recipe)}
    every = {**{name: defaults[name] for name in FIXED}, **settings}  # older folders lack some
    fixed: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in every.items()}
    for name, value in fixed.items():
        wanted = getattr(recipe, name)
        if wanted != value and (name in given or wanted != defaults[name]):
            raise DefinitionError(
                f"{name} is {wanted!r}, and {str(path)!r} was converted with {value!r}; leave it "
                "out, or convert the table again."
            )
    return replace(recipe, **fixed)


def _read(path: Path) -> Any:
    try:
        facts = json.loads((path / _FACTS).read_bytes())
    except OSError as error:
        raise FileAccessError(error.errno, f"cannot read {str(path)!r}: {error}") from error
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or "format" not in facts:
        raise _incomplete(path)
    if facts["format"] != FORMAT:
        raise DataError(
            f"{str(path)!r} has format {facts['format']}; this fastnet reads {FORMAT}: convert "
            "the table again."
        )
    known = all(isinstance(facts.get(name), kind) for name, kind in _KINDS.items())
    if not known or not set(facts["settings"]) <= set(FIXED):
        raise _incomplete(path)
    return facts


def _incomplete(path: Path) -> DataError:
    return DataError(f"{str(path)!r} is incomplete or damaged; convert the table again.")


def _save(path: Path, values: Array) -> None:
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "wb"))
            np.lib.format.write_array_header_1_0(
                file, np.lib.format.header_data_from_array_1_0(values)
            )
            file.write(np.ascontiguousarray(values).data)
        except OSError as error:
            raise files.unwritable(path, error) from error
