"""Tables: what is learned from them, what is refused, and how predictions become a table."""

import datetime
import math

import numpy as np
import polars as pl
import pytest

import fastnet as fn
from fastnet import recipe, tables
from fastnet.errors import DataError, MissingExtra, ModelFileError

QUICK = recipe.Recipe(hidden=(4,), epochs=2)


def frame(**changed):
    """Twenty rows that can be learned from; `changed` replaces columns or adds them."""
    rows = np.arange(20)
    columns = {"a": rows * 0.5, "b": rows % 3, "y": [("no", "yes")[r % 2] for r in rows]}
    return pl.DataFrame({**columns, **changed})


def examine(text, tmp_path, target="y"):
    """What a CSV file of this text is taken for."""
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.examine(path, target)


# --- what is taken -----------------------------------------------------------------------------


def test_inputs_are_standardised_over_the_training_rows_alone():
    fit = recipe.Fit(frame(c=7.0), "y", recipe.Recipe(dtype="float64"))
    x, _ = fit.training
    assert fit.table.columns == ("a", "b", "c")
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x[:, :2].std(axis=0), 1)
    assert fit.table.scale[2] == 1
    assert (x[:, 2] == 0).all()
    assert len(fit.held_out[1]) == 4
    assert not np.allclose(fit.held_out[0].mean(axis=0), 0)


def test_quantities_are_standardised_and_turned_back():
    fit = recipe.Fit(frame(y=np.arange(20) * 1000.0), "y", recipe.Recipe(dtype="float64"))
    _, y = fit.training
    assert y.mean() == pytest.approx(0, abs=1e-12)
    assert y.std() == pytest.approx(1)
    answers = fit.table.answers(y[:, None])["prediction"].to_numpy()
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
    done = recipe.train(frame(y=target), "y", QUICK)
    assert done.table.classes == classes
    assert [type(c) for c in done.table.classes] == [type(c) for c in classes]
    found = tables.predict(done.model, frame(y=target))
    assert found["prediction"].dtype == pl.Series(target).dtype
    assert set(found["prediction"]) <= set(classes)
    names = [f"probability_{str(c).lower()}" for c in classes]
    assert found.columns == ["prediction", "probability", *names]


def test_the_target_says_what_the_task_is():
    assert tables.examine(frame(), "y").table.task == "classification"
    numbers = frame(y=np.arange(20) % 2)
    assert tables.examine(numbers, "y").table.task == "classification"
    assert tables.examine(numbers, "y", "regression").table.task == "regression"
    halves = frame(y=np.arange(20) / 2)
    assert tables.examine(halves, "y").table.task == "regression"
    whole = frame(y=(np.arange(20) % 2).astype(float))
    assert tables.examine(whole, "y", "classification").table.classes == (0, 1)


def test_whole_numbers_are_classes_however_many():
    many = pl.DataFrame({"a": np.arange(50), "y": np.arange(50)})
    assert len(tables.examine(many, "y").table.classes) == 50


def test_kinds_of_columns_that_count_as_numbers(tmp_path):
    text = "flag, n ,x,y\ntrue,1,1e3,u\nFalse, 2,-.5,v\nTRUE,+3,7,u\n\n\n"
    found = examine(text, tmp_path)
    assert found.table.columns == ("flag", "n", "x")
    np.testing.assert_array_equal(found.x, [[1, 1, 1000], [0, 2, -0.5], [1, 3, 7]])
    np.testing.assert_array_equal(found.y, [0, 1, 0])


def test_quotes_byte_mark_and_line_ends(tmp_path):
    text = '\ufeffa,"b, c",y\r\n1,2,"u, ""v"""\r\n3,4,w\r\n'
    found = examine(text, tmp_path)
    assert found.table.columns == ("a", "b, c")
    assert found.table.classes == ('u, "v"', "w")


def test_parquet_and_csv_are_the_same_table(tmp_path):
    frame().write_csv(tmp_path / "t.csv")
    frame().write_parquet(tmp_path / "t.parquet")
    one = recipe.train(tmp_path / "t.csv", "y", QUICK).model
    two = recipe.train(tmp_path / "t.parquet", "y", QUICK).model
    np.testing.assert_array_equal(one.parameters.flat, two.parameters.flat)
    assert one.table == two.table


