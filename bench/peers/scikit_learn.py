"""scikit-learn: `MLPRegressor.fit` and `.predict`.

Its loss is half the squared error, summed over the outputs. For the same steps its learning rate is
twice ours, divided by the number of outputs, and Adam's epsilon is scaled the other way. The checks
are disabled that its documentation says one may disable for speed. Its shuffle calls a
`RandomState`, which here returns the orders that all contestants use. It never stops early, and
has no penalty.
"""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np

from bench.peers import flat, rate
from fastnet.arrays.checks import Array
from fastnet.benchmark import Workload, prediction_inputs
from fastnet.definition.optimizers import Adam

IMPORT = "import sklearn.neural_network"

#: Activations whose name differs from ours.
_ACTIVATIONS = {"sigmoid": "logistic"}

#: The program of a new process that trains one epoch, as short as in a tutorial.
FIRST_EPOCH = """
import warnings
import numpy as np
from sklearn.neural_network import MLPRegressor
random = np.random.default_rng(0)
x = random.standard_normal((rows, 32), np.float32)
y = random.standard_normal(rows, np.float32)
warnings.simplefilter("ignore")
MLPRegressor(hidden_layer_sizes=(64, 64), solver="sgd", batch_size=32, max_iter=1).fit(x, y)
"""


def unsupported(work: Workload) -> str | None:
    """Why a workload is not supported; None if it is."""
    last = work.activations[-1]
    if last != "identity":
        return f"MLPRegressor has no {last} in the last layer"
    if isinstance(work.optimizer, Adam) and work.dtype == "float64":
        return "its Adam adds epsilon elsewhere, which the comparison in float64 shows"
    return None


class _Orders(np.random.RandomState):
    """Shuffles into the given orders."""

    given: Iterator[Array]

    def shuffle(self, x: Array) -> None:  # type: ignore[override]
        x[:] = next(self.given)


def _fast() -> AbstractContextManager[None]:
    """Disables the checks that may be disabled."""
    from sklearn import config_context

    found: AbstractContextManager[None] = config_context(
        assume_finite=True, skip_parameter_validation=True
    )
    return found


class Trainer:
    """Steps of training."""

    def __init__(self, work: Workload, epochs: int, threads: int) -> None:
        from sklearn.neural_network import MLPRegressor

        self.work, self.units = work, epochs * work.steps
        self.x, self.y = work.data()
        if work.network.outputs == 1:
            self.y = self.y[:, 0]
        self.start, scale = work.initial_layers(), 2 / work.network.outputs
        shuffled = work.orders(epochs)
        self.steps_of_rows: list[Array] = []
        if shuffled is not None:
            # scikit-learn shuffles the order of the epoch before.
            before = np.arange(work.rows)
            for order in shuffled.reshape(epochs, work.rows):
                place = np.empty_like(before)
                place[before] = np.arange(work.rows)
                self.steps_of_rows.append(place[order])
                before = order
        adam = isinstance(work.optimizer, Adam)
        self.random = _Orders(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.network = MLPRegressor(
                hidden_layer_sizes=work.sizes[1:-1],
                activation=_ACTIVATIONS.get(work.activations[0], work.activations[0]),
                solver="adam" if adam else "sgd",
                alpha=0.0,
                batch_size=work.batch,
                learning_rate_init=rate(work.optimizer) * (1 if adam else scale),
                momentum=0.0,
                nesterovs_momentum=False,
                epsilon=1e-8 / scale,
                max_iter=1,
                shuffle=False,
                tol=0.0,
                n_iter_no_change=10**9,
                warm_start=True,
            ).fit(self.x, self.y)
        self.network.set_params(
            max_iter=epochs, shuffle=shuffled is not None, random_state=self.random
        )

    def reset(self) -> None:
        pairs = zip(self.network.coefs_, self.network.intercepts_, self.start, strict=True)
        for weights, bias, (first_weights, first_bias) in pairs:
            weights[...], bias[...] = first_weights, first_bias
        self.random.given = iter(self.steps_of_rows)

    def run(self) -> None:
        with warnings.catch_warnings(), _fast():
            warnings.simplefilter("ignore")  # that it has not converged
            self.network.fit(self.x, self.y)

    def result(self) -> Array:
        return flat(zip(self.network.coefs_, self.network.intercepts_, strict=True))


class Predictor:
    """Predictions."""

    def __init__(self, work: Workload, calls: int, rows: int, threads: int) -> None:
        trained = Trainer(work, 1, threads)
        trained.reset()
        self.network, self.units, self.x = trained.network, calls, prediction_inputs(work, rows)

    def reset(self) -> None:
        pass

    def run(self) -> None:
        predict, x = self.network.predict, self.x
        with _fast():
            for _ in range(self.units):
                self.output = predict(x)

    def result(self) -> Array:
        return np.asarray(self.output.reshape(len(self.x), -1))
