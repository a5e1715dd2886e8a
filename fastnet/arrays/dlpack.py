"""Arrays of other libraries, on the host or a GPU, through DLPack (dmlc.github.io/dlpack).

Predictions for a CuPy array or a PyTorch tensor are one, too.
"""

import sys
from typing import Any

import numpy as np

from fastnet.errors import DataError
from fastnet.extras import REQUIREMENTS, pip_install

#: Device types (dlpack.h, DLDeviceType) that the CPU can read: kDLCPU, kDLCUDAHost; and those of
#: NVIDIA's GPUs: kDLCUDA, kDLCUDAManaged.
_HOST, _CUDA = (1, 3), (2, 13)

#: PyTorch's dtypes that NumPy does not have; float32 represents their numbers exactly.
_SMALL_DTYPES = ("torch.bfloat16", "torch.float8")


def foreign(value: Any) -> bool:
    """Whether `value` is an array of another library that supports DLPack."""
    return hasattr(value, "__dlpack_device__") and not isinstance(value, np.ndarray | np.generic)


def on_gpu(value: Any) -> bool:
    """Whether `value` is an array in an NVIDIA GPU's memory."""
    try:
        return foreign(value) and int(value.__dlpack_device__()[0]) in _CUDA
    except Exception:  # of any class, for a device without a number: `on_host` reports it
        return False


def on_host(value: Any, what: str) -> Any:
    """Copy an array on a GPU to the host; any other value stays as it is.

    Args:
        value: any value.
        what: its name in errors.

    Raises:
        DataError: if its device is not supported.
    """
    if not foreign(value):
        return value
    try:
        kind = int(value.__dlpack_device__()[0])
    except Exception as error:
        raise DataError(
            f"{what} is on a device that fastnet cannot read ({error}); pass an array in the CPU's "
            "memory."
        ) from error
    if kind in _HOST:
        value = _plain(value)
        return value if hasattr(value, "__array__") else np.from_dlpack(value)
    if kind in _CUDA:
        array = as_cupy(value, what)
        # With `out` it is a copy also where CuPy could hand out the GPU's own memory
        # (CUPY_ENABLE_UMP=1).
        host = np.empty(array.shape, array.dtype)
        if host.size:
            with array.device:
                array.get(out=host, blocking=True)
        return host
    raise DataError(
        f"{what} is on a device of DLPack's type {kind}, which fastnet cannot read; pass a copy in "
        "the CPU's memory."
    )


def as_cupy(value: Any, what: str) -> Any:
    """An array on a GPU as a CuPy array, without copying.

    Raises:
        DataError: without CuPy.
    """
    try:
        import cupy
    except ImportError as error:
        raise DataError(
            f"{what} is on a GPU, and reading it needs CuPy, which is not installed: "
            f"{pip_install(*REQUIREMENTS['cuda13'])}, or pass a copy in the CPU's memory."
        ) from error
    if isinstance(value, cupy.ndarray):
        return value
    return cupy.from_dlpack(_plain(value))


def as_rows(value: Any, dtype: Any, what: str = "x", kinds: str = "biuf") -> Any:
    """Rows on a GPU as a CuPy array; numbers of these kinds are cast to `dtype`, C-contiguous."""
    rows = as_cupy(value, what)
    if rows.dtype.kind not in kinds:
        return rows
    with rows.device:  # CuPy casts on the GPU that is current
        return rows.astype(dtype, order="C", copy=False)


def _plain(value: Any) -> Any:
    """Remove from a PyTorch tensor what no other library reads: its gradient, a lazy negation, and
    dtypes of fewer bits than float16. Other values stay as they are.
    """
    if not hasattr(value, "detach"):
        return value
    value = value.detach()
    if hasattr(value, "resolve_neg"):
        value = value.resolve_neg()
    return value.float() if str(value.dtype).startswith(_SMALL_DTYPES) else value


def like(result: Any, given: Any) -> Any:
    """Convert a NumPy or CuPy array to the library and device of `given`."""
    if not foreign(given):
        return result
    if on_gpu(given) and isinstance(result, np.ndarray):
        import cupy

        with cupy.cuda.Device(int(given.__dlpack_device__()[1])):
            result = cupy.asarray(result)
    if type(given) is type(result):
        return result
    library = _library(given)
    return result if library is None else library.from_dlpack(result)


def _library(given: Any) -> Any:
    """The module whose `from_dlpack` makes arrays like `given`, or None."""
    if hasattr(given, "__array_namespace__"):
        return given.__array_namespace__()
    module = sys.modules.get(type(given).__module__.partition(".")[0])
    return module if hasattr(module, "from_dlpack") else None
