"""Estimators for scikit-learn: take the place of its multi-layer perceptrons.

    from fastnet.sklearn import MLPClassifier, MLPRegressor

Their parameters, defaults, attributes, methods, warnings and errors are those of
`sklearn.neural_network`; with the same `random_state` they start from the same weights, see the
rows in the same order and arrive at the same model, but for rounding.
"""

from fastnet.extras import need

need("sklearn", "sklearn", "fastnet.sklearn")

from fastnet.sklearn.classifier import MLPClassifier  # noqa: E402  # after the check
from fastnet.sklearn.errors import SolverDiverged  # noqa: E402
from fastnet.sklearn.regressor import MLPRegressor  # noqa: E402

__all__ = ["MLPClassifier", "MLPRegressor", "SolverDiverged"]
