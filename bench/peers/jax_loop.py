"""JAX: all steps in one jitted loop.

`fori_loop` over full batches, `scan` over the orders of mini-batches, which gathers their rows; the
state is donated, so that it is updated in place. As JAX's documentation recommends, a compiled
function is called before it is timed, and timing ends with `block_until_ready`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import numpy as np

from bench.peers import flat, rate
from fastnet.arrays.checks import Array
from fastnet.benchmark import Workload, prediction_inputs
from fastnet.definition.optimizers import Adam

IMPORT = "import jax, jax.numpy"

#: The program of a new process that trains one epoch, as short as in a tutorial.
FIRST_EPOCH = """
import numpy as np
import jax
random = np.random.default_rng(0)
x = random.standard_normal((rows, 32), np.float32)
y = random.standard_normal((rows, 1), np.float32)
sizes = [(32, 64), (64, 64), (64, 1)]
layers = [
    (random.standard_normal(s, np.float32) / np.float32(s[0] ** 0.5), np.zeros(s[1], np.float32))
    for s in sizes
]
order = random.permutation(rows).astype(np.int32).reshape(-1, 32)

def loss(layers, x, y):
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = layers[-1]
    return ((x @ w + b - y) ** 2).mean()

@jax.jit
def epoch(layers, x, y, order):
    def step(layers, rows):
        gradient = jax.grad(loss)(layers, x[rows], y[rows])
        return jax.tree.map(lambda p, g: p - 0.05 * g, layers, gradient), None
    return jax.lax.scan(step, layers, order)[0]

