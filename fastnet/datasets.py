"""Data to try things on: XOR as in the tutorial, and synthetic batches."""

import numpy as np

from fastnet import random
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.initializers import Arrays
from fastnet.definition.layers import Dense
from fastnet.definition.network import Network


def xor() -> tuple[Array, Array]:
    """The tutorial's four rows: x `(4, 3)`, whose third column is always 1, and y `(4, 1)`."""
    x = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1], [0, 0, 1]], np.float64)
    y = np.array([[1], [1], [0], [0]], np.float64)
    return x, y


def xor_network(tutorial_start: bool = False) -> Network:
    """The tutorial's network: 3 inputs, 4 hidden units, 1 output, sigmoids, squared error.

    Args:
        tutorial_start: begin with the tutorial's own weights. They are NumPy's legacy stream
            after `seed(1)`, standard normal, drawn in this order: hidden weights, output
            weights, hidden bias, output bias. Otherwise glorot_uniform, from the model's seed.
    """
    if not tutorial_start:
        return Network(3, [Dense(4, "sigmoid"), Dense(1, "sigmoid")], loss="mse")
    draw = np.random.RandomState(1).standard_normal
    w1, w2, b1, b2 = draw((3, 4)), draw((4, 1)), draw(4), draw(1)
    layers = [
        Dense(4, "sigmoid", init=Arrays(w1, b1)),
        Dense(1, "sigmoid", init=Arrays(w2, b2)),
    ]
    return Network(3, layers, loss="mse")


def synthetic(
    rows: int, inputs: int, outputs: int = 1, classes: bool = False, seed: int = 0
) -> tuple[Array, Array]:
    """Rows that a small network can learn: a smooth function of standard normal inputs.

    Args:
        rows: how many.
        inputs: columns of x.
        outputs: columns of y, or how many classes there are.
        classes: class indices `(rows,)` instead of real targets `(rows, outputs)`.
        seed: another seed, other data.

    Returns:
        x `(rows, inputs)` float32 and y, float32 or intp.

    Raises:
        DefinitionError: if a count is not a whole number above 0.
    """
    for value, what in ((rows, "rows"), (inputs, "inputs"), (outputs, "outputs")):
        checks.integer(value, what)
    checks.integer(seed, "seed", least=0)
    x = random.normal(seed, random.DATA, 0, rows * inputs).reshape(rows, inputs)
    w = random.normal(seed, random.DATA, 1, inputs * outputs).reshape(inputs, outputs)
    z = np.sin(x @ w / np.sqrt(inputs) * 2)
    if classes:
        return x.astype(np.float32), np.argmax(z, axis=1)
    return x.astype(np.float32), z.astype(np.float32)
