"""Which rows of a table are held out, and what a training sees of them."""

import datetime

import numpy as np
import polars as pl
import pytest
from commands import refuse, run
from frames import voyage
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnet import tables
from fastnet.errors import DataError, DefinitionError
from fastnet.tables.splitting import RowFacts, folds, hold_out

pytestmark = pytest.mark.usefixtures("on_numpy")


def split(facts, seed, test, validation):
    """Training, validation and test rows, as `tables.TableFit` chooses them."""
    rest, tested = hold_out(facts, seed, test, "test")
    training, validated = hold_out(facts.take(rest), seed, validation, "validation")
    return rest[training], rest[validated], tested


QUICK = tables.Recipe(hidden=(4,), epochs=3, drop=("name", "id"))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    seed=st.integers(0, 2**32),
    test=st.sampled_from([0.0, 0.1, 0.25]),
    validation=st.sampled_from([0.0, 0.2, 0.5]),
)
def test_classes_are_held_out_in_proportion(sizes, seed, test, validation):
    classes = np.repeat(np.arange(len(sizes)), sizes)[::-1]
    count = len(classes)
    if count < 12:
        return
    parts = split(RowFacts(count, classes), seed, test, validation)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    assert set(classes[parts[0]]) == set(range(len(sizes)))
    room = sum(size - 1 for size in sizes)
    assert len(parts[2]) == min(max(round(test * count), test > 0), room)
    for index, size in enumerate(sizes):
        assert abs((classes[parts[2]] == index).sum() - test * size) < 1 + (room < test * count)


def test_groups_stay_together_and_times_follow_each_other():
    rows = np.arange(300)
    groups = rows * 7 % 60
    parts = split(RowFacts(300, groups=groups), 3, 0.2, 0.25)
    assert [len(part) for part in parts] == [180, 60, 60]
    held = [set(groups[part]) for part in parts]
    assert not (held[0] & held[1] | held[0] & held[2] | held[1] & held[2])
    times = rows * 7 % 60 // 2
    parts = split(RowFacts(300, times=times), 3, 0.2, 0.25)
    assert times[parts[0]].max() < times[parts[1]].min() <= times[parts[1]].max()
    assert times[parts[1]].max() < times[parts[2]].min()


@pytest.mark.parametrize("kind", ["classes", "groups", "times", None])
def test_folds_test_each_row_once(kind):
    values = np.arange(103) * 7 % 23
    facts = RowFacts(103, **({} if kind is None else {kind: values}))
    tested = []
    for training, test in folds(facts, 1, 5):
        assert not set(training) & set(test)
        if kind == "groups":
            assert not set(values[training]) & set(values[test])
        if kind == "times":
            assert values[training].max() < values[test].min()
        else:
            assert len(training) + len(test) == 103
        tested += test.tolist()
    assert len(set(tested)) == len(tested)
    assert kind == "times" or len(tested) == 103
    with pytest.raises(DataError, match="too few"):  # before the first fold is trained
        next(folds(facts, 1, 104))
    single = np.array([0] * 10 + [1])
    assert sum(10 in test for _, test in folds(RowFacts(11, single), 1, 5)) == 0


def test_a_training_is_the_same_as_without_the_test_rows(tmp_path):
    table = voyage()
    recipe = tables.Recipe(hidden=(4,), epochs=3, drop=("name",), test=0.25)
    done = tables.train(table, "survived", recipe)
    rest, _, tested = split(RowFacts(400, table["survived"].to_numpy()), 0, 0.25, 0)
    table[tested.tolist()].write_csv(tmp_path / "test.csv")
    plain = tables.Recipe(hidden=(4,), epochs=3, drop=("name",))
    alone = tables.train(table[rest.tolist()], "survived", plain, test=tmp_path / "test.csv")
    flat = done.model.parameters.flat
    assert flat.tobytes() == alone.model.parameters.flat.tobytes()
    assert done.test == alone.test
    assert (done.test.rows, done.validation.rows, done.training.rows) == (100, 60, 240)
    found = tables.predict(done.model, table[tested.tolist()])["prediction"]
    right = (found == table["survived"][tested.tolist()]).mean()
    assert done.test.metrics["accuracy"] == right
    assert list(done.evaluations) == ["test", "validation", "training"]
    assert done.table.training["test"]["accuracy"] == right


