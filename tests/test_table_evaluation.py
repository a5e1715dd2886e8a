"""How good predictions are: on tables of their own, in predictions, and what the report says."""

import json
import re

import numpy as np
import polars as pl
import pytest
from commands import refuse, run
from frames import voyage
from matplotlib.image import imread
from sklearn import metrics as reference

import fastnet as fn
from fastnet import plots, tables
from fastnet.errors import DataError
from fastnet.tables import charts, predicting, reading

pytestmark = pytest.mark.usefixtures("on_numpy")

RECIPE = tables.Recipe(hidden=(8,), epochs=12, drop=("id",), id=("name",), test=0.25,
                       backend="numpy")  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    return tables.train(voyage(), "survived", RECIPE)


@pytest.fixture
def folder(tmp_path, monkeypatch, trained):
    """A working folder with a model, and a table of which some rows have no target."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    trained.model.save("v.safetensors")
    survived = [None if i % 7 == 3 else one for i, one in enumerate(voyage(90)["survived"])]
    voyage(90).with_columns(survived=pl.Series(survived)).write_csv("some.csv")
    return tmp_path


@pytest.mark.parametrize("cells", [10**6, 100])
def test_an_evaluation_is_scikit_learns_in_one_block_or_many(trained, monkeypatch, cells):
    monkeypatch.setattr(reading, "BLOCK_CELLS", cells)
    table = voyage(90)
    found = tables.evaluate(trained.model, table)
    p = tables.predict(trained.model, table).select("probability_0", "probability_1").to_numpy()
    y, best = table["survived"].to_numpy(), p.argmax(axis=1)
    assert found.rows == 90
    assert found.metrics == pytest.approx(
        {
            "accuracy": reference.accuracy_score(y, best),
            "log_loss": reference.log_loss(y, p),
            "roc_auc": reference.roc_auc_score(y, p[:, 1]),
        },
        rel=1e-5,
    )
    assert found.loss == pytest.approx(found.metrics["log_loss"], rel=1e-5)
    assert found.confusion.tolist() == reference.confusion_matrix(y, best).tolist()
    known = reference.classification_report(y, best, output_dict=True)
    for name, scores in found.classes.items():
        assert scores["f1"] == pytest.approx(known[str(name)]["f1-score"], rel=1e-12)
        assert scores["rows"] == known[str(name)]["support"]


def test_rows_without_a_target_do_not_count_and_junk_stops_no_prediction(folder):
    model = fn.load("v.safetensors")
    found = json.loads(run("evaluate", "v.safetensors", "some.csv", "--json")[1])
    some = pl.read_csv("some.csv")
    assert found["rows"] == some["survived"].count() == 77
    known = tables.evaluate(model, some.filter(some["survived"].is_not_null()))
    assert found["accuracy"] == known.metrics["accuracy"]
    assert found["by_class"][1]["rows"] == known.classes[1]["rows"]
    code, out, err = run("predict", "v.safetensors", "some.csv")
    assert code == 0
    assert f"accuracy {known.metrics['accuracy']:.2%}, log loss" in err
    assert "(of the 77 rows with a target)" in err
    some.with_columns(survived=pl.lit("lost")).write_csv("junk.csv")
    code, again, err = run("predict", "v.safetensors", "junk.csv")
    assert (code, again) == (0, out)
    assert "'survived' holds 'lost' in data row 1, and the model's classes are 0, 1" in err
    assert "holds 'lost' in data row 1" in refuse("evaluate", "v.safetensors", "junk.csv")
    voyage(9).drop("survived").write_csv("none.csv")
    assert "has no column 'survived'" in refuse("evaluate", "v.safetensors", "none.csv")
    code, _, err = run("predict", "v.safetensors", "none.csv")
    assert (code, "target" in err) == (0, False)
    with pytest.raises(DataError, match="no row has a target 'survived'"):
        tables.evaluate(model, voyage(9).with_columns(survived=pl.lit(None)))


def test_a_long_table_is_judged_by_its_first_rows(trained, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_CELLS", 70)
    monkeypatch.setattr(predicting, "_MOST_JUDGED", 99)
    blocks = tables.stream(trained.model, voyage(), judge=True)
    assert sum(frame.height for frame in blocks) == 400
    assert (blocks.evaluation.rows, blocks.unjudged) == (50, "judged are the first 50 rows")
    assert tables.evaluate(trained.model, voyage()).rows == 400
    assert tables.stream(trained.model, voyage()).evaluation is None


def test_columns_that_name_rows_are_repeated(folder):
    names = voyage(90)["name"].to_list()
    model = fn.load("v.safetensors")
    assert tables.predict(model, voyage(90)).columns[:2] == ["name", "prediction"]
    assert tables.predict(model, voyage(90))["name"].to_list() == names
    assert tables.predict(model, voyage(90).drop("name")).columns[0] == "prediction"
    code, out, _ = run("predict", "v.safetensors", "some.csv", "--id", "port,id", "-o", "p.csv")
    assert code == 0, out
    found = pl.read_csv("p.csv", infer_schema_length=0)
    assert found.columns[:3] == ["port", "id", "prediction"]
    assert found["port"].to_list() == pl.read_csv("some.csv")["port"].to_list()
    assert "no column 'berth' to name rows by" in refuse(
        "predict", "v.safetensors", "some.csv", "--id", "berth"
    )
    twice = tables.predict(model, voyage(9), ids=["port", "port"])
    assert twice.columns[:2] == ["port", "prediction"]
    with pytest.raises(fn.DefinitionError, match=r"ids is 'port'; .* a list: \['port'\]"):
        tables.predict(model, voyage(9), ids="port")
    odd = voyage(9).with_columns(probability_1=pl.lit("x"))
    with pytest.raises(DataError, match="has the name of a prediction"):
        tables.predict(model, odd, ids=["probability_1"])
    free = odd.rename({"probability_1": "probability_of_rain"})
    assert tables.predict(model, free, ids=free.columns[-1:])["probability_of_rain"][0] == "x"


def test_the_columns_that_matter_are_those_that_were_made_to(trained):
    """The table is made from sex, class and age."""
    rises = trained.importances()
    assert list(rises)[:2] == ["sex", "class"]
    assert set(rises) == {"class", "sex", "age", "port"}
    assert rises == trained.importances()
    table = pl.DataFrame({"a": np.arange(300) % 17, "b": np.arange(300) % 5})
    table = table.with_columns(y=table["a"] * 100.5)
    done = tables.train(table, "y", tables.Recipe(epochs=60))
    rises = done.importances()
    # Two values of 0 to 16, at random, differ by sqrt(2 * variance).
    assert rises["a"] == pytest.approx(100.5 * np.sqrt(2 * table["a"].var()), rel=0.15)
    assert abs(rises["b"]) < 0.1 * rises["a"]
    assert tables.importances(done.model, tables.evaluate(done.model, table))["a"] > 0


def test_a_notebook_shows_the_report(trained):
    html = trained._repr_html_()
    assert html.index(">test<") < html.index(">validation<") < html.index(">training<")
    assert "confusion matrix of the test rows; rows: true, columns: predicted" in html
    assert "most important columns (log loss if their values are shuffled):" in html
    assert f"{trained.test.metrics['accuracy']:.2%}" in html
    assert ">precision<" in trained.test._repr_html_()


def test_reports_of_many_classes_are_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    rows = np.arange(600)
    table = pl.DataFrame(
        {"a": rows % 30 * 1.0, "b": rows % 7, "y": [f"kind {i % 30:02}" for i in rows]}
    )
    table.write_csv("t.csv")
    code, out, err = run("train", "t.csv", "--target", "y", "-o", "m.safetensors", "--epochs", 5)
    assert code == 0, err
    assert "the 10 of 30 classes with the lowest F1" in out
    shown = re.findall(r"^kind \d\d +4 +\S+ +\S+ +(\S+)$", out, re.MULTILINE)
    assert len(shown) == 10
    assert shown == sorted(shown)
    assert len(json.loads(run("evaluate", "m.safetensors", "t.csv", "--json")[1])["by_class"]) == 30
    few = table.filter(rows % 30 < 9).with_columns(
        y=pl.Series([f"a rather long name of kind {i % 30}" for i in rows if i % 30 < 9])
    )
    few.write_csv("few.csv")
    code, out, err = run("train", "few.csv", "--target", "y", "-o", "m.safetensors", "--epochs", 5)
    assert code == 0, err
    assert "rows: true, columns: predicted" in out
    assert len(re.findall(r"^a rather long name of k… +[\d.-]+ +[\d.-]+ +[\d.-]+$", out, re.M)) == 9
    assert max(map(len, out.splitlines())) <= 80


def test_the_chart_of_an_evaluation_says_what_the_report_says(folder, trained):
    code, out, err = run("evaluate", "v.safetensors", "some.csv", "--plot", "chart.png")
    assert code == 0, err
    assert "chart written to 'chart.png'" in err
    assert imread("chart.png").shape[1] > 800
    found = tables.evaluate(trained.model, "some.csv")
    axes = charts.draw_evaluation(trained.table, found).axes[0]
    assert axes.get_title() == f"77 rows: accuracy {found.score:.2%}"
    assert f"accuracy  {found.score:.2%}" in out
    command = ("evaluate", "v.safetensors", "some.csv", "--plot")
    assert "its name must end in .png" in refuse(*command, "chart.txt", code=2)
    assert "the same file" in refuse(*command, "some.csv", code=2)


def test_charts_show_what_is_there():
    """Probabilities of groups of rows, and numbers against numbers."""
    flat = np.linspace(0.05, 0.95, 60)
    p = np.stack((1 - flat, flat), axis=1).astype(np.float32)
    y = (np.arange(60) % 10 / 10 < flat).astype(int)
    weight = np.where(np.arange(60) % 2, 3.0, 1.0)
    table = tables.TableFit(voyage(40), "survived", tables.Recipe()).table
    found = tables.Evaluation(60, 0.5, {"accuracy": 0.8}, targets=y, predicted=p, weight=weight)
    axes = plots.figure().add_subplot()
    charts.calibration(table, found, axes)
    points = axes.lines[1]
    assert len(points.get_xdata()) == 4  # of 15 rows each
    first = slice(0, 15)
    assert points.get_xdata()[0] == pytest.approx(np.average(flat[first], weights=weight[first]))
    assert points.get_ydata()[0] == pytest.approx(np.average(y[first], weights=weight[first]))
    numbers = np.arange(5000.0)
    found = tables.Evaluation(5000, 0.5, {"r2": 0.8}, targets=numbers, predicted=numbers + 1)
    axes = plots.figure().add_subplot()
    charts.against_true(table, found, axes)
    drawn = axes.collections[0].get_offsets()
    assert 1000 < len(drawn) <= 2000
    assert (drawn[:, 1] - drawn[:, 0] == 1).all()
