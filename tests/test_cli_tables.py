"""`fastnet train`, `predict`, `show` and `export` on tables as they are found."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import refuse, run
from frames import voyage
from matplotlib.image import imread
from sklearn import metrics as reference

import fastnet as fn
from fastnet import tables
from fastnet.contract import loading

TRAIN = ("train", "voyage.csv", "--target", "survived", "-o", "v.safetensors")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with `voyage.csv`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    voyage().write_csv("voyage.csv")
    return tmp_path


@pytest.fixture
def trained(folder):
    """The same, with `v.safetensors`."""
    assert run(*TRAIN, "--epochs", "8")[0] == 0
    return folder


def wide(count, rows=60):
    """A table of many columns, a few of which stand out."""
    noise = fn.random.normal(2, fn.random.DATA, 0, rows * count).reshape(rows, count)
    frame = pl.DataFrame(noise, schema=[f"column_{i:03}" for i in range(count)])
    rows = np.arange(rows)
    return frame.with_columns(
        y=pl.Series(rows % 2 + 0.25 * (rows % 3)),
        column_007=pl.Series([None if r % 4 == 1 else 1.0 * r for r in rows]),
        column_100=pl.lit("same"),
        column_200=pl.Series([("red", "green")[r % 2] for r in rows]),
    )


# --- the report --------------------------------------------------------------------------------


def test_the_report_says_what_became_of_each_column(folder):
    code, out, err = run(*TRAIN, "--plot", "loss.png")
    assert code == 0, err
    lines = dict(re.findall(r"^(\w+) +(.+)$", out, re.MULTILINE))
    assert lines["id"].startswith("number           1           a row number? if so, --drop id")
    assert lines["name"].startswith("left out                     text, 400 different in 400 rows")
    assert re.match(r"categories +2 +'(fe)?male', '(fe)?male'", lines["sex"])
    assert re.match(r"number +2 +80 +median [\d.]+ imputed, plus an indicator", lines["age"])
    assert re.match(r"categories +4 +8 +'S', 'C', 'Q'", lines["port"])
    assert re.search(r"^rows +80 +320$", out, re.MULTILINE)
    for name in ("accuracy", "log loss", "ROC AUC"):
        assert re.search(rf"^{name} +[\d.]+%? +[\d.]+%?$", out, re.MULTILINE)
    matrix = re.search(
        r"rows: true, columns: predicted\n +0 +1 +precision +recall +F1\n"
        r"0 +(\d+) +(\d+) +[\d.]+ +[\d.]+ +[\d.]+\n1 +(\d+) +(\d+) ",
        out,
    )
    assert sum(map(int, matrix.groups())) == 80
    assert re.search(r"^most important columns \(log loss .*:\n  sex \+[\d.]+, ", out, re.MULTILINE)
    assert len(out.splitlines()) < 30
    assert "the columns are encoded as 10 inputs of the network\n" in err
    assert "columns as 10 inputs, 2 classes; " in out
    assert max(map(len, out.splitlines())) <= 80
    assert "chart written to 'loss.png'" in err
    assert 0.001 < (imread("loss.png")[..., :3].min(axis=2) < 0.5).mean() < 0.3


def test_a_wide_table_is_summed_up(folder):
    wide(300).write_csv("wide.csv")
    code, out, err = run("train", "wide.csv", "--target", "y", "-o", "w.safetensors", "--epochs", 1)
    assert code == 0, err
    assert "298 columns of numbers, 299 inputs" in out
    assert "1 column of categories, 2 inputs" in out
    assert "1 column left out\n" in out
    shown = re.findall(r"^column_\d+", out, re.MULTILINE)
    assert shown == ["column_100", "column_200", "column_007"]  # the least expected first
    assert "and 297 more columns; --json lists all of them" in out
    code, out, _ = run("show", "w.safetensors")
    assert (code, len(out.splitlines()) < 60) == (0, True)
    assert max(map(len, out.splitlines())) <= 80


def test_figures_are_scikit_learns_on_the_rows_held_out(folder):
    done = json.loads(run(*TRAIN, "--no-refit", "--json")[1])
    fit = tables.TableFit("voyage.csv", "survived", tables.Recipe())
    x, y = fit.validation.x, fit.validation.y
    p = fn.load("v.safetensors").predict(x, encoded=True)
    found = done["validation"]
    assert found["rows"] == len(y) == 80
    assert found["accuracy"] == reference.accuracy_score(y, p.argmax(axis=1))
    assert found["log_loss"] == pytest.approx(reference.log_loss(y, p), rel=1e-5)
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(y, p[:, 1]), rel=1e-12)
    assert done["confusion"] == reference.confusion_matrix(y, p.argmax(axis=1)).tolist()


def test_figures_of_quantities_are_in_their_own_unit(folder):
    table = voyage(gaps=False)
    table.with_columns(fare=500 + 40 * table["class"] + 0.5 * table["age"]).write_csv("f.csv")
    options = ("--drop", "name,id", "--drop", "survived", "--plot", "f.svg", "--no-refit")
    code, out, err = run("train", "f.csv", "--target", "fare", "-o", "f.safetensors", *options)
    assert code == 0, err
    for name in ("R²", "RMSE", "MAE"):
        assert re.search(rf"^{name} +[\d.]+ +[\d.]+$", out, re.MULTILINE)
    assert "columns: predicted" not in out
    found = tables.predict(fn.load("f.safetensors"), "f.csv")["prediction"].to_numpy()
    fare = pl.read_csv("f.csv")["fare"].to_numpy()
    rmse = re.search(r"^RMSE +([\d.]+) +([\d.]+)$", out, re.MULTILINE).groups()
    squares = (80 * float(rmse[0]) ** 2 + 320 * float(rmse[1]) ** 2) / 400
    assert np.mean((fare - found) ** 2) == pytest.approx(squares, rel=1e-3)
    assert Path("f.svg").read_text().startswith("<?xml")


def test_a_metric_that_is_undefined_is_a_dash_and_a_null(folder):
    table = pl.DataFrame({"a": range(40), "y": ["u"] * 38 + ["v"] * 2})
    table.write_csv("rare.csv")
    options = ("-o", "r.safetensors", "--epochs", 1, "--validation", 0.05)
    code, out, err = run("train", "rare.csv", "--target", "y", *options)
    assert code == 0, err
    assert re.search(r"^ROC AUC +- +\S+$", out, re.MULTILINE)
    done = json.loads(run("train", "rare.csv", "--target", "y", *options, "--json")[1])
    assert done["validation"]["roc_auc"] is None
    assert json.loads(run("show", "r.safetensors", "--json")[1])["training"]["validation"] == {
        key: value for key, value in done["validation"].items() if key != "loss"
    }


# --- options -----------------------------------------------------------------------------------


def test_options_reach_the_columns(folder):
    options = ("--drop", "id,name", "--categorical", "class", "--categories", "2")
    code, _, err = run(*TRAIN, *options, "--epochs", 2)
    assert code == 0, err
    table = tables.Table.of(fn.load("v.safetensors"))
    assert table.left_out == ("id", "name")
    inputs = {column.name: column.inputs for column in table.columns}
    assert set(inputs["class"]) > {"class=other", "class=3"}
    assert len(inputs["class"]) == 3
    assert inputs["port"] == ("port=S", "port=C", "port=other", "port=missing")
    Path("columns.toml").write_text(
        'drop = ["id", "name"]\ncategorical = "class"\ncategories = 2\nepochs = 2\n'
    )
    before = Path("v.safetensors").read_bytes()
    assert run(*TRAIN, "--config", "columns.toml")[0] == 0
    assert Path("v.safetensors").read_bytes() == before


def test_rows_without_a_target_are_counted(folder):
    voyage().with_columns(survived=pl.Series([None, *voyage()["survived"][1:]])).write_csv("t.csv")
    code, out, err = run("train", "t.csv", "--target", "survived", "-o", "t.safetensors", "--json")
    assert code == 0
    assert "1 row without a target left out" in err
    assert json.loads(out)["without_target"] == 1
    out = run("train", "t.csv", "--target", "survived", "-o", "t.safetensors", "--epochs", 1)[1]
    assert "1 row without a target left out" in out


def test_how_a_table_is_written_is_told(folder):
    """The model keeps the notation; the separator belongs to a file."""
    text = voyage().write_csv(separator="~").replace(".", ",")
    Path("t.csv").write_text(text)
    options = ("--target", "survived", "-o", "t.safetensors", "--epochs", 2, "--drop", "name")
    assert "the header names 1" in refuse("train", "t.csv", *options)
    error = refuse("train", "t.csv", *options, "--separator", "~")
    assert re.search(r"'age' holds '\d+,\d' in data row 1 .*add --decimal \",\"", error)
    code, _, err = run("train", "t.csv", *options, "--separator", "~", "--decimal", ",")
    assert code == 0, err
    assert "the decimal mark ','" in run("show", "t.safetensors")[1]
    code, out, err = run("predict", "t.safetensors", "t.csv", "--separator", "~")
    assert code == 0, err
    code, usual, err = run("predict", "t.safetensors", "voyage.csv", "--decimal", ".")
    assert (code, usual) == (0, out), err
    Path("columns.toml").write_text('separator = "~"\ndecimal = ","\nepochs = 2\ndrop = ["name"]\n')
    before = Path("t.safetensors").read_bytes()
    assert run("train", "t.csv", *options[:4], "--config", "columns.toml")[0] == 0
    assert Path("t.safetensors").read_bytes() == before


def test_tables_come_through_standard_input(trained):
    command = [sys.executable, "-m", "fastnet", "predict", "v.safetensors", "-"]
    with open("voyage.csv") as table:
        done = subprocess.run(command, stdin=table, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == run("predict", "v.safetensors", "voyage.csv")[1]


def test_a_quantity_needs_a_task(folder):
    voyage().with_columns(fare=pl.Series(range(400)) // 5).write_csv("t.csv")
    options = ("t.csv", "--target", "fare", "-o", "t.safetensors", "--epochs", 1)
    error = refuse("train", *options)
    assert "80 different whole numbers in 400 rows" in error
    assert "--task regression" in error
    assert "--task classification" in error
    code, out, err = run("train", *options, "--task", "regression", "--json")
    assert "inputs of the network; more if five folds show that bins of numbers help" in err
    found = json.loads(out)
    assert (code, found["task"]) == (0, "regression")
    assert found["remarks"] == [
        "'id': whole numbers, all different; if they number or identify the rows, "
        "leave them out (--drop)"
    ]
    code, _, err = run("train", *options, "--task", "classification")
    assert code == 0
    assert "80 classes in 400 rows" not in err  # five each
    assert "'id': whole numbers, all different" in err


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (("--missing", "error"), r"column 'age' has no value in data row 3 (80 rows have none)", 1),
        (("--missing", "mean"), "unknown treatment of missing values 'mean'", 2),
        (("--categories", "0"), "categories is 0", 2),
        (("--categorical", "berth"), "no column 'berth'", 1),
        (("--drop", "sex", "--categorical", "sex"), "both name 'sex'", 2),
        (("--plot", "loss.jpg"), "must end in .png", 2),
        (("--plot", "missing/loss.png"), "No such file or directory", 1),
    ],
)
def test_what_is_refused_leaves_nothing(folder, options, message, code):
    assert message in refuse(*TRAIN, *options, code=code)
    assert [path.name for path in folder.iterdir()] == ["voyage.csv"]


def test_dates_are_refused_with_what_to_do(folder):
    days = pl.Series([f"1912-04-{1 + i % 14:02}" for i in range(400)])
    voyage().with_columns(boarded=days).write_csv("voyage.csv")
    error = refuse(*TRAIN)
    assert "column 'boarded' holds dates or times ('1912-04-01' in data row 1)" in error
    assert "--drop boarded" in error
    assert "take it as dates (--date boarded)" in error
    assert run(*TRAIN, "--drop", "boarded", "--epochs", "1")[0] == 0
    assert run(*TRAIN, "--date", "boarded", "--epochs", "1")[0] == 0
    assert "days, weekday" in run("show", "v.safetensors")[1]


# --- predict -----------------------------------------------------------------------------------


def test_predict_says_what_was_missing_or_unknown(trained):
    new = voyage(20).with_columns(sex=pl.lit("M"))
    new.write_csv("new.csv")
    assert "'sex' holds no category that" in refuse("predict", "v.safetensors", "new.csv")
    code, out, err = run("predict", "v.safetensors", "new.csv", "--allow-unknown")
    assert code == 0
    assert "column 'age': missing in 4 of 20 rows, treated as in training" in err
    assert "column 'sex': rare or unknown category in 20 of 20 rows" in err
    expected = tables.predict(fn.load("v.safetensors"), new, allow_unknown=True)
    assert pl.read_csv(out.encode()).cast({pl.Float64: pl.Float32}).equals(expected)


def test_predict_for_programs(trained):
    rows = json.loads(run("predict", "v.safetensors", "voyage.csv", "--json")[1])
    expected = tables.predict(fn.load("v.safetensors"), "voyage.csv")
    assert list(rows[0]) == expected.columns
    assert [row["prediction"] for row in rows] == expected["prediction"].to_list()
    code, out, _ = run("predict", "v.safetensors", "voyage.csv", "-o", "out.csv", "--json")
    assert code == 0
    assert json.loads(out) == {
        "output": "out.csv",
        "rows": 400,
        "missing": {"age": 80, "port": 8},
        "unknown": {},
        "evaluation": json.loads(out)["evaluation"],
    }
    right = (expected["prediction"] == voyage()["survived"]).mean()
    assert json.loads(out)["evaluation"]["accuracy"] == right


def test_predict_refuses_before_it_writes(trained):
    folder = Path.cwd()
    voyage().drop("sex").write_csv("less.csv")
    error = refuse("predict", "v.safetensors", "less.csv", "-o", "out.csv")
    assert "it lacks 'sex'" in error
    assert not Path("out.csv").exists()
    other_way = f"../{folder.name}/voyage.csv"
    error = refuse("predict", "v.safetensors", "voyage.csv", "-o", other_way, code=2)
    assert "are the same file" in error


# --- show and export ---------------------------------------------------------------------------


def test_show_prints_network_columns_and_training(trained):
    code, out, err = run("show", "v.safetensors")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert f"a model, {Path('v.safetensors').stat().st_size:,} bytes" in out
    assert str(fn.load("v.safetensors").network) in out
    assert "classification of survived" in out
    assert "2 classes: 0, 1" in out
    assert re.search(r"^age +number +2 +mean [\d.]+ ± [\d.]+; [\d.]+ if missing *$", out, re.M)
    assert re.search(r"^port +categories +4 +S, C, Q, missing *$", out, re.M)
    assert "left out: name" in out
    assert re.search(r"^trained with fastnet \S+, backend \w+, epochs 8, best epoch \d", out, re.M)
    assert re.search(r"^accuracy +\S+% +\S+%$", out, re.M)
    assert max(map(len, out.splitlines())) <= 80


def test_show_for_programs(trained):
    found = json.loads(run("show", "v.safetensors", "--json")[1])
    model = fn.load("v.safetensors")
    assert found["network"] == model.network.spec()
    assert found["parameters"] == model.parameters.flat.size
    assert found["table"]["features"] == list(tables.Table.of(model).features)
    assert found["table"]["columns"] == model.table["columns"]
    assert found["training"] == model.table["training"]
    assert found["training"]["epochs"] == 8


def test_show_of_a_model_without_a_table(folder):
    fn.Model(fn.datasets.xor_network(), seed=5).save("xor.safetensors")
    code, out, _ = run("show", "xor.safetensors")
    assert code == 0
    assert "seed 5" in out
    assert "not trained on a table" in out
    assert json.loads(run("show", "xor.safetensors", "--json")[1])["table"] is None


def test_show_of_a_checkpoint(folder):
    x, y = fn.datasets.xor()
    model = fn.Model(fn.datasets.xor_network(tutorial_start=True), seed=3)
    model.fit(x, y, epochs=7, checkpoint="run.ckpt")
    code, out, _ = run("show", "run.ckpt")
    assert code == 0
    assert "a checkpoint" in out
    assert "7 epochs done, 21 parameters of float32" in out
    assert "optimizer adam, batches of 4 rows, seed 3" in out
    found = json.loads(run("show", "run.ckpt", "--json")[1])
    assert (found["kind"], found["epochs"], found["validation_loss"]) == ("checkpoint", 7, None)
    assert found["loss"] == model.history.loss[-1]


def test_show_refuses(trained):
    assert "there is no file 'no.st'" in refuse("show", "no.st")
    assert "not a fastnet file" in refuse("show", "voyage.csv")
    damaged = bytearray(Path("v.safetensors").read_bytes())
    damaged[-3] ^= 1
    Path("v.safetensors").write_bytes(damaged)
    assert "altered" in refuse("show", "v.safetensors")


def test_show_of_training_facts_that_make_no_sense(trained):
    model = fn.load("v.safetensors")
    model.table["training"] = {"epochs": [], "training": {"rows": "x", "accuracy": None}, "q": 1}
    model.save("v.safetensors")
    code, out, _ = run("show", "v.safetensors")
    assert code == 0
    assert re.search(r"^rows +-$", out, re.M)
    model.table["training"] = {"training": {"accuracy": float("nan"), "log_loss": 10**400}}
    model.save("v.safetensors")
    assert re.search(r"^log loss +-$", run("show", "v.safetensors")[1], re.M)
    found = json.loads(run("show", "v.safetensors", "--json")[1])["training"]
    assert found == {"training": {"accuracy": None, "log_loss": 10**400}}


def test_export_knows_its_endings(trained):
    error = refuse("export", "v.safetensors", "v.txt", code=2)
    assert ".onnx" in error
    assert "there is no file" in refuse("export", "no.safetensors", "v.onnx")
    assert "No such file or directory" in refuse("export", "v.safetensors", "missing/v.onnx")


def test_export_writes_onnx(trained):
    pytest.importorskip("onnx", reason="ONNX files are written by the onnx package")
    runtime = pytest.importorskip("onnxruntime", reason="it runs the file, to compare")
    model = fn.load("v.safetensors")
    expected = tables.predict(model, voyage())
    probabilities = expected.select("probability_0", "probability_1").to_numpy()

    def export(*options):
        code, out, err = run("export", "v.safetensors", "v.onnx", "--json", *options)
        assert code == 0, err
        assert json.loads(out) == {"output": "v.onnx", "bytes": Path("v.onnx").stat().st_size}
        return runtime.InferenceSession("v.onnx", providers=["CPUExecutionProvider"])

    session = export()
    names = {given.name for given in session.get_inputs()}
    assert names == set(tables.Table.of(model).names)
    given = {
        name: voyage()[name].fill_null("" if name in ("sex", "port") else float("nan")).to_numpy()
        for name in names
    }
    given = {n: v.astype(object if v.dtype.kind == "O" else float) for n, v in given.items()}
    found = session.run(None, given)
    assert found[0].tolist() == expected["prediction"].to_list()
    np.testing.assert_allclose(found[1], probabilities, atol=1e-5)

    session = export("--encoded")
    table = tables.Table.of(model)
    # The graph takes the encoded columns as they are, and standardizes them itself.
    encoded = table.inputs(voyage()) * table.scale + table.mean
    (one,) = session.get_inputs()
    found = session.run(None, {one.name: encoded})[0]
    np.testing.assert_allclose(found, probabilities, atol=1e-5)


# --- output ------------------------------------------------------------------------------------


def test_colors_are_left_out_where_that_is_asked():
    def error(**environment):
        code, _, err = run("show", "no.safetensors", **environment)
        assert code == 1
        return err

    assert "31m" in error(FORCE_COLOR="1")
    assert "31m" not in error()
    assert "31m" not in error(FORCE_COLOR="1", NO_COLOR="1")


def test_show_needs_no_polars(trained):
    code = (
        "import sys; sys.modules['polars'] = None; sys.argv = ['fastnet', 'show', 'v.safetensors'];"
        "from fastnet.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "categories" in done.stdout


def test_results_are_on_standard_output_and_nothing_else(trained):
    command = [sys.executable, "-m", "fastnet", *TRAIN, "--epochs", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    plain = json.loads(done.stdout)
    assert len(plain["history"]["loss"]) == plain["epochs"] == 2
    assert [column["name"] for column in plain["columns"]] == [
        name for name in voyage().columns if name != "survived"
    ]
    assert "training rows" in done.stderr


def test_backends_for_programs():
    found = json.loads(run("backends", "--json", FASTNET_BACKEND="numpy")[1])
    assert {entry["name"] for entry in found} == set(loading.known())
    assert [entry["name"] for entry in found if entry["chosen"]] == ["numpy"]


def test_xor_for_programs():
    found = json.loads(run("xor", "--json", "--steps", "3000")[1])
    assert found["steps"] == 3000
    assert [row["right"] for row in found["rows"]] == [True] * 4
    assert [line["step"] for line in found["losses"]] == [0, 1, 10, 100, 1000, 3000]
