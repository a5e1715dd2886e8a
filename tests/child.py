"""Python code in an interpreter of its own, with this one's import path."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, cached_property

import numpy as np


@cache
def compile_kernels(dtype: str) -> None:
    """Once for all: a process whose kernels are not in the cache says that it compiles them."""
    if importlib.util.find_spec("numba") is not None:
        from fastnet_numba.addresses import all_parts
        from fastnet_numba.kernels import Kernels, load

        kernels = load(np.dtype(dtype))
        for name, found in vars(Kernels).items():
            if type(found) is cached_property:
                getattr(kernels, name)
        for part in all_parts():
            kernels.address_of(part)


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with the import path of this interpreter, and `variables`."""
    if variables.get("FASTNET_BACKEND", "numba") == "numba":
        compile_kernels("float32")
        compile_kernels("float64")
    # A test run of its own in the child does not belong to this one's workers.
    ours = ("FASTNET_", "PYTEST_")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**inherited, "PYTHONPATH": path, **variables}


def run(code: str, *arguments: str, **variables: str) -> str:
    """Run `code`; return what it printed. It must end well and keep its error stream empty."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"exit status {done.returncode}:\n{done.stderr}"
    assert done.stderr == ""
    return done.stdout


def start(code: str, *arguments: str) -> subprocess.Popen:
    """Start `code` and come back at once."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(happened: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait for something that `process` does; it must still be running then."""
    while not happened():
        if process.poll() is not None:
            raise AssertionError(f"the process ended before: {process.communicate()}")
        time.sleep(0.0005)
