"""`fastnet export`."""

from pathlib import Path
from typing import Annotated

import typer

from fastnet.cli.opening import opened
from fastnet.cli.terminal import JsonOption, document, note

#: The formats, by extension.
EXTENSIONS = (".onnx",)


def command(
    model: Annotated[Path, typer.Argument(help="Model file that fastnet wrote.")],
    output: Annotated[
        Path, typer.Argument(help=f"File for the exported model: {' or '.join(EXTENSIONS)}.")
    ],
    encoded: Annotated[
        bool,
        typer.Option(
            "--encoded", help="Take the encoded columns as one array, not a table's own columns."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a model for other programs; the extension of the output decides the format.

        fastnet export digits.safetensors digits.onnx

    The ONNX graph of a model that was trained on a table has an input for each column, by its name,
    and answers as `fastnet predict` does: numbers are double, text is string, dates are days since
    1970-01-01; missing ones are NaN and "". With --encoded it takes one array of the encoded
    columns before they are standardized, in the order that `fastnet show` lists (--json lists all).
    """
    if output.suffix.lower() not in EXTENSIONS:
        raise typer.BadParameter(
            f"output is {str(output)!r}; its name must end in {' or '.join(EXTENSIONS)}, which "
            "decides the format."
        )
    from fastnet import files

    files.check_apart({"output": output}, {"model": model})
    files.check_writable(output, "output")
    # Nothing is computed, so any backend serves.
    opened(model, "numpy").to_onnx(output, encoded=encoded)
    size = output.stat().st_size
    if as_json:
        document({"output": str(output), "bytes": size})
    else:
        note(f"{str(model)!r} exported as ONNX to {str(output)!r}, {size:,} bytes")
