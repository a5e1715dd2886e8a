"""Rows in any form that NumPy can read give what the plain ones give."""

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for, weights_for
from tolerances import FORWARD, REORDERED

import fastnet as fn

NETWORK = fn.Network(3, [fn.Dense(8, "tanh"), fn.Dense(2, "softmax")], "crossentropy")


def strided(a):
    wide = np.full((2 * len(a), *(2 * n for n in a.shape[1:])), 77, a.dtype)
    wide[tuple(slice(None, None, 2) for _ in a.shape)] = a
    return wide[tuple(slice(None, None, 2) for _ in a.shape)]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


FORMS = {
    "read_only": read_only,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "strided": strided,
    "fortran": np.asfortranarray,
    "list": lambda a: a.tolist(),
    "other_byte_order": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "unmasked": np.ma.masked_array,
}


def everything(backend, x, y, weight, dtype="float32"):
    """All that a model computes of some rows."""
    model = fn.Model(NETWORK, backend=backend, dtype=dtype, seed=1)
    loss, gradient = model.loss_and_gradient(x, y, weight)
    yield model.predict(x)
    yield gradient
    yield np.array([loss, model.evaluate(x, y, weight)])
    model.fit(x, y, epochs=3, batch_size=4, sample_weight=weight)
    yield model.parameters.flat


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_an_array_does_not_matter(backend, form, dtype):
    x, y = rows_for(NETWORK, 11)
    plain = x.astype(dtype), y, weights_for(11).astype(dtype)
    kept = [a.copy() for a in plain]
    formed = [FORMS[form](a) for a in plain]
    for found, wanted in zip(
        everything(backend, *formed, dtype), everything(backend, *plain, dtype), strict=True
    ):
        assert_same_bits(found, wanted)
    for array, before in zip(plain, kept, strict=True):
        assert_same_bits(array, before)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "g", "i1", "i8", "u1", "u8", "?"])
def test_the_dtype_of_an_array_does_not_matter_where_it_holds_the_same_numbers(backend, kind):
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 2, (11, 3)), generator.integers(0, 2, 11)
    weight = np.array([1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1])
    given = [a.astype(kind) for a in (x, y, weight)]
    plain = [x.astype("f4"), y, weight.astype("f4")]
    for found, wanted in zip(everything(backend, *given), everything(backend, *plain), strict=True):
        assert_same_bits(found, wanted)


def test_one_output_takes_targets_with_or_without_their_column(backend):
    network = fn.Network(3, [fn.Dense(1)])
    x, y = rows_for(network, 6)
    model = fn.Model(network, backend=backend, dtype="float64", seed=1)
    loss, gradient = model.loss_and_gradient(x, y)
    other_loss, other = model.loss_and_gradient(x, y[:, 0])
    assert other_loss == loss
    assert_same_bits(other, gradient)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "elu", "leaky_relu", "softplus"])
def test_a_row_with_nan_gives_nan_in_that_row_and_the_others_as_ever(backend, activation, bad):
    network = fn.Network(3, [fn.Dense(8, activation), fn.Dense(2)])
    model = fn.Model(network, backend=backend, seed=1)
    x, _ = rows_for(network, 300)
    wanted = model.predict(x)
    x[7, 1] = x[120, 0] = bad
    found = model.predict(x)
    hit = np.zeros(300, bool)
    hit[[7, 120]] = True
    if np.isnan(bad):
        assert np.isnan(found[hit]).all()
    assert_same_bits(found[~hit], wanted[~hit])


def test_a_row_with_nan_stays_alone_through_softmax_too(backend):
    model = fn.Model(NETWORK, backend=backend, seed=1)
    x, _ = rows_for(NETWORK, 40)
    wanted = model.predict(x)
    x[3, 2] = np.nan
    found = model.predict(x)
    assert np.isnan(found[3]).all()
    assert_same_bits(np.delete(found, 3, axis=0), np.delete(wanted, 3, axis=0))


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 1_023, 70_001])
def test_prediction_and_loss_agree_however_many_rows_there_are(backend, rows):
    network = fn.Network(2, [fn.Dense(5, "relu"), fn.Dense(1)])
    model = fn.Model(network, backend=backend, dtype="float64", seed=1)
    x, y = rows_for(network, rows)
    predicted = model.predict(x)
    w1, b1, w2, b2 = model.parameters.values()
    assert_near(predicted, np.maximum(x @ w1 + b1, 0) @ w2 + b2, FORWARD["float64"])
    wanted = ((predicted - y) ** 2).mean()
    assert model.evaluate(x, y) == pytest.approx(wanted, rel=10 * FORWARD["float64"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [fn.SGD(0.1), fn.Adam(0.01)], ids=["sgd", "adam"])
def test_weight_two_is_the_row_twice_and_weight_zero_is_no_row(backend, optimizer, dtype):
    network = fn.Network(3, [fn.Dense(6, "tanh"), fn.Dense(2)])
    x, y = rows_for(network, 12)
    weight = np.array([2, 1, 0, 1, 1, 2, 0, 1, 1, 1, 2, 1])
    times = np.repeat(np.arange(12), weight)
    weighted, repeated = (fn.Model(network, backend=backend, dtype=dtype, seed=3) for _ in range(2))
    assert weighted.evaluate(x, y, weight) == pytest.approx(
        repeated.evaluate(x[times], y[times]), rel=REORDERED[dtype]
    )
    weighted.fit(x, y, sample_weight=weight, epochs=30, batch_size=None, optimizer=optimizer)
    repeated.fit(x[times], y[times], epochs=30, batch_size=None, optimizer=optimizer)
    assert_near(weighted.parameters.flat, repeated.parameters.flat, 10 * REORDERED[dtype])


def test_the_scale_of_the_weights_does_not_matter(backend):
    network = fn.Network(3, [fn.Dense(6, "tanh"), fn.Dense(2)])
    model = fn.Model(network, backend=backend, dtype="float64", seed=3)
    x, y = rows_for(network, 12)
    weight = weights_for(12)
    loss, gradient = model.loss_and_gradient(x, y, weight)
    scaled_loss, scaled = model.loss_and_gradient(x, y, weight * 1_000)
    assert scaled_loss == pytest.approx(loss, rel=FORWARD["float64"])
    assert_near(scaled, gradient, FORWARD["float64"])
    one_loss, one = model.loss_and_gradient(x, y, np.ones(12))
    plain_loss, plain = model.loss_and_gradient(x, y)
    assert one_loss == pytest.approx(plain_loss, rel=FORWARD["float64"])
    assert_near(one, plain, FORWARD["float64"])
