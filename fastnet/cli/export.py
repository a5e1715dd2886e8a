"""`fastnet export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fastnet.cli.terminal import JsonOption, document, note

#: What a model can be written as.
ENDINGS = (".onnx",)


def command(
    model: Annotated[Path, typer.Argument(help="Model that fastnet wrote.")],
    output: Annotated[
        Path, typer.Argument(help=f"File for the exported model: {' or '.join(ENDINGS)}.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Write a model for other programs; the ending of the name says in which form.

        fastnet export digits.safetensors digits.onnx

    An ONNX file of a model that was trained from a table takes the encoded columns, in the
    order that `fastnet show` tells (in full with --json), before they are standardized.
    """
    if output.suffix.lower() not in ENDINGS:
        raise typer.BadParameter(
            f"output is {str(output)!r}; its name must end in {' or '.join(ENDINGS)}, which says "
            "what it is written as."
        )
    from fastnet import files
    from fastnet.model import load

    files.check_writable(output, "output")
    # Nothing is computed, so it does not matter which backends run here.
    exported: Any = load(model, backend="numpy")
    exported.to_onnx(output)
    size = output.stat().st_size
    if as_json:
        document({"output": str(output), "bytes": size})
    else:
        note(f"{str(model)!r} as ONNX in {str(output)!r}, {size:,} bytes")
