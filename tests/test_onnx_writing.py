"""Models as ONNX graphs: onnxruntime computes what `predict` does."""

import json
import os
import sys

import numpy as np
import pytest
from compare import assert_same_bits
from graphs import MIXED, anywhere, mixed
from hypothesis import given
from hypothesis import strategies as st
from samples import WRITABLE, biased, label, rows_for

import fastnet as fn
from fastnet import tables

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

#: Tolerances, relative to the largest output; GELU's erf is float32 in float64 too.
EXPORTED = {"float32": 1e-5, "float64": 1e-13, "erf": 1e-6}


def ask(path, x, categories=0):
    """The outputs of onnxruntime."""
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {"x": x}
    if categories:
        given = {"numbers": x[:, :-categories], "categories": x[:, -categories:].astype(np.int64)}
        given = {name: array for name, array in given.items() if array.size}
    assert [entry.name for entry in session.get_inputs()] == list(given)
    return session.run(["prediction"], given)[0]


def agree(found, wanted, tolerance):
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert np.isfinite(found).all()
    assert np.abs(found - wanted).max() <= tolerance * max(1.0, float(np.abs(wanted).max()))


def tolerance(network, dtype):
    exact = any(
        layer.activation == fn.GELU() for layer in network.layers if isinstance(layer, fn.Dense)
    )
    return EXPORTED["erf" if exact and dtype == "float64" else dtype]


def network_of(hidden, output, loss="mse"):
    layers = [
        fn.Dense(5, hidden),
        fn.Dropout(0.2),
        fn.Dense(4, hidden, bias=False),
        fn.Dense(3, output),
    ]
    return fn.Network(6, layers, loss)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", [*WRITABLE, fn.Softmax()], ids=label)
def test_every_activation_at_any_number_of_rows(tmp_path, activation, dtype):
    network = network_of("tanh" if activation == fn.Softmax() else activation, activation)
    model = biased(fn.Model(network, backend="numpy", dtype=dtype, seed=1))
    assert model.to_onnx(str(tmp_path / "model.onnx")) is None
    for rows in (1, 2, 7, 1000):
        x = (4 * rows_for(network, rows)[0]).astype(dtype)
        found = ask(tmp_path / "model.onnx", x)
        agree(found, model.predict(x), tolerance(network, dtype))
    assert os.listdir(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", [*WRITABLE, fn.Softmax()], ids=label)
def test_extreme_rows_and_rows_that_are_not_finite(tmp_path, activation, dtype):
    model = fn.Model(fn.Network(1, [fn.Dense(2, activation, init=np.eye(1, 2))]), backend="numpy",
                     dtype=dtype)  # fmt: skip
    x = np.array([0, -0.0, 80, -80, 1e4, -1e4, 1e-30, np.nan, np.inf, -np.inf], dtype)[:, None]
    model.to_onnx(tmp_path / "model.onnx")
    with np.errstate(all="ignore"):
        wanted = model.predict(x)
    near = tolerance(model.network, dtype)
    np.testing.assert_allclose(ask(tmp_path / "model.onnx", x), wanted, near, near)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MIXED)
def test_every_layer(tmp_path, name, dtype):
    wide = anywhere(mixed(name), "numpy")
    model = fn.Model.of(wide.network, dict(wide.parameters), backend="numpy", dtype=dtype)
    model.to_onnx(tmp_path / "model.onnx")
    x = rows_for(model.network, 30)[0].astype(dtype)
    categories = len(model.network.categories)
    x[:, : x.shape[1] - categories] *= 2
    near = EXPORTED[dtype]
    if dtype == "float64":
        # ONNX has epsilon in float32, off by 2**-25: a norm by half of that at most.
        text = str(model.network)
        near = 1e-6 if "gelu" in text else 1e-7 if "Norm" in text else 1e-12
    agree(ask(tmp_path / "model.onnx", x, categories), model.predict(x), near)


