"""`init="data"`: weights and biases that fit the rows that training begins with."""

import numpy as np
import pytest
from compare import assert_same_bits

import fastnet as fn

LAYERS = [
    fn.Dense(6, "mish", init="data"),
    fn.Residual([fn.LayerNorm(), fn.Dense(6, "relu", init="data")]),
    fn.Dense(5, "tanh"),
    fn.Dense(2, bias=False, init="data"),
]
NETWORK = fn.Network(4, LAYERS)


def rows(count, seed=0):
    return np.random.default_rng(seed).lognormal(size=(count, 4)) * [1, 10, 0.01, 3]


def mish(z):
    return z * np.tanh(np.log1p(np.exp(z)))


def test_units_begin_with_a_spread_of_1_and_a_bias_among_the_rows():
    x = rows(200)
    model = fn.Model(NETWORK, dtype="float64", seed=3, init_rows=x)
    w = model.parameters
    first = x @ w["0.weight"]
    a = mish(first + w["0.bias"])
    m, v = a.mean(axis=1, keepdims=True), a.var(axis=1, keepdims=True)
    inner = (a - m) / np.sqrt(v + 1e-5) @ w["1.1.weight"]
    for z, bias in ((first, w["0.bias"]), (inner, w["1.1.bias"])):
        np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-12)
        assert ((z.min(axis=0) < -bias) & (-bias < z.max(axis=0))).all()
        assert len(np.unique(bias)) == 6
    hidden = fn.Model.of(fn.Network(4, LAYERS[:3]), {n: w[n] for n in w if n[0] != "3"},
                         dtype="float64")  # fmt: skip
    np.testing.assert_allclose((hidden.predict(x) @ w["3.weight"]).std(axis=0), 1, rtol=1e-12)

    # The draws are those of the seed; other layers start as ever.
    plain = fn.Model(fn.Network(4, [fn.Dense(6, "mish", init="lecun_normal"), *LAYERS[1:]]),
                     dtype="float64", seed=3, init_rows=x).parameters  # fmt: skip
    ratio = w["0.weight"] / plain["0.weight"]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-12)
    assert_same_bits(w["2.weight"], plain["2.weight"])


def test_the_start_is_a_function_of_the_seed_and_the_rows_alone():
    x = rows(3000)
    first = fn.Model(NETWORK, seed=1, init_rows=x, backend="numpy")
    for backend in ("numpy", "numba"):
        same = fn.Model(NETWORK, seed=1, init_rows=x, backend=backend)
        assert_same_bits(same.parameters.flat, first.parameters.flat)
        others = fn.Population(NETWORK, seed=[1, 2], init_rows=x, backend=backend)
        assert_same_bits(others[0].parameters.flat, first.parameters.flat)
        assert (others[1].parameters.flat != first.parameters.flat).any()
    other = fn.Model(NETWORK, seed=1, init_rows=rows(3000, seed=1), backend="numpy")
    assert (other.parameters["0.weight"] != first.parameters["0.weight"]).all()


def test_a_file_holds_the_start_as_plain_parameters(tmp_path):
    model = fn.Model(NETWORK, seed=1, init_rows=rows(50))
    loaded = fn.load(model.save(tmp_path / "model"))
    assert_same_bits(loaded.parameters.flat, model.parameters.flat)
    assert loaded.network == NETWORK


def test_inputs_that_do_not_differ_leave_the_weights_as_drawn():
    x = np.ones((20, 4))
    model = fn.Model(fn.Network(4, [fn.Dense(3, init="data")]), seed=1, init_rows=x)
    plain = fn.Model(fn.Network(4, [fn.Dense(3, init="lecun_normal")]), seed=1)
    assert_same_bits(model.parameters["0.weight"], plain.parameters["0.weight"])
    np.testing.assert_allclose(model.predict(x), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: fn.Model(NETWORK), fn.DefinitionError, "layer 0 has init='data', so it .*init_ro"),
        (lambda: fn.Population(NETWORK, members=2), fn.DefinitionError, "layer 0 has init='data'"),
        (lambda: fn.Model(fn.Network(4, [fn.Dense(1)]), init_rows=rows(5)), fn.DefinitionError,
         "init_rows are for layers with init='data' or piecewise linear"),
        (lambda: fn.Model(NETWORK, init_rows=rows(5)[:, :3]), fn.DataError, "x has 3 columns"),
    ],
)  # fmt: skip
def test_rows_that_are_missing_or_in_vain_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()
