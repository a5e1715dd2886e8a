"""Searches: candidates, rounds, ranks, refits, ensembles, and going on after a stop."""

import copy
import itertools
import time

import numpy as np
import pytest
from compare import assert_same_bits

import fastnet as fn


def rings(rows=240, seed=0):
    """Two classes, one around the other, in float32."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 2)).astype(np.float32)
    return x, (np.linalg.norm(x, axis=1) > 1.2).astype(int)


def network(units, activation="tanh"):
    return fn.Network(2, [fn.Dense(units, activation), fn.Dense(2, "softmax")], loss="crossentropy")


SPACE = {"units": [2, 16], "learning_rate": [1e-5, 0.03], "l2": [0.0, 1e-3]}
OPTIONS = {"candidates": 40, "epochs": 36, "folds": 3, "batch_size": 32, "seed": 1}


@pytest.fixture(scope="module")
def found():
    return fn.search(network, SPACE, *rings(), metric="accuracy", backend="numpy", **OPTIONS)


def test_the_best_are_trained_longest_and_ranked_first(found):
    assert len(found.candidates) == 8  # as many as differ
    assert [one.epochs for one in found.candidates] == [36] * 3 + [12] * 5
    assert found.best.values["units"] == 16
    assert found.best.values["learning_rate"] == 0.03
    assert found.best.score > 0.9
    same = [one for one in found.candidates if one.epochs == found.best.epochs]
    assert [one.score for one in same] == sorted((one.score for one in same), reverse=True)
    assert found.rows()[0]["accuracy"] == found.best.score
    assert "<table>" in found._repr_html_()


def test_scores_are_those_of_models_trained_alone():
    x, y = rings()
    options = {**OPTIONS, "epochs": 5, "candidates": 6}
    found = fn.search(network, SPACE, x, y, reduction=None, backend="numpy", **options)
    for one in found.candidates[:2]:
        for fold in range(3):
            rows = found.folds != fold
            model = fn.Model(one.network, seed=1 + fold, backend="numpy")
            model.fit(
                x[rows],
                y[rows],
                optimizer=fn.Adam(one.values["learning_rate"]),
                l2=one.values["l2"],
                epochs=5,
                batch_size=32,
            )
            assert one.scores[fold] == pytest.approx(model.evaluate(x[~rows], y[~rows]), rel=1e-12)
            assert_same_bits(one.members[fold].parameters.flat, model.parameters.flat)


def test_rounds_are_parts_of_one_fit(found):
    x, y = rings()
    best = found.best
    for fold in range(2):
        rows = found.folds != fold
        model = fn.Model(best.network, seed=1 + fold, backend="numpy")
        rule = fn.Adam(best.values["learning_rate"])
        settings = {"optimizer": rule, "l2": best.values["l2"], "batch_size": 32}
        model.fit(x[rows], y[rows], epochs=12, **settings)
        model.fit(x[rows], y[rows], epochs=36, initial_epoch=12, **settings)
        assert_same_bits(best.members[fold].parameters.flat, model.parameters.flat)
        whole = fn.Model(best.network, seed=1 + fold, backend="numpy")
        whole.fit(x[rows], y[rows], epochs=36, **settings)
        assert_same_bits(whole.parameters.flat, model.parameters.flat)


def test_folds_hold_classes_alike(found):
    _, y = rings()
    counts = [np.bincount(y[found.folds == fold], minlength=2) for fold in range(3)]
    assert np.ptp(counts, axis=0).max() <= 1


def test_a_refit_and_an_ensemble_of_what_was_found_predict_well(found):
    x, y = rings()
    fresh, truth = rings(1_000, 7)
    model = found.refit(x, y)
    assert np.mean(model.predict(fresh).argmax(axis=1) == truth) > 0.9
    ensemble = found.ensemble(x, y)
    assert np.mean(ensemble.predict(fresh).argmax(axis=1) == truth) > 0.9
    assert len(ensemble) % 3 == 0
    assert found.best == found.best != copy.deepcopy(found.best)
    assert found.best in set(found.candidates)
    with pytest.raises(fn.DataError, match="x has 1000 rows and the search had 240"):
        found.ensemble(fresh, truth)


def test_a_search_goes_on_where_it_stopped(tmp_path, monkeypatch):
    x, y = rings(90)
    options = {**OPTIONS, "candidates": 8, "epochs": 9, "backend": "numpy"}
    whole = fn.search(network, SPACE, x, y, **options)
    calls = []

    def stops(units, activation="tanh"):
        calls.append(units)
        return network(units, activation)

    fits = []
    fit = fn.Population.fit

    def third_is_stopped(self, *given, **named):
        fits.append(1)
        if len(fits) == 3:
            named["callbacks"] = [interrupt]
        return fit(self, *given, **named)

    def interrupt(model, history):
        raise KeyboardInterrupt

    monkeypatch.setattr(fn.Population, "fit", third_is_stopped)
    with pytest.raises(KeyboardInterrupt):
        fn.search(stops, SPACE, x, y, checkpoint=tmp_path / "search", **options)
    monkeypatch.undo()
    again = fn.search(stops, SPACE, x, y, checkpoint=tmp_path / "search", **options)
    assert [one.number for one in again.candidates] == [one.number for one in whole.candidates]
    for one, other in zip(again.candidates, whole.candidates, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


def test_a_budget_ends_a_search_with_what_there_is(monkeypatch):
    now, seen = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def takes_a_second(model, history):
        seen.append(model.seed)
        now[0] += 1

    options = {**OPTIONS, "callbacks": [takes_a_second], "backend": "numpy"}
    found = fn.search(network, SPACE, *rings(), budget=20.5, **options)
    assert len(seen) < 40
    assert found.best.epochs == len(found.best.members[0].history) < 4
    now[0] = 0.0
    refitted = found.refit(*rings())
    assert len(refitted.history) == found.best.epochs
    monkeypatch.setattr(time, "monotonic", itertools.count().__next__)
    with pytest.raises(fn.DefinitionError, match="the budget was over before anything"):
        fn.search(network, SPACE, *rings(), budget=1e-9, **OPTIONS)


def test_regressions_with_distributions():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (120, 2))
    y = np.sin(x[:, 0]) + x[:, 1]

    def make(units):
        return fn.Network(2, [fn.Dense(units, "tanh"), fn.Dense(1)])

    found = fn.search(
        make,
        {"units": stats.randint(4, 12), "learning_rate": stats.loguniform(1e-5, 0.1)},
        x,
        y,
        candidates=6,
        folds=3,
        epochs=30,
        metric="r2",
        backend="numpy",
    )
    assert found.best.score == max(
        one.score for one in found.candidates if one.epochs == found.best.epochs
    )
    assert isinstance(found.best.values["units"], int)
    assert found.ensemble(x, y, choices=3).predict(x).shape == (120, 1)


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    x, y = rings(30)
    with pytest.raises(fn.DefinitionError, match=r"space\['units'\] is 3; it must be a list"):
        fn.search(network, {"units": 3}, x, y)
    with pytest.raises(fn.DefinitionError, match=r"rows is not for fn\.search"):
        fn.search(network, SPACE, x, y, rows=[[0]])
    with pytest.raises(fn.DefinitionError, match="unknown metric 'auc'"):
        fn.search(network, SPACE, x, y, metric="auc")
    with pytest.raises(fn.DefinitionError, match="network returned None"):
        fn.search(lambda units: None, {"units": [1]}, x, y)
    with pytest.raises(fn.DefinitionError, match=r"names in space \(unit\): missing .*'units'"):
        fn.search(lambda units: None, {"unit": [1]}, x, y)
    explodes = fn.Network(2, [fn.Dense(8, "relu"), fn.Dense(1)])
    with pytest.raises(fn.DefinitionError, match=r"space has units, and network is an fn\.Network"):
        fn.search(explodes, {"units": [1], "l2": [0.0]}, x, y)
    with pytest.raises(fn.DefinitionError, match="space has the name 3; names must be strings"):
        fn.search(network, {3: [1]}, x, y)
    with pytest.raises(fn.DefinitionError, match="initial is 3; it must be a list"):
        fn.search(network, SPACE, x, y, initial=3)
    (tmp_path / "file").touch()
    with pytest.raises(fn.FileAccessError, match=r"file' cannot be made: .*needs a folder"):
        fn.search(network, SPACE, x, y, checkpoint=tmp_path / "file")
    with pytest.raises(fn.DefinitionError, match="checkpoint is 3; it must be the path of a file"):
        fn.search(network, SPACE, x, y, checkpoint=3)
    with pytest.raises(fn.DefinitionError, match=r"space\['act'\] is 'relu'; it must be a list"):
        fn.search(network, {"act": "relu"}, x, y)
    with pytest.raises(fn.Diverged, match=r"^every candidate .*; try lower learning rates\.$"):
        fn.search(
            explodes,
            {"learning_rate": [1e20, 1e25]},
            x,
            x[:, 0],
            optimizer="sgd",
            folds=2,
            epochs=5,
            backend="numpy",
        )


def test_a_refit_takes_as_many_epochs_as_the_folds_needed():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    y = x[:, 0] + rng.standard_normal(60)  # mostly noise, so that it soon overfits
    weight = rng.uniform(0.5, 2, 60)

    def make(units):
        return fn.Network(2, [fn.Dense(units, "tanh"), fn.Dense(1)])

    options = {"optimizer": fn.Adam(0.05), "early_stopping": 3, "epochs": 200, "reduction": None}
    options |= {"folds": 3, "candidates": 1, "backend": "numpy", "sample_weight": weight}
    found = fn.search(make, {"units": [64]}, x, y, **options)
    best = found.best
    losses = [model.history.validation_loss for model in best.members]
    assert max(map(len, losses)) < 100
    assert best.best_epoch == round(np.mean([np.argmin(one) + 1 for one in losses]))
    assert best.score == pytest.approx(np.mean([min(one) for one in losses]))
    refitted = found.refit(x, y)
    assert len(refitted.history) == best.best_epoch
    alone = fn.Model(best.network, seed=0, backend="numpy")
    rule = fn.Adam(0.05)
    alone.fit(x, y, sample_weight=weight, optimizer=rule, epochs=best.best_epoch)
    assert_same_bits(refitted.parameters.flat, alone.parameters.flat)


def test_given_folds_hold_out_what_they_say():
    x, y = rings(90)
    folds = [(np.arange(30), np.arange(30, 60)), (np.arange(60), np.arange(60, 80))]
    found = fn.search(
        network, SPACE, x, y, candidates=2, epochs=3, folds=folds, backend="numpy", seed=1
    )
    np.testing.assert_array_equal(found.folds, np.repeat([-1, 0, 1, -1], [30, 30, 20, 10]))
    best = found.best
    model = fn.Model(best.network, seed=1, backend="numpy")
    settings = {"optimizer": fn.Adam(best.values["learning_rate"]), "l2": best.values["l2"]}
    model.fit(x[:30], y[:30], epochs=3, **settings)
    assert best.scores[0] == pytest.approx(model.evaluate(x[30:60], y[30:60]), rel=1e-12)
    assert len(found.ensemble(x, y)) % 2 == 0
    for wrong, why in (
        ([(np.arange(9), np.arange(5))], "train on some rows and hold out others"),
        ([([0], [1]), ([0], [1])], "holds out a row that another fold does too"),
        ([([0], [90])], "is no pair of indices of the 90 rows"),
        ([], "folds is empty"),
    ):
        with pytest.raises(fn.DefinitionError, match=why):
            fn.search(network, SPACE, x, y, folds=wrong)


def test_a_schedule_keeps_its_form_with_a_searched_rate():
    x, y = rings(60)
    rule = fn.Adam(fn.WarmUp(2, fn.Cosine(1.0, eta_min=1e-4)))
    found = fn.search(
        network,
        {"units": [3], "learning_rate": [0.02]},
        x,
        y,
        candidates=1,
        epochs=4,
        folds=2,
        optimizer=rule,
        batch_size=None,
        backend="numpy",
    )
    rates = found.best.members[0].history.learning_rate
    wanted = fn.WarmUp(2, fn.Cosine(0.02, eta_min=1e-4)).rates(np.arange(4.0), 4.0)
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)
