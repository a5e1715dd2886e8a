"""Several networks in one estimator, and searches whose fits run in threads."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from compare import assert_same_bits
from sklearn import model_selection
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnet.sklearn import MLPClassifier, MLPRegressor, PopulationSearchCV, cross_validate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:400] / 16, Y[:400]
SMALL = {"hidden_layer_sizes": (16,), "max_iter": 15, "random_state": 3, "backend": "numpy"}


def test_members_are_the_estimators_of_the_next_random_states():
    both = MLPClassifier(n_members=3, **SMALL).fit(X, Y)
    alone = [MLPClassifier(**{**SMALL, "random_state": 3 + n}).fit(X, Y) for n in range(3)]
    wanted = np.mean([one.predict_proba(X) for one in alone], axis=0)
    np.testing.assert_allclose(both.predict_proba(X), wanted, rtol=1e-6, atol=1e-7)
    assert_same_bits(both.coefs_[0], alone[0].coefs_[0])
    for one, other in zip(both.members_, alone, strict=True):
        assert_same_bits(one.predict_proba(X), other.predict_proba(X))
    assert both.score(X, Y) >= min(one.score(X, Y) for one in alone)


def test_members_go_on_with_partial_fit_and_warm_start():
    step = MLPClassifier(n_members=2, **SMALL)
    alone = MLPClassifier(**{**SMALL, "random_state": 4})
    for _ in range(3):
        step.partial_fit(X, Y, classes=np.arange(10))
        alone.partial_fit(X, Y, classes=np.arange(10))
    assert_same_bits(step.members_[1].predict_proba(X), alone.predict_proba(X))
    warm = MLPRegressor(n_members=2, warm_start=True, **SMALL)
    x, y = load_diabetes(return_X_y=True)
    first = warm.fit(x, y).members_[1].coefs_[0].copy()
    second = warm.fit(x, y).members_[1]
    assert not np.array_equal(first, second.coefs_[0])
    copied = clone(warm)
    assert copied.n_members == 2
    assert not hasattr(copied, "coefs_")


@pytest.mark.parametrize("iterations", [None, 3])
def test_a_search_finds_what_scikit_learns_finds(iterations):
    space = {"alpha": [1e-4, 1.0], "learning_rate_init": [1e-5, 1e-2]}
    estimator = MLPClassifier(**SMALL)
    ours = PopulationSearchCV(estimator, space, n_iter=iterations, cv=3, random_state=0).fit(X, Y)
    if iterations is None:
        theirs = GridSearchCV(estimator, space, cv=3).fit(X, Y)
    else:
        theirs = RandomizedSearchCV(estimator, space, n_iter=3, cv=3, random_state=0).fit(X, Y)
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == theirs.best_score_
    assert_same_bits(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    assert_same_bits(ours.predict_proba(X), theirs.predict_proba(X))


def test_a_cross_validation_finds_what_scikit_learns_finds():
    estimator = make_pipeline(StandardScaler(), MLPClassifier(**SMALL))
    settings = {"cv": 3, "scoring": ["accuracy", "neg_log_loss"], "return_estimator": True}
    ours = cross_validate(estimator, X, Y, **settings)
    theirs = model_selection.cross_validate(estimator, X, Y, **settings)
    assert ours.keys() == theirs.keys()
    for name in ("test_accuracy", "test_neg_log_loss"):
        assert_same_bits(ours[name], theirs[name])
    assert_same_bits(ours["estimator"][2].predict_proba(X), theirs["estimator"][2].predict_proba(X))


def test_a_search_takes_pipelines_and_passes_errors_on():
    x, y = load_diabetes(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), MLPRegressor(**SMALL))
    found = PopulationSearchCV(pipe, {"mlpregressor__alpha": [0.1, 1.0]}, cv=3, n_jobs=2).fit(x, y)
    assert found.best_estimator_[-1].alpha in (0.1, 1.0)
    with pytest.raises(ValueError, match="alpha"):
        PopulationSearchCV(MLPRegressor(**SMALL), {"alpha": [-1.0]}, error_score="raise").fit(x, y)
    with pytest.warns(ConvergenceWarning):
        PopulationSearchCV(MLPRegressor(**SMALL), {"alpha": [1.0]}, cv=2).fit(x, y)
