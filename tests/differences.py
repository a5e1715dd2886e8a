"""One finite difference checker for every gradient: directional, central, float64."""

import math

import numpy as np
from tolerances import DIFFERENCES

#: The step along a unit vector. With Richardson's extrapolation the formula's error is of order
#: STEP^4 = 1e-16, that of rounding 1e-16 / STEP = 1e-12, both far below the tolerance.
STEP = 1e-4


def directional_derivative(function, point, direction):
    """The derivative of `function` at `point` along `direction`: two central differences,
    extrapolated (Richardson 1911) to cancel the error of order STEP^2.
    """

    def central(step):
        ahead, behind = function(point + step * direction), function(point - step * direction)
        return (ahead - behind) / (2 * step)

    return (4 * central(STEP / 2) - central(STEP)) / 3


def assert_gradient(function, point, gradient, directions=3, tolerance=DIFFERENCES):
    """`gradient` is that of `function` at `point`, a float64 vector.

    Half of each direction is the gradient itself, so that the derivative along it is not
    small by chance, and half is random, so that every entry counts.
    """
    assert gradient.shape == point.shape
    assert gradient.dtype == point.dtype == np.float64
    length = float(np.linalg.norm(gradient))
    assert math.isfinite(length), "the gradient is not finite"
    assert length > 0, "a gradient of zero shows nothing; choose another point"
    generator = np.random.default_rng(directions)
    for _ in range(directions):
        random = generator.standard_normal(len(point))
        direction = gradient / length + random / np.linalg.norm(random)
        direction /= np.linalg.norm(direction)
        wanted = directional_derivative(function, point, direction)
        found = float(gradient @ direction)
        assert abs(found - wanted) <= tolerance * abs(wanted), (
            f"the gradient says {found!r} along a direction, finite differences say {wanted!r}: "
            f"relative error {abs(found - wanted) / abs(wanted):.3g}, allowed are {tolerance:g}"
        )


def assert_model_gradient(model, x, y, sample_weight=None, *, l1=0.0, l2=0.0, dropout_step=None):
    """The gradient of a float64 model is that of its own loss; parameters are put back.

    By what is trained: by statistics it is 0, whatever the loss does.
    """
    start = model.parameters.flat.copy()
    program, trained = model.program, model.program.plan.trained

    def loss(moved):
        flat = np.concatenate((moved, start[trained:]))
        model.parameters.flat[...] = flat
        if dropout_step is None:
            without = model.evaluate(x, y, sample_weight)
            return without + program.penalty(program.to_device(flat), l1, l2)
        # A loss with dropout comes with its gradient only.
        return model.loss_and_gradient(
            x, y, sample_weight, l1=l1, l2=l2, dropout_step=dropout_step
        )[0]

    _, gradient = model.loss_and_gradient(
        x, y, sample_weight, l1=l1, l2=l2, dropout_step=dropout_step
    )
    try:
        assert not gradient[trained:].any()
        assert_gradient(loss, start[:trained], gradient[:trained])
    finally:
        model.parameters.flat[...] = start
