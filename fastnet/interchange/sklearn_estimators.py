"""From scikit-learn: fitted `MLPClassifier` and `MLPRegressor`, its own and `fastnet.sklearn`'s."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.layers import Dense, Dropout
from fastnet.errors import DefinitionError
from fastnet.interchange.chain import Chain
from fastnet.model import Model

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
    ours = sys.modules.get("fastnet.sklearn")
    pipeline = sys.modules.get("sklearn.pipeline")
    steps = [("", estimator)]
    if pipeline is not None and isinstance(estimator, pipeline.Pipeline):
        steps = list(estimator.steps)
    last: Any = steps[-1][1]
    kinds: tuple[Any, ...] = tuple(
        kind
        for module in (network, ours)
        if module is not None
        for kind in (module.MLPClassifier, module.MLPRegressor)
    )
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
    if hasattr(last, "model_"):
        _copy(chain, last.model_)
        return chain
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


def _copy(chain: Chain, model: Model) -> None:
    """The layers of one of our own estimators."""
    chain.loss = model.network.loss
    for index, layer in enumerate(model.network.layers):
        if isinstance(layer, Dropout):
            chain.drop(f"layer {index}", layer.rate)
            continue
        assert isinstance(layer, Dense), "our estimators make no other"
        weight, bias = (model.parameters.get(f"{index}.{name}") for name in ("weight", "bias"))
        assert weight is not None
        chain.dense(
            f"layer {index}",
            weight.copy(),
            None if bias is None else bias.copy(),
            layer.activation,
        )


#: Scalers of numbers, each as what it multiplies with and what it adds then.
_SCALERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "StandardScaler": lambda s: _divided(
        s.mean_ if s.with_mean else None, s.scale_ if s.with_std else None
    ),
    "RobustScaler": lambda s: _divided(
        s.center_ if s.with_centering else None, s.scale_ if s.with_scaling else None
    ),
    "MinMaxScaler": lambda s: (s.scale_, s.min_),
    "MaxAbsScaler": lambda s: _divided(None, s.scale_),
}


def _divided(center: Any, scale: Any) -> tuple[Any, Any]:
    """(x - center) / scale, either of which may be switched off."""
    factor = 1.0 if scale is None else 1 / scale
    return factor, 0.0 if center is None else -center * factor


def _scale(chain: Chain, name: str, scaler: Any) -> None:
    """One of the scalers."""
    if scaler is None or (isinstance(scaler, str) and scaler == "passthrough"):
        return
    preprocessing = sys.modules.get("sklearn.preprocessing")
    kind = type(scaler).__name__
    if kind not in _SCALERS or type(scaler) is not getattr(preprocessing, kind, None):
        raise chain.refuse(
            f"the pipeline's step {name!r} is {scaler!r}; fastnet supports "
            f"{', '.join(_SCALERS)}: apply others to the data before."
        )
    if getattr(scaler, "clip", False):
        raise chain.refuse(
            f"the pipeline's step {name!r} clips, which no weights can do: fit it with clip=False."
        )
    if not hasattr(scaler, "n_features_in_"):
        raise chain.refuse(f"the pipeline's step {name!r} is not fitted; call fit first.")
    scale, shift = _SCALERS[kind](scaler)
    width = np.ones(scaler.n_features_in_)
    chain.standardize(f"step {name!r}", scale * width, shift * width)
