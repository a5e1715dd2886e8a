"""The contestants: fastnet's `fit` and `predict` on Numba, and the same work in its peers.

All train in float32 from the same weights, on the same rows in the same order. What can be
given to a peer, is: it keeps no losses, where `fit` keeps one of every step; the orders of rows
are made before its time begins, where `fit` makes them within; and its arrays are where it wants
them.

    torch   eager, with autograd and torch.optim, on as many threads as it is told.
    jax     all steps in one jitted loop (`fori_loop` over full batches, `scan` over the orders of
            mini-batches, gathered within), with donated buffers. It takes the threads it likes.
    products  what any NumPy program must do at least: the matrix products of the steps, into
            arrays that are there already, and nothing else.
    onnxruntime  for prediction.

A library is imported by the contestant that needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from threadpoolctl import ThreadpoolController

import fastnet as fn
from bench.workloads import Workload
from fastnet import random
from fastnet.checks import Array

SEED = 1

#: Adam's learning rate, for all; those of plain gradient descent are the workloads'.
ADAM_RATE = 1e-3


class Contestant(Protocol):
    """Who can be timed.

    Attributes:
        steps: what `go` does: training steps, calls, updates.
    """

    steps: int

    def begin(self) -> None:
        """Go back to the start; this is not timed."""

    def go(self) -> None:
        """Do all the steps."""


class Trainer(Contestant, Protocol):
    """Who trains."""

    def parameters(self) -> Array:
        """Where the training has come to, laid out like `Model.parameters.flat`."""
        ...


@dataclass(frozen=True)
class Training:
    """One training, as every contestant is given it.

    Attributes:
        workload: what is trained, on what, how; its dtype is not looked at.
        threads: how many to use.
        adam: Adam instead of plain gradient descent.
    """

    workload: Workload
    threads: int = 1
    adam: bool = False

    @property
    def rate(self) -> float:
        """The learning rate."""
        return ADAM_RATE if self.adam else self.workload.learning_rate

    def data(self) -> tuple[Array, Array]:
        """x `(rows, inputs)`, float32, and y `(rows, outputs)`, float32, or classes `(rows,)`."""
        w = self.workload
        if w.name == "xor":
            x, y = w.data()
            return x.astype(np.float32), y.astype(np.float32)
        classes = w.network.loss.targets == "class"
        return _synthetic(w.rows, w.network.inputs, w.network.outputs, classes)

    def model(self, backend: str = "numba") -> fn.Model:
        """fastnet's, before the training."""
        return fn.Model(self.workload.network, backend=backend, seed=SEED, threads=self.threads)

    def start(self) -> list[tuple[Array, Array]]:
        """Each layer's first weights `(inputs, units)` and bias `(units,)`."""
        given = self.model("numpy").parameters
        return [(given[f"{i}.weight"], given[f"{i}.bias"]) for i in range(len(given) // 2)]

    def activations(self) -> list[str]:
        """Each layer's."""
        layers = self.workload.network.layers
        return [layer.activation.name for layer in layers if isinstance(layer, fn.Dense)]

    def orders(self) -> Array | None:
        """The rows of each step, `(steps, batch)`; None where each step takes all."""
        w = self.workload
        if w.batch is None:
            return None
        assert w.rows % w.batch == 0, "the last batch of an epoch is as long as the others"
        epochs = [random.permutation(SEED, random.SHUFFLE, e, w.rows) for e in range(w.epochs)]
        return np.concatenate(epochs).reshape(w.steps, w.batch)


_synthetic = cache(fn.datasets.synthetic)


def _flat(layers: Sequence[tuple[Any, Any]]) -> Array:
    """Weights and biases, laid out like `Model.parameters.flat`."""
    return np.concatenate([np.asarray(piece).reshape(-1) for layer in layers for piece in layer])


class Fastnet:
    """`model.fit`, on Numba."""

    def __init__(self, training: Training, backend: str = "numba") -> None:
        self.training, self.backend = training, backend
        self.steps = training.workload.steps
        self.x, self.y = training.data()
        self.begin()

    def begin(self) -> None:
        self.model = self.training.model(self.backend)

    def go(self) -> None:
        training, w = self.training, self.training.workload
        rule = fn.Adam(training.rate) if training.adam else fn.SGD(training.rate)
        self.model.fit(self.x, self.y, optimizer=rule, epochs=w.epochs, batch_size=w.batch)

    def parameters(self) -> Array:
        return self.model.parameters.flat


class Torch:
    """A plain loop in PyTorch."""

    def __init__(self, training: Training) -> None:
        import torch

        self.torch, self.training = torch, training
        self.steps = training.workload.steps
        self.x, self.y = (torch.from_numpy(array) for array in training.data())
        orders = training.orders()
        self.rows = [None] * self.steps if orders is None else list(torch.from_numpy(orders))
        self.begin()

    def begin(self) -> None:
        torch, nn = self.torch, self.torch.nn
        torch.set_num_threads(self.training.threads)
        made = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "identity": nn.Identity}
        modules = []
        start, activations = self.training.start(), self.training.activations()
        for (weights, bias), activation in zip(start, activations, strict=True):
            linear = nn.Linear(*weights.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weights.T))
                linear.bias.copy_(torch.from_numpy(bias))
            modules.append(linear)
            if activation != "identity":
                modules.append(made[activation]())
        self.network = nn.Sequential(*modules)
        optimizer = torch.optim.Adam if self.training.adam else torch.optim.SGD
        self.rule = optimizer(self.network.parameters(), lr=self.training.rate)

    def go(self) -> None:
        loss_of = self.torch.nn.functional.mse_loss
        x, y, network, rule = self.x, self.y, self.network, self.rule
        for rows in self.rows:
            rule.zero_grad(set_to_none=True)
            some, wanted = (x, y) if rows is None else (x[rows], y[rows])
            loss_of(network(some), wanted).backward()
            rule.step()

    def parameters(self) -> Array:
        linears = [module for module in self.network if hasattr(module, "weight")]
        return _flat([(one.weight.detach().numpy().T, one.bias.detach()) for one in linears])


