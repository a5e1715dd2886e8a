"""Models for other libraries: `Model.to_onnx` and `Model.to_torch`."""

import os
from typing import Any

from fastnet.many.ensemble import Ensemble
from fastnet.model import Model


def to_onnx(model: Model, path: str | os.PathLike[str], *, encoded: bool = False) -> None:
    """Write a standard ONNX graph (opset 17, IR version 8) for inference, completely or not at all.

    The input is `x` `(rows, inputs)`, any number of rows, the output `prediction`
    `(rows, outputs)`, both of the model's dtype. In onnxruntime it equals `predict` to 1e-5.
    Dropout is left out. A network of numbers and categories has the inputs `numbers` `(rows, n)`
    and `categories` `(rows, c)`, int64, instead.

    The graph of a model trained on a table does all that `fastnet.tables.predict` does: missing
    values, standardization, one-hot encoding. It has an input `(rows,)` for each column, by its
    name, any number of rows: numbers are double, missing ones NaN; text is string, spelled as the
    categories are, missing text ""; dates are double, days since 1970-01-01, missing ones NaN. Its
    output `prediction` `(rows,)` is the number in the target's own unit, double, or the class; for
    classes there is also `probabilities` `(rows, classes)`. It needs the operators of "ai.onnx.ml",
    which onnxruntime has. What `predict` would refuse, such as missing values that were refused in
    training, gives a prediction all the same.

    With `encoded` the graph takes `x` `(rows, inputs)`, in float64: the table's own numbers, which
    it standardizes first, and for a column that the table encodes as several inputs (text, dates,
    numbers that may be missing) those, each 0 or 1, with the median in place of a missing number.
    `prediction` is then `(rows, outputs)`: the number in the target's own unit, in float64, or
    probabilities. `fn.from_onnx` reads this form only.

    The names of the inputs in order, of the target and of the classes are in the metadata
    (`metadata_props`) under "fastnet.table", as JSON.

    In float64, GELU's erf is computed in float32 (accurate to 1e-7), because onnxruntime has no
    other, and a norm's epsilon is the nearest float32, because ONNX has no other.

    Args:
        model: the model.
        path: the file to write.
        encoded: that the graph of a table's model takes encoded columns, as `Model.predict` does.

    Raises:
        MissingExtra: without the package onnx.
        DataError: if a parameter is not finite.
        DefinitionError: if a layer cannot be written yet, a column has no name, or the model is
            larger than an ONNX file can be, 2 GiB.
        FileAccessError: if the file cannot be written.
    """
    from fastnet.interchange.onnx_writer import write

    write(model, path, encoded)


def to_torch(model: Model) -> Any:
    """Make a `torch.nn.Sequential` with a copy of the parameters.

    `Residual`, `Scale` and `Parametric`, which `torch.nn` does not have, are modules of
    `fastnet.interchange.torch_layers`, and `Embed` is one of `torch_embedding`: it takes a pair
    `(numbers, codes)`, or one array of both.

    Its outputs are those of `predict`, on the CPU and in the model's dtype, with softmax or
    sigmoid as the last module where the network has them. Like every new module it is in training
    mode: call `.eval()` before inference if there is dropout or BatchNorm. The module of a model
    trained on a table takes encoded columns, as `predict` does; only `to_onnx` includes the
    encoding.

    Args:
        model: the model.

    Raises:
        MissingExtra: without PyTorch.
        DefinitionError: if a layer cannot be written yet.
        DataError: if a parameter is not finite.
    """
    from fastnet.interchange.torch_modules import write

    return write(model)


def ensemble_to_onnx(
    ensemble: Ensemble, path: str | os.PathLike[str], *, encoded: bool = False
) -> None:
    """Write all members of an ensemble as one ONNX graph, completely or not at all.

    Inputs and outputs are those of `to_onnx`; `prediction` is the mean. Where `predict` can return
    standard deviations there is also the output `std` of the same shape, but not for tables.

    Args:
        ensemble: the ensemble.
        path: the file to write.
        encoded: as for `to_onnx`.

    Raises:
        MissingExtra: without the package onnx.
        DataError: if a parameter is not finite.
        DefinitionError: as for `to_onnx`, and if the members are of two dtypes.
        FileAccessError: if the file cannot be written.
    """
    from fastnet.interchange.onnx_ensembles import write

    write(ensemble, path, encoded)
