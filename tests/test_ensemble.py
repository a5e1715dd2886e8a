"""Ensembles: means, deviations, intervals that cover, files and ONNX."""

import copy
import math

import numpy as np
import pytest
from compare import assert_same_bits

import fastnet as fn
from fastnet.tables import metrics


def noisy(rows, seed, inputs=3):
    """y of a wavy function with noise that grows along the first input."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (rows, inputs))
    scale = 0.1 + 0.2 * np.abs(x[:, 0])
    return x, np.sin(x[:, 0] + x[:, 1]) + scale * rng.standard_normal(rows), scale


def of_normals(inputs=3, targets=1):
    layers = [fn.Dense(24, "tanh"), fn.Dense(2 * targets)]
    return fn.Network(inputs, layers, loss="gaussian_nll")


def classifier():
    return fn.Network(4, [fn.Dense(8, "relu"), fn.Dense(3, "softmax")], loss="crossentropy")


def test_predictions_are_weighted_means_of_members_of_any_definition():
    networks = [classifier(), fn.Network(4, [fn.Dense(3, "softmax")], loss="crossentropy")]
    a, b = (
        fn.Population(networks[0], members=2, seed=1, backend="numpy"),
        fn.Model(networks[1], seed=5, backend="numpy", dtype="float64"),
    )
    ensemble = fn.Ensemble.of([a[0], b, a[1]], weights=[1, 2, 5])
    x = np.random.default_rng(0).standard_normal((7, 4))
    wanted = (a[0].predict(x) + 5.0 * a[1].predict(x) + 2 * b.predict(x)) / 8
    predicted = ensemble.predict(x)
    assert predicted.dtype == np.float64
    np.testing.assert_allclose(predicted, wanted, rtol=1e-7)
    assert [str(one.network) for one in ensemble] == [str(networks[i]) for i in (0, 0, 1)]
    np.testing.assert_array_equal(ensemble.weights, [1 / 8, 5 / 8, 2 / 8])


def test_a_deviation_is_that_of_a_mixture_or_between_members():
    x, y, _ = noisy(50, 1)
    for network in (of_normals(), fn.Network(3, [fn.Dense(8, "tanh"), fn.Dense(1)])):
        ensemble = fn.Ensemble(network, members=3, seed=2, backend="numpy", dtype="float64")
        ensemble.fit(x, y, epochs=3)
        mean, std = ensemble.predict(x, return_std=True)
        parts = np.stack([one.predict(x) for one in ensemble])
        if network.outputs == 2:
            draws = np.random.default_rng(3).standard_normal((3, 50, 200_000 // 50))
            drawn = parts[..., :1] + np.exp(parts[..., 1:] / 2) * draws
            sampled = drawn.std(axis=(0, 2))
            np.testing.assert_allclose(std[:, 0], sampled, rtol=0.05)
        else:
            np.testing.assert_allclose(std, parts.std(axis=0, ddof=1), rtol=1e-12)
        np.testing.assert_allclose(mean, parts[..., :1].mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(ensemble.predict(x), mean, rtol=1e-12)


def test_the_loss_is_that_of_the_mean_prediction():
    rng = np.random.default_rng(4)
    x, weight = rng.standard_normal((40, 4)), rng.uniform(0.5, 2, 40)
    binary = fn.Network(4, [fn.Dense(1, "sigmoid")], loss="binary_crossentropy")
    huber = fn.Network(4, [fn.Dense(6, "tanh"), fn.Dense(2)], loss=fn.Huber(0.5))
    for network, y in (
        (classifier(), rng.integers(3, size=40)),
        (binary, rng.integers(2, size=40)),
        (huber, rng.standard_normal((40, 2))),
        (of_normals(4), rng.standard_normal(40)),
    ):
        one = fn.Model(network, seed=2, backend="numpy", dtype="float64")
        same = fn.Ensemble.of([one, one])
        wanted = one.evaluate(x, y, weight)
        assert same.evaluate(x, y, weight) == pytest.approx(wanted, rel=1e-9)
        # By Jensen's inequality, the loss of a mean is at most the mean of the losses.
        several = fn.Ensemble(network, members=3, seed=1, backend="numpy", dtype="float64")
        if network.loss.name != "gaussian_nll":
            each = [model.evaluate(x, y) for model in several]
            assert several.evaluate(x, y) < np.mean(each)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_intervals_cover(bootstrap):
    x, y, scale = noisy(600, 4)
    fresh, truth, _ = noisy(2_000, 5)
    ensemble = fn.Ensemble(of_normals(), members=6, seed=0, bootstrap=bootstrap, backend="numpy")
    ensemble.fit(x[:400], y[:400], epochs=150, optimizer=fn.Adam(0.01), batch_size=64)
    if not bootstrap:
        ensemble.calibrate(x[400:], y[400:])
    low, high = ensemble.predict_interval(fresh, 0.9)
    assert 0.86 < metrics.coverage(truth, low[:, 0], high[:, 0]) < 0.94
    _, std = ensemble.predict(x, return_std=True)
    assert np.corrcoef(std[:, 0], scale)[0, 1] > 0.7  # wide where the noise is
    measured = ensemble.metrics(fresh, truth)
    assert measured["nll"] < 0.75
    with pytest.raises(fn.DefinitionError, match=r"coverage 0\.9999 needs at least 9999 rows"):
        ensemble.predict_interval(fresh, 0.9999)


def test_metrics_agree_with_their_definitions():
    scipy_stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    rng = np.random.default_rng(0)
    y, mean, std = rng.standard_normal(20), rng.standard_normal(20), rng.uniform(0.2, 3, 20)
    wanted = -scipy_stats.norm.logpdf(y, mean, std).mean()
    assert metrics.negative_log_likelihood(y, mean, std) == pytest.approx(wanted, rel=1e-12)
    # The definition of Gneiting and Raftery, eq. 20: the integral of (F - 1 [x >= y])^2.
    grid = np.linspace(-30, 30, 600_001)
    steps = [
        np.trapezoid((scipy_stats.norm.cdf(grid, m, s) - (grid >= t)) ** 2, grid)
        for t, m, s in zip(y, mean, std, strict=True)
    ]
    assert metrics.crps(y, mean, std) == pytest.approx(np.mean(steps), abs=1e-4)
    assert metrics.coverage(y, mean - std, mean + std) == np.mean(np.abs(y - mean) <= std)
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7]])
    classes = np.array([0, 1, 1, 1])
    assert metrics.brier(classes, probabilities) == pytest.approx((0.02 + 1.62 + 0.36) / 4)
    error = metrics.expected_calibration_error(classes, probabilities)
    assert error == pytest.approx((2 * abs(0.5 - 0.9) + 2 * abs(1 - 0.7)) / 4)
    with pytest.raises(fn.DataError, match=r"\(20,\), its predictions \(20, 1\)"):
        metrics.crps(y, mean[:, None], std[:, None])
    with pytest.raises(fn.DataError, match="must be above 0"):
        metrics.negative_log_likelihood(y, mean, np.zeros(20))
    with pytest.raises(fn.DataError, match="probabilities holds nan in row 2, column 1"):
        metrics.calibration(classes, np.where(probabilities == 0.7, np.nan, probabilities))


def test_the_mean_history_does_not_jump_where_a_member_has_ended():
    whole = fn.History([1, 2, 3], [4, 3, 2], [6, 5, 4], [0.1] * 3, [1] * 3, {"r2": [0, 0.5, 1]})
    short = fn.History([1], [2], [4], [0.3], [1], {"r2": [0.5]})
    found = fn.History.mean([short, whole])
    assert (found.epoch, found.loss, found.validation_loss) == ([1, 2, 3], [3, 2.5, 2], [5, 4.5, 4])
    assert (found.seconds, found.metrics) == ([1, 0.5, 0.5], {"r2": [0.25, 0.5, 0.75]})
    assert fn.History.mean([fn.History(), whole]) == whole


def test_a_file_holds_all_and_no_other_reader_takes_it(tmp_path):
    x, y, _ = noisy(60, 1)
    ensemble = fn.Ensemble(of_normals(), members=5, seed=3, bootstrap=True, backend="numpy")
    ensemble.fit(x, y, epochs=2)
    ensemble = ensemble_with_weights(ensemble)
    path = ensemble.save(tmp_path / "e.safetensors")
    again = fn.load_ensemble(path, backend="numpy")
    assert_same_bits(again.predict(x), ensemble.predict(x))
    for one, other in zip(
        again.predict_interval(x, 0.5), ensemble.predict_interval(x, 0.5), strict=True
    ):
        assert_same_bits(one, other)
    with pytest.raises(fn.ModelFileError, match=r"holds an ensemble.*load_ensemble"):
        fn.load(path)
    model = ensemble[0].save(tmp_path / "m.safetensors")
    with pytest.raises(fn.ModelFileError, match="holds a model, not an ensemble"):
        fn.load_ensemble(model)


def ensemble_with_weights(ensemble):
    scores = ensemble.scores
    ensemble = fn.Ensemble.of(ensemble, weights=[0, 1, 2, 3, 4])
    ensemble.scores = scores
    return ensemble


@pytest.mark.parametrize("kind", ["classes", "normal", "values"])
def test_onnx_is_one_graph_of_all_members(kind, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    network = {
        "classes": classifier(),
        "normal": of_normals(4, targets=2),
        "values": fn.Network(4, [fn.Dense(8, "gelu"), fn.Dense(2)]),
    }[kind]
    ensemble = fn.Ensemble.of(
        fn.Population(network, members=3, seed=0, backend="numpy"), weights=[1, 2, 3]
    )
    x = np.random.default_rng(1).standard_normal((9, 4)).astype(np.float32)
    ensemble.to_onnx(tmp_path / "e.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx")
    found = session.run(None, {"x": x})
    wanted = [ensemble.predict(x)] if kind == "classes" else ensemble.predict(x, return_std=True)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused_by_name():
    population = fn.Population(classifier(), members=2, seed=0, backend="numpy")
    other = fn.Model(of_normals(4), seed=0, backend="numpy")
    x = np.zeros((3, 4))
    with pytest.raises(fn.DefinitionError, match="member 2 has another targets"):
        fn.Ensemble.of([population, other])
    with pytest.raises(fn.DataError, match=r"weights has shape \(3,\); it must be \(2,\)"):
        fn.Ensemble.of(population, weights=[1, 1, 1])
    with pytest.raises(fn.DefinitionError, match=r"members is Model\(.*; it must be a pop"):
        fn.Ensemble.of(population[0])
    ensemble = fn.Ensemble.of(population)
    copied, before = copy.copy(ensemble), ensemble.populations[0].parameters.copy()
    copied.fit(x, np.zeros(3, int), epochs=1)
    np.testing.assert_array_equal(ensemble.populations[0].parameters, before)
    for huge in ([1e308, 1e308], np.array([6e4, 6e4], "f2")):
        assert fn.Ensemble.of(population, weights=huge).weights.tolist() == [0.5, 0.5]
    with pytest.raises(fn.DataError, match="not all 0"):
        fn.Ensemble.of(population, weights=[0, math.nan])
    with pytest.raises(fn.DefinitionError, match="must be models or populations"):
        fn.Ensemble.of([])
    with pytest.raises(fn.DefinitionError, match="are of quantities"):
        fn.Ensemble.of(population).predict_interval(x)
    one = fn.Ensemble(fn.Network(4, [fn.Dense(1)]), members=1, backend="numpy")
    with pytest.raises(fn.DefinitionError, match="one member has no spread"):
        one.predict(x, return_std=True)
    several = fn.Ensemble(of_normals(4), members=2, backend="numpy")
    for method in (several.predict_interval, lambda x: several.calibrate(x, [])):
        for wrong in (5, None, x[:0]):
            with pytest.raises(fn.DataError, match="x has"):
                method(wrong)
    with pytest.raises(fn.DefinitionError, match="leave out rows"):
        fn.Ensemble(classifier(), members=2, bootstrap=True, backend="numpy").fit(
            x, [0, 1, 2], rows=[[0], [1]]
        )


@pytest.mark.parametrize("scores", [False, True])
def test_the_calibration_of_quantities_is_drawn(scores):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    x, y, _ = noisy(300, 6)
    ensemble = fn.Ensemble(of_normals(), members=2, seed=0, backend="numpy")
    if scores:
        ensemble.calibrate(x[:9], y[:9])
    axes = ensemble.plot_calibration(x, y)
    levels, found = axes.lines[1].get_data()
    assert len(levels) == (18 if scores else 19)  # 9 rows calibrate up to 90 %
    for level, fraction in zip(levels, found, strict=True):
        low, high = ensemble.predict_interval(x, level)
        assert fraction == pytest.approx(metrics.coverage(y, low[:, 0], high[:, 0]), abs=0.01)
    assert axes.figure.axes == [axes]


def test_the_calibration_of_classes_is_drawn():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4))
    two = fn.Network(4, [fn.Dense(1, "sigmoid")], loss="binary_crossentropy")
    for network, y in ((classifier(), rng.integers(3, size=300)), (two, rng.integers(2, size=300))):
        ensemble = fn.Ensemble(network, members=2, seed=0, backend="numpy")
        said, found = ensemble.plot_calibration(x, y).lines[1].get_data()
        predicted = ensemble.predict(x)
        chance = predicted.max(axis=1) if network is not two else predicted[:, 0]
        right = predicted.argmax(axis=1) == y if network is not two else y == 1
        groups = np.array_split(np.argsort(chance, kind="stable"), 10)
        np.testing.assert_allclose(said, [chance[g].mean() for g in groups], rtol=1e-6)
        np.testing.assert_allclose(found, [right[g].mean() for g in groups])
    labels = fn.Network(4, [fn.Dense(3, "sigmoid")], loss="binary_crossentropy")
    several = fn.Ensemble(labels, members=2, backend="numpy")
    with pytest.raises(fn.DefinitionError, match="labels that are independent"):
        several.plot_calibration(x, rng.integers(2, size=(300, 3)))
