"""Derivatives by the inputs, and the Hessian times a vector, against differences and PyTorch."""

import numpy as np
import pytest
from compare import assert_near
from differences import directional_derivative
from graphs import anywhere
from samples import PAIRS, float64_model, label, rows_for, units_for, weights_for
from tolerances import DIFFERENCES

import fastnet as fn

SMOOTH = ["identity", "sigmoid", "tanh", "softplus", "silu", "mish", "gelu", fn.GELU("tanh")]
SMOOTH_LOSSES = [
    pair
    for pair in PAIRS
    if pair[1].name not in ("mse", "mae", "huber", "quantile")
] + [(fn.Identity(), fn.MSE()), (fn.Softmax(), fn.MSE())]  # fmt: skip

MIXED = [
    fn.Dense(6, "tanh"), fn.LayerNorm(), fn.Residual([fn.Dense(6, "gelu"), fn.Scale()]),
    fn.Dropout(0.5), fn.Dense(5), fn.BatchNorm(), fn.Activate(fn.Parametric("silu")), fn.Dense(3),
]  # fmt: skip


def assert_input_derivative(value, x, found):
    """`found` `(rows, inputs)` is the derivative of `value`, one number a row."""
    direction = np.random.default_rng(3).standard_normal(x.shape)
    for row in range(len(x)):
        wanted = directional_derivative(lambda at: value(at)[row], x, direction)  # noqa: B023
        assert found[row] @ direction[row] == pytest.approx(wanted, rel=DIFFERENCES, abs=1e-12)


@pytest.mark.parametrize(
    ("last", "loss"),
    [("identity", "mse"), ("softmax", "crossentropy"), ("sigmoid", "binary_crossentropy")],
)
def test_derivatives_by_the_inputs_are_those_of_predictions_logits_and_losses(backend, last, loss):
    network = fn.Network(4, [fn.Dense(5, "tanh"), fn.Dense(3, last)], loss)
    model = float64_model(network, backend)
    x, y = rows_for(network, 3)
    hidden = fn.Model.of(fn.Network(4, [fn.Dense(5, "tanh"), fn.Dense(3)]), model.parameters,
                         backend="numpy", dtype="float64")  # fmt: skip
    for of, predict in (("prediction", model.predict), ("logit", hidden.predict)):
        found = model.jacobian(x, of=of)
        assert found.shape == (3, 3, 4)
        for output in range(3):
            assert_near(model.input_gradient(x, output, of=of), found[:, output], 1e-14)
            assert_input_derivative(
                lambda at, j=output, p=predict: p(at)[:, j], x, found[:, output]
            )

    def losses(at):
        return [model.evaluate(at[i : i + 1], y[i : i + 1]) for i in range(len(at))]

    assert_input_derivative(losses, x, model.input_gradient(x, of="loss", y=y))


def assert_product(model, x, y, weight=None, l2=0.0):
    """The Hessian times a vector is the derivative of the gradient along it."""
    start, generator = model.parameters.flat.copy(), np.random.default_rng(5)
    model.parameters.flat = generator.standard_normal(start.shape)
    for name, piece in model.parameters.items():
        if name.endswith((".mean", ".variance", ".edges")):
            piece[...] = 0  # not trained: no direction leads there
    vector = model.parameters.flat / np.linalg.norm(model.parameters.flat)

    def gradient(flat):
        model.parameters.flat[...] = flat
        return model.loss_and_gradient(x, y, weight, l2=l2)[1]

    wanted = directional_derivative(gradient, start, vector)
    model.parameters.flat[...] = start
    found = model.hessian_vector_product(x, y, vector, weight, l2=l2)
    assert_near(found, wanted, DIFFERENCES)


def test_the_hessian_times_a_vector_is_the_derivative_of_the_gradient(backend):
    network = fn.Network(4, [fn.Dense(6, "silu"), fn.Dropout(0.5), fn.Dense(3, "softmax")],
                         "crossentropy")  # fmt: skip
    x, y = rows_for(network, 9)
    assert_product(float64_model(network, backend), x, y, weights_for(9), l2=0.3)


@pytest.mark.parametrize("activation", SMOOTH, ids=str)
def test_every_smooth_activation_has_its_second_derivative(activation):
    network = fn.Network(4, [fn.Dense(5, activation), fn.Dense(6, activation), fn.Dense(2)])
    assert_product(float64_model(network, "numpy"), *rows_for(network, 7))


