"""Networks of numbers and categories: x is a pair, everywhere x goes."""

import numpy as np
import pytest
from differences import directional_derivative

import fastnet as fn

SIZES = (4, 31)
INPUTS = fn.Inputs(numbers=3, categories=SIZES)
LAYERS = [fn.Embed(numbers=fn.Periodic()), fn.Dense(8, "silu"), fn.Dense(1)]
NETWORK = fn.Network(INPUTS, LAYERS)
BINNED = fn.Network(INPUTS, [fn.Embed(2, fn.PiecewiseLinear(units=2, bins=4)), fn.Dense(1)])


def pair(rows=60, seed=0):
    generator = np.random.default_rng(seed)
    codes = [generator.integers(size, size=rows) for size in SIZES]
    return generator.standard_normal((rows, 3)), np.stack(codes, axis=1)


def model_of(network=NETWORK, **given):
    return fn.Model(network, backend="numpy", dtype="float64", seed=2, **given)


def y_of(x):
    """A target that has a part for each category."""
    return np.sin(x[0][:, 0]) + (x[1][:, 0] == 2) - 0.05 * x[1][:, 1]


def test_a_pair_goes_wherever_x_goes_and_is_the_same_as_one_array(tmp_path):
    x, other = pair(), pair(20, 1)
    y = y_of(x)
    whole = np.hstack(x)
    model, twin = model_of(), model_of()
    settings = {"epochs": 40, "batch_size": 16, "optimizer": fn.Adam(0.02), "metrics": ["r2"]}
    history = model.fit(x, y, validation=(other, y_of(other)), **settings)
    stored = np.memmap(tmp_path / "x", np.float64, "w+", shape=whole.shape)
    stored[...] = whole
    twin.fit(stored, y, validation=(np.hstack(other), y_of(other)), **settings)
    np.testing.assert_array_equal(model.parameters.flat, twin.parameters.flat)
    assert history.validation_loss[-1] < history.validation_loss[0] / 2
    np.testing.assert_array_equal(model.predict(x), model.predict(stored))
    np.testing.assert_array_equal(model.predict([*x]), model.predict(x))
    one = model.predict((x[0][:1], x[1][:1]))
    np.testing.assert_allclose(one, model.predict(x)[:1], rtol=1e-14)
    assert model.evaluate(x, y) == pytest.approx(((model.predict(x)[:, 0] - y) ** 2).mean())
    assert model.loss_and_gradient(x, y)[0] == pytest.approx(model.evaluate(x, y))

    def predicted(numbers):
        return model.predict((numbers, x[1]))[:, 0]

    direction = np.random.default_rng(3).standard_normal(x[0].shape)
    wanted = directional_derivative(predicted, x[0], direction)
    found = model.input_gradient(x)
    np.testing.assert_allclose((found * direction).sum(axis=1), wanted, rtol=1e-7, atol=1e-10)
    np.testing.assert_array_equal(model.jacobian(x)[:, 0], found)
    assert model.input_gradient(x, of="loss", y=y).shape == (60, 3)

    model.save(tmp_path / "model.safetensors")
    loaded = fn.load(tmp_path / "model.safetensors", backend="numpy")
    assert loaded.network == NETWORK
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_many_models_take_pairs():
    x = pair()
    y = y_of(x)
    several = {"members": 2, "seed": 1, "backend": "numpy"}
    population = fn.Population(NETWORK, **several)
    population.fit(x, y, epochs=2, validation=(x, y))
    assert population.predict(x).shape == (2, 60, 1)
    ensemble = fn.Ensemble(NETWORK, **several)
    ensemble.fit(x, y, epochs=2)
    np.testing.assert_array_equal(ensemble.predict(x), ensemble.predict(np.hstack(x)))
    options = {"candidates": 2, "folds": 2, "epochs": 2, "backend": "numpy"}
    found = fn.search(lambda: NETWORK, {"learning_rate": [0.01, 0.1]}, x, y, **options)
    assert np.isfinite([one.score for one in found.candidates]).all()


def test_definitions_survive_json_and_toml():
    for network in (NETWORK, BINNED, fn.Network(fn.Inputs(categories=(3,)), [fn.Dense(1)])):
        assert fn.Network.from_json(network.to_json()) == network
        assert fn.Network.from_toml(network.to_toml()) == network
        assert eval(repr(network), vars(fn)) == network
    assert NETWORK.spec()["inputs"] == {"numbers": 3, "categories": [4, 31]}
    assert "0 Embed one-hot, 8 + periodic 4  (rows, 23)" in str(NETWORK)
    assert "inputs 3 + categories 4, 31" in str(NETWORK)
    assert list(model_of().parameters)[:5] == [
        "0.embedding_1", "0.frequency", "0.phase", "0.weight", "0.bias",
    ]  # fmt: skip


def test_tables_start_with_nothing_for_what_is_unknown():
    table = model_of(fn.Network(INPUTS, [fn.Embed(600), fn.Dense(1)])).parameters["0.embedding_1"]
    assert not table[0].any()
    assert table[1:].std() == pytest.approx(1, abs=0.02)


