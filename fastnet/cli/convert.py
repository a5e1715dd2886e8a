"""`fastnet convert`."""

from pathlib import Path
from typing import Annotated

import typer

from fastnet.cli import configuration, options
from fastnet.cli.report import count
from fastnet.cli.terminal import JsonOption, SeparatorOption, document, note, phases


def command(
    data: options.Data,
    folder: Annotated[Path, typer.Argument(help="Folder to make, for `fastnet train`.")],
    target: options.Target = None,
    task: options.Task = None,
    missing: options.Missing = None,
    categories: options.Categories = None,
    bins: options.Bins = None,
    drop: options.Drop = None,
    categorical: options.Categorical = None,
    date: options.Date = None,
    separator: SeparatorOption = None,
    decimal: options.Decimal = None,
    thousands: options.Thousands = None,
    test: options.Test = None,
    validation: options.Validation = None,
    log_target: options.LogTarget = None,
    group: options.Group = None,
    time: options.Time = None,
    weights: options.Weights = None,
    id: options.Id = None,  # noqa: A002, as the option is called
    seed: options.Seed = None,
    dtype: options.Dtype = None,
    memory: options.Memory = None,
    config: options.Config = None,
    as_json: JsonOption = False,
) -> None:
    """Encode a table once, for many trainings; it may be larger than memory.

        fastnet convert huge.parquet huge/ --target price

        fastnet train huge/ -o price.safetensors

    The options, and the keys of a configuration, are those of `fastnet train`. What they decide
    here, how columns are encoded and which rows are held out, is fixed in the folder.
    """
    given = dict(locals())
    for name in ("data", "folder", "config", "as_json"):
        del given[name]
    for name in configuration.NAMES:
        given[name] = options.names(given[name])
    read = configuration.read(config) if config is not None else {}
    settings = configuration.merge(read, given)
    if not settings.get("target"):
        raise typer.BadParameter("--target COLUMN is required, here or in --config.")
    from fastnet.tables.kept import convert

    if configuration.tables(settings):
        raise typer.BadParameter(
            "--validation and --test are fractions of the rows here, not tables."
        )
    with phases() as report:
        parts = convert(
            data,
            folder,
            settings["target"],
            configuration.recipe(settings),
            memory=settings.get("memory", "2GB"),
            report=report,
        )
    if as_json:
        document({"folder": str(folder), **parts})
    else:
        listed = ", ".join(count(rows, f"{name} row") for name, rows in parts.items())
        note(f"{listed} written to {str(folder)!r}")