jax.block_until_ready(epoch(layers, x, y, order))
"""


class _Precise:
    """Makes, resets and runs a contestant where arrays have the workload's dtype: JAX makes none in
    float64 unless told to.
    """

    def __init__(self, work: Workload) -> None:
        import jax

        self.jax, self.work = jax, work
        with self.precision():
            self.prepare()

    def precision(self) -> AbstractContextManager[None]:
        """Allows float64 for a workload in float64."""
        # Before JAX 0.8 it was experimental.
        home = self.jax if hasattr(self.jax, "enable_x64") else import_module("jax.experimental")
        found: AbstractContextManager[None] = home.enable_x64(self.work.dtype == "float64")
        return found

    def prepare(self) -> None:
        """Make what a run needs."""
        raise NotImplementedError

    def reset(self) -> None:
        pass

    def run(self) -> None:
        with self.precision():
            self.run_precisely()

    def run_precisely(self) -> None:
        """All steps or calls."""
        raise NotImplementedError


class Trainer(_Precise):
    """Steps of training."""

    def __init__(self, work: Workload, epochs: int, threads: int) -> None:
        self.epochs, self.units = epochs, epochs * work.steps
        super().__init__(work)

    def prepare(self) -> None:
        jax, work = self.jax, self.work
        orders = work.orders(self.epochs)
        # Any other dtype would be converted to int32 in the loop.
        given = (*work.data(), *(() if orders is None else (orders.astype(np.int32),)))
        self.data = [jax.numpy.asarray(array) for array in given]
        self.start = work.initial_layers()
        self.adam = isinstance(work.optimizer, Adam)
        update = (_adam if self.adam else _sgd)(jax, rate(work.optimizer))
        gradient = jax.grad(_loss(jax, work.activations))

        def step(state: Any, x: Any, y: Any) -> Any:
            return update(state, gradient(state[0], x, y))

        def full_batches(state: Any, x: Any, y: Any) -> Any:
            return jax.lax.fori_loop(0, self.units, lambda _, state: step(state, x, y), state)

        def mini_batches(state: Any, x: Any, y: Any, orders: Any) -> Any:
            def one(state: Any, rows: Any) -> tuple[Any, None]:
                picked = (a.at[rows].get(mode="promise_in_bounds") for a in (x, y))
                return step(state, *picked), None

            return jax.lax.scan(one, state, orders)[0]

        loop = full_batches if orders is None else mini_batches
        self.loop = jax.jit(loop, donate_argnums=0)

    def reset(self) -> None:
        tree, jnp = self.jax.tree, self.jax.numpy
        with self.precision():
            # Copies, because JAX must own what is donated.
            parameters = tree.map(lambda array: jnp.array(array, copy=True), self.start)
            self.state: tuple[Any, ...] = (parameters,)
            if self.adam:
                zeros = [tree.map(jnp.zeros_like, parameters) for _ in range(2)]
                self.state = (parameters, *zeros, jnp.zeros((), self.work.dtype))
            self.jax.block_until_ready(self.state)

    def run_precisely(self) -> None:
        self.state = self.jax.block_until_ready(self.loop(self.state, *self.data))

    def result(self) -> Array:
        return flat(self.state[0])


class Gradient(_Precise):
    """The loss and its gradient for one batch."""

    def __init__(self, work: Workload, calls: int, threads: int) -> None:
        self.units = calls
        super().__init__(work)

    def prepare(self) -> None:
        jax, work = self.jax, self.work
        self.layers = jax.tree.map(jax.numpy.asarray, work.initial_layers())
        self.x, self.y = (jax.numpy.asarray(array[: work.batch]) for array in work.data())
        self.call = jax.jit(jax.value_and_grad(_loss(jax, work.activations)))

    def run_precisely(self) -> None:
        call, wait = self.call, self.jax.block_until_ready
        for _ in range(self.units):
            self.output = wait(call(self.layers, self.x, self.y))

    def result(self) -> Array:
        return flat(self.output[1])


class Predictor(_Precise):
    """Predictions."""

    def __init__(self, work: Workload, calls: int, rows: int, threads: int) -> None:
        self.units, self.rows = calls, rows
        super().__init__(work)

    def prepare(self) -> None:
        jax, work = self.jax, self.work
        self.layers = jax.tree.map(jax.numpy.asarray, work.initial_layers())
        self.x = jax.numpy.asarray(prediction_inputs(work, self.rows))
        self.call = jax.jit(_forward(jax, work.activations))

    def run_precisely(self) -> None:
        call, wait = self.call, self.jax.block_until_ready
        for _ in range(self.units):
            self.output = wait(call(self.layers, self.x))

    def result(self) -> Array:
        return np.asarray(self.output)


def _forward(jax: Any, activations: list[str]) -> Callable[..., Any]:
    """A function from layers and rows to predictions."""
    functions = {
        "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jax.numpy.tanh,
        "identity": lambda z: z,
    }  # fmt: skip

    def forward(layers: Any, x: Any) -> Any:
        for (w, b), activation in zip(layers, activations, strict=True):
            x = functions[activation](x @ w + b)
        return x

    return forward


def _loss(jax: Any, activations: list[str]) -> Callable[..., Any]:
    """A function from layers, rows and targets to the mean squared error."""
    forward = _forward(jax, activations)

    def loss(layers: Any, x: Any, y: Any) -> Any:
        return ((forward(layers, x) - y) ** 2).mean()

    return loss


def _sgd(jax: Any, rate: float) -> Callable[..., Any]:
    """Plain SGD: a function from state and gradient to the new state."""

    def update(state: Any, gradient: Any) -> Any:
        return (jax.tree.map(lambda p, g: p - rate * g, state[0], gradient),)

    return update


def _adam(jax: Any, rate: float, beta1: float = 0.9, beta2: float = 0.999) -> Callable[..., Any]:
    """Adam: a function from state and gradient to the new state."""
    tree, jnp = jax.tree, jax.numpy

    def update(state: Any, gradient: Any) -> Any:
        parameters, m, v, t = state
        t = t + 1
        m = tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, gradient)
        v = tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, gradient)
        length, widen = rate / (1 - beta1**t), 1 / jnp.sqrt(1 - beta2**t)
        parameters = tree.map(
            lambda p, m, v: p - length * m / (jnp.sqrt(v) * widen + 1e-8), parameters, m, v
        )
        return parameters, m, v, t

    return update