def test_bins_are_quantiles_of_the_rows_that_are_given():
    x = pair(500)
    x[0][:, 1] = np.round(x[0][:, 1])  # few values: some edges are equal
    model = model_of(BINNED, init_rows=x)
    wanted = np.quantile(x[0], [0, 0.25, 0.5, 0.75, 1], axis=0).T
    np.testing.assert_array_equal(model.parameters["0.edges"], wanted)
    before = model.parameters.flat.copy()
    model.fit(x, y_of(x), epochs=3)
    np.testing.assert_array_equal(model.parameters["0.edges"], wanted)
    assert (model.parameters.flat != before).any()
    with pytest.raises(fn.DefinitionError, match="layer 0 has a piecewise linear embedding, so it"):
        model_of(BINNED)


def codes(value, row=2, column=1):
    found = pair()[1].astype(np.float64)
    found[row, column] = value
    return found


@pytest.mark.parametrize(
    ("x", "says"),
    [
        ((pair()[0], codes(31)), r"category 31.0 in row 2, column 1 of the categories: it must be"),
        ((pair()[0], codes(-1, column=0)), "category -1.0 in row 2, column 0 .* from 0 to 3,"),
        ((pair()[0], codes(np.nan)), "category nan in row 2, column 1"),
        ((pair()[0], codes(0.5)), "category 0.5 in row 2, column 1"),
        ((pair()[0], codes(2**40).astype(np.int64)), "category 1099511627776 in row 2"),
        (np.hstack((pair()[0], codes(31))), "category 31.0 in row 2, column 1"),
        ((pair()[0], codes(1)[:, :1]), r"categories have shape \(60, 1\); they must be"),
        ((pair()[0][:9], codes(1)), r"numbers have shape \(9, 3\), and categories \(60, 2\)"),
        ((pair()[0], codes(1), None), "x is 3 arrays; it must be a pair"),
        ((None, codes(1)), "numbers is None; x must be a pair .*, of 3 and 2 columns"),
        (pair()[0], r"x has 3 columns \(shape \(60, 3\)\); the network has 5 inputs"),
        ((pair()[0], np.array([["a", "b"]] * 60)), "categories has dtype <U1; it must hold real"),
        ((np.zeros((0, 3)), np.zeros((0, 2))), "x has no rows"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_refused_with_its_place(x, says):
    model = model_of()
    before = model.parameters.flat.copy()
    for call in (model.predict, lambda x: model.fit(x, np.zeros(60)), model.jacobian):
        with pytest.raises(fn.DataError, match=says):
            call(x)
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_a_network_of_numbers_says_what_to_do_about_a_pair():
    model = fn.Model(fn.Network(5, [fn.Dense(1)]), backend="numpy", seed=1)
    with pytest.raises(fn.DataError, match=r"x is 2 arrays, and the network takes numbers alone: "):
        model.predict(pair())


def test_nan_among_numbers_gives_nan_in_its_row_and_is_not_trained_on():
    x = pair()
    x[0][7, 2] = np.nan
    found = model_of().predict(x)
    assert np.flatnonzero(np.isnan(found)) == [7]
    with pytest.raises(fn.DataError, match="numbers holds nan in row 7, column 2"):
        model_of().fit(x, y_of(pair()))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fn.Inputs(3, (1,)), r"categories\[0\] is 1; it must be 2 or more"),
        (lambda: fn.Inputs(3, 4), "categories is 4; it must be a list"),
        (lambda: fn.Inputs(0), "Inputs has neither numbers nor categories"),
        (lambda: fn.Inputs(3, (2**25,)), r"categories\[0\] is 33,554,432; it must be at most"),
        (lambda: fn.Network({"numbers": 1, "kinds": 2}, LAYERS), "no argument 'kinds'"),
        (lambda: fn.Embed("many"), "embed units is 'many'; it must be 'auto', 'one_hot', a whole"),
        (lambda: fn.Embed(0), "embed units is 0"),
        (lambda: fn.Embed(numbers="fourier"), "numeric embedding"),
        (lambda: fn.Periodic(units=1), "periodic units is 1"),
        (lambda: fn.Network(INPUTS, [fn.Embed((2,)), fn.Dense(1)]), "has 1 entries; the network"),
        (lambda: fn.Network(INPUTS, [fn.Dense(1), fn.Embed(2)]), "layer 1 is an Embed, which"),
        (lambda: fn.Network(INPUTS, [fn.Residual([fn.Embed(2)]), fn.Dense(1)]),
         "layer 0.0 is an Embed, which comes first"),
        (lambda: fn.Network(fn.Inputs(categories=(3,)), [fn.Embed(2, fn.Periodic()), fn.Dense(1)]),
         "embed numbers is given, and the network has no numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(make, says):
    with pytest.raises(fn.DefinitionError, match=says):
        make()
