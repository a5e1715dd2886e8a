"""What the libraries may use of this machine's processor: how many of its processors, and which of
its instructions. Libraries ask for it when they are loaded, so it is set before.
"""

import os
import sys
from pathlib import Path

import pytest

#: Variables that limit a library's threads, where the system cannot; the last is JAX's.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NPROC",
)

#: Processors that a larger one of the same kind can be told to be, by the names of `--processor`:
#: what each library calls it. NumPy's own loops have no such name and keep all instructions.
OTHERS = {
    "avx2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
}


def available() -> int:
    """The number of processors that this process may use (hardware threads count)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit(threads: int) -> str | None:
    """Limit this process, and all that it starts, to so many processors.

    Returns:
        A note where the system has no such limit.

    Raises:
        pytest.UsageError: if there are fewer.
    """
    if not 1 <= threads <= available():
        raise pytest.UsageError(f"--threads is {threads}; this process may use 1 to {available()}")
    for name in _THREADS:
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        return None
    return "this system cannot limit a process to some processors: JAX may use more"


def become(name: str) -> None:
    """Tell all libraries of this process, and of all that it starts, that the processor is this one
    of `OTHERS`. What Numba and PyTorch compile is kept in folders of its own: PyTorch would load
    what it compiled for the real processor, and its results would be wrong.

    Raises:
        pytest.UsageError: if NumPy is loaded, and has asked for the processor already.
    """
    if "numpy" in sys.modules:
        raise pytest.UsageError(f"--processor={name} comes too late: a plugin has loaded NumPy")
    variables = dict(OTHERS[name])
    variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {variables['XLA_FLAGS']}".strip()
    os.environ.update(variables)
    import platformdirs

    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("fastnet"), name)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "torch")
