"""What this backend offers to fastnet. Numba is imported when it is used."""

import importlib.util
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from fastnet.contract.plan import Plan
from fastnet.contract.program import Backend, Probe, Program
from fastnet.extras import REQUIREMENTS, pip_install
from fastnet_numba.versions import explained


class NumbaBackend(Backend):
    """Runs wherever Numba does."""

    name = "numba"
    contract = 3

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """What the kernels' files declare; nothing where Numba is not installed."""
        if not self.probe().usable:
            return {}
        _program()  # imports all files of kernels
        from fastnet_numba.ops.declared import KINDS

        return {**KINDS, "factor": ["rate", "decay"]}

    def probe(self) -> Probe:
        """Usable where Numba is installed, and platformdirs, which finds the cache folder."""
        for module in ("numba", "platformdirs"):
            if importlib.util.find_spec(module) is None:
                remedy = f"Install it with: {pip_install(*REQUIREMENTS['numba'])}"
                return Probe(False, f"{module} is not installed", remedy)
        return Probe(usable=True)

    def describe(self) -> Mapping[str, str]:
        """Numba's version, the processor with its vectors and caches, the threads."""
        _program()
        import llvmlite
        import numba

        from fastnet.contract.choosing import processors
        from fastnet_numba.simd.host import caches, register_bytes

        return {
            "versions": f"numba {numba.__version__}, llvmlite {llvmlite.__version__}",
            "device": f"{platform.processor() or platform.machine()}, "
            f"vectors of {8 * register_bytes()} bits, "
            f"caches of {caches().first // 2**10:,} and {caches().second // 2**10:,} KiB a core",
            "threads": f"up to {processors()}, where a step is long enough to share",
        }

    def make_program(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> Program:
        """Make the tables for `plan`; the kernels are the same for all plans."""
        return _program()(plan, dtype, threads)


@cache
def _program() -> Callable[..., Program]:
    """The program, which imports Numba."""
    with explained("load its kernels"):
        from fastnet_numba.program import NumbaProgram

        return NumbaProgram


BACKEND = NumbaBackend()
