"""scikit-learn's own tests of its multi-layer perceptron, with ours in its place.

They are those of the scikit-learn that is installed, so a new version brings its new ones.
"""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
upstream = pytest.importorskip(
    "sklearn.neural_network.tests.test_mlp",
    reason="this scikit-learn was installed without its tests",
)

import sklearn.neural_network  # noqa: E402  # after the check

from fastnet.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

#: What does not hold for ours, and why.
EXCEPTIONS = {
    "test_gradient": "calls _loss_grad_lbfgs, a private method of scikit-learn's backpropagation; "
    "fastnet's gradients are held to finite differences for every backend",
}

PLACES = {
    sklearn.neural_network.MLPClassifier: MLPClassifier,
    sklearn.neural_network.MLPRegressor: MLPRegressor,
}


def _ours(value):
    return PLACES.get(value, value) if isinstance(value, type) else value


def _in_their_place(mark):
    """A mark whose parameters are our classes."""
    if mark.name != "parametrize":
        return mark
    names, values, *rest = mark.args
    return pytest.mark.parametrize(names, list(map(_ours, values)), *rest, **mark.kwargs).mark


for _name, _value in list(vars(upstream).items()):
    if isinstance(_value, type):
        setattr(upstream, _name, _ours(_value))
    elif _name.startswith("test_"):
        _value.pytestmark = list(map(_in_their_place, getattr(_value, "pytestmark", [])))
        if _name in EXCEPTIONS:
            reason = EXCEPTIONS[_name]
            _value = pytest.mark.xfail(reason=reason, raises=AttributeError, strict=True)(_value)
        globals()[_name] = _value


@pytest.fixture
def global_random_seed():
    """scikit-learn's own default, which its conftest.py has."""
    return 42


@pytest.fixture(autouse=True, scope="module")
def _global_random_state_stays():
    """It does not here: `random_state=None`, which they use, means NumPy's global generator."""
    before = np.random.get_state()
    yield
    np.random.set_state(before)


def test_what_is_excepted_is_there():
    unknown = set(EXCEPTIONS) - set(vars(upstream))
    assert not unknown, f"this scikit-learn has no {sorted(unknown)}: take them off the list"


def test_all_of_them_are_run_with_ours():
    assert upstream.MLPClassifier is MLPClassifier
    assert upstream.MLPRegressor is MLPRegressor
    assert sum(name.startswith("test_") for name in vars(upstream)) > 30