def test_groups_and_times_are_columns_of_any_kind(tmp_path):
    start = datetime.date(2026, 1, 30)
    days = [start + datetime.timedelta(i // 4) for i in range(400)]
    table = voyage().with_columns(
        day=pl.Series(days), clinic=pl.Series([f"c{i % 9}" for i in range(400)])
    )
    table.write_csv(tmp_path / "t.csv")
    options = {"hidden": (4,), "epochs": 2, "drop": ("name", "id"), "test": 0.2}
    frames = [table, table.with_columns(pl.col("day").cast(pl.Datetime)), tmp_path / "t.csv"]
    flats = set()
    for source in frames:
        fit = tables.TableFit(
            source, "survived", tables.Recipe(**options, time="day", categorical=("clinic",))
        )
        assert {"day", "clinic"} & set(fit.table.names) == {"clinic"}
        assert fit.test.targets.tolist() == table["survived"][-80:].to_list()
        flats.add(fit.training.x.tobytes())
    assert len(flats) == 1
    fit = tables.TableFit(table.drop("day"), "survived", tables.Recipe(**options, group="clinic"))
    assert "clinic" in fit.table.left_out
    assert [report.remark for report in fit.columns if report.name == "clinic"] == [
        "groups, which are held out together"
    ]
    # A column of the split need not be there to predict.
    done = fit.run()
    tables.predict(done.model, voyage())


@pytest.mark.parametrize(
    ("recipe", "changed", "message"),
    [
        ({"group": "port"}, {}, "column 'port' has no value in data row 8 "),
        ({"time": "sex"}, {}, r"'sex' holds 'male' in data row \d, which is no date"),
        (
            {"time": "day"},
            {"day": ["1/2/2026"] * 400},
            "write them with the year first",
        ),
        ({"time": "day"}, {"day": ["2026-01-02"] * 400}, "too few different times"),
        ({"group": "day"}, {"day": ["2026"] * 400}, "leaves 1 group for training and test"),
        ({"group": "clinic"}, {}, "no column 'clinic' to group rows by"),
    ],
)
def test_columns_that_cannot_split_a_table(recipe, changed, message):
    table = voyage().with_columns(**{name: pl.Series(value) for name, value in changed.items()})
    with pytest.raises(DataError, match=message):
        tables.train(table, "survived", tables.Recipe(**recipe, test=0.1, drop=("name",)))


def test_settings_of_a_split_that_contradict_each_other():
    with pytest.raises(DefinitionError, match="only one can decide"):
        tables.Recipe(group="a", time="b")
    with pytest.raises(DefinitionError, match="group names the target 'survived'"):
        tables.train(voyage(), "survived", tables.Recipe(group="survived"))


def test_rows_of_other_tables_are_held_to_the_training_table():
    new = voyage(40)
    for changed, message in (
        (new.drop("survived"), "the table has no column 'survived', the target"),
        (new.drop("sex"), "it lacks 'sex'"),
        (new.with_columns(survived=pl.lit(2)), r"holds 2 in data row 1, and the model's classes"),
        (new.with_columns(survived=pl.lit("?")), "has no values at all"),
    ):
        with pytest.raises(DataError, match=message):
            tables.train(voyage(), "survived", QUICK, validation=changed)
    spelled = new.with_columns(survived=pl.Series([None, *map(float, new["survived"][1:])]))
    done = tables.train(voyage(), "survived", QUICK, validation=spelled)
    assert (done.training.rows, done.validation.rows, done.without_target) == (400, 39, 1)


def test_rows_are_held_out_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    voyage().write_csv("v.csv")
    voyage(50).write_csv("late.csv")
    command = ("train", "v.csv", "--target", "survived", "-o", "v.safetensors", "--epochs", 2)
    code, out, err = run(*command, "--test", "0.1", "--validation", "late.csv", "--drop", "name")
    assert code == 0, err
    assert "360 training rows, 50 validation rows, 40 test rows" in err
    lines = out.splitlines()
    assert ["test", "validation", "training"] in [line.split() for line in lines]
    assert ["rows", "40", "50", "360"] in [line.split() for line in lines]
    assert "confusion matrix of the test rows; rows: true, columns: predicted" in lines
    shown = run("show", "v.safetensors")[1]
    assert ["rows", "40", "50", "360"] in [line.split() for line in shown.splitlines()]
    with open("rows.toml", "w") as file:
        file.write('test = 0.1\nvalidation = "late.csv"\ndrop = ["name"]\n')
    before = (tmp_path / "v.safetensors").read_bytes()
    assert run(*command, "--config", "rows.toml")[0] == 0
    assert (tmp_path / "v.safetensors").read_bytes() == before
    error = refuse(*command, "--test", "some", code=2)
    assert "test is 'some'; it must be a fraction of the rows, such as 0.2, or a table" in error
    assert "are the same file" in refuse(
        *command, "--checkpoint", "late.csv", "--test", "late.csv", code=2
    )


def test_weights_are_as_many_rows():
    """In every metric, of the training rows and of a table of test rows."""
    table = voyage(120, gaps=False).drop("name", "id")
    counts = np.arange(120) % 4
    doubled = table[np.repeat(np.arange(120), counts).tolist()]
    test = voyage(60, gaps=False).drop("name", "id")
    options = {"validation": 0, "batch_size": "all", "epochs": 5, "dtype": "float64"}
    weighed = tables.train(
        table.with_columns(w=pl.Series(counts)),
        "survived",
        tables.Recipe(weights="w", **options),
        test=test.with_columns(w=pl.lit(2.5)),
    )
    assert "w" in weighed.table.left_out
    assert weighed.table.weights == "w"
    found, rows = weighed.training, doubled.height
    assert found.rows == 120
    assert found.confusion.sum() == rows
    again = tables.predict(weighed.model, doubled)["prediction"] == doubled["survived"]
    assert found.metrics["accuracy"] == pytest.approx(again.mean(), rel=1e-12)
    predicted = tables.predict(weighed.model, test)["prediction"] == test["survived"]
    assert weighed.test.metrics["accuracy"] == pytest.approx(predicted.mean(), rel=1e-12)
    chance = tables.predict(weighed.model, doubled).select(pl.col("^probability_.$")).to_numpy()
    loss = -np.log(chance[np.arange(rows), doubled["survived"].to_numpy()]).mean()
    assert found.loss == pytest.approx(loss, rel=1e-9)
    unweighed = tables.train(table, "survived", tables.Recipe(**options))
    assert unweighed.model.parameters.flat.tobytes() != weighed.model.parameters.flat.tobytes()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1] * 399 + [None], r"column 'w' has no value in data row 400; fill it in"),
        ([1] * 399 + [-2], r"'w' holds -2 in data row 400; a weight must be 0 or more"),
        ([0] * 400, "'w': the weights of all training rows are 0"),
        ([1] + [0] * 399, "the weights of all (training|validation|test) rows are 0"),
    ],
)
def test_weights_that_are_refused(weights, message):
    table = voyage().with_columns(w=pl.Series(weights))
    with pytest.raises(DataError, match=message):
        tables.train(table, "survived", tables.Recipe(weights="w", test=0.3))


