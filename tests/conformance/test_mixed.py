"""Networks that are no plain chain: norms, factors, residual blocks, activations of their own."""

import numpy as np
import pytest
from compare import assert_near
from differences import assert_gradient, assert_model_gradient
from graphs import MIXED, anywhere, in_torch, lacks, mixed
from samples import rows_for, weights_for
from tolerances import FORWARD, GRADIENT_FLOAT32, TRAJECTORY

import fastnet as fn
from fastnet.contract.program import Inputs

#: A gradient against automatic differentiation in float64.
AUTOGRAD = 1e-10


@pytest.fixture
def network(backend, request):
    """A network that the backend has; one that it does not have it must refuse by name."""
    found = mixed(*request.param)
    if lacks(backend, found):
        with pytest.raises(fn.BackendUnavailable, match=r"does not have operation '\w+'"):
            fn.Model(found, backend=backend)
        pytest.skip(f"{backend} refuses this network by name")
    return found


@pytest.mark.parametrize("network", [(name,) for name in MIXED], indirect=True, ids=list(MIXED))
def test_a_mixed_network_has_the_exact_gradient(backend, network):
    x, y = rows_for(network, 9)
    model = anywhere(network, backend)
    assert_model_gradient(model, x, y, weights_for(9), l1=0.01, l2=0.1)
    assert_model_gradient(model, x, y, dropout_step=5)


@pytest.mark.parametrize(
    "network", [(name, "crossentropy") for name in MIXED], indirect=True, ids=list(MIXED)
)
def test_a_mixed_network_has_pytorchs_predictions_and_gradients(backend, network):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, y = rows_for(network, 40)
    model = anywhere(network, backend)
    tensors = {name: torch.tensor(piece, requires_grad=True)
               for name, piece in model.parameters.items()}  # fmt: skip
    wanted = in_torch(torch, network, tensors, torch.tensor(x))
    assert_near(model.predict(x), wanted.detach().numpy(), FORWARD["float64"])
    loss = torch.nn.functional.nll_loss(wanted.log(), torch.tensor(y))
    loss.backward()
    found, gradient = model.loss_and_gradient(x, y)
    assert found == pytest.approx(loss.item(), rel=1e-12)
    derivatives = [tensor.grad.numpy().ravel() for tensor in tensors.values()]
    assert_near(gradient, np.concatenate(derivatives), AUTOGRAD)


@pytest.mark.parametrize(
    "network", [(name,) for name in ("pre_norm", "nested", "wide")], indirect=True,
    ids=["pre_norm", "nested", "wide"],
)  # fmt: skip
def test_a_thousand_steps_end_where_numpys_end(backend, network):
    x, y = rows_for(network, 45)
    ends = []
    for name in (backend, "numpy"):
        model = anywhere(network, name)
        history = model.fit(x, y, optimizer=fn.SGD(0.02, momentum=0.5), epochs=500, batch_size=32)
        ends.append((model.parameters.flat, np.array(history.loss)))
    for found, wanted in zip(*ends, strict=True):
        assert_near(found, wanted, TRAJECTORY)


@pytest.mark.parametrize("network", [("pre_norm",), ("one_unit",)], indirect=True,
                         ids=["pre_norm", "one_unit"])  # fmt: skip
def test_rows_are_predicted_alike_in_any_company_and_left_alone(backend, network):
    x, _ = rows_for(network, 1500)
    model = anywhere(network, backend)
    before = x.copy()
    every = model.predict(x)
    np.testing.assert_array_equal(x, before)
    for rows in (1, 2, 17):
        assert_near(model.predict(x[:rows]), every[:rows], FORWARD["float64"])
    single = fn.Model(network, backend=backend, seed=3)
    single.parameters.flat[...] = model.parameters.flat
    assert_near(single.predict(x.astype(np.float32)), every, GRADIENT_FLOAT32, dtype=np.float32)


@pytest.mark.parametrize("network", [("nested",)], indirect=True, ids=["nested"])
def test_the_input_gradient_goes_through_every_path(backend, network):
    model = anywhere(network, backend)
    generator = np.random.default_rng(1)
    x, d = generator.normal(size=(5, 3)), generator.normal(size=(5, 2))
    program = model.program
    flat = program.to_device(model.parameters.flat)
    found = program.input_gradient(flat, Inputs(program.to_device(x)), d)
    assert found.shape == x.shape
    assert_gradient(
        lambda x: float((d * model.predict(x.reshape(5, 3))).sum()), x.ravel(), found.ravel()
    )