class Jax:
    """All steps in one compiled loop."""

    def __init__(self, training: Training) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.training = jax, training
        self.steps = training.workload.steps
        orders = training.orders()
        full = orders is None
        # Another dtype than int32 would be converted to it in the loop.
        given = (*training.data(), *(() if orders is None else (orders.astype(np.int32),)))
        self.data = [jnp.asarray(array) for array in given]
        update = _adam(jax, training.rate) if training.adam else _descent(jax, training.rate)
        gradient = jax.grad(_loss(jax, training.activations()))

        def step(state: Any, x: Any, y: Any) -> Any:
            return update(state, gradient(state[0], x, y))

        def full_batches(state: Any, x: Any, y: Any) -> Any:
            return jax.lax.fori_loop(0, self.steps, lambda _, state: step(state, x, y), state)

        def mini_batches(state: Any, x: Any, y: Any, orders: Any) -> Any:
            def one(state: Any, rows: Any) -> tuple[Any, None]:
                picked = (a.at[rows].get(mode="promise_in_bounds") for a in (x, y))
                return step(state, *picked), None

            return jax.lax.scan(one, state, orders)[0]

        self.run = jax.jit(full_batches if full else mini_batches, donate_argnums=0)
        self.begin()

    def begin(self) -> None:
        tree, jnp = self.jax.tree, self.jax.numpy
        # Copies: what is donated must be JAX's own.
        parameters = tree.map(lambda array: jnp.array(array, copy=True), self.training.start())
        self.state = (parameters,)
        if self.training.adam:
            zeros = [tree.map(jnp.zeros_like, parameters) for _ in range(2)]
            self.state = (parameters, *zeros, jnp.zeros((), jnp.float32))
        self.jax.block_until_ready(self.state)

    def go(self) -> None:
        self.state = self.jax.block_until_ready(self.run(self.state, *self.data))

    def parameters(self) -> Array:
        return _flat(self.state[0])


def _loss(jax: Any, activations: list[str]) -> Any:
    """The mean squared error of a network of dense layers."""
    functions = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "identity": lambda z: z}

    def loss(layers: Any, x: Any, y: Any) -> Any:
        for (w, b), activation in zip(layers, activations, strict=True):
            x = functions[activation](x @ w + b)
        return ((x - y) ** 2).mean()

    return loss


def _descent(jax: Any, rate: float) -> Any:
    """JAX's update by plain gradient descent: state and gradient to state."""

    def update(state: Any, gradient: Any) -> Any:
        return (jax.tree.map(lambda p, g: p - rate * g, state[0], gradient),)

    return update


def _adam(jax: Any, rate: float, beta1: float = 0.9, beta2: float = 0.999) -> Any:
    """JAX's update by Adam: state and gradient to state."""
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


