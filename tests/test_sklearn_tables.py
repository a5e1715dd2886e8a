"""The estimators on tables: mixed frames, scikit-learn's rules, and the models inside."""

import pickle
from dataclasses import fields

import numpy as np
import pandas as pd
import polars as pl
import pytest
from frames import voyage
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import fastnet as fn
from fastnet import tables
from fastnet.sklearn import TableClassifier, TableRegressor

QUICK = {"hidden": (8,), "epochs": 20, "learning_rate": 0.01, "backend": "numpy", "random_state": 0}

#: An estimator has its own form of these, or none: test rows, say, are scikit-learn's.
NOT_PARAMETERS = {"task", "seed", "members", "search", "separator", "test", "weights", "id"}


def passengers():
    frame = voyage()
    return frame.drop("survived"), frame["survived"]


@pytest.mark.parametrize("estimator", [TableClassifier, TableRegressor])
@pytest.mark.filterwarnings("ignore")  # of scikit-learn's checks
def test_scikit_learns_rules(estimator):
    # float64, because one of the rules is that a row's prediction does not depend on the others.
    held_out = "a row of weight 0 may be held out, and another if it is not there"
    state = np.random.get_state()  # which some of the checks draw from
    try:
        checks = check_estimator(
            estimator(epochs=12, backend="numpy", dtype="float64"),
            on_skip=None,
            on_fail="raise",
            expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": held_out},
        )
    finally:
        np.random.set_state(state)
    assert sum(check["status"] == "passed" for check in checks) > 40


@pytest.mark.parametrize("estimator", [TableClassifier, TableRegressor])
def test_parameters_are_those_of_the_recipe(estimator):
    given = estimator().get_params()
    recipe = {field.name: field.default for field in fields(tables.Recipe)}
    assert set(given) - set(recipe) == {"random_state", "n_members"}
    of_other = {"class_weight" if estimator is TableRegressor else "log_target"}
    assert set(recipe) - set(given) == NOT_PARAMETERS | of_other
    assert {name: given[name] for name in set(given) & set(recipe)} == {
        name: recipe[name] for name in set(given) & set(recipe)
    }


def test_mixed_frames_of_any_library_are_what_the_table_is(tmp_path):
    x, y = passengers()
    fitted = TableClassifier(**QUICK).fit(x, y)
    settings = {name: value for name, value in QUICK.items() if name != "random_state"}
    trained = tables.train(x.with_columns(y), "survived", tables.Recipe(**settings))
    fitted.model_.save(tmp_path / "m.safetensors")
    expected = tables.predict(trained.model, x)
    saved = tables.predict(fn.load(tmp_path / "m.safetensors", backend="numpy"), x)
    assert saved.equals(expected)
    assert fitted.predict(x).tolist() == expected["prediction"].to_list()
    mapping = x.to_dict(as_series=False)
    frame = pd.DataFrame(mapping)
    pandas = TableClassifier(**QUICK).fit(frame, pd.Series(y.to_list(), name="survived"))
    assert np.array_equal(pandas.predict_proba(frame), fitted.predict_proba(x))
    assert list(pandas.feature_names_in_) == x.columns
    shuffled = frame.set_index(np.arange(len(frame))[::-1])  # rows are taken in their order
    assert np.array_equal(pandas.predict_proba(shuffled), fitted.predict_proba(x))
    assert np.array_equal(clone(fitted).fit(mapping, y).predict_proba(mapping),
                          fitted.predict_proba(x))  # fmt: skip
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(x), fitted.predict_proba(x))
    assert fitted.score(x, y) > 0.7
    assert fitted.score(x, y) == np.mean(fitted.predict(x) == y.to_numpy())


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes"]),
        np.array(["", " "], dtype=object),
        np.array([True, False]),
        np.array([1.0, -3.0]),
        np.array([7, 2**40]),
        pd.Categorical(["b", "a"]),
    ],
    ids=["text", "empty text", "booleans", "floats", "integers", "categories"],
)
def test_labels_of_any_kind_come_back(labels):
    x, y = passengers()
    given = labels[y.to_numpy()]
    fitted = TableClassifier(**QUICK).fit(x, given)
    found = fitted.predict(x)
    assert fitted.classes_.tolist() == sorted(labels)
    assert set(found.tolist()) == set(labels)
    assert found.dtype == np.asarray(given).dtype
    assert np.mean(found == np.asarray(given)) > 0.7
    assert np.allclose(fitted.predict_proba(x).sum(axis=1), 1)


