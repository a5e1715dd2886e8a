"""The CUDA backend on a simulated device, as a backend of its own: `backend="simulated"`.

With this folder and the one above it on the import path, the entry point beside it is found.
"""

from collections.abc import Mapping

from fastnet.contract.program import Probe
from fastnet_cupy import regimes
from fastnet_cupy.backend import CudaBackend
from simulated.building import absence, compiler
from simulated.device import HostDevice


def find() -> Probe:
    """Whether there is a compiler."""
    reason = absence()
    return Probe(reason is None, *(reason or "").split("; ", 1))


def describe() -> Mapping[str, str]:
    """What stands in for a GPU."""
    return {"versions": compiler().splitlines()[0], "device": "simulated", "threads": "one"}


BACKEND = CudaBackend("simulated", find, HostDevice, describe)

#: The same, with one way through a network for all sizes.
LAYERED = CudaBackend("simulated_layered", find, HostDevice, describe, regimes.LAYERED)
NARROW = CudaBackend("simulated_narrow", find, HostDevice, describe, regimes.NARROW)
