"""The table schema in a model, the encoding of rows, and predictions as a table."""

import contextlib
import math

import numpy as np
import polars as pl
import pytest
from frames import twenty_rows as frame
from frames import voyage
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastnet as fn
from fastnet import tables
from fastnet.cli import configuration
from fastnet.errors import DataError, DefinitionError, ModelFileError
from fastnet.tables.encoding import Categories, Number

QUICK = tables.Recipe(hidden=(4,), epochs=2)


# --- encoding ----------------------------------------------------------------------------------


def test_inputs_are_standardized_over_the_training_rows_alone():
    fit = tables.TableFit(frame(), "y", tables.Recipe(dtype="float64"))
    x = fit.training.x
    assert fit.table.names == fit.table.features == ("a", "b")
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1)
    assert len(fit.validation) == 4
    assert not np.allclose(fit.validation.x.mean(axis=0), 0)


def test_encoding_is_scikit_learns():
    table = voyage()
    settings = tables.Recipe(validation=0, dtype="float64", drop=("id", "name", "port"))
    fit = tables.TableFit(table, "survived", settings)
    x = fit.training.x
    assert fit.table.features == ("class", "sex=male", "sex=female", "age", "age=missing")
    age = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    expected = [
        StandardScaler().fit_transform(table[["class"]].to_numpy()),
        OneHotEncoder(categories=[["male", "female"]]).fit_transform(table[["sex"]]).toarray(),
        age.fit_transform(table[["age"]].to_numpy())[:, :1],
        age[0].transform(table[["age"]].to_numpy())[:, 1:],
    ]
    np.testing.assert_allclose(x, np.concatenate(expected, axis=1), rtol=1e-12, atol=1e-12)
    raw = x * fit.table.scale + fit.table.mean
    np.testing.assert_allclose(raw[:, 0], table["class"], rtol=1e-12)
    np.testing.assert_array_equal(raw[:, [1, 2, 4]], x[:, [1, 2, 4]])


COLORS = Categories("c", ("red", "blue"), other=True, missing="category")


@pytest.mark.parametrize(
    ("column", "rows"),
    [
        (COLORS, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        (Categories("c", ("red", "blue")), [[1, 0], [0, 1], [0, 0], [0, 0]]),
        (Categories("c", ("blue",), other=True), [[0, 1], [1, 0], [0, 1], [0, 1]]),
        (Categories("c", ("red",), missing="category"), [[1, 0], [0, 0], [0, 0], [0, 1]]),
    ],
)
def test_categories_as_inputs(column, rows):
    facts = tables.Table((column,), "y", "regression")
    table = pl.DataFrame({"c": ["red", " blue", "green", ""]})
    np.testing.assert_array_equal(facts.inputs(table), rows)
    assert len(facts.features) == len(facts.mean) == len(facts.scale) == len(rows[0])


def test_numbers_as_inputs():
    facts = tables.Table((Number("n", 1.0, 2.0, 5.0, True),), "y", "regression")
    table = pl.DataFrame({"n": ["3", " -1e0 ", "NA", "true"]})
    np.testing.assert_array_equal(facts.inputs(table), [[1, 0], [-1, 0], [2, 1], [0, 0]])


def test_the_target_of_a_regression_is_standardized_and_restored():
    fit = tables.TableFit(frame(y=np.arange(20) * 1000.0), "y", tables.Recipe(dtype="float64"))
    y = fit.training.y
    assert y.mean() == pytest.approx(0, abs=1e-12)
    assert y.std() == pytest.approx(1)
    answers = fit.table.to_frame(y[:, None])["prediction"].to_numpy()
    np.testing.assert_allclose(answers / 1000, np.rint(answers / 1000), atol=1e-12)
    assert set(np.rint(answers / 1000)) < set(range(20))
    assert len(set(np.rint(answers))) == 16


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        ([("no", "yes")[r % 2] for r in range(20)], ("no", "yes")),
        ([r % 3 - 1 for r in range(20)], (-1, 0, 1)),
        ([r % 2 == 0 for r in range(20)], (False, True)),
    ],
)
def test_classes_keep_their_type(target, classes):
    done = tables.train(frame(y=target), "y", QUICK)
    assert done.table.classes == classes
    assert [type(c) for c in done.table.classes] == [type(c) for c in classes]
    found = tables.predict(done.model, frame(y=target))
    assert found["prediction"].dtype == pl.Series(target).dtype
    assert set(found["prediction"]) <= set(classes)
    names = [f"probability_{str(c).lower()}" for c in classes]
    assert found.columns == ["prediction", "probability", *names]


