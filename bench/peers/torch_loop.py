"""PyTorch: a plain loop; with fused optimizers; and with `torch.compile`.

As PyTorch's performance tuning guide has it: gradients set to None, data as tensors that are there
already, `inference_mode` to predict, `fused=True` for the optimizer of the second way and the
third, where the pass forward and the loss are compiled (`torch.compile`, whole graph) and their
gradient with them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.peers import flat, rate
from fastnet.benchmark import Workload, predicted
from fastnet.checks import Array
from fastnet.optimizers import Adam

WAYS = ("eager", "fused", "compile")

IMPORT = "import torch"

#: What a new process does to its first epoch, as short as a tutorial has it.
FIRST_EPOCH = """
import torch
x, y = torch.randn(rows, 32), torch.randn(rows, 1)
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
    """A network in PyTorch with a workload's first weights."""

    def __init__(self, work: Workload, threads: int, way: str) -> None:
        import torch

        self.torch, self.work, self.threads, self.way = torch, work, threads, way
        self.x, self.y = (torch.from_numpy(array) for array in work.data())

    def begin(self) -> None:
        torch, nn = self.torch, self.torch.nn
        torch.set_num_threads(self.threads)
        made = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
        modules: list[Any] = []
        for (weights, bias), name in zip(self.work.start(), self.work.activations, strict=True):
            linear = nn.Linear(*weights.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weights.T))
                linear.bias.copy_(torch.from_numpy(bias))
            modules.append(linear)
            if name != "identity":
                modules.append(made[name]())
        self.network = nn.Sequential(*modules)

    def forward(self) -> Callable[..., Any]:
        """Rows and targets to their loss."""
        network, loss_of = self.network, self.torch.nn.functional.mse_loss

        def loss(x: Any, y: Any) -> Any:
            return loss_of(network(x), y)

        return loss

    def linears(self) -> list[Any]:
        return [module for module in self.network if hasattr(module, "weight")]


class Trainer(_Network):
    """Steps of training."""

    def __init__(self, work: Workload, epochs: int, threads: int, way: str) -> None:
        super().__init__(work, threads, way)
        self.units = epochs * work.steps
        orders = work.orders(epochs)
        self.rows: list[Any] = [None] * self.units
        if orders is not None:
            self.rows = list(self.torch.from_numpy(orders))
        super().begin()
        self.first = [parameter.detach().clone() for parameter in self.network.parameters()]
        # Compiled once: going back to the start changes numbers, and no code.
        loss = self.forward()
        self.loss = self.torch.compile(loss, fullgraph=True) if way == "compile" else loss

    def begin(self) -> None:
        torch = self.torch
        torch.set_num_threads(self.threads)
        with torch.no_grad():
            for parameter, first in zip(self.network.parameters(), self.first, strict=True):
                parameter.copy_(first)
        optimizer = self.work.optimizer
        made = torch.optim.Adam if isinstance(optimizer, Adam) else torch.optim.SGD
        how = {} if self.way == "eager" else {"fused": True}
        self.rule = made(self.network.parameters(), lr=rate(optimizer), **how)

    def go(self) -> None:
        x, y, loss, rule = self.x, self.y, self.loss, self.rule
        for rows in self.rows:
            rule.zero_grad(set_to_none=True)
            some, wanted = (x, y) if rows is None else (x[rows], y[rows])
            loss(some, wanted).backward()
            rule.step()

    def result(self) -> Array:
        return flat(
            (one.weight.detach().numpy().T, one.bias.detach().numpy()) for one in self.linears()
        )


class Gradient(_Network):
    """The loss and its gradient for one batch."""

    def __init__(self, work: Workload, calls: int, threads: int, way: str) -> None:
        super().__init__(work, threads, way)
        self.units = calls
        self.x, self.y = self.x[: work.batch], self.y[: work.batch]
        super().begin()
        loss = self.forward()
        self.loss = self.torch.compile(loss, fullgraph=True) if way == "compile" else loss

    def begin(self) -> None:
        self.torch.set_num_threads(self.threads)

    def go(self) -> None:
        grad, parameters = self.torch.autograd.grad, list(self.network.parameters())
        for _ in range(self.units):
            self.gradient = grad(self.loss(self.x, self.y), parameters)

    def result(self) -> Array:
        pairs = zip(self.gradient[::2], self.gradient[1::2], strict=True)
        return flat((weight.numpy().T, bias.numpy()) for weight, bias in pairs)


class Predictor(_Network):
    """Predictions."""

    def __init__(self, work: Workload, calls: int, rows: int, threads: int, way: str) -> None:
        super().__init__(work, threads, way)
        self.units = calls
        self.x = self.torch.from_numpy(predicted(work, rows))
        super().begin()
        self.network.eval()
        self.call = self.torch.compile(self.network) if way == "compile" else self.network

    def begin(self) -> None:
        self.torch.set_num_threads(self.threads)

    def go(self) -> None:
        call, x = self.call, self.x
        with self.torch.inference_mode():
            for _ in range(self.units):
                self.answer = call(x)

    def result(self) -> Array:
        return np.asarray(self.answer)
