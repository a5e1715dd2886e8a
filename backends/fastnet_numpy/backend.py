"""What this backend offers to fastnet."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastnet import blas
from fastnet.contract.plan import Plan
from fastnet.contract.program import Backend
from fastnet_numpy.activations import FUNCTIONS
from fastnet_numpy.layers import STAGES
from fastnet_numpy.losses import LOSSES
from fastnet_numpy.optimizers import UPDATES
from fastnet_numpy.program import NumpyProgram


class NumpyBackend(Backend):
    """Runs wherever NumPy does."""

    name = "numpy"
    contract = 3

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """What stands in this backend's tables."""
        return {
            "operation": [op.__name__.lower() for op in STAGES],
            "activation": list(FUNCTIONS),
            "loss": list(LOSSES),
            "optimizer": list(UPDATES),
            "factor": ["rate", "decay"],
        }

    def describe(self) -> Mapping[str, str]:
        """NumPy's version and matrix library, the processor, the threads."""
        library, threads = blas.library()
        return {
            "versions": f"numpy {np.__version__}, {library}",
            "device": platform.processor() or platform.machine(),
            "threads": f"up to {threads} in large matrix products",
        }

    def make_program(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> NumpyProgram:
        """Nothing is compiled: the plan is followed step by step."""
        return NumpyProgram(plan, dtype, threads)


BACKEND = NumpyBackend()
