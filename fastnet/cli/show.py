"""`fastnet show`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fastnet.cli import opening, report
from fastnet.cli.terminal import JsonOption, document, say
from fastnet.tables import reporting
from fastnet.training.population_checkpoints import summary

#: The most classes, and columns left out, that are named.
_MOST_NAMED = 20


def command(
    file: Annotated[Path, typer.Argument(help="Model file or checkpoint that fastnet wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Show the contents of a file: network, sizes, columns of its table, training results.

        fastnet show digits.safetensors

    For a column of numbers it shows the mean, the standard deviation and the value that replaces
    a missing one; for a column of categories, the categories.
    """
    if opening.is_checkpoint(file):
        _show_checkpoint(file, as_json)
    else:
        _show_model(file, as_json)


def _show_model(file: Path, as_json: bool) -> None:
    from fastnet.tables.schema import Table

    model = opening.opened(file, "numpy")  # nothing is computed, so any backend serves
    table = Table.of(model) if model.table is not None else None
    sizes = opening.sizes(model)
    members = sizes.get("members")
    if as_json:
        document(
            {
                "file": str(file),
                "kind": "model" if members is None else "ensemble",
                "bytes": file.stat().st_size,
                **sizes,
                "dtype": model.dtype,
                "seed": model.seed,
                "network": model.network.spec(),
                "table": _plain_table(table),
                "training": None if table is None else table.training,
            }
        )
        return
    kind = "a model" if members is None else f"an ensemble of {report.count(members, 'member')}"
    say(f"{str(file)!r}: {kind}, {file.stat().st_size:,} bytes")
    of_all = "" if members is None else " in all"
    say(f"{sizes['parameters']:,} parameters{of_all} of {model.dtype}, seed {model.seed}")
    say()
    say(str(model.network))
    say()
    if table is None:
        load = "fn.load" if members is None else "fn.load_ensemble"
        say(f"not trained on a table; use it with arrays: {load}(...).predict(x)")
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
    say(f"{table.task} of {reporting.short(table.target)}")
    if table.classes:
        shown = ", ".join(reporting.short(c) for c in table.classes[:_MOST_NAMED])
        more = len(table.classes) - _MOST_NAMED
        say(f"{len(table.classes):,} classes: {shown}{f' and {more:,} more' if more > 0 else ''}")
    else:
        of = " of its logarithm" if table.log_target else ""
        say(f"mean {table.target_mean:.6g}, standard deviation {table.target_scale:.6g}{of}")
    say()
    report.columns(
        [
            (column.name, column.kind, len(column.inputs), None, _facts(column))
            for column in table.columns
        ],
        missing=False,
    )
    if not table.notation.usual:
        groups = f", groups of digits by {table.thousands!r}" if table.thousands else ""
        say(f"numbers in text are written with the decimal mark {table.decimal!r}{groups}")
    if table.left_out:
        shown = ", ".join(map(reporting.short, table.left_out[:_MOST_NAMED]))
        more = len(table.left_out) - _MOST_NAMED
        say(f"left out: {shown}{f' and {more:,} more' if more > 0 else ''}")


def _facts(column: Any) -> str:
    """How a column is encoded, in a few words."""
    if column.kind == "number":
        fill = "" if column.fill is None else f"; {column.fill:.4g} if missing"
        bins = f"; {len(column.edges) - 1} bins" if column.edges else ""
        return f"mean {column.mean:.4g} ± {column.scale:.4g}{fill}{bins}"
    if column.kind == "dates":
        return ", ".join(dict.fromkeys(part.partition(" ")[0] for part in column.parts))
    return report.categories(column)


def _show_training(table: Any) -> None:
    facts = table.training
    if facts is None:
        say("The file does not say how the model was trained.")
        return
    # The facts may come from any file: what is missing or of another type is skipped.
    known = [
        f"{name} {facts[key]}"
        for key, name in (
            ("fastnet", "fastnet"),
            ("backend", "backend"),
            ("epochs", "epochs"),
            ("best_epoch", "best epoch"),
        )
        if isinstance(facts.get(key), str | int)
    ]
    say(f"trained with {', '.join(known)}")
    if isinstance(facts.get("search"), dict):
        say(f"a search found {reporting.settings(facts['search'])}")
    parts = {
        name: part
        for name, part in (
            ("test", facts.get("test")),
            ("validation", facts.get("validation")),
            ("training", facts.get("training")),
        )
        if isinstance(part, dict)
    }
    report.grid(reporting.metrics(parts))
    for line in reporting.notes(table):
        say(line)


def _show_checkpoint(file: Path, as_json: bool) -> None:
    from fastnet.definition.network import Network

    found = summary(file)
    if as_json:
        facts = {"file": str(file), "kind": "checkpoint", "bytes": file.stat().st_size}
        document({**facts, **found})
        return
    say(f"{str(file)!r}: a checkpoint, {file.stat().st_size:,} bytes")
    if "members" in found:
        say(f"{found['members']:,} members; what follows is of the first, but the losses are means")
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
    say("To continue: fastnet train with --resume, or Model.fit with resume=True.")
