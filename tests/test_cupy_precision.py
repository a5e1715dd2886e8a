"""Products in fewer bits, on both paths through a network: only on request, and how near."""

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import biased, rows_for, weights_for
from simulated.building import absence

import fastnet as fn
from fastnet.errors import BackendUnavailable, DefinitionError
from fastnet_cupy.precision import FLOAT32, NUMBERS

missing = absence()
pytestmark = pytest.mark.skipif(missing is not None, reason=missing or "")

PATHS = ("simulated_layered", "simulated_narrow")

NETWORKS = {
    "relu": fn.Network(20, [fn.Dense(40, "relu"), fn.Dense(33, "relu"), fn.Dense(5)]),
    "gelu": fn.Network(
        7, [fn.Dense(17, "gelu"), fn.Dropout(0.2), fn.Dense(16, "silu"), fn.Dense(3, "softmax")],
        "crossentropy",
    ),
    # Norms bring some entries near to zero: a kink there would make much of a rounding.
    "blocks": fn.Network(
        fn.Inputs(10, (12, 30)),
        [fn.Embed((3, 8), fn.Periodic(3, 6)), fn.Dense(33), fn.BatchNorm(), fn.Mish(),
         fn.Residual([fn.LayerNorm(), fn.Dropout(0.2), fn.Dense(24, fn.Parametric("tanh")),
         fn.Dense(33)]), fn.LayerNorm(), fn.Dense(5)],
    ),
}  # fmt: skip
#: Ways through them; what is no chain has one.
WAYS = [(path, name) for name in NETWORKS for path in PATHS if name != "blocks" or path == PATHS[0]]


def bound(name: str, layers: int) -> float:
    """How far a gradient may be off, of its norm.

    A product's operands are rounded to `mantissa` bits, each by half a unit at most; such errors
    pass through every layer forward and back, and add up like a random walk, whose length is
    covered by counting every rounding of the two passes in full.
    """
    return 2 * layers * 2.0 ** -(NUMBERS[name].mantissa + 1) * 2


def models(network, backend, precision):
    asked = biased(fn.Model(network, backend=backend, seed=3, precision=precision))
    exact = fn.Model(network, backend="numpy", dtype="float64", seed=3)
    exact.parameters.flat[...] = asked.parameters.flat
    return asked, exact


@pytest.mark.parametrize("precision", NUMBERS)
@pytest.mark.parametrize(("backend", "name"), WAYS)
def test_a_gradient_is_as_near_as_its_bits_allow(backend, name, precision):
    network = NETWORKS[name]
    x, y = rows_for(network, 150)
    weight = weights_for(150)
    asked, exact = models(network, backend, precision)
    loss, found = asked.loss_and_gradient(x, y, weight, l2=0.01, dropout_step=3)
    wanted_loss, wanted = exact.loss_and_gradient(x, y, weight, l2=0.01, dropout_step=3)
    limit = bound(precision, 3)
    assert loss == pytest.approx(wanted_loss, rel=limit)
    assert_near(found, wanted, limit, dtype=np.float32)
    off = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert off > 2.0**-20, "these are float32's own digits: nothing was multiplied in fewer bits"
    assert asked.evaluate(x, y, weight) == pytest.approx(exact.evaluate(x, y, weight), rel=limit)
    assert_near(asked.predict(x), exact.predict(x), limit, dtype=np.float32)


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("simulated_layered", "tf32"), ("simulated_layered", "bf16"), ("simulated_narrow", "fp16")],
)
def test_training_converges_as_in_float32(backend, precision):
    network = fn.Network(8, [fn.Dense(32, "tanh"), fn.Dense(32, "relu"), fn.Dense(1)])
    x, _ = rows_for(network, 500)
    y = np.sin(x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3]
    runs = {}
    for name, options in {
        "asked": {"backend": backend, "precision": precision},
        "float32": {"backend": "numpy"},
    }.items():
        model = fn.Model(network, seed=5, **options)
        history = model.fit(x, y, optimizer=fn.Adam(0.01), epochs=30, batch_size=64)
        runs[name] = history.loss[-1]
    assert runs["float32"] < 0.1, "the reference itself has not learned"
    assert runs["asked"] == pytest.approx(runs["float32"], rel=0.2)


@pytest.mark.parametrize(
    ("backend", "norms"), [*((path, False) for path in PATHS), (PATHS[0], True)]
)
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_fp16_keeps_derivatives_of_any_size(backend, norms, size):
    # Far from its targets, Huber's slopes are its delta: over rows and outputs, from below fp16's
    # least, 6e-8, to beyond its largest, 65504, if nothing were scaled.
    layers = [fn.Dense(20, "tanh"), fn.Dense(18, "tanh"), fn.Dense(4)]
    if norms:
        layers = [fn.Dense(20), fn.LayerNorm(), fn.Residual([fn.Dense(20, "tanh")]), fn.Dense(4)]
    network = fn.Network(6, layers, fn.Huber(delta=size))
    x, y = rows_for(network, 300)
    y = np.sign(y) * 10 * max(size, 1.0)
    asked, exact = models(network, backend, "fp16")
    found, wanted = asked.loss_and_gradient(x, y)[1], exact.loss_and_gradient(x, y)[1]
    assert_near(found, wanted, bound("fp16", 3), dtype=np.float32)


