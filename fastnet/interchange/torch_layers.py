"""Fastnet's layers that `torch.nn` does not have, as modules. This file imports PyTorch."""

import torch
from torch import nn


class Residual(nn.Sequential):
    """x + f(x), f the modules inside, in order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of rows `(rows, units)`."""
        return x + super().forward(x)


class Scale(nn.Module):
    """x * weight, weight `(units,)`, 1 at the start.

    Args:
        units: columns of x.
        dtype: of the weight.
    """

    def __init__(self, units: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(units, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of rows `(rows, units)`."""
        return x * self.weight


class Parametric(nn.Module):
    """x + weight (f(x) - x), weight `(units,)`, 1 at the start.

    Args:
        function: f, an activation.
        units: columns of x.
        dtype: of the weight.
    """

    def __init__(self, function: nn.Module, units: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(units, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of rows `(rows, units)`."""
        return x + self.weight * (self.function(x) - x)
