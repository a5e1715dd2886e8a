"""What this backend offers to fastnet."""

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastnet import blas
from fastnet.contract.plan import Plan
from fastnet.contract.program import CONTRACT, Probe
from fastnet_numpy.program import NumpyProgram


class NumpyBackend:
    """Runs wherever NumPy does."""

    name = "numpy"
    contract = CONTRACT
    precisions = ()

    def probe(self) -> Probe:
        """Always usable."""
        return Probe(usable=True)

    def describe(self) -> Mapping[str, str]:
        """NumPy's version and matrix library, the processor, the threads."""
        library, threads = blas.library()
        return {
            "versions": f"numpy {np.__version__}, {library}",
            "device": platform.processor() or platform.machine(),
            "threads": f"up to {threads} in large matrix products",
        }

    def compile(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> NumpyProgram:
        """Nothing is compiled: the plan is followed step by step."""
        return NumpyProgram(plan, dtype, threads)


BACKEND = NumpyBackend()
