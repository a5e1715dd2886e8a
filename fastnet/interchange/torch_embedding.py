"""`fastnet.Embed` and its numeric embeddings as modules. This file imports PyTorch."""

import math
from collections.abc import Sequence

import torch
from torch import nn


class Embed(nn.Module):
    """Numbers, as they are or through `numeric`, and behind them the tables' rows.

    Args:
        numbers: how many columns of numbers.
        tables: for each column of categories an `nn.Embedding` or a `OneHot`.
        numeric: a `Periodic` or a `PiecewiseLinear`; None: none.
    """

    def __init__(
        self, numbers: int, tables: Sequence[nn.Module], numeric: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.numbers = numbers
        self.tables = nn.ModuleList(tables)
        self.numeric = numeric

    def forward(self, x: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Of a pair `(numbers, codes)`, or of one array `(rows, columns)` of both."""
        numbers, codes = x if isinstance(x, tuple) else (x[:, : self.numbers], x[:, self.numbers :])
        parts = [numbers if self.numeric is None else self.numeric(numbers)] if self.numbers else []
        parts += [table(codes[:, i].long()) for i, table in enumerate(self.tables)]
        return torch.cat(parts, 1)


class OneHot(nn.Module):
    """A 1 in the place of the code, `(rows, codes - 1)`; the code 0 is all zeros.

    Args:
        codes: how many.
        dtype: of what comes out.
    """

    def __init__(self, codes: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        rows = torch.cat((torch.zeros(1, codes - 1), torch.eye(codes - 1))).to(dtype)
        self.rows: torch.Tensor
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Of codes `(rows,)`."""
        return self.rows[codes]


class Periodic(nn.Module):
    """cos(2 pi x frequency + phase) @ weight + bias, and x itself, of each number x.

    Args:
        numbers: how many.
        frequencies: of each.
        units: numbers made of each.
        dtype: of the parameters.
    """

    def __init__(
        self, numbers: int, frequencies: int, units: int, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        waves, made = (numbers, frequencies), (numbers, units - 1)
        self.frequency = nn.Parameter(torch.zeros(waves, dtype=dtype))
        self.phase = nn.Parameter(torch.zeros(waves, dtype=dtype))
        self.weight = nn.Parameter(torch.zeros((*waves, units - 1), dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(made, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of rows `(rows, numbers)`."""
        numbers = x[:, :, None]
        waves = torch.cos(2 * math.pi * numbers * self.frequency + self.phase)
        made = torch.einsum("rnf,nfu->rnu", waves, self.weight) + self.bias
        return torch.cat((made, numbers), 2).flatten(1)


class PiecewiseLinear(nn.Module):
    """x slope + bias + e @ weight of each number x, e how far it has come in each of its bins.

    Args:
        numbers: how many.
        bins: of each.
        units: numbers made of each.
        dtype: of the parameters.
    """

    def __init__(
        self, numbers: int, bins: int, units: int, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros((numbers, units), dtype=dtype))
        self.bias = nn.Parameter(torch.zeros((numbers, units), dtype=dtype))
        self.weight = nn.Parameter(torch.zeros((numbers, bins, units), dtype=dtype))
        self.edges: torch.Tensor
        self.register_buffer("edges", torch.zeros((numbers, bins + 1), dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of rows `(rows, numbers)`."""
        numbers, left, right = x[:, :, None], self.edges[:, :-1], self.edges[:, 1:]
        exists = left < right
        e = (numbers - left) * (exists / torch.where(exists, right - left, 1))
        least = torch.where(left > self.edges[:, :1], 0.0, -math.inf).to(x.dtype)
        most = torch.where(right < self.edges[:, -1:], 1.0, math.inf).to(x.dtype)
        e = torch.minimum(torch.maximum(e, least), most)
        made = torch.einsum("rnf,nfu->rnu", e, self.weight)
        return (numbers * self.slope + self.bias + made).flatten(1)