def test_kinds_of_text_that_are_classes():
    labels = frame()["y"]
    for kind in (pl.Categorical, pl.Enum(["yes", "no"])):
        assert tables.examine(frame(y=labels.cast(kind)), "y").table.classes == ("no", "yes")


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,y\n", "has no rows"),
        ("a,y\n\n\n", "has no rows"),
        ("y\n1\n2\n", "no column but the target"),
        ("a,z\n1,2\n", "has no column 'y'"),
        ("a,a,y\n1,2,u\n", "more than one column 'a'"),
        ("a, a,y\n1,2,u\n", "more than one column 'a'"),
        (",a,y\n1,2,u\n", "column 1 has no name"),
        ("a;y\n1;2\n", "has ';' between its columns"),
        ("a\ty\n1\t2\n", "has 'tab' between its columns"),
        ("a,y\n1,u\n2,v,9\n", r"data row 2 \(it ends in line 3\) has 3 fields, the header names 2"),
        ("a,b,y\n1,2,u\n3,v\n", r"data row 2 \(it ends in line 3\) has 2 fields"),
        ('a,y\n1,"u\n2,v\n', "look for an open quote"),
        ("a,y\n1,u\n,v\n", "column 'a' has no value in data row 2; missing values"),
        ("a,y\n1,u\n,v\n,v\n3,u\n", r"data row 2 \(2 rows have none\)"),
        ("a,b,y\n1,,u\n2,,v\n", "column 'b' has no values at all"),
        ("a,y\n1,u\n2,\n", "column 'y' has no value in data row 2"),
        ("a,y\n1,u\nNA,v\n", "'NA' for a missing value in data row 2"),
        ("a,y\n1,u\nfoo,v\n", "column 'a' holds 'foo' in data row 2, which is not a number"),
        ("a,y\nred,u\nblue,v\n", r"column 'a' holds text \('red' in data row 1\)"),
        ("a,y\n2020-01-01,u\n2020-01-02,v\n", r"holds text \('2020-01-01' in data row 1\)"),
        ("a,y\n1,u\nnan,v\n", "column 'a' holds nan in data row 2"),
        ("a,y\n1,u\n-inf,v\n", "column 'a' holds -inf in data row 2"),
        ("a,y\n1,u\n1e999,v\n", "column 'a' holds inf in data row 2"),
        ("a,y\n1,1.5\n2,inf\n", "column 'y' holds inf in data row 2"),
        ("a,y\n1,u\n99999999999999999999,v\n", "99999999999999999999 in data row 2, a whole"),
        ("a,y\n1,u\n2,u\n", "the target 'y' is 'u' in every row"),
        ("a,y\n1,2.5\n2,2.5\n", "the target 'y' is 2.5 in every row"),
        ("a,y\n1,\u00e9\n".encode("latin-1"), "is not UTF-8 text"),
        ("a,y\n1,u\n".encode("utf-16"), "text must be UTF-8"),
        (b"PAR1\x00\x01\x02", "is no text"),
        (b"a,y\n1,u\n\x00\xff,v\n", "is no text"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, said):
    with pytest.raises(DataError, match=said) as error:
        examine(text, tmp_path)
    assert "t.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([datetime.date(2020, 1, 1)] * 20, "dates or times"),
        ([datetime.timedelta(1)] * 20, "dates or times"),
        ([[1, 2]] * 20, "it must hold numbers"),
        ([None] * 20, "no values at all"),
        (["1"] * 20, "numbers stored as text"),
        ([b"1"] * 20, "it must hold numbers"),
        ([1e300, -1e300] * 10, "too large for a standard deviation"),
    ],
)
def test_columns_that_are_refused(column, said):
    with pytest.raises(DataError, match=said) as error:
        recipe.train(frame(a=column), "y", QUICK)
    assert "'a'" in str(error.value)


@pytest.mark.parametrize(
    ("target", "task", "said"),
    [
        ([datetime.date(2020, 1, d + 1) for d in range(20)], None, "it must hold numbers or text"),
        (["u", "v"] * 10, "regression", "holds text"),
        (np.arange(20) + 0.5, "classification", "is 0.5 in data row 1"),
        (pl.Series([2**64, 1] * 10, dtype=pl.Int128), None, "beyond 64 bits"),
    ],
)
def test_targets_that_are_refused(target, task, said):
    with pytest.raises(DataError, match=said):
        tables.examine(frame(y=target), "y", task)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        tables.examine(tmp_path / "no.csv", "y")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        tables.examine(tmp_path / "d.csv", "y")
    (tmp_path / "t.txt").write_text("a,y\n1,2\n")
    with pytest.raises(DataError, match=r"must end in \.csv or \.parquet"):
        tables.examine(tmp_path / "t.txt", "y")
    (tmp_path / "t.parquet").write_text("a,y\n1,2\n" * 9)
    with pytest.raises(DataError, match="no whole Parquet file"):
        tables.examine(tmp_path / "t.parquet", "y")
    for other in (3, [[1, 2]], np.zeros((2, 2))):
        with pytest.raises(DataError, match="it must be a path, a Polars frame"):
            tables.examine(other, "y")


def test_too_few_rows():
    with pytest.raises(DataError, match=r"the table has 2 rows.*leaves 1 to train on"):
        recipe.train(frame().head(2), "y", QUICK)


