"""A fit that diverges says so, and leaves the last finite parameters."""

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for

import fastnet as fn

NETWORK = fn.Network(4, [fn.Dense(8, "relu"), fn.Dense(1)])
X, Y = rows_for(NETWORK, 50)


def assert_usable(model, x=X, y=Y):
    """The parameters are finite, and the model trains and predicts as a fresh one with them."""
    assert np.isfinite(model.parameters.flat).all()
    other = fn.Model(model.network, backend=model.backend, dtype=model.dtype, seed=model.seed)
    other.parameters.flat[...] = model.parameters.flat
    for one in (model, other):
        one.parameters.flat[...] *= 1e-3 / max(1e-3, np.abs(one.parameters.flat).max())
        # In order: a second fit's shuffles are others than a first one's.
        one.fit(x, y, epochs=2, optimizer=fn.SGD(1e-6), shuffle=False)
    assert_same_bits(model.parameters.flat, other.parameters.flat)
    assert np.isfinite(model.predict(x)).all()


DIVERGING = {
    "sgd": fn.SGD(1.0),
    "sgd_huge": fn.SGD(1e30),
    "momentum": fn.SGD(0.5, momentum=0.95),
    "nesterov": fn.SGD(0.5, momentum=0.95, nesterov=True),
    "rmsprop": fn.RMSprop(1e37),
    "adam": fn.Adam(1e37),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DIVERGING)
def test_a_diverging_fit_leaves_the_parameters_of_its_last_good_step(backend, name, dtype):
    optimizer = DIVERGING[name]
    if dtype == "float64" and optimizer.learning_rate == 1e37:
        optimizer = type(optimizer)(1e300)
    model = fn.Model(NETWORK, backend=backend, dtype=dtype, seed=1)
    options = {"optimizer": optimizer, "batch_size": 8, "shuffle": True}
    with pytest.raises(fn.Diverged, match=r"epoch \d+, step \d+ of 7.*smaller learning rate") as it:
        model.fit(X, Y, epochs=400, **options)
    assert isinstance(it.value, ArithmeticError)
    steps = int(str(it.value).partition(" in all")[0].rpartition("of step ")[2])
    flat = model.parameters.flat.copy()
    assert np.isfinite(flat).all()
    assert len(model.history) == steps // 7
    assert np.isfinite(model.history.loss).all()
    # The same fit, watched so that it stops after every epoch, comes to the same end.
    other = fn.Model(NETWORK, backend=backend, dtype=dtype, seed=1)
    with pytest.raises(fn.Diverged):
        other.fit(X, Y, epochs=400, callbacks=[lambda m, h: None], **options)
    assert_same_bits(other.parameters.flat, flat)
    assert other.history.loss == model.history.loss
    assert_usable(model)


def test_the_parameters_left_are_those_of_a_whole_number_of_steps(backend):
    model, other = (fn.Model(NETWORK, backend=backend, seed=1) for _ in range(2))
    options = {"optimizer": fn.SGD(1.0, momentum=0.9), "batch_size": None}
    with pytest.raises(fn.Diverged, match="of step ") as caught:
        model.fit(X, Y, epochs=10_000, **options)
    steps = int(str(caught.value).partition(" in all")[0].rpartition("of step ")[2])
    assert steps > 1
    other.fit(X, Y, epochs=steps, **options)
    assert_same_bits(model.parameters.flat, other.parameters.flat)
    assert model.history.loss == other.history.loss


def test_parameters_that_overflow_while_the_loss_stays_finite_are_found(backend):
    # One input is always positive and so large that its weight overflows in one step; the unit
    # behind it then is dead for good, and the loss finite.
    network = fn.Network(
        1, [fn.Dense(1, "relu", bias=False, init=[[1.0]]), fn.Dense(1, init=([[1.0]], [0.0]))]
    )
    model = fn.Model(network, backend=backend)
    x, y = np.full((2, 1), 1e10), np.zeros((2, 1))
    with pytest.raises(fn.Diverged, match=r"memory overflowed in epoch 1, step 1 of 1"):
        model.fit(x, y, optimizer=fn.SGD(1e20), epochs=5, batch_size=None)
    assert model.parameters.flat.tolist() == [1, 1, 0]
    assert len(model.history) == 0


def test_an_optimizer_memory_that_overflows_is_found(backend):
    # g^2 is infinite: the step g / sqrt(g^2) would be zero for ever, and the loss finite.
    model = fn.Model(fn.Network(1, [fn.Dense(1, init=[[1.0]])]), backend=backend, dtype="float32")
    x, y = np.ones((1, 1)), np.full((1, 1), 1.5e19)
    with pytest.raises(fn.Diverged, match="memory overflowed"):
        model.fit(x, y, optimizer="adam", epochs=5)
    assert model.parameters.flat.tolist() == [1, 0]