# --- predictions -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """A model of two columns and two classes."""
    return tables.train(frame(), "y", QUICK).model


def test_predictions_do_not_look_at_the_target_or_the_order(trained):
    expected = tables.predict(trained, frame())
    assert tables.predict(trained, frame().select("b", "a")).equals(expected)
    assert tables.predict(trained, frame(y=[None] * 20)).equals(expected)
    plain = {"a": frame()["a"].to_list(), "b": frame()["b"].to_list()}
    assert tables.predict(trained, plain).equals(expected)


def test_predictions_are_the_models_own(trained):
    facts = tables.Table.of(trained)
    x = np.stack([frame()["a"], frame()["b"]], axis=1)
    encoded = (x - np.array(facts.mean)) / np.array(facts.scale)
    with pytest.raises(DataError, match=r"tables\.predict\(model, table\)"):
        trained.predict(x)
    outputs = trained.predict(encoded, encoded=True)
    found = tables.predict(trained, frame())
    np.testing.assert_array_equal(found["probability_yes"], outputs[:, 1])
    right = np.where(outputs[:, 1] > outputs[:, 0], "yes", "no")
    assert found["prediction"].to_list() == right.tolist()


def test_a_saved_model_predicts_the_same(trained, tmp_path):
    trained.save(tmp_path / "m.safetensors")
    loaded = fn.load(tmp_path / "m.safetensors", backend=trained.backend)
    assert tables.Table.of(loaded) == tables.Table.of(trained)
    assert tables.predict(loaded, frame()).equals(tables.predict(trained, frame()))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (frame().drop("b"), "it lacks 'b'"),
        (frame(c=1), r"does not know 'c': leave it out\.$"),
        (frame(c=1, d=1), r"does not know 'c', 'd': leave them out\.$"),
        (frame().rename({"a": "A"}), "it lacks 'a'; the model does not know 'A'"),
        (frame().select(pl.col("a").alias("a:b")), r"not know 'a:b': leave it out\.$"),
        (frame(a=["x"] * 20), "'a' holds 'x' in data row 1, which is not a number"),
        (frame(a=[*["1"] * 9, "foo", *["2"] * 10]), "'a' holds 'foo' in data row 10"),
        (frame(a=[math.inf] * 20), "holds inf in data row 1"),
        (frame().head(0), "has no rows"),
        (frame(b=[0.0] * 12 + [1e300] * 8), "data row 13 is too far from the training rows.*'b'"),
    ],
)
def test_tables_that_do_not_fit_the_model(trained, source, message):
    with pytest.raises(DataError, match=message):
        tables.predict(trained, source)


def test_a_model_without_a_table_says_so():
    with pytest.raises(DataError, match="not trained on a table"):
        tables.predict(fn.Model(fn.datasets.xor_network()), frame())


def test_missing_and_unknown_values_are_counted():
    done = tables.train(voyage(), "survived", QUICK)
    new = voyage(30, gaps=False).with_columns(
        age=pl.Series([None, math.nan, *[20.0] * 28]), sex=pl.Series(["F"] * 3 + ["male"] * 27)
    )
    found = tables.stream(done.model, new)
    assert sum(frame.height for frame in found) == found.rows == 30
    assert (found.missing, found.unseen) == ({"age": 2}, {"sex": 3})


def test_columns_that_were_left_out_may_be_present_or_not():
    done = tables.train(voyage(), "survived", QUICK)
    assert done.table.left_out == ("name",)
    expected = tables.predict(done.model, voyage())
    assert tables.predict(done.model, voyage().drop("name", "survived")).equals(expected)
    assert tables.predict(done.model, voyage().with_columns(name=3)).equals(expected)