def test_a_class_that_is_held_out_wholly_is_named():
    labels = ["u"] * 10 + ["v"] * 9 + ["w"]
    seen = [
        recipe.Fit(frame(y=labels), "y", recipe.Recipe(seed=seed)).unseen() for seed in range(12)
    ]
    assert ["w"] in seen
    assert [] in seen


# --- predictions -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """A model of two columns and two classes."""
    return recipe.train(frame(), "y", QUICK).model


def test_predictions_do_not_look_at_the_target_or_the_order(trained):
    expected = tables.predict(trained, frame())
    assert tables.predict(trained, frame().select("b", "a")).equals(expected)
    assert tables.predict(trained, frame(y=[None] * 20)).equals(expected)
    plain = {"a": frame()["a"].to_list(), "b": frame()["b"].to_list()}
    assert tables.predict(trained, plain).equals(expected)


def test_predictions_are_the_models_own(trained):
    facts = tables.Table.of(trained)
    x = np.stack([frame()["a"], frame()["b"]], axis=1)
    outputs = trained.predict((x - np.array(facts.mean)) / np.array(facts.scale))
    found = tables.predict(trained, frame())
    np.testing.assert_array_equal(found["probability_yes"], outputs[:, 1])
    right = np.where(outputs[:, 1] > outputs[:, 0], "yes", "no")
    assert found["prediction"].to_list() == right.tolist()


def test_a_saved_model_predicts_the_same(trained, tmp_path):
    trained.save(tmp_path / "m.safetensors")
    loaded = fn.load(tmp_path / "m.safetensors")
    assert tables.Table.of(loaded) == tables.Table.of(trained)
    assert tables.predict(loaded, frame()).equals(tables.predict(trained, frame()))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (frame().drop("b"), "it lacks 'b'"),
        (frame(c=1), "does not know 'c'"),
        (frame().rename({"a": "A"}), "it lacks 'a'; the model does not know 'A'"),
        (frame(a=["x"] * 20), "holds text"),
        (frame(a=[None, *range(19)]), "no value in data row 1"),
        (frame(a=[math.nan] * 20), "holds nan in data row 1"),
        (frame().head(0), "has no rows"),
        (frame(b=[0.0] * 12 + [1e300] * 8), "data row 13 is too far from the training rows.*'b'"),
    ],
)
def test_tables_that_do_not_fit_the_model(trained, source, said):
    with pytest.raises(DataError, match=said):
        tables.predict(trained, source)


def test_a_model_without_a_table_says_so():
    with pytest.raises(DataError, match="not trained from a table"):
        tables.predict(fn.Model(fn.datasets.xor_network()), frame())


@pytest.mark.parametrize(
    "changed",
    [
        {"columns": ["a"]},
        {"columns": ["a", "a"]},
        {"columns": ["a", "y"]},
        {"columns": ["a", 3]},
        {"columns": "ab"},
        {"columns": []},
        {"mean": [0.0]},
        {"mean": [0.0, math.inf]},
        {"mean": [0.0, "1"]},
        {"scale": [1.0, 0.0]},
        {"scale": [1.0, -1.0]},
        {"scale": None},
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
        {"target_mean": None},
        {"target_mean": 10**400},
        {"surprise": 1},
    ],
)
def test_hostile_facts_in_a_file_are_refused(trained, tmp_path, changed):
    model = fn.Model(trained.network, seed=1)
    model.table = {**tables.Table.of(trained).to_dict(), **changed}
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="the model's facts about its table"):
        tables.predict(fn.load(tmp_path / "m.safetensors"), frame())


@pytest.mark.parametrize("facts", ["text", 3, [], {}, {"columns": ["a"]}])
def test_facts_of_another_form_are_refused(trained, facts):
    model = fn.Model(trained.network, seed=1)
    model.table = facts
    with pytest.raises(ModelFileError, match="incomplete"):
        tables.predict(model, frame())


def test_without_polars_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fastnet\[tables\]'"):
        tables.examine("t.csv", "y")


# --- figures -----------------------------------------------------------------------------------


def test_r_squared_is_scikit_learns():
    from sklearn.metrics import r2_score

    y = fn.random.normal(1, fn.random.DATA, 0, 50)
    guess = y + fn.random.normal(2, fn.random.DATA, 0, 50)
    assert recipe.r_squared(y, guess) == pytest.approx(r2_score(y, guess), rel=1e-12)
    assert math.isnan(recipe.r_squared(np.ones(3), np.ones(3)))


def test_the_best_epoch_is_the_one_that_is_kept():
    done = recipe.train(frame(), "y", recipe.Recipe(hidden=(8,), epochs=60, patience=5))
    losses = done.history.validation_loss
    assert done.best_epoch == int(np.argmin(losses)) + 1
    assert done.validation.loss == pytest.approx(min(losses), rel=1e-6)
