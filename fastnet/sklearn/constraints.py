"""The allowed values of both estimators' parameters, in scikit-learn's form.

Down to `max_fun` they are scikit-learn's own, so that the errors are too.
"""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastnet.definition.activations import ACTIVATIONS, Activation
from fastnet.definition.optimizers import LBFGS, OPTIMIZERS, Optimizer

CONSTRAINTS: dict[str, list[Any]] = {  # scikit-learn's form
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [
        StrOptions({"logistic", *ACTIVATIONS} - {"softmax"}),
        Activation,
    ],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [
        Interval(Integral, 1, None, closed="left"),
        Options(Real, {np.inf}),
    ],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "backend": [str, None],
    "dtype": [StrOptions({"float32", "float64"}), type, np.dtype, None],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "validation": [tuple, list, None],
    "optimizer": [StrOptions(set(OPTIMIZERS)), Optimizer, LBFGS, dict, None],
    "callbacks": [tuple, list, None],
    "n_members": [Interval(Integral, 1, None, closed="left")],
}
