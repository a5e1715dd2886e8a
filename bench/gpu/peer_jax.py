"""JAX in a contest: all steps in one compiled loop.

Written as JAX's pages recommend for speed: `jit` around `scan` over the order of the sets,
donated buffers, the precision of products named (`default_matmul_precision`).
bf16 and fp16 are casts of weights and rows, with sums in float32 and weights kept in float32;
fp16's loss is multiplied by a constant, as in `peer_torch.py`. Losses are not kept.

JAX has no events: its time is the processor's, until `block_until_ready` returns.
"""

import time
from typing import Any

import numpy as np

from bench.gpu.contests import Contest
from bench.gpu.peer_torch import FP16_SCALE
from fastnet.arrays.checks import Array

#: What XLA calls the products' precision.
_PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}

#: Steps of one call, for a step of up to so many operations; else the last.
_STEPS = ((1e9, 1024), (1e11, 64), (float("inf"), 8))


class Jax:
    """Steps in JAX."""

    name = "jax"

    def __init__(self, contest: Contest) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.contest = jax, contest
        x, y = contest.data()
        shape = (contest.sets, len(x) // contest.sets)
        self.data = [jnp.asarray(a.reshape(*shape, a.shape[1])) for a in (x, y)]
        narrow = {"bf16": jnp.bfloat16, "fp16": jnp.float16}.get(contest.precision)
        scale = FP16_SCALE if contest.precision == "fp16" else 1.0
        functions = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "identity": lambda z: z}
        activations, rate = contest.activations(), contest.rate / scale
        self.precision = _PRECISIONS.get(contest.precision, "default")

        def loss(layers: Any, x: Any, y: Any) -> Any:
            for (w, b), activation in zip(layers, activations, strict=True):
                if narrow is not None:
                    x, w = x.astype(narrow), w.astype(narrow)
                z = jnp.dot(x, w, preferred_element_type=jnp.float32) + b
                x = functions[activation](z)
            return ((x - y) ** 2).mean() * scale

        gradient = jax.grad(loss)

        def run(layers: Any, x: Any, y: Any, order: Any) -> Any:
            def step(layers: Any, s: Any) -> tuple[Any, None]:
                moves = gradient(layers, x[s], y[s])
                return jax.tree.map(lambda p, g: p - rate * g, layers, moves), None

            return jax.lax.scan(step, layers, order)[0]

        self.run = jax.jit(run, donate_argnums=0)
        self.orders: dict[tuple[int, int], Any] = {}
        self.per_call = next(steps for most, steps in _STEPS if contest.flops <= most)
        self.begin()

    def _start(self) -> Any:
        copy = self.jax.numpy.array  # what is donated must be JAX's own
        return [(copy(w), copy(b)) for w, b in self.contest.start()]

    def begin(self) -> None:
        """Go back to the first weights."""
        self.layers, self.made = self._start(), 0

    def steps_for(self, steps: int) -> int:
        """So many steps, or what whole calls make of them."""
        return max(steps // self.per_call, 1) * self.per_call

    def go(self, steps: int) -> None:
        """Do the next steps."""
        most = min(steps, self.per_call)
        for first in range(self.made, self.made + steps, most):
            place = first % self.contest.sets, most
            if place not in self.orders:
                order = np.arange(place[0], place[0] + most) % self.contest.sets
                self.orders[place] = self.jax.numpy.asarray(order.astype(np.int32))
            with self.jax.default_matmul_precision(self.precision):
                self.layers = self.run(self.layers, *self.data, self.orders[place])
        self.made += steps
        self.jax.block_until_ready(self.layers)

    def milliseconds(self, steps: int) -> float:
        """Time of the next steps."""
        self.jax.block_until_ready(self.layers)
        before = time.perf_counter()
        self.go(steps)
        return (time.perf_counter() - before) * 1e3

    def parameters(self) -> Array:
        """Where the training has come to, laid out like fastnet's."""
        pieces = [piece for layer in self.layers for piece in layer]
        return np.concatenate([np.asarray(piece).reshape(-1) for piece in pieces])
