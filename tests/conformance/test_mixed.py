"""Networks that are no plain chain: norms, factors, residual blocks, activations of their own."""

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_near
from differences import assert_gradient, assert_model_gradient
from graphs import MIXED, anywhere, drawn, in_torch, lacks, mixed
from roster import BACKENDS
from samples import rows_for, weights_for
from tolerances import FORWARD, GRADIENT_FLOAT32, TRAJECTORY

import fastnet as fn
from fastnet.contract.program import Data, Inputs, Program, Run, State

#: A gradient against automatic differentiation in float64.
AUTOGRAD = 1e-10

#: Networks whose road is not so steep that rounding alone changes it.
LONG = ["pre_norm", "nested", "learned", "batch_norm", "wide", "embed", "periodic_embed",
        "piecewise_embed"]  # fmt: skip

#: Backends that are asked for many steps and losses.
FAST = {entry.name for entry in BACKENDS if entry.fast}

#: How the names of parameters end that are not trained.
STILL = ("mean", "variance", "edges")


@pytest.mark.parametrize("seed", range(6))
def test_any_network_has_numpys_gradient_which_is_exact(backend, seed):
    network = drawn(seed)
    if lacks(backend, network):
        pytest.skip(f"{backend} refuses layers by name")
    x, y = rows_for(network, 35)
    model, definition = anywhere(network, backend), anywhere(network, "numpy")
    given = {"sample_weight": weights_for(35), "l2": 0.1, "dropout_step": 3}
    found, wanted = (one.loss_and_gradient(x, y, **given) for one in (model, definition))
    assert found[0] == pytest.approx(wanted[0], rel=1e-12)
    assert_near(found[1], wanted[1], TRAJECTORY)
    if backend == "numpy":
        assert_model_gradient(model, x, y, **given)


@pytest.fixture
def network(backend, request):
    """A network that the backend has; one that it does not have it must refuse by name."""
    found = mixed(*request.param)
    if lacks(backend, found):
        with pytest.raises(fn.BackendUnavailable, match=r"does not have operation '\w+'"):
            anywhere(found, backend)
        pytest.skip(f"{backend} refuses this network by name")
    return found


@pytest.mark.parametrize("network", [(name,) for name in MIXED], indirect=True, ids=list(MIXED))
def test_a_mixed_network_has_the_exact_gradient(backend, network):
    x, y = rows_for(network, 9)
    model, definition = anywhere(network, backend), anywhere(network, "numpy")
    for given in ({"sample_weight": weights_for(9), "l1": 0.01, "l2": 0.1}, {"dropout_step": 5}):
        if backend in FAST:
            assert_model_gradient(model, x, y, **given)
        else:  # differences take some hundred losses; the definition's were held to them
            found, wanted = (m.loss_and_gradient(x, y, **given)[1] for m in (model, definition))
            assert_near(found, wanted, TRAJECTORY)


@pytest.mark.parametrize(
    "network", [(name, "crossentropy") for name in MIXED], indirect=True, ids=list(MIXED)
)
def test_a_mixed_network_has_pytorchs_predictions_and_gradients(backend, network):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, y = rows_for(network, 40)
    model = anywhere(network, backend)
    tensors = {name: torch.tensor(piece, requires_grad=not name.endswith(STILL))
               for name, piece in model.parameters.items()}  # fmt: skip
    wanted = in_torch(torch, network, tensors, torch.tensor(x))
    assert_near(model.predict(x), wanted.detach().numpy(), FORWARD["float64"])
    loss = torch.nn.functional.nll_loss(wanted.log(), torch.tensor(y))
    loss.backward()
    found, gradient = model.loss_and_gradient(x, y)
    assert found == pytest.approx(loss.item(), rel=1e-12)
    derivatives = [tensor.grad.numpy().ravel() for tensor in tensors.values()
                   if tensor.requires_grad]  # fmt: skip
    trained = sum(len(each) for each in derivatives)
    assert_near(gradient[:trained], np.concatenate(derivatives), AUTOGRAD)
    assert not gradient[trained:].any()


