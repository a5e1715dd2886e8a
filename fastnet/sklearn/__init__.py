"""Estimators: those that replace scikit-learn's multi-layer perceptrons, and those on tables.

    from fastnet.sklearn import MLPClassifier, MLPRegressor, TableClassifier, TableRegressor
    from fastnet.sklearn import PopulationSearchCV, cross_validate

The first two take numbers. Their parameters, defaults, attributes, methods, warnings and errors are
those of `sklearn.neural_network`; with the same `random_state` they start from the same weights,
use the rows in the same order and reach the same model, up to rounding.

The next two take tables that mix numbers, text and missing values: `fastnet.tables` as estimators.

`PopulationSearchCV` searches their parameters and `cross_validate` measures them, with all fits in
threads.

May import `tables`, `many`, the model and what is below it, and scikit-learn.
"""

from fastnet.extras import need

need("sklearn", "sklearn", "fastnet.sklearn")

from fastnet.sklearn.classifier import MLPClassifier  # noqa: E402  # after the check
from fastnet.sklearn.errors import SolverDiverged  # noqa: E402
from fastnet.sklearn.regressor import MLPRegressor  # noqa: E402
from fastnet.sklearn.searching import PopulationSearchCV, cross_validate  # noqa: E402
from fastnet.sklearn.tables import TableClassifier, TableRegressor  # noqa: E402

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "PopulationSearchCV",
    "SolverDiverged",
    "TableClassifier",
    "TableRegressor",
    "cross_validate",
]
