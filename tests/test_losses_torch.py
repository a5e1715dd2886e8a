"""Losses and their slopes against PyTorch's own, where their formulas have variants."""

import numpy as np
import pytest
from compare import assert_near
from samples import rows_for

import fastnet as fn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def gaussian(p, y):
    k = y.shape[1]
    return torch.nn.GaussianNLLLoss(eps=1e-3)(p[:, :k], y, p[:, k:].exp())


def smoothed(p, y):
    return torch.nn.CrossEntropyLoss(label_smoothing=0.2)(p, y)


CASES = [
    (fn.GaussianNLL(epsilon=1e-3), "identity", "index", gaussian),
    (fn.Crossentropy(label_smoothing=0.2), "softmax", "index", smoothed),
    (fn.Crossentropy(label_smoothing=0.2), "softmax", "soft", smoothed),
]


@pytest.mark.parametrize(
    ("loss", "output", "form", "theirs"), CASES, ids=["gaussian", "index", "soft"]
)
def test_a_loss_and_its_slopes_are_pytorchs(loss, output, form, theirs):
    network = fn.Network(6, [fn.Dense(6, output, bias=False, init=np.eye(6))], loss)
    x, y = rows_for(network, 40, form=form)
    x = 4 * x  # some variances are below epsilon
    found, gradient = fn.Model(network, dtype="float64").loss_and_gradient(x, y)
    p = torch.tensor(x, requires_grad=True)
    wanted = theirs(p, torch.tensor(y))
    wanted.backward()
    assert found == pytest.approx(wanted.item(), rel=1e-12)
    assert_near(gradient, (x.T @ p.grad.numpy()).ravel(), 1e-12)