@pytest.mark.parametrize("pair", SMOOTH_LOSSES, ids=label)
def test_every_smooth_loss_has_its_second_derivative(pair):
    output, loss = pair
    network = fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(units_for(loss), output)], loss)
    for form in ("index", "soft") if loss.targets == "class" else ("index",):
        assert_product(float64_model(network, "numpy"), *rows_for(network, 6, form=form))


def test_networks_of_mixed_layers_have_all_derivatives(backend):
    if backend.startswith(("cupy", "simulated")):
        pytest.skip("chains of dense layers only")
    network = fn.Network(4, MIXED)
    model = float64_model(network, backend)
    for name in ("5.mean", "5.variance", "6.alpha"):
        model.parameters[name] = np.linspace(0.4, 1.6, 5)
    x, y = rows_for(network, 5)
    assert_product(model, x, y, weights_for(5))
    for output, found in enumerate(model.jacobian(x).swapaxes(0, 1)):
        assert_input_derivative(lambda at, j=output: model.predict(at)[:, j], x, found)


@pytest.mark.parametrize("numeric", [None, fn.Periodic(3, 5), fn.PiecewiseLinear(2, 4)])
def test_the_hessian_goes_through_embeddings(numeric):
    layers = [fn.Embed((3, "one_hot"), numeric), fn.Dense(5, "tanh"), fn.Scale(), fn.Dense(2)]
    network = fn.Network(fn.Inputs(2, (4, 6)), layers)
    assert_product(anywhere(network, "numpy"), *rows_for(network, 12), weights_for(12))


def test_derivatives_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    network = fn.Network(4, [fn.Dense(6, "gelu"), fn.Dense(5, "mish"), fn.Dense(3)])
    model = float64_model(network, "numpy")
    x, y = rows_for(network, 8)
    module, given, wanted_y = model.to_torch().double(), torch.tensor(x), torch.tensor(y)
    whole = torch.autograd.functional.jacobian(module, given).detach().numpy()
    rows = np.arange(8)
    assert_near(model.jacobian(x), whole[rows, :, rows], 1e-10)

    vector = np.random.default_rng(1).standard_normal(model.parameters.flat.shape)
    pieces = fn.Model(network, dtype="float64").parameters
    pieces.flat = vector
    parameters = list(module.parameters())  # weights are (units, inputs), in the same order
    loss = torch.nn.functional.mse_loss(module(given), wanted_y)
    slopes = torch.autograd.grad(loss, parameters, create_graph=True)
    along = sum(
        (slope * torch.tensor(np.ascontiguousarray(piece.T))).sum()
        for slope, piece in zip(slopes, pieces.values(), strict=True)
    )
    product = [p.numpy().T.ravel() for p in torch.autograd.grad(along, parameters)]
    found = model.hessian_vector_product(x, y, vector)
    assert_near(found, np.concatenate(product), 1e-10)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m, x: m.input_gradient(x), fn.DefinitionError, "has 2 outputs; choose one with"),
        (lambda m, x: m.input_gradient(x, 2), fn.DefinitionError, "output is 2; the network has 2"),
        (lambda m, x: m.input_gradient(x, of="loss"), fn.DefinitionError, "give y, and no output"),
        (lambda m, x: m.input_gradient(x, 0, y=x), fn.DefinitionError, "y is for of='loss'"),
        (lambda m, x: m.jacobian(x, of="loss"), fn.DefinitionError, "no Jacobian; use input_grad"),
        (lambda m, x: m.jacobian(x, of="logits"), fn.DefinitionError, "of is 'logits'; it must be"),
        (lambda m, x: m.jacobian(x[:, :2]), fn.DataError, "x has 2 columns"),
        (lambda m, x: m.hessian_vector_product(x, x[:, :2], [1.0]), fn.DataError,
         r"vector has shape \(1,\); it must be \(26,\), as parameters.flat"),
        (lambda m, x: m.hessian_vector_product(x, x[:, :2], np.zeros(26)), fn.DefinitionError,
         "activation 'relu' has no second derivative everywhere, so there is no Hessian; those"),
    ],
)  # fmt: skip
def test_what_has_no_derivative_is_named(call, error, says):
    model = fn.Model(fn.Network(3, [fn.Dense(4, "relu"), fn.Dense(2)]), seed=1)
    with pytest.raises(error, match=says):
        call(model, np.ones((2, 3)))
    absolute = fn.Model(fn.Network(3, [fn.Dense(1)], "mae"))
    with pytest.raises(fn.DefinitionError, match="loss 'mae' has no second derivative"):
        absolute.hessian_vector_product(np.ones((2, 3)), np.ones(2), np.zeros(4))