class Products:
    """The matrix products of the steps, in NumPy: forward, gradient, back."""

    def __init__(self, training: Training, threads: int) -> None:
        self.steps, self.threads = training.workload.steps, threads
        x, y = training.data()
        rows = training.workload.batch or len(x)
        start = training.start()
        a, into = [x[:rows]], [np.empty((rows, w.shape[1]), np.float32) for w, _ in start]
        self.products = []
        for (w, _), z in zip(start, into, strict=True):
            self.products.append((a[-1], w, z))
            a.append(z)
        d = y[:rows]
        for layer in range(len(start) - 1, -1, -1):
            w = start[layer][0]
            self.products.append((a[layer].T, d, np.empty_like(w)))
            if layer:
                back = np.empty_like(a[layer])
                self.products.append((d, w.T, back))
                d = back
        self.controller = ThreadpoolController()

    def begin(self) -> None:
        pass

    def go(self) -> None:
        with self.controller.limit(limits=self.threads, user_api="blas"):
            for _ in range(self.steps):
                for a, b, out in self.products:
                    np.dot(a, b, out=out)


class Predict:
    """`model.predict`, called again and again."""

    def __init__(self, model: fn.Model, x: Array, calls: int) -> None:
        self.model, self.x, self.steps = model, x, calls

    def begin(self) -> None:
        pass

    def go(self) -> None:
        predict, x = self.model.predict, self.x
        for _ in range(self.steps):
            predict(x)

    def answer(self, x: Array) -> Array:
        """The prediction."""
        return self.model.predict(x)


class Onnxruntime:
    """`session.run`, called again and again, for a network with ReLU in its hidden layers."""

    def __init__(self, training: Training, x: Array, calls: int) -> None:
        import onnxruntime

        self.steps, self.given = calls, {"x": x}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = training.threads
        self.session = onnxruntime.InferenceSession(
            _onnx(training.start()), options, providers=["CPUExecutionProvider"]
        )

    def begin(self) -> None:
        pass

    def go(self) -> None:
        run, given = self.session.run, self.given
        for _ in range(self.steps):
            run(None, given)

    def answer(self, x: Array) -> Array:
        """The prediction."""
        return np.asarray(self.session.run(None, {"x": x})[0])


def _onnx(layers: list[tuple[Array, Array]]) -> bytes:
    """The network as an ONNX file holds it."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, arrays, came = [], [], "x"
    for i, (w, b) in enumerate(layers):
        arrays += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [came, f"w{i}", f"b{i}"], [f"z{i}"]))
        came = f"z{i}"
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [came], [f"a{i}"]))
            came = f"a{i}"
    ends = [("x", layers[0][0].shape[0]), (came, layers[-1][0].shape[1])]
    x, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", c]) for n, c in ends)
    graph = helper.make_graph(nodes, "network", [x], [out], arrays)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


class Updates:
    """The Numba backend's update by Adam on so many parameters, on one thread."""

    def __init__(self, size: int, updates: int) -> None:
        self.steps = updates
        self.constants, self.p, self.g, self.memory = _adam_arrays(size)
        self.kernel = _update_kernel()

    def begin(self) -> None:
        pass

    def go(self) -> None:
        self.kernel(self.constants, self.p, self.g, self.memory, self.steps)


class Stream:
    """A loop that reads and writes what Adam's update does, and adds: memory's own speed."""

    def __init__(self, size: int, updates: int) -> None:
        self.steps = updates
        _, self.p, self.g, self.memory = _adam_arrays(size)
        self.kernel = _stream_kernel()

    def begin(self) -> None:
        pass

    def go(self) -> None:
        self.kernel(self.p, self.g, self.memory, self.steps)


def _adam_arrays(size: int) -> tuple[Array, Array, Array, Array]:
    """The constants, the parameters, their gradient, and the memory."""
    from fastnet_numba.optimizers import constants

    p, g = (fn.random.uniform(SEED, random.DATA, s, size).astype(np.float32) for s in range(2))
    return constants(fn.Adam())[1], p, g, np.zeros((2, size), np.float32)


@cache
def _update_kernel() -> Any:
    from fastnet_numba.compiled import entry
    from fastnet_numba.optimizers import ADAM, update

    @entry
    def updates(constants: Any, p: Any, g: Any, memory: Any, times: Any) -> None:
        for t in range(times):
            update(ADAM, constants, p, g, memory, 0, len(p), ADAM_RATE, t + 1)

    return updates


@cache
def _stream_kernel() -> Any:
    from fastnet_numba.compiled import entry

    @entry
    def stream(p_: Any, g_: Any, memory: Any, times: Any) -> None:
        p, g, m, v = p_[:], g_[:], memory[0], memory[1]
        for _ in range(times):
            for i in range(len(p)):
                p[i] += g[i]
                m[i] += g[i]
                v[i] += g[i]

    return stream
