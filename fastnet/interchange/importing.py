"""Models from other libraries: `from_onnx`, `from_torch`, `from_sklearn` and `from_keras`."""

import os
from collections.abc import Mapping
from typing import Any

from fastnet.definition.losses import Loss
from fastnet.model import Model


def from_onnx(
    path: str | os.PathLike[str],
    *,
    loss: str | Loss | Mapping[str, Any] | None = None,
    dtype: Any = None,
    backend: str | None = None,
    seed: int | None = None,
) -> Model:
    """Read a dense network that PyTorch, Keras, scikit-learn's converter or fastnet exported.

    The graph may have Gemm, MatMul, Add, every activation of fastnet (also written out in
    arithmetic, as exporters do), LayerNormalization, BatchNormalization, PRelu, sums x + f(x) (a
    residual block), Flatten, Dropout (left out), and Softmax at its end. Sums and products with
    constants, such as a standardization, are folded into the weights of the first layer, or of the
    last if they come after it. Of a classifier with labels and probabilities the probabilities are
    taken; of two columns 1 - p and p, the second. A file that fastnet wrote for a table gives a
    model that takes the table's numbers, without the columns' names.

    The model takes `(rows, inputs)` and predicts `(rows, outputs)`, also where the graph flattens
    inputs of more dimensions, takes one row `(inputs,)`, or has outputs `(rows,)`. Inputs may be of
    whole numbers, if the graph casts them to float first. Weights of float16 become float32, with a
    warning.

    Args:
        path: the file. Weights in other files of its folder are read, none from outside.
        loss: for further training, as for `Network`; None: the one that fits the output
            (cross-entropies for softmax and sigmoid, else "mse"). "crossentropy" and
            "binary_crossentropy" add the output softmax or sigmoid to a network that ends in
            logits.
        dtype: "float32" or "float64"; None: the graph's, but float64 if a standardization is
            folded into the weights, which could lose digits in float32.
        backend: as for `Model`.
        seed: as for `Model`; it decides shuffles and dropout in further training.

    Returns:
        A model with its own copy of the weights.

    Raises:
        ModelFileError: if the file is damaged, or is not a dense network; names the node that is
            not supported.
        ModelFileMissing: if the file does not exist.
        MissingExtra: without the package onnx.
        DefinitionError: if the loss does not fit the network.
    """
    from fastnet.interchange.onnx_reader import read

    return read(path).model(loss, dtype, backend, seed)


def from_torch(
    module: Any,
    *,
    loss: str | Loss | Mapping[str, Any] | None = None,
    dtype: Any = None,
    backend: str | None = None,
    seed: int | None = None,
) -> Model:
    """Convert a `torch.nn.Sequential` of the modules of fastnet's layers, or one of them.

    Sequential, also nested, may hold Linear, LayerNorm, BatchNorm1d, Flatten, Dropout, Identity,
    PReLU and the other activations of fastnet, and what `Model.to_torch` makes. LogSoftmax is
    refused, because fastnet predicts probabilities.

    A module with a `forward` of its own may apply such modules and functions of activations in
    order, and add what comes out to what went in, as in `x + self.block(x)`, a residual block. The
    block may be a module of the same kind. The predictions are compared on a few random rows, so
    that a module that changes arrays in place is not taken for another one.

    Embeddings come first: a Sequential may begin with Embedding and Flatten, and a `forward` of
    codes and numbers with `torch.cat([numbers, self.table(codes[:, 0]), ...], 1)`, in any order.
    The model takes the pair `(numbers, categories)`.

    Args:
        module: the module, on any device.
        loss: as for `from_onnx`.
        dtype: "float32" or "float64"; None: the module's.
        backend: as for `Model`.
        seed: as for `Model`.

    Returns:
        A model with its own copy of the weights; it predicts what the module does in `eval()` mode.

    Raises:
        DefinitionError: if it holds a module that is not supported; names it.
    """
    from fastnet.interchange.torch_modules import read

    return read(module).model(loss, dtype, backend, seed)


def from_sklearn(
    estimator: Any,
    *,
    loss: str | Loss | Mapping[str, Any] | None = None,
    dtype: Any = None,
    backend: str | None = None,
    seed: int | None = None,
) -> Model:
    """Convert a fitted `MLPClassifier` or `MLPRegressor` of scikit-learn or of `fastnet.sklearn`.

    The model's `predict` returns what a classifier's `predict_proba` does, in the order of
    `estimator.classes_`, but for two classes one column, the probability of the second; and what a
    regressor's `predict` does, as `(rows, outputs)`, but with `loss="poisson"` its logarithm.

    Args:
        estimator: the estimator, or a `Pipeline` of one after a `StandardScaler`, `MinMaxScaler`,
            `MaxAbsScaler` or `RobustScaler`, which are folded into the first layer's weights.
        loss: as for `from_onnx`; None: the estimator's.
        dtype: "float32" or "float64"; None: the estimator's, but float64 with a scaler.
        backend: as for `Model`.
        seed: as for `Model`.

    Returns:
        A model with its own copy of the weights.

    Raises:
        DefinitionError: if it is not fitted, or is an estimator of another class.
    """
    from fastnet.interchange.sklearn_estimators import read

    return read(estimator).model(loss, dtype, backend, seed)


def from_keras(
    model: Any,
    *,
    loss: str | Loss | Mapping[str, Any] | None = None,
    dtype: Any = None,
    backend: str | None = None,
    seed: int | None = None,
) -> Model:
    """Convert a Keras 3 model, Sequential or functional, that is a chain of layers.

    It may hold Dense, Activation and the activation layers of fastnet, PReLU, BatchNormalization,
    LayerNormalization, Dropout, Flatten, Normalization and Rescaling (folded into the first layer's
    weights), models of the same kind, and Add of x and f(x), a residual block.

    Args:
        model: the model, built, with any of Keras's backends.
        loss: as for `from_onnx`.
        dtype: "float32" or "float64"; None: the weights', but float64 with a Normalization.
        backend: as for `Model`.
        seed: as for `Model`.

    Returns:
        A model with its own copy of the weights.

    Raises:
        DefinitionError: if it holds a layer that is not supported; names it.
    """
    from fastnet.interchange.keras_models import read

    return read(model).model(loss, dtype, backend, seed)
