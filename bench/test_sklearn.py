"""fastnet's estimators against scikit-learn's, in one run: accuracy and speed.

Two repetitions of five folds, each standardized by its training rows, with default parameters and
three solvers. Both estimators are trained on the same rows of each fold, one after the other. Then
many small steps: digits with two hidden layers and batches of 32, in both dtypes. scikit-learn's
matrix library has one thread, which is fastest for such small matrices; fastnet chooses its own
number. Kernels are compiled before the timing.

Missing a target is no failure, because ratios of times mean little on a busy machine. Scores and
times count only if both have trained.

    pytest bench/test_sklearn.py --benchmark-json=FILE
"""

import gc
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

pytest.importorskip("numba", reason="numba is not installed: its backend is what is timed here")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import datasets, model_selection, neural_network, preprocessing
from sklearn.exceptions import ConvergenceWarning

import fastnet.sklearn
from fastnet.arrays.checks import Array

SETS: dict[str, Callable[..., Any]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}

#: Targets: a mean score at most so many standard deviations of scikit-learn's below it, and the
#: speed relative to scikit-learn, with default parameters and with many small steps.
DEVIATIONS, SPEED, SMALL_STEPS_SPEED = 0.5, 5.0, 10.0

FOLDS, REPEATS = 5, 2

#: Rounds and epochs of the small steps.
ROUNDS, EPOCHS = 7, 20


@pytest.fixture(autouse=True)
def _one_thread_for_matrices() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def pair(name: str, **options: Any) -> tuple[Any, Any]:
    """fastnet's and scikit-learn's estimator for a data set."""
    kind = "MLPRegressor" if name == "diabetes" else "MLPClassifier"
    mine = getattr(fastnet.sklearn, kind)(backend="numba", **options)
    return mine, getattr(neural_network, kind)(**options)


def fitted(estimator: Any, rows: Array, y: Array) -> float:
    """Train, and return the seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        gc.collect()
        began = time.perf_counter()
        estimator.fit(rows, y)
        return time.perf_counter() - began


def split(name: str) -> list[tuple[Array, Array, Array, Array]]:
    """The training rows and targets, test rows and targets, of each fold."""
    x, y = SETS[name](return_X_y=True)
    kind = model_selection.RepeatedKFold
    if name != "diabetes":
        kind = model_selection.RepeatedStratifiedKFold
    found = []
    for train, test in kind(n_splits=FOLDS, n_repeats=REPEATS, random_state=0).split(x, y):
        scaler = preprocessing.StandardScaler().fit(x[train])
        found.append((scaler.transform(x[train]), y[train], scaler.transform(x[test]), y[test]))
    return found


def report(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], **facts: Any) -> None:
    """Store and print results."""
    libraries = ("numpy", "scipy", "numba", "scikit-learn")
    benchmark.extra_info.update(facts, versions={name: version(name) for name in libraries})
    with capsys.disabled():
        print("\n" + ", ".join(f"{key} {_short(value)}" for key, value in facts.items()))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("name", SETS)
def test_folds(
    name: str, solver: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Default parameters: the scores of all folds, and the times of their fits."""
    folds = split(name)
    given = {"solver": solver, **({"max_iter": 10} if benchmark.disabled else {})}
    pairs: list[tuple[Any, Any]] = []
    own: list[float] = []
    seconds: list[float] = []

    def before() -> None:
        rows, y = folds[len(pairs)][:2]
        pairs.append(pair(name, random_state=len(pairs), **given))
        seconds.append(fitted(pairs[-1][1], rows, y))

    def timed() -> None:
        own.append(fitted(pairs[-1][0], *folds[len(pairs) - 1][:2]))

    fitted(pair(name, solver=solver, max_iter=2)[0], *folds[0][:2])  # compiles and warms up
    rounds = 1 if benchmark.disabled else len(folds)
    benchmark.pedantic(timed, setup=before, rounds=rounds)
    scores = [
        [one.score(*fold[2:]) for one in both] for both, fold in zip(pairs, folds, strict=False)
    ]
    mine, theirs = np.array(scores).T
    assert np.isfinite(mine).all()
    if benchmark.disabled:
        return
    deviation = float(theirs.std(ddof=1))
    ratio = statistics.median(a / b for a, b in zip(seconds, own, strict=True))
    apart = float(mine.mean() - theirs.mean()) / max(deviation, 1e-12)
    report(
        benchmark,
        capsys,
        what=f"{name}, {solver}, default parameters",
        against="scikit-learn's own",
        score=float(mine.mean()),
        score_against=float(theirs.mean()),
        deviation=deviation,
        deviations_apart=apart,
        as_accurate=apart >= -DEVIATIONS,
        ratio=ratio,
        bound="at least",
        target=SPEED,
        reached=ratio >= SPEED,
        microseconds=statistics.median(own) * 1e6,
        microseconds_against=statistics.median(seconds) * 1e6,
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_small_steps(
    solver: str, dtype: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Digits, 64-64-64-10, batches of 32; both train in `dtype`."""
    x, y = datasets.load_digits(return_X_y=True)
    rows = preprocessing.StandardScaler().fit_transform(x).astype(dtype)
    options: dict[str, Any] = {
        "hidden_layer_sizes": (64, 64),
        "batch_size": 32,
        "solver": solver,
        "random_state": 0,
        "max_iter": 1 if benchmark.disabled else EPOCHS,
    }
    mine, theirs = pair("digits", **options)
    seconds: list[float] = []
    own: list[float] = []
    fitted(mine, rows, y)

    def before() -> None:
        seconds.append(fitted(theirs, rows, y))
        gc.collect()

    def timed() -> None:
        own.append(fitted(mine, rows, y))

    rounds = 1 if benchmark.disabled else ROUNDS
    benchmark.pedantic(timed, setup=before, rounds=rounds)
    assert mine.coefs_[0].dtype == theirs.coefs_[0].dtype == np.dtype(dtype)
    assert mine.loss_ == pytest.approx(theirs.loss_, rel=0.2)
    if benchmark.disabled:
        return
    ratio = statistics.median(a / b for a, b in zip(seconds, own, strict=True))
    report(
        benchmark,
        capsys,
        what=f"digits, 64-64-64-10, batch 32, {solver}, {dtype}",
        against="scikit-learn's own",
        ratio=ratio,
        bound="at least",
        target=SMALL_STEPS_SPEED,
        reached=ratio >= SMALL_STEPS_SPEED,
        microseconds=statistics.median(own) * 1e6,
        microseconds_against=statistics.median(seconds) * 1e6,
    )
