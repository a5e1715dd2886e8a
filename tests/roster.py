"""The backends under test, one line each, and why one of them may have to be left out."""

import importlib.util
import os
from dataclasses import dataclass

from fastnet.contract.choosing import probe


@dataclass(frozen=True)
class Entry:
    """A backend to test.

    Attributes:
        name: what `Model(backend=...)` is given.
        library: the module it stands on; without it there is nothing to test.
        hardware: what it needs besides, in words; None: any machine will do.
        tool: a program that it needs to be tested, in words; None: none.
        fast: whether ten thousand steps are done in a moment.
    """

    name: str
    library: str = "numpy"
    hardware: str | None = None
    tool: str | None = None
    fast: bool = False


#: To test one more backend, add its line. One that joins through the entry-point group
#: `fastnet.backends` is named like any other.
BACKENDS = [
    Entry("numpy", fast=True),
    Entry("numba", library="numba", fast=True),
    Entry("simulated", library="fastnet_simulated", tool="g++"),
    Entry("simulated_layered", library="fastnet_simulated", tool="g++"),
    Entry("simulated_narrow", library="fastnet_simulated", tool="g++"),
    Entry("cupy", library="cupy", hardware="a CUDA GPU"),
    Entry("array_api:array_api_strict", library="array_api_strict"),
    Entry("array_api:torch", library="torch"),
    Entry("array_api:jax.numpy", library="jax"),
]


@dataclass(frozen=True)
class Absence:
    """Why a backend is not tested here, and whether that is a failure."""

    reason: str
    fails: bool


def absence(entry: Entry) -> Absence | None:
    """What is missing for `entry`: its library, its hardware or its tool, which are three things.

    With FASTNET_REQUIRE_GPU=1 neither of the first two may be missing for a backend that needs
    hardware. A backend that has all it needs must run.
    """
    required = entry.hardware is not None and os.environ.get("FASTNET_REQUIRE_GPU") == "1"
    if importlib.util.find_spec(entry.library) is None:
        return Absence(f"{entry.name}: library absent: {entry.library}", fails=required)
    if entry.hardware is None and entry.tool is None:
        return None  # not probed, because that may import a large library: its tests fail instead
    found = probe(entry.name)
    if found.usable:
        return None
    if entry.tool is not None:
        return Absence(f"{entry.name}: tool absent: {entry.tool}: {found.reason}", fails=False)
    return Absence(
        f"{entry.name}: hardware absent: {entry.hardware}: {found.reason}", fails=required
    )
