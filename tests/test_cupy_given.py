"""Rows that a user has on the device are looked at there, and stay there."""

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for
from simulated.building import absence

import fastnet as fn

missing = absence()
pytestmark = pytest.mark.skipif(missing is not None, reason=missing or "")

ROWS = 75


def network(units, activation, loss):
    return fn.Network(6, [fn.Dense(9, "tanh"), fn.Dense(units, activation)], loss)


NETWORKS = {
    "numbers": network(2, "identity", "mse"),
    "counts": network(1, "identity", "poisson"),
    "shares": network(2, "sigmoid", "binary_crossentropy"),
    "classes": network(3, "softmax", "crossentropy"),
}
#: Of each kind of target one that it may not be, and what is said of it.
WRONG = {
    "numbers": (np.inf, "y holds inf in row 7"),
    "counts": (-1, "y is -1.0 in row 7"),
    "shares": (1.5, "y is 1.5 in row 7"),
    "classes": (3, "y is class 3 in row 7"),
}


def a_model(name):
    return fn.Model(NETWORKS[name], backend="simulated", seed=4)


def rows_of(name):
    """In the dtypes that kernels read."""
    x, y = rows_for(NETWORKS[name], ROWS)
    return x.astype("f4"), y.astype("i8" if y.ndim == 1 else "f4")


@pytest.fixture
def crossed(monkeypatch):
    """The shapes of what goes from the host to a device and back."""
    from simulated.device import HostDevice

    found = []

    def counting(original):
        def method(self, array):
            found.append(array.shape)
            return original(self, array)

        return method

    monkeypatch.setattr(HostDevice, "upload", counting(HostDevice.upload))
    monkeypatch.setattr(HostDevice, "download", counting(HostDevice.download))
    return found


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((name, "adam") for name in NETWORKS), ("classes", "lbfgs")]
)
def test_a_fit_leaves_them_there_and_gives_the_same_bits(name, optimizer, crossed):
    x, y = rows_of(name)
    one, other = a_model(name), a_model(name)
    put = other.program.device.upload
    settings = {"epochs": 3, "optimizer": optimizer}
    if optimizer == "adam":
        settings |= {"batch_size": 16, "early_stopping": 2}
    wanted = one.fit(x, y, validation=(x[:20], y[:20]), **settings)
    there = put(x), put(y[:, 0] if name == "counts" else y)
    held_out = put(x[:20]), put(y[:20])
    crossed.clear()
    found = other.fit(*there, validation=held_out, **settings)
    assert (found.loss, found.validation_loss) == (wanted.loss, wanted.validation_loss)
    assert_same_bits(other.parameters.flat, one.parameters.flat)
    loss = other.evaluate(*there)
    assert not {x.shape, y.shape, there[1].shape, x[:20].shape, y[:20].shape} & set(crossed)
    assert loss == one.evaluate(x, y)


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_that_are_not_good_to_learn_from_are_refused_by_row(name):
    x, y = rows_of(name)
    model = a_model(name)
    put = model.program.device.upload
    entry, text = WRONG[name]
    wrong = y.copy()
    wrong[7] = entry
    with pytest.raises(fn.DataError, match=text):
        model.fit(put(x), put(wrong))
    with pytest.raises(fn.DataError, match="x has 75 rows and y has 74 rows"):
        model.evaluate(put(x), put(y[1:]))
    x[70, 2] = np.nan
    with pytest.raises(fn.DataError, match="x holds nan in row 70, column 2"):
        model.fit(put(x), put(y))


def test_rows_that_leave_no_room_to_look_at_them_go_by_way_of_the_host(monkeypatch):
    from fastnet_cupy import given

    def full(*_):
        raise MemoryError

    x, y = rows_of("classes")
    one, other = a_model("classes"), a_model("classes")
    put = other.program.device.upload
    monkeypatch.setattr(given, "data_at_once", full)
    assert other.fit(put(x), put(y), epochs=2).loss == one.fit(x, y, epochs=2).loss


@pytest.mark.parametrize(
    "settings",
    [
        {"sample_weight": np.linspace(1, 2, ROWS)}, {"class_weight": "balanced"},
        {"validation": 0.2}, {"validation": rows_of("classes"), "metrics": ["accuracy"]},
    ],
    ids="-".join,
)  # fmt: skip
def test_what_the_host_has_to_see_goes_by_way_of_it(settings):
    x, y = rows_of("classes")
    one, other = a_model("classes"), a_model("classes")
    put = other.program.device.upload
    wanted = one.fit(x, y, epochs=2, **settings)
    found = other.fit(put(x), put(y), epochs=2, **settings)
    assert found.loss == wanted.loss
    assert_same_bits(other.parameters.flat, one.parameters.flat)
