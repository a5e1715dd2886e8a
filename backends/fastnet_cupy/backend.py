"""What this backend offers to fastnet. CuPy is imported when it is used."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastnet.contract.plan import Plan
from fastnet.contract.program import Backend, Probe, Program
from fastnet_cupy import names
from fastnet_cupy.regimes import REGIMES, Regimes


class CudaBackend(Backend):
    """Runs plans on a device that has the seam of `device.py`.

    Args:
        name: by which it is chosen.
        find: finds out whether the device can be used here, and if not, why.
        open_device: opens it.
        describe: facts about it, for a person.
        regimes: which path through a network is taken for which sizes.
    """

    contract = 3
    precisions = ("tf32", "bf16", "fp16")

    def __init__(
        self,
        name: str,
        find: Callable[[], Probe],
        open_device: Callable[[], Any],
        describe: Callable[[], Mapping[str, str]],
        regimes: Regimes = REGIMES,
    ) -> None:
        self.name, self.regimes = name, regimes
        self._find, self._open, self._describe = find, open_device, describe

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """What the kernels have, and the operations that stages are made of."""
        from fastnet_cupy.stages import OPERATIONS

        tables = ("activation", "loss", "optimizer")
        return {
            "operation": [op.__name__.lower() for op in OPERATIONS],
            **{table: names.kinds_of(table) for table in tables},
            "factor": ["rate", "decay"],
        }

    def probe(self) -> Probe:
        """Usable where there are the libraries and a GPU."""
        return self._find()

    def describe(self) -> Mapping[str, str]:
        """The libraries' versions, and the GPU."""
        return self._describe()

    def make_program(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> Program:
        """Lay the plan out for kernels; `threads` are of no use here."""
        from fastnet_cupy.program import CudaProgram

        return CudaProgram(plan, dtype, precision, self._open(), self.regimes, self.name)


def _find() -> Probe:
    from fastnet_cupy import finding

    return finding.find()


def _open() -> Any:
    from fastnet_cupy import cupy_device

    return cupy_device.open_device()


def _describe() -> Mapping[str, str]:
    from fastnet_cupy import finding

    return finding.describe()


BACKEND = CudaBackend("cupy", _find, _open, _describe)
