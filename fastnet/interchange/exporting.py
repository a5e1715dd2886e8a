"""The ways out of fastnet: `Model.to_onnx` and `Model.to_torch`."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnet.model import Model


def to_onnx(model: "Model", path: str | os.PathLike[str]) -> None:
    """Write a standard ONNX graph (opset 17, IR version 8) for inference, whole or not at all.

    It takes `x` `(rows, inputs)`, any number of rows, and returns `prediction`
    `(rows, outputs)`, both of the model's dtype: what `predict` returns, to 1e-5 in onnxruntime.
    Dropout is left out.

    A model that was trained from a table takes the table's own numbers, in float64, and
    standardizes them as the first step. For a quantity its predictions are in the target's own
    unit, in float64; for classes they are probabilities, in order of the classes. A column that
    is several inputs (`fastnet.encoding`: text, and numbers that may be missing) is given as
    those, each 0 or 1, with the median in the place of a missing number. The names of the
    inputs, in order, of the target and of the classes stand in the metadata (`metadata_props`)
    under "fastnet.table", as JSON.

    In float64, GELU takes its erf in float32 (right to 1e-7), because onnxruntime has no other.

    Args:
        model: the model.
        path: where.

    Raises:
        MissingExtra: without the package onnx.
        DataError: if a parameter is not finite.
        DefinitionError: if the model is larger than an ONNX file may be, 2 GiB.
        FileAccessError: if the file cannot be written.
    """
    from fastnet.interchange.onnx_writer import write

    write(model, path)


def to_torch(model: "Model") -> Any:
    """Make a `torch.nn.Sequential` with a copy of the parameters.

    Its outputs are those of `predict`, on the processor and in the model's dtype: softmax and
    sigmoid outputs are modules of it. It is in training mode, as PyTorch makes modules: call
    `.eval()` before asking it, if there is dropout. A model that was trained from a table takes
    standardized numbers there too, as `predict` does; `to_onnx` has the standardization.

    Args:
        model: the model.

    Raises:
        MissingExtra: without PyTorch.
        DataError: if a parameter is not finite.
    """
    from fastnet.interchange.torch_modules import write

    return write(model)
