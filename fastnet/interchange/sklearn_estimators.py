"""From scikit-learn: its fitted `MLPClassifier` and `MLPRegressor`."""

import sys
from typing import Any

import numpy as np

from fastnet.definition.activations import ACTIVATIONS
from fastnet.errors import DefinitionError
from fastnet.interchange.chain import Chain

#: Activations by scikit-learn's names. "exp", a Poisson regressor's output, is part of the loss.
_ACTIVATIONS = {
    "identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu",
    "softmax": "softmax", "exp": "identity",
}  # fmt: skip
_LOSSES = {"squared_error": "mse", "poisson": "poisson"}


def read(estimator: Any) -> Chain:
    """Read the layers of an estimator, or of a pipeline of scalers that ends in one.

    Raises:
        DefinitionError: if it is not fitted, or not supported; names it.
    """
    network = sys.modules.get("sklearn.neural_network")  # imported by whoever has one
    pipeline = sys.modules.get("sklearn.pipeline")
    steps = [("", estimator)]
    if pipeline is not None and isinstance(estimator, pipeline.Pipeline):
        steps = list(estimator.steps)
    last = steps[-1][1]
    kinds = () if network is None else (network.MLPClassifier, network.MLPRegressor)
    if not isinstance(last, kinds):
        raise DefinitionError(
            f"estimator is {estimator!r}; it must be an MLPClassifier or MLPRegressor, or a "
            "Pipeline that ends in one."
        )
    chain = Chain(f"the estimator {type(last).__name__}")
    for name, scaler in steps[:-1]:
        _scale(chain, name, scaler)
    if not hasattr(last, "coefs_"):
        raise chain.refuse("it is not fitted; call estimator.fit(x, y) first.")
    inner, outer = (_ACTIVATIONS.get(key) for key in (last.activation, last.out_activation_))
    if inner is None or outer is None:
        raise chain.refuse(
            f"its activations are {last.activation!r} and {last.out_activation_!r}; fastnet "
            f"supports scikit-learn's {', '.join(_ACTIVATIONS)}."
        )
    chain.loss = _LOSSES.get(last.loss)
    count = len(last.coefs_)
    for index, (weight, bias) in enumerate(zip(last.coefs_, last.intercepts_, strict=True)):
        function = ACTIVATIONS[outer if index == count - 1 else inner]()
        chain.dense(f"layer {index}", np.array(weight), np.array(bias), function)
    return chain


def _scale(chain: Chain, name: str, scaler: Any) -> None:
    """A `StandardScaler`: (x - mean) / scale, either of which may be switched off."""
    if scaler is None or (isinstance(scaler, str) and scaler == "passthrough"):
        return
    preprocessing = sys.modules.get("sklearn.preprocessing")
    if preprocessing is None or type(scaler) is not preprocessing.StandardScaler:
        raise chain.refuse(
            f"the pipeline's step {name!r} is {scaler!r}; fastnet supports StandardScaler: "
            "apply others to the data before."
        )
    if not hasattr(scaler, "n_features_in_"):
        raise chain.refuse(f"the pipeline's step {name!r} is not fitted; call fit first.")
    mean = scaler.mean_ if scaler.with_mean else 0.0
    scale = 1 / (scaler.scale_ if scaler.with_std else np.ones(scaler.n_features_in_))
    chain.standardize(f"step {name!r}", scale, -mean * scale)
