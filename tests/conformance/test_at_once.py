"""What a backend answers at once, without fastnet's checks, is what it answers after them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from graphs import lacks, mixed
from samples import rows_for
from tolerances import FORWARD

import fastnet as fn
from fastnet.contract.program import Data, Inputs

NETWORKS = {
    "xor": fn.datasets.xor_network(True),
    "deep": fn.Network(6, [fn.Dense(9, "tanh"), fn.Dropout(0.5), fn.Dense(2)], "mae"),
    "classes": fn.Network(5, [fn.Dense(7, "relu"), fn.Dense(3, "softmax")], "crossentropy"),
    "shares": fn.Network(4, [fn.Dense(3, "tanh"), fn.Dense(1, "sigmoid")], "binary_crossentropy"),
    "counts": fn.Network(2, [fn.Dense(2)], "poisson"),
}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def made(name, backend, dtype, rows=11, threads=None):
    network = NETWORKS[name]
    x, y = rows_for(network, rows)
    model = fn.Model(network, backend=backend, seed=5, dtype=dtype, threads=threads)
    return model, x.astype(dtype), y.astype(np.intp if name == "classes" else dtype)


@pytest.mark.parametrize("threads", [None, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_same_to_the_bit(name, backend, dtype, threads):
    model, x, y = made(name, backend, dtype, threads=threads)
    program, flat = model.program, model.program.to_device(model.parameters.flat)
    for rows in (11, 1, 11, 4):
        data = program.upload(Data(Inputs(x[:rows]), y[:rows]))
        loss, gradient = program.gradient(flat, data)
        for _ in range(2):  # with what the first call set up, too
            found = model.loss_and_gradient(x[:rows], y[:rows])
            assert found[0] == loss
            assert_same_bits(found[1], gradient)
            assert model.evaluate(x[:rows], y[:rows]) == program.loss(flat, data)
            found[1][...] = np.nan  # it is the caller's


@pytest.mark.parametrize("name", NETWORKS)
def test_numba_answers_rows_that_need_no_change(name, dtype):
    pytest.importorskip("numba", reason="numba is not installed")
    model, x, y = made(name, "numba", dtype)
    program, flat = model.program, model.parameters.flat
    assert program.gradient_at_once(flat, x, y) is not None
    assert program.loss_at_once(flat, x, y) is not None


def test_rows_in_another_form_give_the_same(backend, dtype):
    model, x, y = made("xor", backend, dtype)
    loss, gradient = model.loss_and_gradient(x, y)
    strided, fixed = np.repeat(x, 2, axis=0)[::2], y.copy()
    fixed.flags.writeable = False
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(dtype).reshape(x.shape)
    unaligned[...] = x
    for a, b in (
        (strided, fixed),
        (x.tolist(), y[:, 0]),
        (np.asfortranarray(x), y),
        (unaligned, y),
        (x.astype(np.float64), y.astype(np.float64)),
    ):
        found = model.loss_and_gradient(a, b)
        assert found[0] == loss
        assert_same_bits(found[1], gradient)
        assert model.evaluate(a, b) == model.evaluate(x, y)
        assert_same_bits(model.predict(a), model.predict(x))


@pytest.mark.parametrize("step", [2, -1])
@pytest.mark.parametrize("classes", [False, True])
def test_single_numbers_need_not_lie_one_behind_the_other(classes, step, backend, dtype):
    last, loss = (fn.Dense(2, "softmax"), "crossentropy") if classes else (fn.Dense(1), "mse")
    model = fn.Model(fn.Network(1, [fn.Dense(3), last], loss), backend=backend, seed=5, dtype=dtype)
    x, y = rows_for(model.network, 12)
    x, y = x.astype(dtype), y.ravel().astype(np.intp if classes else dtype)
    apart, together = (x[::step], y[::step]), (x[::step].copy(), y[::step].copy())
    assert model.evaluate(*apart) == model.evaluate(*together)
    for found, wanted in zip(
        model.loss_and_gradient(*apart), model.loss_and_gradient(*together), strict=True
    ):
        assert_same_bits(np.asarray(found), np.asarray(wanted))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "y"])
def test_what_is_not_finite_is_refused(where, bad, backend, dtype):
    model, x, y = made("xor", backend, dtype)
    model.loss_and_gradient(x, y)  # what it sets up checks nothing for the next call
    model.evaluate(x, y)
    (x if where == "x" else y)[3, 0] = bad
    for call in (model.loss_and_gradient, model.evaluate):
        with pytest.raises(fn.DataError, match=f"{where} holds .* in row 3"):
            call(x, y)


@pytest.mark.parametrize(
    ("name", "bad"),
    [("classes", -1), ("classes", 3), ("shares", -0.1), ("shares", 1.5), ("shares", np.nan),
     ("counts", -1), ("counts", np.inf)],
)  # fmt: skip
def test_targets_that_the_loss_does_not_take_are_refused(name, bad, backend, dtype):
    model, x, y = made(name, backend, dtype)
    model.loss_and_gradient(x, y)
    y[3] = bad
    for call in (model.loss_and_gradient, model.evaluate):
        with pytest.raises(fn.DataError, match="row 3"):
            call(x, y)


def test_numbers_whose_squares_overflow_are_finite(backend, dtype):
    model, x, y = made("deep", backend, dtype)
    x[2, 1] = y[0, 1] = np.finfo(dtype).max / 64  # finite, as is the mean absolute error
    assert np.isfinite(model.evaluate(x, y))


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [(2, 11, "x has 2 columns"), (3, 10, "x has 10 rows and y has 11")],
)
def test_shapes_that_do_not_fit_are_refused(columns, rows, message, backend, dtype):
    model, x, y = made("xor", backend, dtype)
    for call in (model.loss_and_gradient, model.evaluate):
        with pytest.raises(fn.DataError, match=message):
            call(np.ascontiguousarray(x[:rows, :columns]), y)


def test_it_serves_several_threads_at_once(backend):
    model, x, y = made("deep", backend, "float32")
    wanted = [model.loss_and_gradient(x[:rows], y[:rows]) for rows in range(1, 12)]

    def ask(number):
        rows = number % 11 + 1
        loss, gradient = model.loss_and_gradient(x[:rows], y[:rows])
        return loss == wanted[rows - 1][0] and (gradient == wanted[rows - 1][1]).all()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(400)))


def test_a_row_alone_is_predicted_like_any(backend, dtype):
    model, x, _ = made("deep", backend, dtype)
    program, flat = model.program, model.program.to_device(model.parameters.flat)
    for rows in (1, 3, 11):
        given = x[:rows].copy()
        found = model.predict(given)
        wanted = program.predict(flat, Inputs(program.to_device(given)))
        assert_same_bits(found, wanted)
        found[...] = np.nan  # it is the caller's
        assert_same_bits(model.predict(given), wanted)
    model.parameters["0.weight"] = np.zeros((6, 9))
    assert (model.predict(x[:1]) == model.parameters["2.bias"]).all()


def test_codes_of_categories_are_looked_at_however_few_the_rows(backend):
    network = mixed("embed")
    if lacks(backend, network):
        pytest.skip(f"{backend} refuses embeddings by name")
    model = fn.Model(network, backend=backend, seed=1)
    rows = rows_for(network, 40)[0].astype(np.float32)
    every = model.predict(rows)
    for count in (1, 3):
        few = rows[:count]
        pair = few[:, :2], few[:, 2:].astype(np.int64)
        for x in (few, pair, (few[:, :2].astype(float), few[:, 2:].tolist())):
            assert_near(model.predict(x), every[:count], FORWARD["float32"], dtype=np.float32)
        for code in (12, -1, 0.5, np.nan):
            spoiled = few.copy()
            spoiled[-1, 3] = code
            with pytest.raises(fn.DataError, match=f"row {count - 1}, column 1 of the categories"):
                model.predict(spoiled)
        pair[1][-1, 1] = 12
        with pytest.raises(fn.DataError, match="category 12 in row"):
            model.predict(pair)
