"""Arrays of other libraries, on the host or on a GPU, by DLPack (dmlc.github.io/dlpack).

What comes in as a CuPy array or a PyTorch tensor goes out as one.
"""

import sys
from typing import Any

import numpy as np

from fastnet.errors import DataError
from fastnet.extras import REQUIREMENTS, pip_install

#: Kinds of devices whose memory the processor reads: kDLCPU, kDLCUDAHost (dlpack.h,
#: DLDeviceType); and those of NVIDIA's GPUs: kDLCUDA, kDLCUDAManaged.
_READABLE, _CUDA = (1, 3), (2, 13)

#: PyTorch's dtypes that NumPy does not have; float32 holds each of their numbers.
_SHORT_TENSORS = ("torch.bfloat16", "torch.float8")


def foreign(value: Any) -> bool:
    """Whether `value` is an array of another library that speaks DLPack."""
    return hasattr(value, "__dlpack_device__") and not isinstance(value, np.ndarray | np.generic)


def on_gpu(value: Any) -> bool:
    """Whether it lies in an NVIDIA GPU's memory."""
    try:
        return foreign(value) and int(value.__dlpack_device__()[0]) in _CUDA
    except Exception:  # each library has its own for a place that has no number: `on_host` says it
        return False


def on_host(value: Any, what: str) -> Any:
    """`value`, or a copy of it on the host where it lies on a GPU.

    Args:
        value: anything.
        what: what the user calls it.

    Raises:
        DataError: if it lies where nothing here can read it.
    """
    if not foreign(value):
        return value
    try:
        kind = int(value.__dlpack_device__()[0])
    except Exception as error:
        raise DataError(
            f"{what} lies where fastnet cannot read it ({error}); hand over an array in the "
            "processor's memory."
        ) from error
    if kind in _READABLE:
        value = _alone(value)
        return value if hasattr(value, "__array__") else np.from_dlpack(value)
    if kind in _CUDA:
        return as_cupy(value, what).get()
    raise DataError(
        f"{what} lies on a device of DLPack's kind {kind}, which fastnet cannot read; "
        "hand over a copy in the processor's memory."
    )


def as_cupy(value: Any, what: str) -> Any:
    """An array on a GPU as CuPy's, without copying.

    Raises:
        DataError: without CuPy.
    """
    try:
        import cupy
    except ImportError as error:
        raise DataError(
            f"{what} lies on a GPU, and reading it there needs CuPy, which is not installed: "
            f"{pip_install(*REQUIREMENTS['cuda13'])}, or pass a copy in the processor's memory."
        ) from error
    if isinstance(value, cupy.ndarray):
        return value
    return cupy.from_dlpack(_alone(value))


def as_rows(value: Any, dtype: str) -> Any:
    """Rows on a GPU as CuPy's: numbers cast to `dtype`, C-contiguous; anything else as it is."""
    rows = as_cupy(value, "x")
    return rows.astype(dtype, order="C", copy=False) if rows.dtype.kind in "biuf" else rows


def _alone(value: Any) -> Any:
    """A tensor of PyTorch without what no other library reads: how it was made, a sign still to
    be turned, fewer bits than float16. Anything else as it is.
    """
    if not hasattr(value, "detach"):
        return value
    value = value.detach()
    if hasattr(value, "resolve_neg"):
        value = value.resolve_neg()
    return value.float() if str(value.dtype).startswith(_SHORT_TENSORS) else value


def like(result: Any, given: Any) -> Any:
    """`result`, a NumPy or CuPy array, as an array of the library and device of `given`."""
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
    """The module whose `from_dlpack` makes arrays like `given`; None if none is known."""
    if hasattr(given, "__array_namespace__"):
        return given.__array_namespace__()
    module = sys.modules.get(type(given).__module__.partition(".")[0])
    return module if hasattr(module, "from_dlpack") else None