def test_missing_values_are_refused_by_a_model_that_refused_them():
    strict = tables.Recipe(hidden=(4,), epochs=2, missing="error")
    done = tables.train(voyage(gaps=False), "survived", strict)
    tables.predict(done.model, voyage(gaps=False))
    with pytest.raises(DataError, match=r"'age' has no value in data row 3 \(80 rows.*without"):
        tables.predict(done.model, voyage())
    with pytest.raises(DataError, match=r"'port' has no value in data row 8 \(8 rows"):
        tables.predict(done.model, voyage().with_columns(age=1))


def test_numbers_and_text_are_read_from_any_type(trained):
    expected = tables.predict(trained, frame())
    for column in (
        frame()["b"].cast(pl.String),
        frame()["b"].cast(pl.Float32),
        frame()["b"].cast(pl.Decimal(4, 1)),
        frame()["b"].cast(pl.String).cast(pl.Categorical),
    ):
        assert tables.predict(trained, frame(b=column)).equals(expected)
    coded = tables.Recipe(hidden=(4,), epochs=2, categorical=("b",))
    model = tables.train(frame(), "y", coded).model
    expected = tables.predict(model, frame())
    for column in (frame()["b"].cast(pl.String), frame()["b"].cast(pl.Float64)):
        assert tables.predict(model, frame(b=column)).equals(expected)


def test_the_schema_of_the_first_format_is_read(trained):
    facts = tables.Table.of(trained)
    plain = {
        "columns": ["a", "b"],
        "mean": list(facts.mean),
        "scale": list(facts.scale),
        "target": "y",
        "task": "classification",
        "classes": ["no", "yes"],
        "target_mean": 0.0,
        "target_scale": 1.0,
    }
    old = fn.Model(trained.network, seed=1, backend=trained.backend)
    old.parameters.flat[:] = trained.parameters.flat
    old.table = plain
    assert tables.predict(old, frame()).equals(tables.predict(trained, frame()))
    with pytest.raises(DataError, match="'a' has no value in data row 1"):
        tables.predict(old, frame(a=None))
    for key, value in {"mean": [1.0], "scale": [0.0, 1.0], "columns": [1, 2]}.items():
        old.table = {**plain, key: value}
        with pytest.raises(ModelFileError, match="the table schema in the model"):
            tables.predict(old, frame())


A = {"kind": "number", "name": "a", "mean": 0.0, "scale": 1.0, "fill": None, "indicator": False}
B = {**A, "name": "b"}
TEXT = {"kind": "categories", "name": "b", "values": ["x"], "other": False, "missing": "unseen"}


@pytest.mark.parametrize(
    "changed",
    [
        {"columns": [A]},
        {"columns": [A, {**A, "name": "y"}]},
        {"columns": [A, 3]},
        {"columns": "ab"},
        {"columns": []},
        {"columns": [A, {**B, "name": 3}]},
        {"columns": [A, {**B, "kind": "date"}]},
        {"columns": [A, {**B, "kind": ["number"]}]},
        {"columns": [A, {**B, "more": 1}]},
        {"columns": [A, {**B, "indicator": True}]},
        {"columns": [A, {**B, "indicator": 0}]},
        {"columns": [A, {**B, "fill": math.nan}]},
        {"columns": [A, {**TEXT, "values": []}]},
        {"columns": [A, {**TEXT, "values": ["x", "x"]}]},
        {"columns": [A, {**TEXT, "values": ["\ud800"]}]},
        {"columns": [A, {**TEXT, "values": "x"}]},
        {"columns": [A, {**TEXT, "other": 1}]},
        {"columns": [A, {**TEXT, "missing": "maybe"}]},
        {"columns": [A, {**TEXT, "values": ["x", "z"]}]},
        {"left_out": ["a"]},
        {"left_out": [3]},
        {"left_out": None},
        {"training": 3},
        {"classes": ["no", "\ud800"]},
        {"columns": [A, {**B, "mean": math.inf}]},
        {"columns": [A, {**B, "scale": 0.0}]},
        {"columns": [A, {**B, "scale": -1.0}]},
        {"target": 3},
        {"task": "both"},
        {"task": "regression"},
        {"classes": ["no"]},
        {"classes": ["no", "no"]},
        {"classes": ["no", 1]},
        {"classes": [["no"], ["yes"]]},
        {"classes": [1, 2**70]},
        {"classes": ["a", "b", "c"]},
        {"target_scale": 0.0},
        {"target_mean": 10**400},
        {"surprise": 1},
    ],
)
def test_an_invalid_schema_in_a_file_is_refused(trained, tmp_path, changed):
    model = fn.Model(trained.network, seed=1)
    model.table = {**tables.Table.of(trained).to_dict(), **changed}
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="the table schema in the model"):
        tables.predict(fn.load(tmp_path / "m.safetensors"), frame())


