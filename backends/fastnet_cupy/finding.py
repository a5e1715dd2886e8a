"""Whether CuPy, a GPU and NVIDIA's libraries are here; if not, what is missing, and what to do.

CuPy is imported when it is looked for, never before.
"""

import ctypes
import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import Any

from fastnet.contract.program import Probe
from fastnet.errors import BackendUnavailable
from fastnet.extras import REQUIREMENTS, pip_install
from fastnet_cupy import cublaslt

#: The least compute capability, times 10: tensor cores for bf16 and tf32, and asynchronous copies,
#: came with 8.0.
_CAPABILITY = 80

#: cudaError_t.
_INSUFFICIENT_DRIVER, _NO_DEVICE = 35, 100


def find() -> Probe:
    """Whether there are both CuPy and a GPU that can be used; never raises."""
    try:
        absent = importlib.util.find_spec("cupy") is None
    except (ImportError, ValueError):  # somebody keeps it from being found
        absent = True
    if absent:
        return Probe(False, "CuPy is not installed", _how_to_install())
    try:
        import cupy
    except Exception as error:
        said = " ".join(line for line in str(error).split() if line.strip("="))
        return Probe(
            False,
            f"CuPy is installed but cannot be imported ({type(error).__name__}: {said[:400]})",
            f"Install it anew, in an environment with no other CuPy: {_pip(_driver_version())}",
        )
    try:
        return _find_gpu(cupy)
    except Exception as error:
        return Probe(
            False,
            f"CuPy is installed, but the GPU cannot be used ({type(error).__name__}: {error})",
            "See what the command nvidia-smi says.",
        )


def _find_gpu(cupy: Any) -> Probe:
    """Whether the current GPU can be used, and NVIDIA's libraries are there."""
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if error.status == _INSUFFICIENT_DRIVER:
            return _driver_missing(runtime)
        if error.status != _NO_DEVICE:
            raise
        count = 0
    if not count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        return Probe(
            False,
            f"CuPy is installed, but its driver finds no NVIDIA GPU{hidden}",
            "The command nvidia-smi lists the GPUs; without one, use another backend.",
        )
    device = cupy.cuda.Device()
    capability = int(device.compute_capability)
    if capability < _CAPABILITY:
        return Probe(
            False,
            f"{_name(cupy)} has compute capability {_dotted(capability)}, and fastnet needs "
            f"{_dotted(_CAPABILITY)}",
            "GPUs since Ampere (2020) have it; use another backend.",
        )
    return _find_libraries(cupy)


def _driver_missing(runtime: Any) -> Probe:
    """There is no driver, or an old one: CUDA has one error for both."""
    version, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion() // 1000
    if not version:
        return Probe(
            False,
            "CuPy is installed, but there is no NVIDIA driver, and so no GPU",
            "Where there is an NVIDIA GPU, install its driver; without one, use another backend.",
        )
    return Probe(
        False,
        f"CuPy is installed for CUDA {needed}, but the NVIDIA driver is for CUDA "
        f"{version // 1000}.{version % 1000 // 10}",
        f"Install a newer driver, or remove cupy-cuda{needed}x and install what fits the "
        f"driver: {_pip(version)}",
    )


def _find_libraries(cupy: Any) -> Probe:
    """Whether NVRTC and cuBLASLt can be loaded."""
    major = cuda_major(cupy)
    missing = []
    try:
        architectures = cupy.cuda.nvrtc.getSupportedArchs()
    except Exception:  # CuPy looks for the library at the first call, and has many ways to fail
        architectures = []
        missing.append("nvrtc")
    try:
        cublaslt.load(major)
    except BackendUnavailable:
        missing.append("cublas")
    capability = int(cupy.cuda.Device().compute_capability)
    if not missing and capability not in architectures:
        return Probe(
            False,
            f"{_name(cupy)} has compute capability {_dotted(capability)}, which NVIDIA's library "
            "nvrtc that is installed does not know",
            f"Install a newer one: {pip_install(f'cuda-toolkit[nvrtc]=={major}.*')} --upgrade",
        )
    if missing:
        names = ",".join(missing)
        return Probe(
            False,
            f"CuPy and a GPU are there, but not NVIDIA's library {' and '.join(missing)} "
            f"for CUDA {major}",
            f"Install it with: {pip_install(f'cuda-toolkit[{names}]=={major}.*')}",
        )
    return Probe(usable=True)


def describe() -> Mapping[str, str]:
    """Versions, the GPU, and how much it does at once."""
    import cupy

    runtime = cupy.cuda.runtime
    device = cupy.cuda.Device()
    driver = runtime.driverGetVersion()
    nvrtc = ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
    count = runtime.deviceGetAttribute(runtime.cudaDevAttrMultiProcessorCount, device.id)
    _, bytes_ = device.mem_info
    return {
        "versions": f"cupy {cupy.__version__}, NVRTC {nvrtc}, "
        f"cuBLASLt {cublaslt.load(cuda_major(cupy)).version}, "
        f"driver for CUDA {driver // 1000}.{driver % 1000 // 10}",
        "device": f"{_name(cupy)}, {bytes_ / 2**30:.0f} GiB, "
        f"compute capability {_dotted(int(device.compute_capability))}",
        "threads": f"{count} multiprocessors",
    }


def _name(cupy: Any) -> str:
    """Of the current GPU."""
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def _dotted(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


def cuda_major(cupy: Any) -> int:
    """The CUDA that this CuPy was made for."""
    return int(cupy.cuda.runtime.runtimeGetVersion()) // 1000


def _driver_version() -> int:
    """1000 major + 10 minor of the CUDA that the driver knows; 0 without a driver."""
    version = ctypes.c_int()
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        driver.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def _how_to_install() -> str:
    version = _driver_version()
    if version:
        return f"Install it with: {_pip(version)}"
    return (
        f"There is no NVIDIA driver here either. With a GPU and its driver: {_pip(13000)}; "
        f"for a driver that knows CUDA 12 only: {_pip(12000)}"
    )


def _pip(driver: int) -> str:
    """The command that installs the CuPy for a driver."""
    return pip_install(*REQUIREMENTS["cuda12" if 0 < driver < 13000 else "cuda13"])
