"""Cross-validation of a table."""

import json
import os
import re

import numpy as np
import pytest
from commands import refuse, run
from frames import voyage

from fastnet import tables
from fastnet.errors import DataError, DefinitionError

pytestmark = pytest.mark.usefixtures("on_numpy")

RECIPE = tables.Recipe(hidden=(8,), epochs=6, drop=("name", "id"))


def test_each_fold_is_a_training_without_its_rows():
    table = voyage(120)
    found = tables.cross_validate(table, "survived", RECIPE, folds=4)
    assert [one.rows for one in found.evaluations] == [30] * 4
    rows = set()
    for trained in found.folds:
        assert (trained.training.rows, trained.validation.rows) == (72, 18)
        rows.add(trained.model.parameters.flat.tobytes())
    assert len(rows) == 4
    for name, values in found.metrics.items():
        assert found.mean[name] == pytest.approx(np.mean(values), rel=1e-12)
        assert found.deviation[name] == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert "deviation" in found._repr_html_()
    groups = tables.Recipe(**{"hidden": (4,), "epochs": 2, "drop": ("name",), "group": "port"})
    with pytest.raises(DataError, match="'port' has 3 groups, too few for 4 folds"):
        tables.cross_validate(voyage(120, gaps=False), "survived", groups, folds=4)
    for settings in ({}, {"group": "port"}, {"time": "age"}):  # no room is made for so many
        recipe = tables.Recipe(**{"hidden": (4,), "drop": ("name",), **settings})
        with pytest.raises(DataError, match="120 rows are too few for 1,000,000,000,000 folds"):
            tables.cross_validate(voyage(120, gaps=False), "survived", recipe, folds=10**12)
    with pytest.raises(DefinitionError, match="folds is 1; a cross-validation needs at least 2"):
        tables.cross_validate(table, "survived", RECIPE, folds=1)
    with pytest.raises(DefinitionError, match="a cross-validation tests every row"):
        tables.cross_validate(table, "survived", tables.Recipe(test=0.2))


def test_an_interrupted_cross_validation_continues_as_if_it_had_not_been(tmp_path):
    whole = tables.cross_validate(voyage(120), "survived", RECIPE, folds=3)
    began = []

    def stop(number, fit):
        began.append(number)
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tables.cross_validate(
            voyage(120), "survived", RECIPE, folds=3, checkpoint=tmp_path / "c", on_fold=stop
        )
    assert sorted(os.listdir(tmp_path)) == ["c-fold-1", "c-fold-2"]
    assert began == [1, 2, 3]
    again = tables.cross_validate(
        voyage(120), "survived", RECIPE, folds=3, checkpoint=tmp_path / "c", resume=True
    )
    assert again.metrics == whole.metrics
    for one, other in zip(whole.folds, again.folds, strict=True):
        assert one.model.parameters.flat.tobytes() == other.model.parameters.flat.tobytes()


def test_the_command_prints_mean_and_deviation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    voyage(120).write_csv("v.csv")
    command = ("train", "v.csv", "--target", "survived", "--epochs", 3, "--drop", "name,id")
    code, out, err = run(*command, "--cross-validate", 3)
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert ["mean", "deviation", "lowest", "highest"] in lines
    found = json.loads(run(*command, "--cross-validate", 3, "--json")[1])["cross_validation"]
    mean, deviation = found["accuracy"]["mean"], found["accuracy"]["deviation"]
    low, high = min(found["accuracy"]["folds"]), max(found["accuracy"]["folds"])
    shown = [f"{value:.2%}" for value in (mean, deviation, low, high)]
    assert ["accuracy", *shown] in lines
    assert re.findall(r"fold (\d) of 3: 64 training rows, 16 validation rows, 40 test", err) == [
        "1",
        "2",
        "3",
    ]
    assert os.listdir() == ["v.csv"]
    with open("c.toml", "w") as file:
        file.write("cross_validate = 3\n")
    code, out, _ = run(*command, "--config", "c.toml", "-o", "m.safetensors", "--json")
    assert json.loads(out)["cross_validation"] == found
    assert json.loads(out)["training"]["rows"] == 96
    assert sorted(os.listdir()) == ["c.toml", "m.safetensors", "v.csv"]
    before = sorted(os.listdir())
    assert "120 rows are too few for" in refuse(*command, "--cross-validate", 10**12)
    assert sorted(os.listdir()) == before
    with open("c.toml", "w") as file:
        file.write("cross_validate = 1\n")
    assert "cross_validate is 1; it must be 2" in refuse(*command, "--config", "c.toml", code=2)
    with open("c.toml", "w") as file:
        file.write("cross_validate = 3\n")
    assert "-o FILE is required" in refuse(*command, code=2)
    assert "leave out --test" in refuse(*command, "--cross-validate", 2, "--test", "v.csv", code=2)
    open("m.safetensors.checkpoint-fold-2", "w").close()
    error = refuse(*command, "--config", "c.toml", "-o", "m.safetensors", code=2)
    assert "'m.safetensors.checkpoint-fold-2' already exists: add --resume" in error
