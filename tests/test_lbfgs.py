"""L-BFGS reaches the optimum, and refuses what it cannot do."""

import itertools

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for
from scipy import optimize, special
from tolerances import OPTIMUM

import fastnet as fn
from fastnet import blas

LINEAR = fn.Network(4, [fn.Dense(3, "softmax")], "crossentropy")
X, Y = rows_for(LINEAR, 60)
L2 = 0.1


def scipy_optimum():
    """The smallest loss of the linear softmax, by a Newton method on SciPy's own formulas."""

    def loss(flat):
        w, b = flat[:12].reshape(4, 3), flat[12:]
        logits = X @ w + b
        rows = special.logsumexp(logits, axis=1) - logits[np.arange(60), Y]
        p = special.softmax(logits, axis=1)
        p[np.arange(60), Y] -= 1
        gradient = np.concatenate(((X.T @ p / 60 + L2 * w).ravel(), p.mean(axis=0)))
        return rows.mean() + L2 / 2 * (w**2).sum(), gradient

    found = optimize.minimize(loss, np.zeros(15), jac=True, method="BFGS", options={"gtol": 1e-10})
    return found.fun


def test_it_reaches_scipys_own_optimum_of_a_convex_problem(backend):
    model = fn.Model(LINEAR, backend=backend, dtype="float64", seed=1)
    rule = fn.LBFGS(tolerance_grad=1e-9, tolerance_change=0)
    reached = []

    def note(model, history):
        reached.append(model.loss_and_gradient(X, Y, l2=L2)[0])

    history = model.fit(X, Y, optimizer=rule, epochs=500, l2=L2, callbacks=[note])
    assert 1 < len(history) < 500
    found = model.loss_and_gradient(X, Y, l2=L2)
    assert found[0] == pytest.approx(scipy_optimum(), rel=OPTIMUM)
    assert np.abs(found[1]).max() < 1e-8
    assert history.loss[-1] == pytest.approx(model.evaluate(X, Y), rel=OPTIMUM)
    assert all(b <= a for a, b in itertools.pairwise(reached))


def test_it_ends_with_its_epochs_callbacks_and_early_stopping(backend):
    network = fn.Network(4, [fn.Dense(8, "tanh"), fn.Dense(1)])
    x, y = rows_for(network, 30)

    def fitted(**options):
        model = fn.Model(network, backend=backend, seed=2)
        return model, model.fit(x, y, optimizer="lbfgs", **{"epochs": 7, **options})

    model, history = fitted()
    assert history.epoch == list(range(1, 8))
    assert np.isnan(history.learning_rate).all()
    assert len(fitted(callbacks=[lambda m, h: len(h) == 3])[1]) == 3
    stopped, history = fitted(epochs=200, validation=(x, -y), early_stopping=fn.EarlyStopping(2))
    assert len(history) < 200
    assert stopped.evaluate(x, -y) == pytest.approx(min(history.validation_loss), rel=1e-6)
    again, _ = fitted()
    assert_same_bits(again.parameters.flat, model.parameters.flat)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 16}, "all rows in one batch; leave batch_size out"),
        ({"l1": 0.1}, "smooth loss; use l2"),
        ({"clip_norm": 1.0}, "leave out clip_norm"),
        ({"clip_value": 1.0}, "leave out clip_norm and clip_value"),
        ({"checkpoint": "anywhere"}, "cannot be resumed; leave out checkpoint"),
    ],
)
def test_it_refuses_what_it_cannot_do(options, says):
    model = fn.Model(LINEAR, backend="numpy", seed=1)
    with pytest.raises(fn.DefinitionError, match=f"'lbfgs'.*{says}"):
        model.fit(X, Y, optimizer="lbfgs", **options)


def test_it_refuses_dropout():
    network = fn.Network(4, [fn.Dropout(0.1), fn.Dense(3, "softmax")], "crossentropy")
    with pytest.raises(fn.DefinitionError, match="with Dropout"):
        fn.Model(network, backend="numpy").fit(X, Y, optimizer="lbfgs")


def test_a_start_whose_loss_is_not_finite_is_told(backend):
    network = fn.Network(1, [fn.Dense(1, init=[[1000.0]])], "poisson")
    model = fn.Model(network, backend=backend)
    with pytest.raises(fn.Diverged, match="not finite at the parameters"):
        model.fit([[1.0]], [[1.0]], optimizer="lbfgs")
    assert model.parameters.flat.tolist() == [1000.0, 0.0]


def test_matrix_libraries_have_their_threads_within_and_afterwards():
    fn.Model(LINEAR, backend="numpy", seed=1).fit(X, Y, optimizer="lbfgs", epochs=2)
    before = [lib.num_threads for lib in blas._blas()]
    seen = []

    def look(model, history):
        seen.append([lib.num_threads for lib in blas._blas()])

    with blas.capped(1):
        assert {lib.num_threads for lib in blas._blas()} == {1}
        fn.Model(LINEAR, backend="numpy", seed=1).fit(X, Y, optimizer="lbfgs", epochs=2)
        assert {lib.num_threads for lib in blas._blas()} == {1}
    model = fn.Model(LINEAR, backend="numpy", seed=1)
    model.fit(X, Y, optimizer="lbfgs", epochs=2, callbacks=[look])
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, optimizer="lbfgs", epochs=2, callbacks=[lambda model, history: 1 / 0])
    assert seen == [before, before]
    assert [lib.num_threads for lib in blas._blas()] == before
