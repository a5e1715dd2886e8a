"""The CUDA backend on a simulated device, as a backend of its own: `backend="simulated"`.

With this folder and the one above it on the import path, the entry point beside it is found.
"""

from collections.abc import Mapping

from fastnet.backend import Probe
from fastnet_cupy.backend import CudaBackend
from fastnet_cupy.regimes import Regimes
from simulated.building import absence, compiler
from simulated.device import HostDevice


def find() -> Probe:
    """Whether there is a compiler."""
    reason = absence()
    return Probe(reason is None, *(reason or "").split("; ", 1))


def describe() -> Mapping[str, str]:
    """What stands in for a GPU."""
    return {"versions": compiler().splitlines()[0], "device": "simulated", "threads": "one"}


NEVER = 2**62

BACKEND = CudaBackend("simulated", find, HostDevice, describe)

#: The same, with one way through a network for all sizes: layer by layer, or where it fits in the
#: kernel made for it.
LAYERED = CudaBackend("simulated_layered", find, HostDevice, describe, Regimes(-1, NEVER, NEVER))
NARROW = CudaBackend("simulated_narrow", find, HostDevice, describe, Regimes(-1, 1, 1))
