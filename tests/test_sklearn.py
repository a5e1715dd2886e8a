"""The estimators in scikit-learn's tools, and what they do beyond scikit-learn's own."""

import copy
import pickle
import threading

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from tolerances import TRAJECTORY

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import joblib  # comes with scikit-learn
import sklearn
from estimators import LABELS, NUMBERS, X, both, classifier, regressor
from sklearn import model_selection, neural_network, pipeline, preprocessing
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.fixes import CSR_CONTAINERS
from sklearn.utils.validation import _get_feature_names

import fastnet as fn
import fastnet.sklearn
from fastnet.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True, scope="module")
def _global_random_state_stays():
    """It does not here: `random_state=None`, as check_estimator has it, means NumPy's own."""
    before = np.random.get_state()
    yield
    np.random.set_state(before)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.filterwarnings("ignore")
def test_every_check_passes_that_scikit_learns_own_passes(kind):
    def statuses(estimator):
        found = check_estimator(estimator, on_skip=None, on_fail=None)
        return {one["check_name"]: one["status"] for one in found}

    theirs = statuses(getattr(neural_network, kind)(max_iter=20))
    mine = statuses(getattr(fastnet.sklearn, kind)(max_iter=20))
    assert "failed" not in mine.values(), mine
    passed = {name for name, status in theirs.items() if status == "passed"}
    assert len(passed) > 40
    assert passed <= {name for name, status in mine.items() if status == "passed"}


# --- among scikit-learn's tools ---------------------------------------------------------------


def test_pipelines_searches_and_cross_validation():
    steps = pipeline.make_pipeline(preprocessing.StandardScaler(), classifier(max_iter=60))
    steps.set_output(transform="pandas")
    grid = {"mlpclassifier__alpha": [1e-4, 1e-2], "mlpclassifier__dropout": [0.0, [0.2]]}
    search = model_selection.GridSearchCV(steps, grid, cv=3).fit(X, LABELS)
    assert search.best_score_ > 0.8
    scores = model_selection.cross_val_score(regressor(max_iter=60), X, NUMBERS, cv=3)
    assert len(scores) == 3
    assert sorted(search.best_params_) == sorted(grid)


@pytest.mark.parametrize("how", ["loky", "threading"])
def test_joblib_comes_to_the_same_in_processes_and_threads(how):
    alone = model_selection.cross_val_score(classifier(), X, LABELS, cv=4)
    with joblib.parallel_backend(how, n_jobs=2):
        together = model_selection.cross_val_score(classifier(), X, LABELS, cv=4)
    assert_same_bits(together, alone)


