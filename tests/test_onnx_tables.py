"""A table's model as an ONNX graph of the table's own columns: onnxruntime answers as `predict`."""

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest
from frames import voyage

import fastnet as fn
from fastnet import tables

onnx = pytest.importorskip("onnx", reason="the package onnx writes the files")
runtime = pytest.importorskip("onnxruntime", reason="it runs the files")

EPOCH = dt.datetime(1970, 1, 1)


def passengers():
    """Every kind of column, with gaps, and names that the graph itself would use."""
    random = np.random.default_rng(4)
    days = random.uniform(-60_000, 60_000, 400)
    moments = [EPOCH + dt.timedelta(days=day) for day in days]
    return voyage().with_columns(
        pl.Series("when", [None if i % 9 == 4 else m for i, m in enumerate(moments)]),
        pl.Series("prediction", random.standard_normal(400)),
        pl.Series("axis", random.standard_normal(400)),
        pl.Series("fare paid, £", 10 + random.standard_normal(400) / 7),
    )


def ask(path, model, frame):
    """The graph's answers, by the names of its outputs."""
    given = {}
    for column in tables.Table.of(model).columns:
        values = frame[column.name]
        if column.kind == "categories":
            given[column.name] = np.array([v or "" for v in values.cast(pl.String)], object)
        elif column.kind == "dates":
            given[column.name] = np.array([
                np.nan if v is None else (v - EPOCH) / dt.timedelta(days=1) for v in values
            ])  # fmt: skip
        else:
            given[column.name] = values.cast(pl.Float64).fill_null(np.nan).to_numpy()
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == set(given)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


@pytest.mark.parametrize(
    ("target", "task", "dtype"),
    [
        ("survived", "classification", "float32"),
        ("sex", "classification", "float64"),
        ("class", "classification", "float64"),
        ("class", "regression", "float32"),
        ("fare paid, £", "regression", "float64"),
    ],
)
def test_onnxruntime_answers_as_predict(tmp_path, target, task, dtype):
    frame = passengers()
    coded = () if target == "class" else ("class",)
    recipe = tables.Recipe(task=task, date=("when",), categorical=coded, categories=2, bins=4,
                           dtype=dtype, hidden=(8,), epochs=3, backend="numpy")  # fmt: skip
    model = tables.train(frame, target, recipe).model
    unknown = pl.when(pl.col("id") % 7 == 0).then(pl.lit("nowhere")).otherwise(pl.col("port"))
    rows = frame.with_columns(port=unknown)
    expected = tables.predict(model, rows)
    path = tmp_path / "model.onnx"
    model.to_onnx(path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    found = ask(path, model, rows)
    near = 1e-6 if dtype == "float32" else 1e-10
    if task == "regression":
        assert list(found) == ["prediction_"]
        wanted = expected["prediction"].to_numpy()
        assert np.abs(found["prediction_"] - wanted).max() < near * max(np.std(wanted), 1)
        return
    assert found["prediction_"].tolist() == expected["prediction"].to_list()
    wanted = expected.drop("prediction", "probability").to_numpy()
    assert found["probabilities"].dtype == dtype
    assert np.abs(found["probabilities"] - wanted).max() < near
    one = ask(path, model, rows.head(1))
    assert np.abs(one["probabilities"] - wanted[:1]).max() < near
    facts = json.loads(onnx.load(path).metadata_props[0].value)
    assert facts["classes"] == list(tables.Table.of(model).classes)


def test_booleans_and_refused_gaps(tmp_path):
    random = np.random.default_rng(0)
    frame = pl.DataFrame({"a": random.standard_normal(60), "b": ["u", "v", "w"] * 20})
    frame = frame.with_columns(y=pl.col("a") > 0)
    recipe = tables.Recipe(missing="error", epochs=3, hidden=(4,), backend="numpy")
    model = tables.train(frame, "y", recipe).model
    model.to_onnx(tmp_path / "model.onnx")
    found = ask(tmp_path / "model.onnx", model, frame)
    assert found["prediction"].dtype == bool
    assert found["prediction"].tolist() == tables.predict(model, frame)["prediction"].to_list()


def test_what_a_graph_cannot_be_made_of_is_said(tmp_path):
    frame = pl.DataFrame({"a": [0.5, 1.0, 2.0] * 9, "": [1, 2, 4] * 9, "y": [1.5, 2.0, 2.5] * 9})
    recipe = tables.Recipe(categorical=("",), epochs=1, backend="numpy")
    model = tables.train(frame, "y", recipe).model
    with pytest.raises(fn.DefinitionError, match=r"a column .* has no name.*encoded=True"):
        model.to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    model.to_onnx(tmp_path / "model.onnx", encoded=True)
    assert fn.from_onnx(tmp_path / "model.onnx", backend="numpy").network.inputs == 4
