"""Networks and rows for the tests: small, fixed by a seed, fit for any loss."""

import numpy as np

import fastnet as fn

#: Every activation that may stand anywhere, with its variants.
EVERYWHERE = [
    fn.Identity(), fn.Sigmoid(), fn.Tanh(), fn.ReLU(), fn.LeakyReLU(), fn.LeakyReLU(slope=0.3),
    fn.ELU(), fn.ELU(alpha=0.5), fn.SELU(), fn.Softplus(), fn.SiLU(), fn.GELU(),
    fn.GELU(approximate="tanh"), fn.Mish(), fn.Hardswish(), fn.ReLU6(), fn.Hardsigmoid(),
    fn.PReLU(), fn.Parametric("mish"),
]  # fmt: skip

#: Those that other libraries' formats can hold; what is learned with them is refused by name.
WRITABLE = [activation for activation in EVERYWHERE if activation.alpha_start is None]

#: Every loss that any output may have, with its variants.
FREE_LOSSES = [
    fn.MSE(), fn.MAE(), fn.Huber(), fn.Huber(delta=0.2), fn.Poisson(),
    fn.Quantile(), fn.Quantile(q=0.9), fn.Quantile(q=(0.1, 0.5, 0.8)),
]  # fmt: skip

#: Losses that are computed together with an output of their own.
FUSED = [
    (fn.Sigmoid(), fn.BinaryCrossentropy()),
    (fn.Softmax(), fn.Crossentropy()),
    (fn.Sigmoid(), fn.BinaryCrossentropy(label_smoothing=0.2)),
    (fn.Softmax(), fn.Crossentropy(label_smoothing=0.1)),
]

#: The loss that takes a logarithm of the output, with an output that is positive.
RATE = (fn.Softplus(), fn.Poisson(log_input=False))

#: The loss of two outputs for each target: a network with 3 targets has 6 outputs.
PAIRED = (fn.Identity(), fn.GaussianNLL())

#: Every output and every loss: a loss does not know the output, nor the output the loss, but for
#: the fused pairs. So each output stands with one loss, and each loss with one output.
PAIRS = [
    *((output, fn.MSE()) for output in [*EVERYWHERE, fn.Softmax()]),
    *((fn.Identity(), loss) for loss in FREE_LOSSES[1:]),
    RATE,
    *FUSED,
    PAIRED,
]


def units_for(loss) -> int:
    """Units of the last layer that this loss can have: three, or a pair for each target."""
    return 6 if loss.outputs_per_target == 2 else 3


def label(value) -> str:
    """A test's name for an activation, a loss, an optimizer or several of them."""
    if isinstance(value, tuple):
        return "-".join(map(label, value))
    spec = value.spec()
    if isinstance(spec, str):
        return spec
    constants = [str(v) for k, v in spec.items() if k != "name" and not isinstance(v, dict)]
    return "_".join([spec["name"], *constants])


def rows_for(network: fn.Network, rows: int, seed: int = 0, form: str = "index"):
    """x and y, float64, that the loss of `network` accepts.

    Args:
        network: what they are for.
        rows: how many.
        seed: another seed, other rows.
        form: for classes: "index", "onehot" or "soft".

    Codes of categories stand behind the numbers, in one array.
    """
    generator = np.random.default_rng([seed, rows, network.inputs, network.outputs])
    x = generator.standard_normal((rows, network.inputs))
    for column, size in zip(range(-len(network.categories), 0), network.categories, strict=True):
        x[:, column] = generator.integers(size, size=rows)
    shape = (rows, network.targets)
    if network.loss.targets == "count":
        return x, generator.poisson(1.5, shape).astype(np.float64)
    if network.loss.targets == "probability":
        return x, generator.uniform(size=shape).round(2)
    if network.loss.targets == "class":
        index = generator.integers(network.outputs, size=rows)
        if form == "index":
            return x, index
        onehot = np.eye(network.outputs)[index]
        return x, onehot if form == "onehot" else 0.7 * onehot + 0.3 / network.outputs
    return x, generator.standard_normal(shape)


def weights_for(rows: int, seed: int = 0):
    """Sample weights, some of them zero (but not the first)."""
    generator = np.random.default_rng([seed, rows])
    weight = generator.uniform(0.2, 2.0, rows)
    weight[1::3] = 0
    return weight


def biased(model: fn.Model, seed: int = 0) -> fn.Model:
    """Move the biases off zero, where they start, so that tests see them."""
    generator = np.random.default_rng([seed, model.parameters.flat.size])
    for name, piece in model.parameters.items():
        if name.endswith("bias"):
            piece[...] = generator.uniform(-0.5, 0.5, piece.shape)
    return model


def float64_model(network: fn.Network, backend: str, seed: int = 3) -> fn.Model:
    """One whose biases are not zero."""
    return biased(fn.Model(network, backend=backend, dtype="float64", seed=seed))
