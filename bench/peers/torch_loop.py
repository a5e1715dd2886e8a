"""PyTorch: a plain loop; with fused optimizers; and with `torch.compile`.

As PyTorch's performance tuning guide recommends: gradients set to None, data as tensors before the
timing, `inference_mode` for predictions, `fused=True` for the optimizer of the second and third
mode. The third compiles the forward pass, the loss and their gradient (`torch.compile`, full graph,
static shapes).
"""

from functools import lru_cache
from typing import Any

import numpy as np

from bench.peers import flat, rate
from fastnet.arrays.checks import Array
from fastnet.benchmark import Workload, prediction_inputs
from fastnet.definition.optimizers import Adam

MODES = ("eager", "fused", "compile")

IMPORT = "import torch"

#: The program of a new process that trains one epoch, as short as in a tutorial.
FIRST_EPOCH = """
import numpy as np
import torch
random = np.random.default_rng(0)
x = torch.from_numpy(random.standard_normal((rows, 32), np.float32))
y = torch.from_numpy(random.standard_normal((rows, 1), np.float32))
nn = torch.nn
network = nn.Sequential(
    nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
)
rule = torch.optim.SGD(network.parameters(), lr=0.05)
for rows in torch.randperm(rows).split(32):
    rule.zero_grad()
    nn.functional.mse_loss(network(x[rows]), y[rows]).backward()
    rule.step()
"""


class _Network:
    """A network in PyTorch with a workload's initial weights, and its loss."""

    def __init__(self, work: Workload, mode: str) -> None:
        import torch

        nn = torch.nn
        made = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
        modules: list[Any] = []
        for (weights, bias), name in zip(work.initial_layers(), work.activations, strict=True):
            linear = nn.Linear(*weights.shape, dtype=getattr(torch, work.dtype))
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weights.T))
                linear.bias.copy_(torch.from_numpy(bias))
            modules.append(linear)
            if name != "identity":
                modules.append(made[name]())
        network = nn.Sequential(*modules)
        self.network, self.call = network, network
        self.linears = [module for module in network if isinstance(module, nn.Linear)]
        self.parameters = list(network.parameters())
        self.first = [parameter.detach().clone() for parameter in self.parameters]

        def loss(x: Any, y: Any) -> Any:
            return nn.functional.mse_loss(network(x), y)

        self.loss: Any = loss
        if mode == "compile":
            # Otherwise the sizes of earlier networks make later ones dynamic, and after some of
            # them nothing is compiled.
            torch._dynamo.reset()
            self.loss = torch.compile(loss, fullgraph=True, dynamic=False)
            self.call = torch.compile(network, fullgraph=True, dynamic=False)

    def reset(self) -> None:
        """Restore the initial weights, which compiles nothing."""
        import torch

        with torch.no_grad():
            for parameter, first in zip(self.parameters, self.first, strict=True):
                parameter.copy_(first)


@lru_cache(maxsize=1)
def _compiled(name: str, rows: int, work: Workload) -> _Network:
    """The last compiled network, for contestants that differ only in their number of runs."""
    return _Network(work, "compile")


def _network(work: Workload, mode: str, rows: int) -> _Network:
    """A network for batches or calls of so many rows, with its initial weights."""
    made = _compiled(work.name, rows, work) if mode == "compile" else _Network(work, mode)
    made.reset()
    return made


class Trainer:
    """Steps of training."""

    def __init__(self, work: Workload, epochs: int, threads: int, mode: str) -> None:
        import torch

        self.torch, self.work, self.threads, self.mode = torch, work, threads, mode
        self.x, self.y = (torch.from_numpy(array) for array in work.data())
        self.units = epochs * work.steps
        orders = work.orders(epochs)
        self.rows: list[Any] = [None] * self.units
        if orders is not None:
            self.rows = list(torch.from_numpy(orders))
        self.made = _network(work, mode, work.batch)

    def reset(self) -> None:
        torch = self.torch
        torch.set_num_threads(self.threads)
        self.made.reset()
        optimizer = self.work.optimizer
        rule = torch.optim.Adam if isinstance(optimizer, Adam) else torch.optim.SGD
        how = {} if self.mode == "eager" else {"fused": True}
        self.rule = rule(self.made.parameters, lr=rate(optimizer), **how)

    def run(self) -> None:
        x, y, loss, rule = self.x, self.y, self.made.loss, self.rule
        for rows in self.rows:
            rule.zero_grad(set_to_none=True)
            if rows is None:
                loss(x, y).backward()
            else:  # several times as fast as x[rows]
                loss(x.index_select(0, rows), y.index_select(0, rows)).backward()
            rule.step()

    def result(self) -> Array:
        return flat(
            (one.weight.detach().numpy().T, one.bias.detach().numpy()) for one in self.made.linears
        )


class Gradient:
    """The loss and its gradient for one batch."""

    def __init__(self, work: Workload, calls: int, threads: int, mode: str) -> None:
        import torch

        self.torch, self.units, self.threads = torch, calls, threads
        self.x, self.y = (torch.from_numpy(array[: work.batch]) for array in work.data())
        self.made = _network(work, mode, work.batch)

    def reset(self) -> None:
        self.torch.set_num_threads(self.threads)

    def run(self) -> None:
        grad, made = self.torch.autograd.grad, self.made
        for _ in range(self.units):
            self.gradient = grad(made.loss(self.x, self.y), made.parameters)

    def result(self) -> Array:
        pairs = zip(self.gradient[::2], self.gradient[1::2], strict=True)
        return flat((weight.numpy().T, bias.numpy()) for weight, bias in pairs)


class Predictor:
    """Predictions."""

    def __init__(self, work: Workload, calls: int, rows: int, threads: int, mode: str) -> None:
        import torch

        self.torch, self.units, self.threads = torch, calls, threads
        self.x = torch.from_numpy(prediction_inputs(work, rows))
        self.made = _network(work, mode, rows)
        self.made.network.eval()

    def reset(self) -> None:
        self.torch.set_num_threads(self.threads)

    def run(self) -> None:
        call, x = self.made.call, self.x
        with self.torch.inference_mode():
            for _ in range(self.units):
                self.output = call(x)

    def result(self) -> Array:
        return np.asarray(self.output)