def test_threads_may_predict_with_one_estimator():
    mine = classifier().fit(X, LABELS)
    wanted = mine.predict_proba(X)
    found = [None] * 4

    def predict(place):
        found[place] = [mine.predict_proba(X) for _ in range(20)]

    threads = [threading.Thread(target=predict, args=(n,)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for answers in found:
        for one in answers:
            assert_same_bits(one, wanted)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_go_on_where_the_original_would(copied):
    for mine, y in zip(both(), (LABELS, NUMBERS), strict=True):
        mine.fit(X, y)
        twin = copied(mine)
        assert_same_bits(twin.predict(X), mine.predict(X))
        for one in (mine, twin):
            for _ in range(2):
                one.partial_fit(X, y)
        for ours, theirs in zip(mine.coefs_, twin.coefs_, strict=True):
            assert_same_bits(theirs, ours)
            assert not np.shares_memory(theirs, ours)
        twin.coefs_[0][...] = 0
        assert not np.array_equal(twin.predict(X), mine.predict(X))


def test_a_clone_has_the_parameters_and_nothing_learned():
    mine = classifier(activation=fn.LeakyReLU(0.2), optimizer=fn.AdamW(fn.Cosine(0.01))).fit(
        X, LABELS
    )
    twin = clone(mine)
    assert not hasattr(twin, "coefs_")
    assert twin.get_params().keys() == mine.get_params().keys()
    assert_same_bits(twin.fit(X, LABELS).predict_proba(X), mine.predict_proba(X))
    assert "LeakyReLU" in repr(twin)


def test_sample_weights_are_routed():
    weight = np.where(LABELS == 1, 3.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = (
            classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        steps = pipeline.make_pipeline(preprocessing.MinMaxScaler(), inner)
        steps.fit(X, LABELS, sample_weight=weight)
        direct = classifier().fit(preprocessing.minmax_scale(X), LABELS, sample_weight=weight)
        assert_near(
            steps.predict_proba(X), direct.predict_proba(preprocessing.minmax_scale(X)), TRAJECTORY
        )
        steps.score(X, LABELS, sample_weight=weight)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_and_their_columns_names(library):
    tables = pytest.importorskip(library, reason=f"{library} is not installed")
    names = ["a", "b", "c", "d"]
    table = tables.DataFrame(dict(zip(names, X.T, strict=True)))
    if _get_feature_names(table) is None:
        pytest.skip(f"scikit-learn {sklearn.__version__} does not read the names of {library}")
    kinds = np.array(["setosa", "versicolor", "virginica"])[LABELS]
    mine = classifier().fit(table, tables.Series(kinds))
    assert mine.feature_names_in_.tolist() == names
    assert mine.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    plain = classifier().fit(X, LABELS)
    assert mine.predict(table).tolist() == mine.classes_[plain.predict(X)].tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        mine.predict(table[["b", "a", "c", "d"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        mine.predict(X)
    regressor().fit(table, tables.DataFrame(NUMBERS)).predict(table)


@pytest.mark.parametrize("container", CSR_CONTAINERS)
def test_sparse_rows_come_to_the_same(container):
    sparse = np.where(np.abs(X) > 0.5, X, 0)
    for mine, y in zip(both(), (LABELS, NUMBERS), strict=True):
        dense = clone(mine).fit(sparse, y)
        mine.fit(container(sparse), y)
        assert_same_bits(mine.predict(container(sparse)), dense.predict(sparse))
        many = container(np.tile(sparse, (60, 1)))  # more than are made dense at once
        assert_same_bits(mine.predict(many), np.tile(dense.predict(sparse).T, 60).T)


@pytest.mark.parametrize(
    "y",
    [
        np.array(["no", "yes"])[(LABELS > 0) * 1],
        np.array(["a", "b", "c"], object)[LABELS],
        LABELS > 0,
        LABELS * 2.0 - 1,
    ],
    ids=["text", "objects", "bool", "float"],
)
def test_labels_of_any_kind(y):
    mine = classifier(max_iter=100).fit(X, y)
    assert mine.predict(X).dtype == mine.classes_.dtype
    assert mine.score(X, y) > 0.6


def test_read_only_and_other_layouts_are_taken():
    frozen = X.copy()
    frozen.setflags(write=False)
    wanted = classifier().fit(X, LABELS).predict_proba(X)
    for rows in (frozen, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]):
        assert_same_bits(classifier().fit(rows, LABELS).predict_proba(rows), wanted)


# --- the model inside -------------------------------------------------------------------------


def test_weights_are_views_and_may_be_written_or_replaced():
    mine = regressor().fit(X, NUMBERS)
    assert np.shares_memory(mine.coefs_[0], mine.model_.parameters.flat)
    mine.coefs_[1][...] = 0
    np.testing.assert_array_equal(mine.predict(X), np.tile(mine.intercepts_[1], (len(X), 1)))
    mine.intercepts_[1] = np.array([3.0, 4.0])
    np.testing.assert_array_equal(mine.predict(X), np.tile([3.0, 4.0], (len(X), 1)))
    mine.coefs_ = [np.ones((4, 2)), np.ones((2, 2))]
    mine.intercepts_ = [np.zeros(2), np.zeros(2)]
    expected = 2 * np.maximum(X.sum(axis=1), 0)
    assert_near(mine.predict(X), np.column_stack((expected, expected)), 1e-12)


def test_the_model_inside_can_be_saved(tmp_path):
    mine = classifier().fit(X, LABELS)
    path = mine.model_.save(tmp_path / "iris.safetensors")
    assert_same_bits(fn.load(path).predict(X), mine.predict_proba(X))


# --- beyond scikit-learn's own ------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["gelu", "sigmoid", fn.LeakyReLU(0.3), fn.Softplus()])
def test_any_activation(activation):
    mine = classifier(activation=activation, max_iter=100).fit(X, LABELS)
    assert mine.score(X, LABELS) > 0.7


def test_sigmoid_is_scikit_learns_logistic():
    first, second = (classifier(activation=name).fit(X, LABELS) for name in ("sigmoid", "logistic"))
    assert_same_bits(first.predict_proba(X), second.predict_proba(X))


@pytest.mark.parametrize("loss", ["mae", fn.Huber(0.5), fn.Quantile(0.8), "mse"])
def test_any_loss_of_numbers(loss):
    mine = regressor(loss=loss, max_iter=150).fit(X, NUMBERS)
    assert mine.loss_curve_[-1] < mine.loss_curve_[0]
    wanted = mine.model_.evaluate(X, NUMBERS)
    penalty = mine.alpha / 2 * sum(np.square(w).sum() for w in mine.coefs_) / len(X)
    mine.set_params(warm_start=True, max_iter=1).fit(X, NUMBERS)  # its loss is that of the start
    assert mine.loss_ == pytest.approx(wanted + penalty, rel=1e-12)


def test_a_rate_itself_and_its_logarithm():
    counts = np.random.RandomState(0).poisson(np.exp(X[:, :1])).ravel()
    logarithm = regressor(loss="poisson", max_iter=300).fit(X, counts)
    rate = regressor(loss=fn.Poisson(log_input=False), max_iter=300).fit(X, counts)
    assert (logarithm.out_activation_, rate.out_activation_) == ("exp", "softplus")
    for mine in (logarithm, rate):
        assert (mine.predict(X) > 0).all()
        assert mine.predict(X).mean() == pytest.approx(counts.mean(), rel=0.3)
    with pytest.raises(fn.DataError, match="must be 0 or more for the Poisson loss"):
        regressor(loss="poisson").fit(X, counts - 5.0)


@pytest.mark.parametrize("y", [LABELS, LABELS > 0], ids=["classes", "two"])
def test_another_loss_of_probabilities(y):
    mine = classifier(loss="mse", max_iter=300).fit(X, y)
    assert_near(mine.predict_proba(X).sum(axis=1), np.ones(len(X)), 1e-12)
    assert mine.score(X, y) > 0.6


@pytest.mark.parametrize(
    ("estimator", "loss"),
    [
        (MLPClassifier, "poisson"), (MLPClassifier, "binary_crossentropy"),
        (MLPRegressor, "crossentropy"),
    ],
)  # fmt: skip
def test_an_unsuitable_loss_is_refused(estimator, loss):
    with pytest.raises(fn.DefinitionError, match=f"loss '{loss}'.*use"):
        estimator(loss=loss).fit(X, LABELS)


@pytest.mark.parametrize(
    "optimizer",
    [
        "rmsprop", fn.SGD(fn.OneCycle(0.3), momentum=0.8), {"name": "lion", "learning_rate": 0.01},
        fn.Adam(fn.ReduceOnPlateau(0.05, patience=1)), fn.Rprop(), fn.LBFGS(),
    ],
    ids=str,
)  # fmt: skip
def test_any_optimizer(optimizer):
    mine = classifier(optimizer=optimizer, max_iter=60).fit(X, LABELS)
    assert mine.score(X, LABELS) > 0.8


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_an_optimizer_trains_as_in_a_model(alpha):
    """With one batch an epoch, shuffles do not matter: the same as fit of the same model."""
    rule = fn.AdamW(fn.Cosine(0.05), weight_decay=0.1)
    starting = classifier(optimizer=fn.SGD(1e-300), max_iter=1).fit(X, LABELS)
    model = fn.Model(starting.model_.network, dtype="float64")
    model.parameters.flat = starting.model_.parameters.flat
    mine = classifier(optimizer=rule, alpha=alpha).fit(X, LABELS)
    history = model.fit(X, LABELS, optimizer=rule, epochs=12, batch_size=None, l2=alpha / len(X))
    assert_near(mine.model_.parameters.flat, model.parameters.flat, TRAJECTORY)
    if alpha:  # which scikit-learn's curve includes
        assert mine.loss_curve_[0] > history.loss[0]
    else:
        assert_near(np.array(mine.loss_curve_), np.array(history.loss), TRAJECTORY)


def test_dropout_is_drawn_from_the_random_state():
    first, again, none = (classifier(dropout=rate).fit(X, LABELS) for rate in (0.5, [0.5], 0.0))
    assert_same_bits(first.predict_proba(X), again.predict_proba(X))
    assert not np.allclose(first.predict_proba(X), none.predict_proba(X))
    other = classifier(dropout=0.5, random_state=1).fit(X, LABELS)
    assert other.model_.seed != first.model_.seed
    with pytest.raises(fn.DefinitionError, match="2 rates, for 1 hidden"):
        classifier(dropout=[0.1, 0.2]).fit(X, LABELS)
    with pytest.raises(fn.DefinitionError, match="the same loss at every call"):
        classifier(dropout=0.1, solver="lbfgs").fit(X, LABELS)


@pytest.mark.parametrize("weights", [{0: 1.0, 1: 5.0, 2: 0.5}, "balanced"])
def test_class_weights_are_sample_weights(weights):
    y = np.where(np.arange(150) % 7 == 0, 2, LABELS)
    counts = np.bincount(y)
    by_class = len(y) / (3 * counts) if weights == "balanced" else np.array(list(weights.values()))
    own = np.linspace(0.5, 2, 150)
    first = classifier(class_weight=weights).fit(X, y, sample_weight=own)
    second = classifier().fit(X, y, sample_weight=own * by_class[y])
    assert_near(first.predict_proba(X), second.predict_proba(X), 1e-12)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_loss_on_rows_held_out(solver):
    for mine, y in zip(both(solver=solver), (LABELS, NUMBERS), strict=True):
        mine.set_params(validation=(X[::3], y[::3])).fit(X, y)
        assert len(mine.validation_loss_curve_) == mine.n_iter_
        assert mine.model_.history.validation_loss == mine.validation_loss_curve_
        scale = 1 if y is LABELS else 0.5  # scikit-learn's squared error is half of it
        wanted = scale * mine.model_.evaluate(X[::3], y[::3])
        assert mine.validation_loss_curve_[-1] == pytest.approx(wanted, rel=1e-12)
        assert mine.validation_scores_ is None if solver == "adam" else True


def test_early_stopping_by_rows_of_ones_own():
    held_out = (X[::3], LABELS[::3])
    mine = classifier(early_stopping=True, validation=held_out, max_iter=200, n_iter_no_change=4)
    mine.fit(X, LABELS)
    assert mine.n_iter_ < 200
    assert mine.score(*held_out) == mine.best_validation_score_ == max(mine.validation_scores_)
    assert mine.t_ == mine.n_iter_ * 150  # no rows were set aside


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_see_every_epoch_and_may_end_it(solver):
    seen = []

    def stop(model, history):
        seen.append((model.predict(X[:1])[0, 0], len(history)))
        return len(history) == 5

    mine = classifier(callbacks=[stop], solver=solver).fit(X, LABELS)
    assert [epoch for _, epoch in seen] == [1, 2, 3, 4, 5]
    assert mine.n_iter_ == 5
    assert len({value for value, _ in seen}) > 1


def test_callbacks_change_nothing_by_being_there():
    plain, watched = (
        classifier().fit(X, LABELS),
        classifier(callbacks=[lambda m, h: None]).fit(X, LABELS),
    )
    assert_same_bits(watched.predict_proba(X), plain.predict_proba(X))


def test_dtype_and_backend():
    mine = classifier(dtype="float32", backend="numpy").fit(X, LABELS)
    assert mine.coefs_[0].dtype == mine.predict_proba(X).dtype == np.float32
    assert mine.model_.backend == "numpy"
    with pytest.raises(fn.BackendUnavailable, match="unknown backend 'nonsense'"):
        classifier(backend="nonsense").fit(X, LABELS)
    with pytest.raises(ValueError, match="'dtype' parameter"):
        classifier(dtype="float16").fit(X, LABELS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"callbacks": [3]}, "callback 0 is 3; it must be a function"),
        ({"hidden_layer_sizes": (3.5,)}, r"units is 3\.5; it must be a whole number"),
        ({"optimizer": {"name": "sgd", "lr": 1}}, "no constant 'lr'"),
        ({"activation": fn.Softmax()}, "softmax, which is for the last layer only"),
        ({"dtype": int}, "dtype is <class 'int'>"),
    ],
)
def test_invalid_parameters(options, says):
    for mine in both(**options):
        with pytest.raises(fn.DefinitionError, match=says):
            mine.fit(X, LABELS)


def test_a_warm_start_follows_changed_parameters():
    mine = classifier(warm_start=True).fit(X, LABELS)
    before = mine.coefs_[0].copy()
    mine.set_params(activation="tanh", dropout=0.1, max_iter=1, learning_rate_init=1e-9)
    mine.fit(X, LABELS)
    assert_near(mine.coefs_[0], before, 1e-6)
    assert mine.model_.network.layers[0].activation == fn.Tanh()
    assert mine.model_.network.layers[1] == fn.Dropout(0.1)
    with pytest.raises(ValueError, match=r"layers of \[8, 3\] units.*need \[9, 3\]"):
        mine.set_params(hidden_layer_sizes=9).fit(X, LABELS)
    numbers = regressor(warm_start=True).fit(X, NUMBERS)
    with pytest.raises(ValueError, match=r"\[8, 2\] units.*\[8, 1\]"):
        numbers.fit(X, NUMBERS[:, 0])


@pytest.mark.parametrize(
    ("options", "category"),
    [
        ({}, ConvergenceWarning),
        ({"solver": "lbfgs", "max_iter": 2}, ConvergenceWarning),
        ({"batch_size": 999, "tol": 9.0, "n_iter_no_change": 1}, UserWarning),
    ],
)
@pytest.mark.filterwarnings("default")
def test_warnings_point_to_where_fit_was_called(options, category):
    with pytest.warns(category) as caught:
        classifier(**options).fit(X, LABELS)
    assert {one.filename for one in caught} == {__file__}


@pytest.mark.parametrize("units", [6, 2])
def test_weights_of_another_shape_are_trained_by_a_new_optimizer(units):
    x = np.random.RandomState(0).randn(30, 3)
    mine = MLPRegressor(hidden_layer_sizes=(4,), random_state=0, shuffle=False)
    mine.partial_fit(x, x[:, 0])
    other = MLPRegressor(hidden_layer_sizes=(units,), random_state=0, shuffle=False)
    other.partial_fit(x, x[:, 0])
    start = [np.full_like(one, 0.1) for one in (*other.coefs_, *other.intercepts_)]
    for one in (mine, other):
        one.set_params(hidden_layer_sizes=(units,))
        one.coefs_, one.intercepts_ = [a.copy() for a in start[:2]], [a.copy() for a in start[2:]]
    fresh = copy.deepcopy(other)
    del fresh._optimizer
    for one in (mine, fresh):
        one.partial_fit(x, x[:, 0])
    for found, wanted in zip(mine.coefs_, fresh.coefs_, strict=True):
        np.testing.assert_array_equal(found, wanted)
