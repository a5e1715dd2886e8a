"""PyTorch in a contest: eager, with a captured CUDA graph, and compiled.

Written as PyTorch's own pages recommend for speed (the performance tuning guide, "CUDA graphs",
"Automatic mixed precision", `torch.compile`): fused optimizer, gradients set to None, autocast
around the way forward, TF32 only where the contest is in it. fp16's loss is multiplied by a
constant and the learning rate divided by it, which costs less than a `GradScaler`. Losses are not
kept, where fastnet keeps one of every step.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.gpu.contests import Contest
from fastnet.arrays.checks import Array

#: fp16's loss is multiplied by it, in the contest's first steps and later ones alike.
FP16_SCALE = 1024.0

#: Steps before a capture, on a side stream, as "CUDA graphs" asks.
WARM_UP = 3


class Torch:
    """Steps in PyTorch.

    Args:
        contest: what is trained.
        way: "eager", "graph" or "compile".
        device: where.
    """

    def __init__(self, contest: Contest, way: str, device: str = "cuda") -> None:
        import torch

        self.torch, self.contest, self.way, self.device = torch, contest, way, device
        self.name = f"torch {way}"
        torch.backends.cuda.matmul.allow_tf32 = contest.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = contest.precision == "tf32"
        x, y = (torch.from_numpy(array).to(device) for array in contest.data())
        size = len(x) // contest.sets
        self.sets = list(zip(x.split(size), y.split(size), strict=True))
        self.begin()

    def begin(self) -> None:
        """Go back to the first weights, and capture or compile anew."""
        torch, nn = self.torch, self.torch.nn
        made = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "identity": None}
        modules: list[Any] = []
        start, activations = self.contest.start(), self.contest.activations()
        for (weights, bias), activation in zip(start, activations, strict=True):
            linear = nn.Linear(*weights.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights.T)))
                linear.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))
            modules.append(linear)
            layer = made[activation]
            if layer is not None:
                modules.append(layer())
        self.network = nn.Sequential(*modules).to(self.device)
        scale = FP16_SCALE if self.contest.precision == "fp16" else 1.0
        rate = self.contest.rate / scale
        fused = self.device == "cuda"
        rule = torch.optim.SGD(self.network.parameters(), lr=rate, fused=fused)
        narrow = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.contest.precision)
        loss_of = nn.functional.mse_loss

        def loss(x: Any, y: Any) -> Any:
            with torch.autocast(self.device, dtype=narrow, enabled=narrow is not None):
                answer = self.network(x)
            return loss_of(answer.float(), y) * scale

        if self.way == "compile":
            # "max-autotune" tries kernels for minutes; "reduce-overhead" replays CUDA graphs.
            loss = torch.compile(loss, mode="reduce-overhead")

        def step(x: Any, y: Any) -> None:
            loss(x, y).backward()
            rule.step()
            rule.zero_grad(set_to_none=True)

        self.step: Callable[[Any, Any], None] = step
        self.made = 0
        self.graphs: list[Any] = []
        if self.way == "graph":
            self._capture()

    def _capture(self) -> None:
        """Capture a step on each set, then put the first weights back."""
        torch = self.torch
        kept = [parameter.detach().clone() for parameter in self.network.parameters()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.step(*self.sets[0])
        torch.cuda.current_stream().wait_stream(side)
        for x, y in self.sets:
            graph = torch.cuda.CUDAGraph()
            # They are replayed in this order and never at once, so they may share memory.
            with torch.cuda.graph(graph, pool=self.graphs[0].pool() if self.graphs else None):
                self.step(x, y)
            self.graphs.append(graph)
        with torch.no_grad():
            for parameter, before in zip(self.network.parameters(), kept, strict=True):
                parameter.copy_(before)

    def go(self, steps: int) -> None:
        """Ask for the next steps; nothing waits for them."""
        for s in range(self.made, self.made + steps):
            if self.graphs:
                self.graphs[s % len(self.graphs)].replay()
            else:
                self.step(*self.sets[s % len(self.sets)])
        self.made += steps

    def milliseconds(self, steps: int) -> float:
        """Time of the next steps, by CUDA events."""
        torch = self.torch
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        self.go(steps)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def parameters(self) -> Array:
        """Where the training has come to, laid out like fastnet's."""
        linears = [module for module in self.network if hasattr(module, "weight")]
        pieces = [(one.weight.detach().cpu().numpy().T, one.bias.detach().cpu()) for one in linears]
        return np.concatenate([np.asarray(p).reshape(-1) for layer in pieces for p in layer])
