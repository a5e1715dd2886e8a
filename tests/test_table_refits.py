"""Training once more on training and validation rows: epochs, figures, and what stays."""

import json

import numpy as np
import polars as pl
import pytest
from commands import refuse, run
from compare import assert_same_bits
from frames import voyage

import fastnet as fn
from fastnet import tables
from fastnet.errors import DataError, DefinitionError
from fastnet.tables.refitting import epochs_of, refit_checkpoint
from fastnet.tables.splitting import RowFacts, folds, hold_out
from fastnet.training.progress import Bar

QUICK = {
    "hidden": (8,),
    "epochs": 12,
    "learning_rate": 0.01,
    "backend": "numpy",
    "dtype": "float64",
}


def prices(rows=300, seed=0):
    """A target that is far from symmetric, and a category that only one row has."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(rows)
    kind = rng.choice(["x", "y"], rows).tolist()
    price = np.exp(2 * a + (np.array(kind) == "x") + 0.1 * rng.standard_normal(rows))
    return pl.DataFrame({"a": a, "kind": kind, "price": price})


def test_epochs_are_those_of_the_best_one_or_the_last_one_that_is_as_good():
    losses = [0.5, 0.1, 0.109, 0.111, 0.105, 0.12]
    assert epochs_of(losses, "classification", 100, 50) == 2
    assert epochs_of(losses, "regression", 100, 50) == 5
    assert epochs_of(losses, "regression", 4, 50) == 50  # all are, and it may go on
    assert epochs_of(losses, "regression", 10**9, 50) == 2
    assert epochs_of(losses[:2], "regression", 100, 2) == 2
    assert epochs_of([1.0, 0.95, 0.952, 0.96], "regression", 100, 50) == 3  # little is learned
    assert epochs_of([1.2, 1.1, 1.15], "regression", 100, 50) == 2  # nothing is


@pytest.mark.parametrize("members", [1, 2])
def test_a_refit_is_a_training_on_all_rows_that_are_not_for_tests(members):
    table = voyage()
    recipe = tables.Recipe(test=0.2, members=members, seed=3, refit=True, **QUICK)
    found = tables.train(table, "survived", recipe)
    once = tables.train(table, "survived", tables.Recipe(**{**vars(recipe), "refit": False}))
    assert (found.training, found.validation) == (once.training, once.validation)
    assert found.best_epoch == once.best_epoch
    assert found.history.validation_loss == once.history.validation_loss
    y = table["survived"].to_numpy()
    rest, tested = hold_out(RowFacts(len(y), y), 3, 0.2, "test")
    settings = tables.Recipe(members=members, seed=3, validation=0, **QUICK)
    fit = tables.TableFit(table[rest.tolist()], "survived", settings)
    models = list(found.model) if members > 1 else [found.model]
    x, labels, losses = fit.training.x, fit.training.y, []
    for kept, held_out in folds(RowFacts(len(rest), y[rest]), 3, 5):
        fold = fn.Model(models[0].network, seed=3, backend="numpy", dtype="float64")
        fold.fit(
            x[kept],
            labels[kept],
            optimizer=recipe.build_optimizer(),
            epochs=12,
            validation=(x[held_out], labels[held_out]),
            l2=recipe.l2_for(once.training.rows, "classification"),
        )
        losses.append(fold.history.validation_loss)
    losses = np.mean(losses, axis=0).tolist()
    for model in models:
        alone = fn.Model(model.network, seed=model.seed, backend="numpy", dtype="float64")
        alone.fit(
            fit.training.x,
            fit.training.y,
            optimizer=fn.Adam(fn.Cosine(0.01, epochs=12)),
            epochs=losses.index(min(losses)) + 1,
            l2=fit.l2,
        )
        assert_same_bits(model.parameters.flat, alone.parameters.flat)
    assert found.table.columns == fit.table.columns  # medians and categories of all these rows
    judged = tables.evaluate(found.model, table[tested.tolist()])
    assert found.test.metrics == pytest.approx(judged.metrics)
    assert found.importances() == pytest.approx(tables.importances(found.model, found.test))
    assert tables.Table.of(found.model).training["refit_epochs"] >= 1
    assert "trained once more on training and validation rows" in found._repr_html_()


class Ended(Bar):
    """Ctrl-C in the refit, which has no validation rows."""

    def update(self, done, epochs, history):
        if done >= 3 and not history.validation_loss:
            raise KeyboardInterrupt


def test_a_refit_that_is_ended_goes_on_from_its_own_checkpoint(tmp_path):
    recipe, path = tables.Recipe(refit=True, **QUICK), tmp_path / "c"
    whole = tables.train(prices(), "price", recipe)
    with pytest.raises(KeyboardInterrupt):
        tables.train(prices(), "price", recipe, checkpoint=path, progress=Ended())
    assert path.exists()
    assert refit_checkpoint(path).exists()
    found = tables.train(prices(), "price", recipe, checkpoint=path, resume=True)
    assert_same_bits(found.model.parameters.flat, whole.model.parameters.flat)
    assert found.table == whole.table
    assert not refit_checkpoint(path).exists()


def test_refits_that_cannot_be_are_refused_and_the_default_leaves_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prices().write_csv("p.csv")
    command = ("train", "p.csv", "--target", "price", "-o", "p", "--epochs", 2, "--hidden", 4)
    for options, reason in {
        ("--validation", 0): "no rows are held out",
        ("--validation", "p.csv"): "a table of their own",
        ("--memory", "100MB"): "",
    }.items():
        said = "" if not reason else refuse(*command, *options, "--refit", code=2)
        assert reason in said
        assert json.loads(run(*command, *options, "--json")[1])["refit_epochs"] is (
            2 if not reason else None
        )
    assert run("convert", "p.csv", "kept", "--target", "price")[0] == 0
    assert "not read into memory" in refuse("train", "kept", "-o", "p", "--refit", code=2)
    for settings, refits in (({}, True), ({"members": 2}, False), ({"refit": False}, False)):
        assert tables.TableFit(prices(), "price", tables.Recipe(**settings)).refits is refits
    assert tables.TableFit(voyage(), "survived", tables.Recipe(members=2)).refits
    many = pl.DataFrame({"a": np.arange(20_001.0), "y": np.arange(20_001) % 2})
    assert not tables.TableFit(many, "y", tables.Recipe()).refits
    with pytest.raises(DefinitionError, match="refit is 'yes'; it must be True, False or None"):
        tables.Recipe(refit="yes")


# --- the logarithm of a target -----------------------------------------------------------------


def test_a_skewed_target_is_learned_by_its_logarithm_and_predicted_in_its_unit(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    table = prices()
    table.write_csv("p.csv")
    settings = {**QUICK, "epochs": 60, "test": 0.2, "refit": False}
    found = tables.train(table, "price", tables.Recipe(**settings))
    assert found.table.log_target
    plain = tables.train(table, "price", tables.Recipe(**settings, log_target=False))
    assert not plain.table.log_target
    assert found.test.score > max(0.9, plain.test.score)
    assert found.test.metrics["rmse"] == pytest.approx(
        np.sqrt(np.mean((found.test.targets - found.test.predicted) ** 2))
    )
    found.model.save("p")
    model = fn.load("p", backend="numpy")
    x = tables.Table.of(model).inputs(table.drop("price"))
    mean, scale = found.table.target_mean, found.table.target_scale
    wanted = np.exp(mean + scale * model.predict(x, encoded=True)[:, 0])
    predicted = tables.predict(model, table)["prediction"].to_numpy()
    np.testing.assert_array_equal(predicted, wanted)
    other = table.with_columns(price=pl.Series([0.0, -1.0, *table["price"][2:]]))
    assert np.isfinite(tables.evaluate(model, other).loss)  # what has no logarithm is far below
    said = run("evaluate", "p", "p.csv")[1]
    assert "R²" in said
    assert "standard deviation" in run("show", "p")[1]
    assert "of its logarithm" in run("show", "p")[1]
    with pytest.raises(DataError, match=r"the target 'price' is -1 in a row to train on"):
        tables.TableFit(other, "price", tables.Recipe(log_target=True, validation=0))
    # Rows held out for validation are trained on by a refit, so they decide too.
    last = table.with_columns(price=pl.Series([*table["price"][:-1], 0.0]), day=np.arange(300))
    for refit in (True, False):
        fit = tables.TableFit(last, "price", tables.Recipe(time="day", refit=refit))
        assert fit.table.log_target is not refit
        assert np.isfinite(fit.validation.y).all()
    with pytest.raises(DefinitionError, match="log_target is for a regression"):
        tables.TableFit(voyage(), "survived", tables.Recipe(log_target=True))
    for symmetric in (table["a"] - table["a"].min() + 1, table["a"] ** 3):
        fit = tables.TableFit(table.with_columns(price=symmetric), "price", tables.Recipe())
        assert not fit.table.log_target


def test_the_onnx_file_of_a_logarithm_answers_alike(tmp_path):
    pytest.importorskip("onnxruntime", reason="it runs the exported graph")
    from test_onnx_tables import ask

    found = tables.train(prices(), "price", tables.Recipe(**QUICK))
    found.model.to_onnx(tmp_path / "p.onnx")
    answers = ask(tmp_path / "p.onnx", found.model, prices())
    expected = tables.predict(found.model, prices())["prediction"]
    np.testing.assert_allclose(np.ravel(answers["prediction"]), expected, rtol=1e-9)
