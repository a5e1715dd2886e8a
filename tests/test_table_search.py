"""`fastnet train --search`: what it tries, what comes out, and going on after a stop."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from commands import refuse, run
from compare import assert_same_bits
from frames import voyage

import fastnet as fn
from fastnet import tables
from fastnet.tables import searching

TRAIN = ("train", "voyage.csv", "--target", "survived", "--epochs", 6, "--test", 0.2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTNET_BACKEND", "numpy")
    monkeypatch.chdir(tmp_path)
    voyage().write_csv("voyage.csv")
    monkeypatch.setattr(searching, "CANDIDATES", 5)
    monkeypatch.setattr(searching, "HIDDEN", ((4,), (8, 4)))
    monkeypatch.setattr(searching, "DROPOUT", (0.0,))
    return tmp_path


def test_commands_take_what_a_search_found_and_a_stopped_search_goes_on(folder, monkeypatch):
    train = (*TRAIN, "--search", "5m", "--l2", 0.001, "--dropout", 0, "-o")
    code, out, err = run(*train, "whole", "--json")
    assert code == 0, err
    found = json.loads(out)["search"]
    assert "searching for settings, for 300 s at most" in err
    assert list(found[0]) == ["hidden", "learning_rate", "loss", "std"]  # not what is given
    assert [one["loss"] for one in found] == sorted(one["loss"] for one in found)
    assert not list(folder.glob("whole.*"))
    model = fn.load("whole")
    units = [layer.units for layer in model.network.layers if isinstance(layer, fn.Dense)]
    assert units[:-1] == found[0]["hidden"]

    fits, fit = [], fn.Population.fit

    def third_is_interrupted(self, *given, **named):
        fits.append(1)
        if len(fits) == 3:
            named["callbacks"] = [interrupt]
        return fit(self, *given, **named)

    def interrupt(model, history):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr(fn.Population, "fit", third_is_interrupted)
        code, out, err = run(*train, "stopped")
    assert code == 130
    assert "to continue, repeat the command with --resume" in err
    assert "already exists: add --resume" in refuse(*train, "stopped", code=2)
    code, out, err = run(*train, "stopped", "--resume")
    assert code == 0, err
    assert "continuing the search" in err
    assert "the best settings found, by cross-validation" in out
    assert len(out.splitlines()) <= 40  # one screen
    assert_same_bits(fn.load("stopped").parameters.flat, model.parameters.flat)
    assert not list(folder.glob("stopped.*"))

    assert "a search found hidden" in run("show", "stopped")[1]
    assert run("predict", "stopped", "voyage.csv", "-o", "p.csv")[0] == 0
    assert len(pl.read_csv("p.csv")) == 400
    assert json.loads(run("evaluate", "stopped", "voyage.csv", "--json")[1])["rows"] == 400
    assert run("export", "stopped", "stopped.onnx")[0] == 0


def test_the_search_sees_training_rows_only_and_keeps_groups_together(folder, monkeypatch):
    seen = {}
    search = searching.search_settings

    def watched(network, space, x, y, **named):
        seen.update(x=x, **named)
        return search(network, space, x, y, **named)

    monkeypatch.setattr(searching, "search_settings", watched)
    group = np.arange(400) // 8
    frame = voyage().with_columns(family=pl.Series(group))
    recipe = tables.Recipe(group="family", search=60.0, epochs=4, test=0.25, members=2)
    fit = tables.TableFit(frame, "survived", recipe)
    trained = fit.run()
    assert isinstance(trained.model, fn.Ensemble)
    assert trained.search[0].settings.keys() == {"hidden", "dropout", "learning_rate", "l2"}
    assert len(seen["x"]) == len(fit.training)
    groups = fit.facts.groups
    for kept, held_out in seen["folds"]:
        assert not set(groups[kept]) & set(groups[held_out])
    # The same training without a search, with what was found.
    plain = replace(recipe, search=None, **trained.search[0].settings)
    again = tables.TableFit(frame, "survived", plain).run()
    for one, other in zip(trained.model, again.model, strict=True):
        assert_same_bits(one.parameters.flat, other.parameters.flat)


def test_what_is_given_stays_and_the_recipes_own_settings_are_tried():
    recipe = tables.Recipe(optimizer={"name": "sgd", "learning_rate": 0.5}, hidden=(7,))
    choices, given = searching.space(recipe, 0.01)
    assert choices.keys() == {"dropout", "l2"}
    assert given == {"dropout": 0.0, "l2": 0.01}
    choices, given = searching.space(tables.Recipe(), 0.01)
    assert given == {"hidden": (64, 64), "dropout": 0.0, "learning_rate": 0.002, "l2": 0.01}
    usual = tables.Recipe(hidden=(64, 64), dropout=0.0)  # as without them, but given
    assert searching.space(usual, 0.01)[0].keys() == {"learning_rate", "l2"}
    assert usual.build_network(3, 1, "regression") == tables.Recipe().build_network(
        3, 1, "regression"
    )
    full = tables.Recipe(hidden=(7,), dropout=0.1, l2=0.0, learning_rate=0.1)
    with pytest.raises(fn.DefinitionError, match="search has nothing to look for"):
        searching.space(full, 0.01)


def test_a_damaged_result_of_a_search_is_refused(tmp_path):
    recipe = tables.Recipe(search=1.0, epochs=1, refit=False)
    fit = tables.TableFit(voyage(), "survived", recipe)
    searching.search_folder(tmp_path / "c").mkdir()
    for content in ("", "[]", '{"same": 1}', '{"same": 1, "best": [{}]}', '{"same": 1, "best": 2}'):
        (searching.search_folder(tmp_path / "c") / "found.json").write_text(content)
        with pytest.raises(fn.ModelFileError, match=r"found\.json', .* is damaged; remove"):
            fit.run(tmp_path / "c", resume=True)


def test_what_a_search_cannot_do_is_said(folder):
    for wrong in ("soon", "-3s", "0", "60sec", "nan", "inf"):
        said = refuse(*TRAIN, "-o", "v", "--search", wrong, code=2)
        assert f"search is {wrong!r}; it must be a time above 0, such as 60s" in said
    assert run("convert", "voyage.csv", "kept", "--target", "survived")[0] == 0
    said = refuse("train", "kept", "-o", "w", "--search", "2s", code=2)
    assert "search is 2.0, and several networks are trained on a table in memory" in said