@pytest.mark.parametrize("junk", [None, {}, [], "", 7, {"a": []}, [{}], [[1]], True])
def test_junk_in_any_place_of_a_schema_is_one_error(trained, junk):
    plain = tables.Table.of(trained).to_dict()
    for key in plain:
        model = fn.Model(trained.network, seed=1)
        model.table = {**plain, key: junk}
        with contextlib.suppress(ModelFileError, DataError):  # nothing else
            tables.predict(model, frame())


@pytest.mark.parametrize("facts", ["text", [], {"columns": ["a"]}])
def test_an_incomplete_schema_is_refused(trained, facts):
    model = fn.Model(trained.network, seed=1)
    model.table = facts
    with pytest.raises(ModelFileError, match="incomplete"):
        tables.predict(model, frame())


def test_arguments_of_another_kind_are_named(trained):
    for given in ("m.safetensors", frame(), trained.network):
        with pytest.raises(DefinitionError, match=r"model is a .*such as fn\.load\(path\)"):
            tables.predict(given, frame())
    with pytest.raises(DefinitionError, match=r"recipe is \{\}; it must be a tables\.Recipe"):
        tables.train(frame(), "y", {})
    with pytest.raises(DefinitionError, match=r"hidden is 64; put it in a tuple: \(64,\)"):
        tables.Recipe(hidden=64)
    for given in (5, {"type": "dense", "units": 3}):
        with pytest.raises(DefinitionError, match=r"layers is .*; it must be a tuple of layers"):
            tables.Recipe(layers=given)
    with pytest.raises(DefinitionError, match="ids is 5; it must be a list of column names"):
        tables.predict(trained, frame(), ids=5)
    with pytest.raises(DefinitionError, match="on_fold is 5; it must be a function"):
        tables.cross_validate(frame(), "y", QUICK, on_fold=5)
    with pytest.raises(DefinitionError, match=r"evaluation is 5; it must be what tables\.evaluate"):
        tables.importances(trained, 5)


def test_hidden_layers_are_given_in_one_form_and_refused_in_one_wording(tmp_path):
    layers = ({"type": "dense", "units": 3},)
    config = tmp_path / "two.toml"
    for name, value in (("hidden", (4,)), ("dropout", 0.0), ("activation", "tanh")):
        with pytest.raises(DefinitionError, match=f"layers and {name} are both.*; leave") as first:
            tables.Recipe(layers=layers, **{name: value})
        written = list(value) if name == "hidden" else value
        config.write_text(f"{name} = {written!r}\n[[layers]]\ntype = 'dense'\nunits = 3")
        with pytest.raises(DefinitionError) as second:
            configuration.read(config)
        assert str(second.value) == f"configuration {str(config)!r}: {first.value}"


# --- figures -----------------------------------------------------------------------------------


def test_a_class_without_training_rows_is_named():
    labels = ["u"] * 10 + ["v"] * 9 + ["w"]
    for seed in range(12):  # the only row of a class stays in training
        assert not tables.TableFit(frame(y=labels), "y", tables.Recipe(seed=seed)).unseen_classes()
    last = tables.TableFit(frame(y=labels), "y", tables.Recipe(time="a", refit=False))
    assert last.unseen_classes() == ["w"]


def test_too_few_rows():
    with pytest.raises(DataError, match=r"validation=0\.2 leaves 1 of 2 rows.*at least 2 must"):
        tables.train(frame().head(2), "y", QUICK)


def test_the_best_epoch_is_the_one_that_is_kept():
    recipe = tables.Recipe(hidden=(8,), epochs=60, patience=5, refit=False)
    done = tables.train(frame(), "y", recipe)
    losses = done.history.validation_loss
    assert done.best_epoch == int(np.argmin(losses)) + 1
    assert done.validation.loss == pytest.approx(min(losses), rel=1e-6)
