"""Several networks trained on one table at once: the ensemble, its file, and what commands do."""

import json

import numpy as np
import polars as pl
import pytest
from commands import refuse, run
from compare import assert_same_bits
from frames import voyage
from test_onnx_tables import ask

import fastnet as fn
from fastnet import tables
from fastnet.sklearn import TableClassifier, TableRegressor
from fastnet.tables import metrics

QUICK = {"hidden": (8,), "epochs": 12, "learning_rate": 0.01, "backend": "numpy", "refit": False}


def waves(rows, seed):
    """y of a wavy function with noise, far from standardized."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-2, 2, (2, rows))
    return pl.DataFrame({"a": a, "b": b, "y": 50 + 10 * np.sin(a + b) + rng.standard_normal(rows)})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTNET_BACKEND", "numpy")
    monkeypatch.chdir(tmp_path)
    voyage().write_csv("voyage.csv")
    waves(600, 0).write_csv("waves.csv")
    return tmp_path


def test_members_of_a_table_are_the_models_of_their_seeds():
    recipe = tables.Recipe(members=3, seed=5, weights="fare", class_weight="balanced", **QUICK)
    fare = 1 + np.arange(400) % 3
    fit = tables.TableFit(voyage().with_columns(fare=fare), "survived", recipe)
    rows, held_out = fit.training, fit.validation
    trained = fit.run()
    assert isinstance(trained.model, fn.Ensemble)
    for seed, member in zip((5, 6, 7), trained.model, strict=True):
        alone = fn.Model(member.network, seed=seed, backend="numpy")
        alone.fit(
            rows.x,
            rows.y,
            sample_weight=rows.weight,
            class_weight="balanced",
            optimizer=recipe.build_optimizer(),
            epochs=12,
            validation=(held_out.x, held_out.y, held_out.weight),
            early_stopping=recipe.patience,
            l2=fit.l2,
            metrics=("accuracy",),
        )
        assert_same_bits(member.parameters.flat, alone.parameters.flat)
        assert member.history.validation_loss == alone.history.validation_loss
    (population,) = trained.model.populations
    for call in (
        lambda: population.predict(rows.x),
        lambda: population.evaluate(rows.x, rows.y),
        lambda: population.fit(rows.x, rows.y),
        lambda: trained.model.fit(rows.x, rows.y),
    ):
        with pytest.raises(fn.DataError, match="this model was trained from a table"):
            call()
    assert_same_bits(
        population.predict(rows.x, encoded=True)[1], population[1].predict(rows.x, encoded=True)
    )
    losses = [member.history.validation_loss for member in trained.model]
    np.testing.assert_allclose(trained.history.validation_loss, np.mean(losses, 0), rtol=1e-12)
    assert trained.best_epoch == round(np.mean(np.argmin(losses, 1) + 1))


def test_intervals_are_calibrated_on_the_validation_rows(folder):
    settings = ("--hidden", 16, "--epochs", 30, "--members", 4, "--validation", 0.4)
    code, out, err = run("train", "waves.csv", "--target", "y", "-o", "w", *settings)
    assert code == 0, err
    assert "4 members; 30 epochs" in out
    new = waves(2_000, 1)
    new.write_csv("new.csv")
    assert run("predict", "w", "new.csv", "--interval", 0.9, "-o", "p.csv")[0] == 0
    found = pl.read_csv("p.csv")
    assert found.columns == ["prediction", "lower", "upper"]
    assert 0.85 < metrics.coverage(new["y"], found["lower"], found["upper"]) < 0.95
    middle = (found["lower"] + found["upper"]).to_numpy() / 2
    np.testing.assert_allclose(found["prediction"], middle, rtol=1e-5)
    ensemble = fn.load_ensemble("w")
    assert len(ensemble.scores) == 240
    parts = []
    for member in ensemble:
        member.table = ensemble.table
        parts.append(tables.predict(member, new)["prediction"].to_numpy())
    np.testing.assert_allclose(found["prediction"], np.mean(parts, axis=0), rtol=1e-6)
    answers = ask_exported("w", ensemble, new)
    np.testing.assert_allclose(answers["prediction"], found["prediction"], rtol=1e-5)


def ask_exported(file, model, frame):
    assert run("export", file, "exported.onnx")[0] == 0
    return ask("exported.onnx", model, frame)


def test_commands_take_an_ensemble_as_they_take_a_model(folder):
    pytest.importorskip("onnxruntime", reason="it runs the exported graph")
    (folder / "net.toml").write_text("members = 3\nepochs = 10\nhidden = 8\n")
    train = ("train", "voyage.csv", "--target", "survived", "-o", "v", "--config", "net.toml")
    code, out, err = run(*train, "--plot", "v.png", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["members"], len(report["history"]["loss"])) == (3, 10)
    shown = json.loads(run("show", "v", "--json")[1])
    assert (shown["kind"], shown["members"], shown["training"]["members"]) == ("ensemble", 3, 3)
    assert shown["parameters"] == report["parameters"]
    assert "an ensemble of 3 members" in run("show", "v")[1]
    assert json.loads(run("evaluate", "v", "voyage.csv", "--json")[1])["rows"] == 400
    ensemble = fn.load_ensemble("v")
    predicted = tables.predict(ensemble, "voyage.csv")
    answers = ask_exported("v", ensemble, voyage())
    np.testing.assert_array_equal(answers["prediction"], predicted["prediction"])
    probabilities = predicted.select("probability_0", "probability_1")
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-6)
    with pytest.raises(fn.ModelFileError, match=r"an ensemble, not a model; fn\.load_ensemble"):
        fn.load("v")
    assert "predicts classes" in refuse("predict", "v", "voyage.csv", "--interval", 0.9, code=2)


def test_members_go_on_from_a_checkpoint(folder):
    train = ("train", "voyage.csv", "--target", "survived", "--members", 3, "--hidden", 8)
    train = (*train, "--optimizer", "adam")
    assert run(*train, "-o", "whole", "--epochs", 9)[0] == 0
    assert run(*train, "-o", "first", "--epochs", 4, "--checkpoint", "c")[0] == 0
    shown = json.loads(run("show", "c", "--json")[1])
    assert (shown["members"], shown["epochs"]) == (3, 4)
    code, _, err = run(*train, "-o", "rest", "--epochs", 9, "--checkpoint", "c", "--resume")
    assert code == 0, err
    assert "continuing after epoch 4" in err
    for one, other in zip(fn.load_ensemble("whole"), fn.load_ensemble("rest"), strict=True):
        assert_same_bits(one.parameters.flat, other.parameters.flat)


def test_what_members_cannot_do_is_said(folder):
    train = ("train", "waves.csv", "--target", "y", "-o", "w", "--epochs", 2, "--hidden", 4)
    assert run("convert", "waves.csv", "kept", "--target", "y")[0] == 0
    said = refuse("train", "kept", "-o", "w", "--members", 2, code=2)
    assert "members is 2, and several networks are trained on a table in memory" in said
    refuse(*train, "--members", 0, code=2)
    assert run(*train)[0] == 0
    assert "intervals are of an ensemble" in refuse(
        "predict", "w", "waves.csv", "--interval", 0.9, code=2
    )
    code, _, err = run(*train, "--members", 2, "--cross-validate", 2, "--memory", "1GB")
    assert "--cross-validate needs the table in memory" in err
    code, _, err = run(*train, "--members", 2, "--cross-validate", 2, "--validation", 6 / 600)
    assert code == 0, err
    said = refuse("predict", "w", "waves.csv", "--interval", 0.9, code=2)
    assert "coverage 0.9 needs at least 9 rows to calibrate with; there were 6" in said


def test_a_member_that_diverges_is_left_out():
    x = np.random.default_rng(0).standard_normal((50, 2))
    network = fn.Network(2, [fn.Dense(4, "tanh"), fn.Dense(1)])
    ensemble = fn.Ensemble(network, members=3, seed=1, backend="numpy")
    with pytest.warns(RuntimeWarning, match="1 of 3 members diverged"):
        histories = ensemble.fit(x, x[:, 0], optimizer=fn.SGD([0.01, 1e30, 0.02]), epochs=5)
    assert len(ensemble) == len(histories) == 2
    assert ensemble.populations[0].seeds == [1, 3]
    np.testing.assert_array_equal(ensemble.weights, [0.5, 0.5])
    assert np.isfinite(ensemble.predict(x)).all()


@pytest.mark.parametrize("estimator", [TableClassifier, TableRegressor])
def test_estimators_take_members(estimator):
    frame = voyage()
    target = "survived" if estimator is TableClassifier else "age"
    known = frame.filter(pl.col(target).is_not_null())
    found = estimator(n_members=2, random_state=0, **QUICK).fit(known.drop(target), known[target])
    assert len(found.model_) == 2
    predicted = tables.predict(found.model_, known)["prediction"].to_numpy()
    np.testing.assert_array_equal(found.predict(known.drop(target)), predicted)