@given(
    widths=st.lists(st.integers(1, 20), min_size=2, max_size=5),
    rows=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_any_shape_is_written_and_read_back(tmp_path, widths, rows, seed, data):
    layers = [
        fn.Dense(units, data.draw(st.sampled_from(WRITABLE)), bias=data.draw(st.booleans()))
        for units in widths[1:]
    ]
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    model = biased(fn.Model(fn.Network(widths[0], layers), backend="numpy", dtype=dtype, seed=seed))
    path = tmp_path / "model.onnx"
    model.to_onnx(path)
    x = rows_for(model.network, rows)[0].astype(dtype)
    agree(ask(path, x), model.predict(x), tolerance(model.network, dtype))
    found = fn.from_onnx(path, backend="numpy", loss="mse")
    assert found.network == model.network
    assert found.dtype == dtype
    assert_same_bits(found.parameters.flat, model.parameters.flat)


def test_the_graph_is_standard_and_names_its_producer(tmp_path):
    model = fn.Model(network_of("gelu", "softmax", "crossentropy"), backend="numpy", seed=1)
    model.to_onnx(tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]
    assert proto.ir_version == 8
    assert proto.producer_name == "fastnet"
    assert not proto.functions
    rows = proto.graph.input[0].type.tensor_type.shape.dim[0]
    assert rows.dim_param == "rows"
    assert "Dropout" not in {node.op_type for node in proto.graph.node}


def of_a_table(task, dtype):
    """A model trained on a table with large offsets, its rows, and their predictions."""
    generator = np.random.default_rng(3)
    x = generator.standard_normal((200, 3)) * [1.0, 1e3, 1e-3] + [1e6, -5e3, 0.0]
    frame = dict(zip("abÄ", x.T, strict=True))
    bent = (x[:, 0] - 1e6) * (x[:, 1] + 5e3)
    if task == "classification":
        frame["y"] = np.array(["no", "perhaps", "ja"])[np.digitize(bent, [-500, 500])]
    else:
        frame["y"] = 1e6 + 3 * bent
    how = tables.Recipe(
        hidden=(8,), activation="tanh", epochs=5, bins=0, dtype=dtype, backend="numpy"
    )
    model = tables.train(frame, "y", how).model
    answers = tables.predict(model, frame)
    columns = [name for name in answers.columns if name.startswith("probability_")]
    return model, x, answers.select(columns or ["prediction"]).to_numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_table_is_standardized_in_the_graph(tmp_path, task, dtype):
    pytest.importorskip("polars", reason="Polars is not installed")
    model, x, wanted = of_a_table(task, dtype)
    path = tmp_path / "model.onnx"
    model.to_onnx(path, encoded=True)
    found = ask(path, x)
    assert found.dtype == (np.float64 if task == "regression" else np.dtype(dtype))
    near = 1e-5 * max(1.0, float(np.std(wanted)))
    assert np.abs(found - wanted).max() <= near
    back = fn.from_onnx(path, backend="numpy")
    assert back.dtype == "float64"
    assert np.abs(back.predict(x) - wanted).max() <= near
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == "fastnet.table"
    facts = json.loads(entry.value)
    assert facts["inputs"] == ["a", "b", "Ä"]
    assert (facts["target"], facts["task"]) == ("y", task)
    assert facts["classes"] == (["ja", "no", "perhaps"] if task == "classification" else [])


def test_a_column_of_several_inputs(tmp_path):
    pytest.importorskip("polars", reason="Polars is not installed")
    generator = np.random.default_rng(8)
    ages = [None if i % 7 == 0 else float(i) for i in range(60)]
    towns = [["Rome", "Bern", None][i % 3] for i in range(60)]
    frame = {"age": ages, "town": towns, "y": generator.standard_normal(60) * 5 + 1000}
    how = tables.Recipe(hidden=(4,), epochs=3, validation=0.0, backend="numpy")
    model = tables.train(frame, "y", how).model
    model.to_onnx(tmp_path / "model.onnx", encoded=True)
    (entry,) = onnx.load(tmp_path / "model.onnx").metadata_props
    names = json.loads(entry.value)["inputs"]
    assert sorted(names)[:2] == ["age", "age=missing"]
    assert len(names) == model.network.inputs
    given = np.array([[1, 0], [0, 1]], np.float64)
    rows = {"age": [30.0, None], "town": ["Bern", "Rome"]}
    x = np.zeros((2, len(names)))
    median = float(np.median([age for age in ages if age is not None]))
    for name, values in (
        ("age", [30.0, median]), ("age=missing", [0, 1]), ("town=Bern", given[0]),
        ("town=Rome", given[1]),
    ):  # fmt: skip
        x[:, names.index(name)] = values
    wanted = tables.predict(model, rows)["prediction"].to_numpy()[:, None]
    agree(ask(tmp_path / "model.onnx", x), wanted, 1e-7)


def test_a_failed_write_keeps_the_old_file(tmp_path):
    model = fn.Model(fn.Network(2, [fn.Dense(1)]), backend="numpy")
    path = tmp_path / "model.onnx"
    model.to_onnx(path)
    before = path.read_bytes()
    model.parameters["0.weight"][0, 0] = np.nan
    with pytest.raises(fn.DataError, match=r"'0.weight' holds nan in row 0, column 0"):
        model.to_onnx(path)
    assert path.read_bytes() == before
    model.parameters["0.weight"][0, 0] = 0
    with pytest.raises(fn.FileAccessError, match="Make the folder"):
        model.to_onnx(tmp_path / "none" / "model.onnx")
    with pytest.raises(fn.FileAccessError, match="is a folder"):
        model.to_onnx(tmp_path)
    with pytest.raises(fn.DefinitionError, match="path is 3"):
        model.to_onnx(3)
    model.table = {"columns": []}
    with pytest.raises(fn.ModelFileError, match="table schema in the model"):
        model.to_onnx(path)
    assert path.read_bytes() == before


def test_a_model_too_large_for_the_format_is_refused(tmp_path, monkeypatch):
    from fastnet.interchange import onnx_writer

    monkeypatch.setattr(onnx_writer, "_MOST_BYTES", 11)
    model = fn.Model(fn.Network(2, [fn.Dense(1)]), backend="numpy")
    with pytest.raises(fn.DefinitionError, match=r"12 bytes of parameters.*less than 2 GiB"):
        model.to_onnx(tmp_path / "model.onnx")
    assert not os.listdir(tmp_path)


def test_without_onnx_the_error_has_the_pip_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    model = fn.Model(fn.Network(2, [fn.Dense(1)]), backend="numpy")
    with pytest.raises(fn.MissingExtra, match='pip install "onnx>='):
        model.to_onnx(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(fn.MissingExtra, match='pip install "onnx>='):
        fn.from_onnx(tmp_path / "model.onnx")
