"""Odd sizes on the Numba backend: wherever vectors, tiles, chunks and threads end, as in NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import biased, rows_for, weights_for
from tolerances import FORWARD, GRADIENT_FLOAT32

import fastnet as fn

pytest.importorskip("numba", reason="numba is not installed")

#: A gradient, or parameters after a few steps, against NumPy's: sums in another order.
NEAR = {"float64": 1e-12, "float32": GRADIENT_FLOAT32}

#: Around the vectors' and the tiles' sizes, and the smallest.
UNITS = (1, 2, 3, 15, 16, 17, 63, 65)

#: Output activation, loss and the form of the targets.
HEADS = {
    "mse": ("identity", "mse", "real"),
    "huber_of_softplus": ("softplus", fn.Huber(delta=0.3), "real"),
    "mse_of_softmax": ("softmax", "mse", "real"),
    "binary": ("sigmoid", "binary_crossentropy", "real"),
    "poisson": ("identity", "poisson", "real"),
    "index": ("softmax", "crossentropy", "index"),
    "onehot": ("softmax", "crossentropy", "onehot"),
    "soft": ("softmax", "crossentropy", "soft"),
    "smoothed": ("softmax", fn.Crossentropy(label_smoothing=0.2), "index"),
    "means": ("identity", "gaussian_nll", "real"),
    "quantiles": ("identity", fn.Quantile((0.1, 0.7)), "real"),
    "mae": ("identity", "mae", "real"),
}

#: Those whose outputs come in pairs.
EVEN = ("means", "quantiles")

ACTIVATIONS = (
    "identity", "relu", "sigmoid", "tanh", "elu", "gelu", "leaky_relu", "silu", "softplus",
)  # fmt: skip


def with_head(inputs, hidden, units, name, bias=True):
    """A network with as many outputs, or one more, where it needs pairs, or two at least."""
    output, loss, _ = HEADS[name]
    units += units % 2 if name in EVEN else units == 1 and output == "softmax"
    return fn.Network(inputs, [*hidden, fn.Dense(units, output, bias=bias)], loss)


def pair(network, dtype, threads=1, seed=1):
    """A model on Numba and one on NumPy in float64, with the same parameters, biases too."""
    found = biased(fn.Model(network, backend="numba", dtype=dtype, seed=seed, threads=threads))
    wanted = fn.Model(network, backend="numpy", dtype="float64", seed=seed)
    wanted.parameters.flat[...] = found.parameters.flat
    return found, wanted


def rows(network, count, dtype, form="index"):
    """x and y that are the same numbers in `dtype` and in float64."""
    x, y = rows_for(network, count, form=form)
    return x.astype(dtype), y if y.dtype.kind == "i" else y.astype(dtype)


def assert_agree(network, dtype, threads, count, batch_size, form="index", weighted=False):
    """Prediction, loss, gradient and a few steps of training are those of NumPy's float64."""
    x, y = rows(network, count, dtype, form)
    weight = weights_for(count).astype(dtype) if weighted else None
    found, wanted = pair(network, dtype, threads)
    assert_near(found.predict(x), wanted.predict(x), 4 * FORWARD[dtype], dtype)
    near = NEAR[dtype]
    assert found.evaluate(x, y, weight) == pytest.approx(wanted.evaluate(x, y, weight), rel=near)
    penalties = {"l1": 0.01, "l2": 0.1, "dropout_step": 7}
    for options in ({}, penalties):
        loss, gradient = found.loss_and_gradient(x, y, weight, **options)
        wanted_loss, wanted_gradient = wanted.loss_and_gradient(x, y, weight, **options)
        assert loss == pytest.approx(wanted_loss, rel=near)
        assert_near(gradient, wanted_gradient, near, dtype)
    options = {"optimizer": fn.SGD(0.02, momentum=0.5), "epochs": 2, "batch_size": batch_size}
    histories = [
        model.fit(x, y, sample_weight=weight, clip_norm=3.0, **options) for model in (found, wanted)
    ]
    assert_near(found.parameters.flat, wanted.parameters.flat, near, dtype)
    assert histories[0].loss == pytest.approx(histories[1].loss, rel=near)


