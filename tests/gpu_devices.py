"""The devices that kernels are tried on: the simulated one, and a GPU where there is one."""

import os

import pytest
from roster import BACKENDS, absence
from simulated import building

KINDS = ("simulated", "gpu")


def open_device(kind):
    """A device of a kind, or the reason why there is none: a skip, or a failure.

    With FASTNET_REQUIRE_GPU=1 a GPU that is absent is a failure, and nothing is simulated.
    """
    entry = next(entry for entry in BACKENDS if entry.name == "cupy")
    missing = absence(entry)
    if kind == "gpu":
        if missing is not None:
            (pytest.fail if missing.fails else pytest.skip)(missing.reason)
        from fastnet_cupy.cupy_device import CupyDevice

        return CupyDevice()
    if os.environ.get("FASTNET_REQUIRE_GPU") == "1":
        pytest.skip("FASTNET_REQUIRE_GPU=1 asks for the GPU itself")
    if building.absence() is not None:
        pytest.skip(building.absence())
    from simulated.device import HostDevice

    return HostDevice()
