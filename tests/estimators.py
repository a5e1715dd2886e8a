"""Rows of iris, scaled, and estimators that learn them quickly. Needs scikit-learn."""

import numpy as np
from sklearn import datasets, preprocessing

from fastnet.sklearn import MLPClassifier, MLPRegressor

X, LABELS = datasets.load_iris(return_X_y=True)
X = preprocessing.scale(X)
NUMBERS = np.column_stack((X[:, 0] * X[:, 1], X[:, 2]))
QUICK = {
    "hidden_layer_sizes": 8,
    "max_iter": 12,
    "random_state": 0,
    "n_iter_no_change": 100,
    "learning_rate_init": 0.05,
}


def classifier(**options):
    return MLPClassifier(**QUICK | options)


def regressor(**options):
    return MLPRegressor(**QUICK | options)


def both(**options):
    return classifier(**options), regressor(**options)