@pytest.mark.parametrize(("count", "dtype"), [(24, "float64"), (41, "float32")])
def test_layers_too_large_for_the_caches_do_what_numpy_does(count, dtype):
    # Both products with the weights and that for their gradient are larger than a cache, with
    # columns and depths that fill no whole panel.
    layers = [fn.Dense(1_000, "tanh"), fn.Dense(531, "relu"), fn.Dense(1_000, "tanh")]
    network = fn.Network(40, [*layers, fn.Dense(3, "softmax")], "crossentropy")
    assert_agree(network, dtype, threads=2, count=count, batch_size=None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("outputs", [1, 3])
def test_batches_of_several_chunks_do_what_numpy_does(outputs, threads, dtype):
    layers = [fn.Dense(33, "tanh"), fn.Dropout(0.3), fn.Dense(1, "softplus")]
    network = fn.Network(3, [*layers, fn.Dense(outputs)])
    assert_agree(network, dtype, threads, count=4_111, batch_size=4_000, weighted=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("head", sorted(HEADS))
@pytest.mark.parametrize(("units", "outputs"), [(17, 5), (70, 19)], ids=["rows", "units"])
def test_heads_of_many_rows_do_what_numpy_does(units, outputs, head, dtype, monkeypatch):
    from fastnet_numba import layout

    monkeypatch.setattr(layout, "CHUNK_BYTES", 2**14)  # so that there are several chunks
    hidden = [fn.Dense(units, "tanh"), fn.Dense(3, "relu", bias=False), fn.Dense(9, "gelu")]
    network = with_head(21, hidden, outputs, head)
    assert_agree(network, dtype, 2, 650, batch_size=600, form=HEADS[head][2], weighted=True)
    model = fn.Model(network, backend="numba", dtype=dtype)
    assert model.program.for_rows(300).layout.narrow == (units == 17)  # rows are in the lanes


LAYER = st.tuples(st.sampled_from(UNITS), st.sampled_from(ACTIVATIONS), st.booleans())


@settings(max_examples=300)
@given(
    inputs=st.integers(1, 40),
    hidden=st.lists(LAYER, max_size=3),
    dropped=st.sets(st.integers(0, 3), max_size=2),
    head=st.sampled_from(sorted(HEADS)),
    outputs=st.sampled_from(UNITS),
    bias=st.booleans(),
    count=st.integers(1, 40),
    batch_size=st.integers(1, 45),
    weighted=st.booleans(),
    threads=st.integers(1, 3),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_any_network_does_what_numpy_does(
    inputs, hidden, dropped, head, outputs, bias, count, batch_size, weighted, threads, dtype
):
    layers = []
    for place, (units, activation, has_bias) in enumerate(hidden):
        if place in dropped:
            layers.append(fn.Dropout(0.25))
        layers.append(fn.Dense(units, activation, bias=has_bias))
    network = with_head(inputs, layers, outputs, head, bias)
    assert_agree(network, dtype, threads, count, batch_size, HEADS[head][2], weighted)


#: Optimizers, each with its memory, beyond plain gradient descent.
OPTIMIZERS = {
    "nesterov": fn.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": fn.Adam(0.01),
    "adamw": fn.AdamW(0.01, weight_decay=0.1),
    "rmsprop": fn.RMSprop(0.01, momentum=0.5),
    "adagrad": fn.Adagrad(0.05),
    "rprop": fn.Rprop(0.01),
    "lion": fn.Lion(0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_shared_out_over_threads_are_updated_as_numpy_does(name):
    # 7 * 6 + 6 * 2 + 2 = 56 parameters: no whole cache lines for each thread.
    network = fn.Network(7, [fn.Dense(6, "tanh", bias=False), fn.Dense(2)])
    x, y = rows_for(network, 29)
    found, wanted = pair(network, "float64", threads=3)
    for model in (found, wanted):
        model.fit(
            x, y, optimizer=OPTIMIZERS[name], epochs=5, batch_size=8, l1=0.01, l2=0.1,
            clip_value=0.3, clip_norm=0.5,
        )  # fmt: skip
    assert_near(found.parameters.flat, wanted.parameters.flat, 10 * NEAR["float64"])


def strided(a):
    wide = np.full((2 * len(a), *(3 * n for n in a.shape[1:])), np.nan).astype(a.dtype)
    view = wide[(slice(None, None, 2), *(slice(1, None, 3) for _ in a.shape[1:]))]
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


FORMS = {
    "strided": strided,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "reversed_columns": lambda a: np.flip(np.flip(a).copy()),
    "read_only": read_only,
    "fortran": np.asfortranarray,
    "other_dtype": lambda a: a.astype(np.longdouble),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_rows_does_not_matter_where_they_are_many(form, dtype):
    # Few rows go to the kernels at once: see conformance/test_inputs.py and test_at_once.py.
    count = 600
    network = fn.Network(5, [fn.Dense(17, "tanh"), fn.Dense(2)])
    x, y = rows(network, count, dtype)
    weight = weights_for(count).astype(dtype)
    plain, formed = (biased(fn.Model(network, backend="numba", dtype=dtype, seed=1)) for _ in "ab")
    given_x, given_y, given_weight = (FORMS[form](a) for a in (x, y, weight))
    assert_same_bits(formed.predict(given_x), plain.predict(x))
    found = formed.loss_and_gradient(given_x, given_y, given_weight)
    wanted = plain.loss_and_gradient(x, y, weight)
    assert found[0] == wanted[0]
    assert_same_bits(found[1], wanted[1])
    options = {"optimizer": fn.Adam(0.01), "epochs": 2, "batch_size": 70}
    formed.fit(given_x, given_y, sample_weight=given_weight, **options)
    plain.fit(x, y, sample_weight=weight, **options)
    assert_same_bits(formed.parameters.flat, plain.parameters.flat)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 17, 65])
def test_a_row_is_predicted_alike_alone_in_company_and_by_any_number_of_threads(units, dtype):
    network = fn.Network(9, [fn.Dense(units, "gelu"), fn.Dense(3, "softmax")], "crossentropy")
    x, _ = rows(network, 1_201, dtype)
    models = [pair(network, dtype, threads)[0] for threads in (1, 2, 3)]
    whole = models[0].predict(x)
    for model in models:
        assert_same_bits(model.predict(x), whole)
        assert_same_bits(model.predict(x[5:22]), whole[5:22])
        assert_same_bits(model.predict(x[5:21]), whole[5:21])  # few enough to go at once
        assert_same_bits(model.predict(x[1_200:]), whole[1_200:])


def test_an_operation_without_a_row_in_the_table_is_refused_and_not_skipped():
    from fastnet.contract.lowering import lower
    from fastnet.contract.plan import Operation
    from fastnet_numba.layout import lay_out

    class Unknown(Operation):
        """An operation that nobody has."""

    plan = lower(fn.Network(3, [fn.Dense(4), fn.Dense(2)]))
    first, last = plan.operations
    unknown = Unknown(first.sources, first.target, first.units, False)
    planted = replace(plan, operations=(unknown, last))
    with pytest.raises(fn.BackendUnavailable, match="does not have operation 'unknown'"):
        lay_out(planted, np.dtype(np.float32), 8, 0)
