"""`fastnet show`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fastnet.cli import report
from fastnet.cli.terminal import JsonOption, document, say

#: So many classes are shown at most, and so many columns, a line each.
_CLASSES = 20


def command(
    file: Annotated[Path, typer.Argument(help="Model or checkpoint that fastnet wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a file holds: network, sizes, the columns of its table, how it was trained.

        fastnet show digits.safetensors

    Of a column of numbers it shows the mean, the standard deviation, and what takes the place of
    a missing one; of a column of categories the categories.
    """
    from fastnet import files

    if files.kind_of(file) == "checkpoint":
        _show_checkpoint(file, as_json)
    else:
        _show_model(file, as_json)


def _show_model(file: Path, as_json: bool) -> None:
    from fastnet.model import load
    from fastnet.tables.schema import Table

    model = load(file, backend="numpy")  # it is only looked at, so any backend does
    table = Table.of(model) if model.table is not None else None
    size = model.parameters.flat.size
    if as_json:
        document(
            {
                "file": str(file),
                "kind": "model",
                "bytes": file.stat().st_size,
                "parameters": size,
                "dtype": model.dtype,
                "seed": model.seed,
                "network": model.network.spec(),
                "table": _plain_table(table),
                "training": None if table is None else table.training,
            }
        )
        return
    say(f"{str(file)!r}: a model, {file.stat().st_size:,} bytes")
    say(f"{size:,} parameters of {model.dtype}, seed {model.seed}")
    say()
    say(str(model.network))
    say()
    if table is None:
        say("It was not trained from a table: it takes arrays, fn.load(...).predict(x).")
        return
    _show_table(table)
    say()
    _show_training(table)


def _plain_table(table: Any) -> dict[str, Any] | None:
    if table is None:
        return None
    found = table.to_dict()
    del found["training"]
    return {**found, "features": list(table.features)}


def _show_table(table: Any) -> None:
    say(f"{table.task} of {report.word(table.target)}")
    if table.classes:
        shown = ", ".join(report.word(c) for c in table.classes[:_CLASSES])
        more = len(table.classes) - _CLASSES
        say(f"{len(table.classes):,} classes: {shown}{f' and {more:,} more' if more > 0 else ''}")
    else:
        say(f"mean {table.target_mean:.6g}, standard deviation {table.target_scale:.6g}")
    say()
    report.columns(
        [
            (column.name, column.kind, len(column.inputs), None, _facts(column))
            for column in table.columns
        ],
        missing=False,
    )
    if table.left_out:
        shown = ", ".join(map(report.word, table.left_out[:_CLASSES]))
        more = len(table.left_out) - _CLASSES
        say(f"not looked at: {shown}{f' and {more:,} more' if more > 0 else ''}")


def _facts(column: Any) -> str:
    """What the model knows of a column, in a few words."""
    if column.kind == "number":
        fill = "" if column.fill is None else f"; {column.fill:.4g} if missing"
        return f"mean {column.mean:.4g} ± {column.scale:.4g}{fill}"
    return report.categories(column)


def _show_training(table: Any) -> None:
    facts = table.training
    if facts is None:
        say("How it was trained is not in the file.")
        return
    # Whoever wrote the file: what is not there or of another kind is passed over.
    known = [
        f"{name} {facts[key]}"
        for key, name in (
            ("fastnet", "by fastnet"),
            ("backend", "on backend"),
            ("epochs", "epochs"),
            ("best_epoch", "the best was"),
        )
        if isinstance(facts.get(key), str | int)
    ]
    say(f"trained {', '.join(known)}")
    parts = {
        name: part
        for name, part in (
            ("training", facts.get("training")),
            ("validation", facts.get("validation")),
        )
        if isinstance(part, dict)
    }
    report.figures(parts)


def _show_checkpoint(file: Path, as_json: bool) -> None:
    from fastnet.definition.network import Network
    from fastnet.training import checkpoints

    found = checkpoints.describe(file)
    if as_json:
        facts = {"file": str(file), "kind": "checkpoint", "bytes": file.stat().st_size}
        document({**facts, **found})
        return
    say(f"{str(file)!r}: a checkpoint, {file.stat().st_size:,} bytes: a training that can go on")
    say(f"{found['epochs']:,} epochs done, {found['parameters']:,} parameters of {found['dtype']}")
    say(
        f"optimizer {found['optimizer']['name']}, batches of {found['batch_size']:,} rows, "
        f"seed {found['seed']}"
    )
    for name in ("loss", "validation_loss"):
        if found[name] is not None:
            say(f"last {name.replace('_', ' ')} {found[name]:.6g}")
    say()
    say(str(Network.from_spec(found["network"])))
    say()
    say("fastnet train with --resume, or Model.fit with resume=True, goes on from it.")
