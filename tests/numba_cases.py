"""Networks of odd sizes for the Numba backend, and how far it is from NumPy's on them."""

import numpy as np
from samples import rows_for, weights_for

import fastnet as fn

#: Relative to the norm: float64 may differ by the order of sums, float32 by its rounding.
NEAR = {"float64": 1e-12, "float32": 1e-5}

#: Inputs, units and activations of the layers, loss, rows.
CASES = {
    "one-of-each": (1, [(1, "tanh"), (1, "identity")], "mse", 1),
    "column": (17, [(1, "identity")], "mse", 16),
    "through-one": (5, [(3, "relu"), (1, "gelu"), (2, "identity")], "mae", 7),
    "vectors": (16, [(16, "relu"), (16, "sigmoid"), (1, "sigmoid")], "binary_crossentropy", 32),
    "one-less": (15, [(15, "silu"), (63, "relu"), (3, "softmax")], "crossentropy", 33),
    "one-more": (17, [(17, "elu"), (65, "relu"), (17, "identity")], "huber", 40),
    "poisson": (3, [(2, "softplus"), (1, "identity")], "poisson", 13),
    "classes": (4, [(65, "leaky_relu"), (33, "softmax")], "crossentropy", 29),
    "narrow": (5, [(7, "tanh"), (3, "softmax")], "crossentropy", 50),
    "means": (4, [(38, "identity")], "gaussian_nll", 5),
    "narrow-means": (5, [(6, "identity")], "gaussian_nll", 50),
    "quantiles": (3, [(34, "identity")], fn.Quantile((0.1, 0.7)), 5),
    "smoothed": (5, [(19, "softmax")], fn.Crossentropy(label_smoothing=0.2), 7),
    "narrow-smoothed": (5, [(3, "softmax")], fn.Crossentropy(label_smoothing=0.2), 50),
    "many": (40, [(1000, "relu"), (2, "identity")], "mse", 6),
    "large": (600, [(1400, "relu"), (600, "tanh"), (3, "identity")], "mse", 40),
}


def network(case, dropout=0.0, bias=True):
    inputs, layers, loss, _ = CASES[case]
    made = []
    for units, activation in layers:
        if made and dropout:
            made.append(fn.Dropout(dropout))
        made.append(fn.Dense(units, activation, bias=bias))
    return fn.Network(inputs, made, loss)


def data(case, dtype):
    net = network(case)
    x, y = rows_for(net, CASES[case][3])
    return x.astype(dtype), y, weights_for(len(x)).astype(dtype)


def apart(found, wanted):
    """The distance of two arrays, relative to the norm of the second."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-30))


def compare(case, dtype, threads, dropout=0.0, bias=True, weighted=False, batch=None, epochs=2):
    """How far the two backends are apart: predictions, gradient, parameters after some steps."""
    x, y, weight = data(case, dtype)
    weight = weight if weighted else None
    results = []
    for backend in ("numba", "numpy"):
        net = network(case, dropout, bias)
        model = fn.Model(net, backend=backend, dtype=dtype, seed=3, threads=threads)
        predicted = model.predict(x)
        gradient = model.loss_and_gradient(x, y, weight, l1=1e-3, l2=1e-2, dropout_step=5)
        model.fit(
            x, y, sample_weight=weight, optimizer=fn.SGD(0.01, momentum=0.5), epochs=epochs,
            batch_size=batch or len(x), clip_norm=1.0,
        )  # fmt: skip
        results.append((predicted, gradient[0], gradient[1], model.parameters.flat))
    return [apart(found, wanted) for found, wanted in zip(*results, strict=True)]