def test_the_step_that_is_named_is_the_one_that_overflowed(backend):
    layers = [
        fn.Dense(1, "relu", bias=False, init=[[1e-20]]),
        fn.Dense(1, bias=False, init=[[1.0]]),
    ]
    model = fn.Model(fn.Network(1, layers), backend=backend)
    # Only the sixth row moves anything. It makes the first weight -inf, so that the unit is
    # dead for every row after it, and their loss zero.
    x, y = np.full((10, 1), 1e-30), np.zeros((10, 1))
    x[5], y[5] = 1e10, -1e19
    with pytest.raises(
        fn.Diverged, match=r"memory overflowed in epoch 1, step 6 of 10.*of step 5 "
    ):
        model.fit(x, y, optimizer=fn.SGD(1e15), epochs=1, batch_size=1, shuffle=False)
    assert model.parameters.flat.tolist() == [np.float32(1e-20), 1]


def test_a_loss_that_is_not_finite_at_once_leaves_the_model_untouched(backend):
    model = fn.Model(fn.Network(1, [fn.Dense(1)], "poisson"), backend=backend, seed=1)
    model.parameters["0.weight"] = [[1.0]]
    start = model.parameters.flat.copy()
    with pytest.raises(
        fn.Diverged, match=r"the loss became inf in epoch 1, step 1 of 1.*of step 0"
    ):
        model.fit([[1000.0]], [[1.0]], epochs=3)
    assert_same_bits(model.parameters.flat, start)
    assert len(model.history) == 0


def test_clipping_keeps_a_fit_from_diverging(backend):
    model = fn.Model(NETWORK, backend=backend, seed=1)
    model.fit(X, Y * 1e6, optimizer=fn.SGD(0.1), epochs=5, clip_norm=1.0)
    assert np.isfinite(model.parameters.flat).all()


def test_a_divergence_in_the_middle_keeps_the_epochs_before_with_their_validation(backend):
    model = fn.Model(NETWORK, backend=backend, seed=1)
    with pytest.raises(fn.Diverged):
        model.fit(
            X, Y, optimizer=fn.SGD(0.3, momentum=0.9), epochs=1_000, batch_size=8, validation=0.2
        )
    assert len(model.history.validation_loss) == len(model.history)
    assert_usable(model)


def test_a_callback_that_breaks_the_parameters_is_told(backend):
    model = fn.Model(NETWORK, backend=backend, seed=1)

    def spoil(model, history):
        if len(history) == 2:
            model.parameters["0.weight"][0, 0] = np.nan

    with pytest.raises(
        fn.Diverged, match="a callback made a parameter infinite or NaN after epoch 2"
    ):
        model.fit(X, Y, epochs=5, callbacks=[spoil])
    assert len(model.history) == 2
    alike = fn.Model(NETWORK, backend=backend, seed=1)
    alike.fit(X, Y, epochs=2)
    assert_same_bits(model.parameters.flat, alike.parameters.flat)
    members = fn.Population(NETWORK, members=2, backend=backend, seed=1)
    with pytest.warns(RuntimeWarning, match=r"1 of 2 members diverged \(0\).*a callback"):
        members.fit(X, Y, epochs=3, callbacks=[lambda m, h: spoil(m, h) if m.seed == 1 else None])
    assert [len(history) for history in members.histories] == [2, 3]


def test_a_callback_that_spoils_and_raises_spoils_no_checkpoint(backend, tmp_path):
    def spoil(model, history):
        model.parameters.flat[:] = np.inf
        raise LookupError("of the callback")

    model = fn.Model(NETWORK, backend=backend, seed=1)
    with pytest.raises(LookupError):
        model.fit(X, Y, epochs=2, callbacks=[spoil], checkpoint=tmp_path / "kept")
    assert np.isfinite(model.parameters.flat).all()
    model.fit(X, Y, epochs=2, checkpoint=tmp_path / "kept", resume=True)
    alike = fn.Model(NETWORK, backend=backend, seed=1)
    alike.fit(X, Y, epochs=2)
    assert_same_bits(model.parameters.flat, alike.parameters.flat)


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_what_diverges_in_a_callback_is_not_the_member(backend, optimizer):
    def other_fit(model, history):
        fn.Model(NETWORK, backend=backend).fit(X, Y, optimizer=fn.SGD(1e30), epochs=9)

    members = fn.Population(NETWORK, members=2, backend=backend, seed=1)
    with pytest.raises(fn.Diverged, match=r"learning rate 1e\+30"):
        members.fit(X, Y, optimizer=optimizer, epochs=2, batch_size=None, callbacks=[other_fit])