def test_classes_are_weighed_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = (
        voyage()
        .with_columns(fate=pl.Series(["yes" if one else "no" for one in voyage()["survived"]]))
        .drop("survived")
    )
    table.write_csv("v.csv")
    options = {"hidden": (8,), "epochs": 20, "drop": ("name",)}
    balanced = tables.train(table, "fate", tables.Recipe(class_weight="balanced", **options))
    plain = tables.train(table, "fate", tables.Recipe(**options))
    recalls = [min(s["recall"] for s in d.training.classes.values()) for d in (balanced, plain)]
    assert recalls[0] > recalls[1]
    command = ("train", "v.csv", "--target", "fate", "-o", "m.safetensors", "--epochs", 3)
    names = ("--drop", "name", "--seed", 1)
    files = set()
    with open("c.toml", "w") as file:
        file.write("[class_weight]\nyes = 2.5\n")
    for options in (("--class-weight", "yes=2.5,no=1"), ("--config", "c.toml")):
        assert run(*command, *names, *options)[0] == 0
        files.add((tmp_path / "m.safetensors").read_bytes())
    assert len(files) == 1
    assert "unknown class in class_weight 'maybe'" in refuse(
        *command, "--class-weight", "maybe=1", code=2
    )
    assert "write balanced, or class=weight" in refuse(*command, "--class-weight", "yes", code=2)
    with pytest.raises(DefinitionError, match="class_weight is for a classification"):
        tables.train(table, "age", tables.Recipe(class_weight="balanced", drop=("name",)))
