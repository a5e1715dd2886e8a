"""Arrays of every kind that a user may have are used as they are, or refused with a remedy."""

from decimal import Decimal

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for

import fastnet as fn

NETWORK = fn.Network(3, [fn.Dense(8, "tanh"), fn.Dense(2, "softmax")], "crossentropy")
X, Y = rows_for(NETWORK, 11)
X = X.astype(np.float32)
WEIGHT = np.linspace(0.5, 1.5, 11)


class Arrayed:
    """An object with `__array__` and nothing else."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class Placeless:
    """An array of a library that cannot name its device."""

    def __dlpack__(self, **options):
        raise BufferError

    def __dlpack_device__(self):
        raise BufferError("a virtual device")


def model_of(backend="numpy"):
    return fn.Model(NETWORK, backend=backend, seed=1)


def check(backend, x, y=Y, weight=WEIGHT, wanted=X):
    """Pass arrays to every method, and compare with a model that was passed NumPy's."""
    one, other = model_of(backend), model_of(backend)
    predicted = other.predict(x)
    assert_same_bits(np.asarray(predicted), one.predict(wanted))
    assert other.evaluate(x, y, weight) == one.evaluate(wanted, Y, WEIGHT)
    one.fit(wanted, Y, epochs=2, sample_weight=WEIGHT, validation=(wanted, Y))
    other.fit(x, y, epochs=2, sample_weight=weight, validation=(x, y))
    assert_same_bits(other.parameters.flat, one.parameters.flat)
    return predicted


def test_objects_with_array(backend):
    assert type(check(backend, Arrayed(X), Arrayed(Y), Arrayed(WEIGHT))) is np.ndarray
    check(backend, memoryview(X), list(Y), tuple(WEIGHT))


def test_frames_of_pandas(backend):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X)
    for x in (frame, frame.convert_dtypes(), frame.astype({0: "Float32"})):
        for y in (pandas.Series(Y), pandas.Series(Y, dtype="Int64"), pandas.DataFrame({"y": Y})):
            check(backend, x, y, pandas.Series(WEIGHT))


def test_missing_and_other_values_of_pandas():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X).convert_dtypes()
    frame.iloc[4, 1] = pandas.NA
    model = model_of()
    assert np.flatnonzero(np.isnan(model.predict(frame)).any(axis=1)).tolist() == [4]
    with pytest.raises(fn.DataError, match="x holds nan in row 4, column 1; fill in"):
        model.fit(frame, Y)
    missing = pandas.Series(Y, dtype="Int64")
    missing[3] = pandas.NA
    with pytest.raises(fn.DataError, match="y holds nan in row 3"):
        model.fit(X, missing)
    decimals = [list(map(Decimal, row)) for row in X.tolist()]
    frame = pandas.DataFrame(X)
    for text in (frame.astype(str), frame.astype(object), decimals):
        says = r"x has dtype object; it must hold real numbers: .*np\.asarray\(x, 'float32'\)"
        model.fit(np.asarray(text, "float32"), Y, epochs=1)  # the remedy works
        with pytest.raises(fn.DataError, match=says):
            model.predict(text)


def test_frames_of_polars(backend):
    polars = pytest.importorskip("polars", reason="Polars is not installed")
    check(backend, polars.DataFrame(X), polars.Series(Y), polars.Series(WEIGHT))
    with pytest.raises(fn.DataError, match="x has dtype object"):
        model_of(backend).predict(polars.DataFrame({"a": ["x"], "b": [1], "c": [2]}))


@pytest.fixture(scope="module")
def jax():
    state = np.random.get_state()  # which JAX draws from when it is imported
    found = pytest.importorskip("jax", reason="JAX is not installed")
    np.random.set_state(state)
    return found


def test_arrays_of_jax(backend, jax):
    found = check(backend, jax.numpy.array(X), jax.numpy.array(Y), jax.numpy.array(WEIGHT))
    assert isinstance(found, jax.Array)
    short = jax.numpy.array(X, "bfloat16")
    wanted = np.asarray(short.astype("float32"))
    assert isinstance(check(backend, short, wanted=wanted), jax.Array)
    check(backend, np.asarray(short), wanted=wanted)


def test_arrays_of_fewer_bits(backend):
    types = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    for kind in (types.bfloat16, types.float8_e5m2, np.float16):
        short = X.astype(kind)
        check(backend, short, wanted=short.astype(np.float32))


def test_tensors_of_pytorch(backend):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, y, weight = torch.tensor(X), torch.tensor(Y), torch.tensor(WEIGHT)
    for tensor in (
        x,
        torch.tensor(X, requires_grad=True),
        torch.tensor(X, requires_grad=True) * 1,
        torch.nn.Parameter(x),
        torch.tensor(X.T.copy()).T,
        torch._neg_view(-x),
    ):
        found = check(backend, tensor, y, weight)
        assert isinstance(found, torch.Tensor)
        assert not found.requires_grad
    for kind in (torch.bfloat16, torch.float16, torch.float8_e5m2):
        short = x.to(kind)
        found = check(backend, short, wanted=short.float().numpy())
        assert (type(found), found.dtype) == (torch.Tensor, torch.float32)


def test_unreadable_arrays_are_refused(backend):
    model = model_of(backend)
    for x in (Placeless(), np.ndarray):
        with pytest.raises(fn.DataError, match="x is on a device that fastnet cannot read"):
            model.predict(x)
        with pytest.raises(fn.DataError, match="x is on a device that fastnet cannot read"):
            model.fit(x, Y)
    for x in (Arrayed(np.array(["a"])), None, "abc", {1}):
        with pytest.raises(fn.DataError, match="x has dtype"):
            model.predict(x)


def test_unreadable_tensors_are_refused(backend):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model, x = model_of(backend), torch.tensor(X)
    for tensor, message in (
        (x.to("meta"), "x is on a device that fastnet cannot read.*meta"),
        (x.to_sparse(), "to_dense"),
        (x.to(torch.complex64), "dtype complex64"),
        ([row.requires_grad_() for row in x.unbind()], "detach"),
    ):
        with pytest.raises(fn.DataError, match=message):
            model.predict(tensor)


@pytest.mark.parametrize("scale", [1e-200, 1e-42, 1e300])
def test_only_the_ratios_of_sample_weights_matter(scale):
    model = model_of()
    wanted = model.evaluate(X, Y, WEIGHT)
    assert model.evaluate(X, Y, WEIGHT * scale) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_of_text_in_a_frame_is_named(library):
    frame = pytest.importorskip(library, reason=f"{library} is not installed").DataFrame(
        {"a": [1.0, 2.0], "town": ["3", "York"]}
    )
    model = fn.Model(fn.Network(2, [fn.Dense(1)]), backend="numpy")
    for use in (model.predict, lambda x: model.fit(x, [0, 1])):
        with pytest.raises(fn.DataError, match="column 'town' holds 'York' in row 1; leave that"):
            use(frame)
    with pytest.raises(fn.DataError, match=r"as with np\.asarray\(x, 'float32'\)"):
        model.predict(frame.to_numpy()[:1])
    with pytest.raises(fn.DataError, match="column 1 holds None in row 0"):
        model.predict([[1, None]])


def test_a_class_beyond_every_integer_is_outside():
    model = fn.Model(fn.Network(1, [fn.Dense(3, "softmax")], "crossentropy"), backend="numpy")
    for y in (np.array([2**63], np.uint64), [1e30], np.array([-1])):
        with pytest.raises(fn.DataError, match="in row 0; the network has 3 outputs, for classes"):
            model.evaluate([[1.0]], y)
