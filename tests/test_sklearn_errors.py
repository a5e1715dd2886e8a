"""What the estimators refuse, and what they leave behind when a fit does not end well."""

import child
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from estimators import LABELS, NUMBERS, X, both, classifier, regressor

import fastnet as fn
from fastnet.sklearn import SolverDiverged

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_a_fit_that_diverges_raises_and_leaves_finite_weights():
    mine = regressor(solver="sgd", learning_rate_init=1e6, activation="identity")
    with pytest.raises(SolverDiverged, match=r"Solver produced non-finite.*step \d") as caught:
        mine.fit(X, NUMBERS)
    assert isinstance(caught.value, fn.Diverged)
    assert isinstance(caught.value, ValueError)
    assert all(np.isfinite(coef).all() for coef in mine.coefs_)
    with pytest.raises(SolverDiverged, match="not finite at the start"):
        regressor(solver="lbfgs").fit(X * 1e200, NUMBERS * 1e200)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (-np.ones(150), "sample_weight is -1.0 in row 0; weights must be 0 or more"),
        (np.zeros(150), "zero"),
        (np.ones(3), r"sample_weight.shape == \(3,\)"),
        (np.full(150, np.nan), "Input sample_weight contains NaN"),
    ],
)
def test_invalid_weights(weight, says):
    for mine in both():
        with pytest.raises(ValueError, match=says):
            mine.fit(X, LABELS, sample_weight=weight)


@pytest.mark.parametrize(
    ("validation", "says"),
    [
        ((X,), "validation has 1 parts"),
        ((X[:, :2], LABELS), "X has 2 features"),
        ((X, LABELS + 1), r"classes \[3\] that are not in the training y"),
        ((X[:3], LABELS), "inconsistent numbers of samples"),
    ],
)
def test_invalid_validation_rows(validation, says):
    with pytest.raises(ValueError, match=says):
        classifier(validation=validation).fit(X, LABELS)


def test_balanced_classes_need_all_rows():
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        classifier(class_weight="balanced").partial_fit(X, LABELS, classes=[0, 1, 2])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({1: -1}, "class_weight of 1 is -1; it must be at least 0"),
        ({1: np.nan}, "class_weight of 1 is nan; it must be finite"),
        ({1: "x"}, "class_weight of 1 is 'x'; it must be a number"),
        ({0: 0, 1: 0, 2: 0}, "class_weight leaves no row of weight above 0"),
    ],
)
def test_invalid_class_weights(given, says):
    with pytest.raises(ValueError, match=says):
        classifier(class_weight=given).fit(X, LABELS)


INTERRUPTED = """
import os, signal, sys, warnings
import numpy as np
from fastnet.sklearn import MLPClassifier

def interrupt(model, history):
    if len(history) == 3:
        os.kill(os.getpid(), signal.SIGINT)

rows = np.random.RandomState(0).randn(50, 4)
mine = MLPClassifier(random_state=0, callbacks=[interrupt])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    mine.fit(rows, rows[:, 0] > 0)
print(mine.n_iter_, len(mine.loss_curve_), [str(one.message) for one in caught])
print(mine.predict(rows).shape)
"""


def test_ctrl_c_ends_a_fit_and_keeps_what_was_learned():
    said = child.run(INTERRUPTED)
    assert said == "3 3 ['Training interrupted by user.']\n(50,)\n"


ABSENT = """
import sys
sys.modules["sklearn"] = None
import fastnet as fn
try:
    import fastnet.sklearn
except fn.MissingExtra as error:
    print(error)
"""


def test_without_scikit_learn_the_extra_is_named():
    assert 'python -m pip install "scikit-learn>=' in child.run(ABSENT)