@pytest.mark.parametrize("network", [(name,) for name in LONG], indirect=True, ids=LONG)
def test_a_thousand_steps_end_where_numpys_end(backend, network):
    if backend == "numpy":
        pytest.skip("the others are compared with it")
    x, y = rows_for(network, 45)  # two batches
    epochs = 500 if backend in FAST else 20
    ends = []
    for name in (backend, "numpy"):
        model = anywhere(network, name)
        rule = fn.SGD(0.02, momentum=0.5)
        history = model.fit(x, y, optimizer=rule, epochs=epochs, batch_size=32)
        ends.append((model.parameters.flat, np.array(history.loss)))
    for found, wanted in zip(*ends, strict=True):
        assert_near(found, wanted, TRAJECTORY)


@pytest.mark.parametrize("network", [("pre_norm",), ("one_unit",), ("batch_norm",)], indirect=True,
                         ids=["pre_norm", "one_unit", "batch_norm"])  # fmt: skip
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


@pytest.mark.parametrize("network", [("batch_norm",), ("batch_norm_first",)], indirect=True,
                         ids=["batch_norm", "batch_norm_first"])  # fmt: skip
def test_batch_norm_trains_as_pytorchs_and_takes_a_last_row_as_it_predicts(backend, network):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, y = rows_for(network, 33)  # two batches of 16 rows and one of 1
    model = anywhere(network, backend)
    tensors = {name: torch.tensor(piece, requires_grad=not name.endswith(STILL))
               for name, piece in model.parameters.items()}  # fmt: skip
    trained = [tensor for tensor in tensors.values() if tensor.requires_grad]
    for _ in range(2):
        for rows in (slice(0, 16), slice(16, 32), slice(32, 33)):
            found = in_torch(torch, network, tensors, torch.tensor(x[rows]), rows.stop < 33)
            ((found - torch.tensor(y[rows])) ** 2).mean().backward()
            with torch.no_grad():
                for tensor in trained:
                    tensor -= 0.05 * tensor.grad
                    tensor.grad = None
    model.fit(x, y, optimizer=fn.SGD(0.05), epochs=2, batch_size=16, shuffle=False)
    wanted = np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors.values()])
    found = np.concatenate([piece.ravel() for piece in model.parameters.values()])
    assert_near(found, wanted, 1e-12)


@pytest.mark.parametrize("network", [("batch_norm",)], indirect=True, ids=["batch_norm"])
def test_a_run_of_batch_norm_is_its_batches_gradients_and_updates(backend, network):
    program = anywhere(network, backend).program
    x, y = rows_for(network, 33)
    data = program.upload(Data(Inputs(x), y))
    # A bias before a norm has a derivative of zero: Adam divides its rounding by epsilon alone.
    rule, start = fn.Adam(epsilon=1e-4), anywhere(network, "numpy").parameters.flat
    run = Run(0, 9, 16, None, rule, 0.01, l2=0.1, clip_norm=0.5)
    ends = []
    for train in (program.train, lambda *given: Program.train(program, *given)):
        memory = program.to_device(rule.memory(program.plan.trained, start.dtype))
        state = State(program.to_device(start.copy()), memory)
        train(state, data, run)
        ends.append(program.to_host(state.parameters))
    assert_near(*ends, TRAJECTORY)
    statistics = slice(program.plan.trained, None)
    assert (ends[0][statistics] != start[statistics]).all()
    # A batch that is normalized as a prediction is has the statistics of the parameters.
    state = State(program.to_device(start.copy()), program.to_device(rule.memory(0, start.dtype)))
    evaluation = replace(run, training=False)
    found = program.to_host(program.batch_gradient(state, data, evaluation, 1)[2])
    assert_near(found[statistics], start[statistics], 1e-15)


@pytest.mark.parametrize("network", [("batch_norm",)], indirect=True, ids=["batch_norm"])
@pytest.mark.parametrize(("rows", "batch_size"), [(9, 1), (1, None)])
def test_batches_of_one_row_are_refused_with_batch_norm(backend, network, rows, batch_size):
    x, y = rows_for(network, rows)
    model = anywhere(network, backend)
    before = model.parameters.flat.copy()
    with pytest.raises(fn.DefinitionError, match="a batch of one row has no variance, which Batch"):
        model.fit(x, y, epochs=1, batch_size=batch_size)
    np.testing.assert_array_equal(model.parameters.flat, before)
    assert model.predict(x[:1]).shape == (1, 2)


@pytest.mark.parametrize("network", [("nested",), ("learned",), ("batch_norm",)], indirect=True,
                         ids=["nested", "learned", "batch_norm"])  # fmt: skip
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