def test_in_pipelines_grids_and_cross_validation_with_categories_that_a_fold_lacks():
    x, y = passengers()
    frame = pd.DataFrame(x.to_dict(as_series=False))
    frame.loc[0, "port"] = "elsewhere"
    pipeline = make_pipeline("passthrough", TableClassifier(**QUICK))
    scores = cross_val_score(pipeline, frame, y.to_numpy(), cv=3)
    assert scores.mean() > 0.7
    grid = GridSearchCV(TableRegressor(**QUICK), {"l2": [0.003, 1e4]}, cv=2)
    grid.fit(x, x["class"] - 0.5 * (x["sex"] == "male"))
    assert grid.best_params_ == {"l2": 0.003}


def test_what_is_wrong_is_said():
    x, y = passengers()
    fitted = TableClassifier(**QUICK).fit(x, y)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(x.rename({"age": "years"}))
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        fitted.predict(x.head(0))
    with pytest.raises(ValueError, match="holds None"):
        TableClassifier(**QUICK).fit(x, [None, *y[1:]])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TableClassifier(**QUICK).fit(x, y[1:])
    with pytest.raises(fn.DataError, match="holds inf in data row 2"):
        fitted.predict(x.with_columns(age=pl.Series([1.0, np.inf]).extend_constant(3.0, 398)))
    with pytest.raises(fn.DefinitionError, match="patience is -1"):
        TableClassifier(**QUICK, patience=-1).fit(x, y)
    days = x.with_columns(pl.Series("the day", ["2026-11-28"] * len(x)))
    with pytest.raises(fn.DataError, match=r"dates \(date=\['the day'\]\), leave") as said:
        TableClassifier(**QUICK).fit(days, y)
    assert "categorical=['the day']." in str(said.value)
    with pytest.raises(fn.DataError, match=r"or have it imputed \(missing='impute'\)"):
        TableClassifier(**QUICK, missing="error").fit(x, y)


def test_weights_of_rows_and_of_classes():
    x, y = passengers()
    plain = TableClassifier(**QUICK).fit(x, y)
    heavy = TableClassifier(**QUICK).fit(x, y, np.where(y, 9.0, 1.0))
    by_class = TableClassifier(**QUICK, class_weight={1: 9.0}, drop="name").fit(x, y)
    assert np.array_equal(heavy.predict_proba(x), by_class.predict_proba(x))
    assert heavy.predict(x).mean() > plain.predict(x).mean() + 0.1
    balanced = TableClassifier(**QUICK, class_weight="balanced").fit(x, y)
    assert not np.array_equal(balanced.predict_proba(x), plain.predict_proba(x))
    words = np.array(["lost", "saved"])[y.to_numpy()]
    named = TableClassifier(**QUICK, class_weight={"saved": 9.0}).fit(x, words)
    assert np.array_equal(named.predict_proba(x), by_class.predict_proba(x))
    assert TableRegressor(**QUICK).fit(x, y, np.where(y, 9.0, 1.0)).predict(x).mean() > y.mean()
    with pytest.raises(ValueError, match=r"class_weight is \[1, 9\]; it must be 'balanced', or"):
        TableClassifier(**QUICK, class_weight=[1, 9]).fit(x, y)
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        TableClassifier(**QUICK).fit(x, y, np.where(y, -1.0, 1.0))