@pytest.mark.parametrize("backend", PATHS)
@given(
    exponent=st.one_of(st.sampled_from([-149, -127, -126, -122, 127]), st.integers(-149, 127)),
    rows=st.lists(st.integers(-60, 0), min_size=1, max_size=4),
    place=st.integers(0, 299),
)
@settings(max_examples=25)
def test_fp16_keeps_derivatives_of_float32s_whole_range(backend, exponent, rows, place):
    """A row has a derivative of 2^exponent, some have less by their weights, most have none."""
    delta = 2.0**exponent
    network = fn.Network(6, [fn.Dense(20, "tanh"), fn.Dense(1)], fn.Huber(delta=delta))
    x = rows_for(network, 300)[0] / 4
    y = np.full((300, 1), 1.5 * delta + 10)
    weight = np.zeros(300)
    weight[: 60 * len(rows) : 60] = np.exp2(rows)
    weight[place] = 1.0
    asked, exact = models(network, backend, "fp16")
    found = asked.loss_and_gradient(x, y, weight)[1]
    wanted = exact.loss_and_gradient(x, y, weight)[1]
    limit = bound("fp16", 2) * np.linalg.norm(wanted) + 2.0**-149 * np.sqrt(len(wanted))
    assert np.linalg.norm(found - wanted) <= limit


@pytest.mark.parametrize("backend", PATHS)
def test_a_derivative_that_underflows_leaves_the_loss_a_number(backend):
    network = fn.Network(1, [fn.Dense(2, "softmax")], "crossentropy")
    model = fn.Model(network, backend=backend, seed=1, precision="fp16")
    model.parameters.flat[...] = [0, 0, 0, -90]
    history = model.fit(
        np.ones((19, 1)), np.zeros(19, int), optimizer=fn.SGD(0.1), epochs=2, batch_size=8
    )
    assert history.loss == [0, 0]


@pytest.mark.parametrize("precision", NUMBERS)
@pytest.mark.parametrize("backend", PATHS)
def test_a_run_in_fewer_bits_may_be_cut(backend, precision):
    network = NETWORKS["gelu"]
    x, y = rows_for(network, 100)
    whole, cut = (fn.Model(network, backend=backend, seed=2, precision=precision) for _ in range(2))
    settings = {"optimizer": fn.Adam(0.01), "batch_size": 16, "clip_norm": 1.0}
    whole.fit(x, y, epochs=6, **settings)
    cut.fit(x, y, epochs=2, **settings)
    cut.fit(x, y, epochs=6, initial_epoch=2, **settings)
    assert_same_bits(cut.parameters.flat, whole.parameters.flat)


@pytest.mark.parametrize("precision", NUMBERS)
@pytest.mark.parametrize("backend", PATHS)
def test_a_row_with_nan_stays_alone(backend, precision):
    network = NETWORKS["relu"]
    model = fn.Model(network, backend=backend, seed=1, precision=precision)
    x, _ = rows_for(network, 40)
    wanted = model.predict(x)
    x[7, 3] = np.nan
    found = model.predict(x)
    assert np.isnan(found[7]).all()
    assert_same_bits(np.delete(found, 7, axis=0), np.delete(wanted, 7, axis=0))


def test_precision_is_chosen_by_name_where_the_backend_has_it(tmp_path):
    network = NETWORKS["relu"]
    with pytest.raises(DefinitionError, match=r"unknown precision 'fp61'; did you mean 'fp16'"):
        fn.Model(network, backend="simulated", precision="fp61")
    with pytest.raises(DefinitionError, match="'tf32' requires dtype 'float32', not 'float64'"):
        fn.Model(network, backend="simulated", precision="tf32", dtype="float64")
    for backend in ("numpy", "numba"):
        with pytest.raises(BackendUnavailable, match=f"{backend}.*not have precision 'bf16'.*cupy"):
            fn.Model(network, backend=backend, precision="bf16")
    model = fn.Model(network, backend="simulated", precision="bf16", seed=1)
    assert model.precision == "bf16"
    path = model.save(tmp_path / "model.safetensors")
    assert fn.load(path, backend="numpy").precision is None
    x, _ = rows_for(network, 5)
    same = fn.load(path, backend="simulated", precision="bf16")
    assert_same_bits(same.predict(x), model.predict(x))
    plain = fn.load(path, backend="simulated")
    assert (plain.predict(x) != model.predict(x)).any()


def test_float32_is_never_multiplied_in_fewer_bits():
    assert FLOAT32.mantissa == 23
    network = NETWORKS["relu"]
    x, y = rows_for(network, 150)
    for backend in PATHS:
        asked, exact = models(network, backend, None)
        found, wanted = asked.loss_and_gradient(x, y)[1], exact.loss_and_gradient(x, y)[1]
        assert_near(found, wanted, 1e-6, dtype=np.float32)
