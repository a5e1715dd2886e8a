"""What CONTRIBUTING says: how an activation is added, to the letter, and where things are."""

import re
from pathlib import Path

import numpy as np
import pytest
from differences import assert_model_gradient

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.definition.activations import ACTIVATIONS
from fastnet_numpy.activations import FUNCTIONS

GUIDE = Path(__file__).parent.parent / "CONTRIBUTING.md"


def test_the_files_that_it_names_are_there():
    folders = [GUIDE.parent / name for name in ("fastnet", "backends", "bench", "tests", "docs")]
    there = {file.name for folder in folders for file in folder.rglob("*.*")}
    named = set(re.findall(r"`(?:[\w/]+/)?(\w+\.(?:py|cu|cuh|sh|md))`", GUIDE.read_text()))
    assert len(named) > 100
    assert named - there == {"names.cuh"}  # which is made when a kernel is compiled


@pytest.fixture
def snake(monkeypatch):
    """The guide's own code, run; the registries are put back afterwards."""
    (code,) = re.findall(r"\*\*an activation\.\*\*.*?```python\n(.*?)```", GUIDE.read_text(), re.S)
    for registry in (ACTIVATIONS, FUNCTIONS):
        monkeypatch.setitem(registry, "snake", None)
    names = {"__name__": "theirs"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    return names["Snake"]


def network(snake):
    return fn.Network(3, [fn.Dense(6, snake(frequency=2.0)), fn.Dense(1, "snake")])


def rows():
    x = np.random.default_rng(1).normal(size=(40, 3))
    return x, np.sin(x.sum(axis=1, keepdims=True))


def test_it_trains_on_numpy_with_the_exact_gradient(snake):
    model = fn.Model(network(snake), backend="numpy", dtype="float64", seed=1)
    x, y = rows()
    assert_model_gradient(model, x, y)
    before = model.evaluate(x, y)
    model.fit(x, y, epochs=50)
    assert model.evaluate(x, y) < before / 2


def test_it_goes_to_files_and_back(snake, tmp_path):
    model = fn.Model(network(snake), backend="numpy", seed=1)
    model.save(tmp_path / "m.safetensors")
    same = fn.load(tmp_path / "m.safetensors", backend="numpy")
    assert same.network.layers[0].activation == snake(frequency=2.0)
    x, _ = rows()
    np.testing.assert_array_equal(same.predict(x), model.predict(x))
    assert fn.Network.from_toml(model.network.to_toml()) == model.network


def test_a_file_whose_activation_is_not_imported_says_so(snake, tmp_path, monkeypatch):
    fn.Model(network(snake), backend="numpy").save(tmp_path / "m.safetensors")
    monkeypatch.delitem(ACTIVATIONS, "snake")
    with pytest.raises(fn.ModelFileError, match=r"activation 'snake'.*import that module first"):
        fn.load(tmp_path / "m.safetensors", backend="numpy")


@pytest.mark.parametrize("name", ["numba", "cupy", "array_api"])
def test_every_other_backend_refuses_it_by_its_name(snake, name):
    if name == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    wanted = f"'{name}' does not have activation 'snake'; these backends have it: 'numpy'"
    with pytest.raises(fn.BackendUnavailable, match=wanted):
        loading.load(name).compile(lower(network(snake)), np.dtype(np.float32), None, None)
