"""The ways into fastnet: models that other libraries made."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastnet.definition.losses import Loss

if TYPE_CHECKING:
    from fastnet.model import Model


def from_onnx(
    path: str | os.PathLike[str],
    *,
    loss: str | Loss | Mapping[str, Any] | None = None,
    dtype: Any = None,
    backend: str | None = None,
    seed: int | None = None,
) -> "Model":
    """Read a dense network that PyTorch, Keras, scikit-learn's converter or fastnet exported.

    It may hold Gemm, MatMul, Add, every activation that fastnet has (also written out in
    arithmetic, as exporters do), Flatten, Dropout (left out), and Softmax at its end. Sums and
    products with constants before the first layer, such as a standardization, are folded into
    its weights, and those after the last into its own. Of a classifier with labels and
    probabilities the probabilities are taken; of two columns 1 - p and p, the second. Inputs of
    more than two dimensions that the graph flattens are given as `(rows, inputs)`. What fastnet
    wrote of a table takes the table's numbers, and comes back without the columns' names.

    Args:
        path: the file. Weights that lie in files beside it are read; none outside its folder.
        loss: what more training would use, as for `Network`; None: the one that fits the output
            (cross-entropies for softmax and sigmoid, else "mse"). "crossentropy" and
            "binary_crossentropy" turn a network that ends in logits into one that says
            probabilities.
        dtype: "float32" or "float64"; None: the graph's, but float64 where a standardization is
            folded into weights, which float32 could blur.
        backend: as for `Model`.
        seed: as for `Model`; it decides shuffles and dropout of more training.

    Returns:
        A model with its own copy of the weights.

    Raises:
        ModelFileError: if the file is damaged, or is no dense network; names the node that
            fastnet does not know.
        ModelFileMissing: if there is none.
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
) -> "Model":
    """Take a `torch.nn.Sequential` of dense layers (or one `torch.nn.Linear`) over.

    Sequential, also nested, may hold Linear, Flatten, Dropout, Identity, and the activations
    that fastnet has. LogSoftmax is refused, because fastnet says probabilities.

    Args:
        module: the module, on any device.
        loss: as for `from_onnx`.
        dtype: "float32" or "float64"; None: the module's.
        backend: as for `Model`.
        seed: as for `Model`.

    Returns:
        A model with its own copy of the weights; in `eval()` mode the module says the same.

    Raises:
        DefinitionError: if it holds another module; names it.
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
) -> "Model":
    """Take a fitted `MLPClassifier` or `MLPRegressor` of scikit-learn over.

    `predict` then says what `predict_proba` does, in order of `estimator.classes_`; for two
    classes one column, the probability of the second. A regressor's `predict` as `(rows,
    outputs)`; with `loss="poisson"` its logarithm, as always in fastnet.

    Args:
        estimator: the estimator, or a `Pipeline` of one after `StandardScaler`s, which are
            folded into the first layer's weights.
        loss: as for `from_onnx`; None: the estimator's.
        dtype: "float32" or "float64"; None: the estimator's, but float64 with a scaler.
        backend: as for `Model`.
        seed: as for `Model`.

    Returns:
        A model with its own copy of the weights.

    Raises:
        DefinitionError: if it is not fitted, or is another estimator.
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
) -> "Model":
    """Take a Keras 3 model over that is a chain of dense layers, Sequential or functional.

    It may hold Dense, Activation and the activation layers that fastnet has, Dropout, Flatten,
    Normalization and Rescaling (folded into the first layer's weights), and models of the same
    kind.

    Args:
        model: the model, built, with any of Keras's backends.
        loss: as for `from_onnx`.
        dtype: "float32" or "float64"; None: the weights', but float64 with a Normalization.
        backend: as for `Model`.
        seed: as for `Model`.

    Returns:
        A model with its own copy of the weights.

    Raises:
        DefinitionError: if it holds another layer; names it.
    """
    from fastnet.interchange.keras_models import read

    return read(model).model(loss, dtype, backend, seed)
