"""cuBLASLt through ctypes: matrix products that can be captured, with an epilogue.

CuPy's own products refuse to be captured in a graph. cuBLASLt asks for no memory and no host's
answer when it is given a workspace and an algorithm, and both are chosen beforehand here.

Its matrices stand column by column, ours row by row: what we call out, it calls out
transposed. So it computes out^T = op(b)^T op(a)^T: its A is our b, its B our a, and its D has
our columns as rows. What follows: its bias runs along its rows, our columns; BGRADA, sums over
A's depth, is our sums of b's columns; the mask's leading dimension is the bits of our row.

`Library` and the descriptors work without a GPU; `Products` has the handle, which needs one.
All numbers are those of cublasLt.h, cublas_api.h and library_types.h (cuBLAS 13.1; the same
since CUDA 11.6).
"""

import contextlib
import ctypes
import importlib.util
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fastnet.errors import BackendUnavailable, FastnetError
from fastnet.extras import pip_install
from fastnet_cupy.device import Epilogue, ProductSpec
from fastnet_cupy.precision import Number

#: cublasStatus_t.
SUCCESS, INVALID_VALUE, NOT_SUPPORTED = 0, 7, 15
_STATUSES = {
    1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 8: "ARCH_MISMATCH",
    11: "MAPPING_ERROR", 13: "EXECUTION_FAILED", 14: "INTERNAL_ERROR", 15: "NOT_SUPPORTED",
    16: "LICENSE_ERROR",
}  # fmt: skip

#: cudaDataType_t of what is stored, and cublasComputeType_t of how it is multiplied, by the
#: number's name. COMPUTE_32F never rounds its operands; FAST_TF32 (77) does.
_TYPES = {"float32": 0, "tf32": 0, "float64": 1, "fp16": 2, "bf16": 14}
_COMPUTING = {"float32": 68, "tf32": 77, "float64": 70, "fp16": 68, "bf16": 68}

#: cublasLtEpilogue_t: DEFAULT, BIAS, RELU_BIAS, RELU_AUX_BIAS, DRELU, BGRADA.
EPILOGUES = {
    Epilogue.NONE: 1, Epilogue.BIAS: 4, Epilogue.RELU_BIAS: 6, Epilogue.RELU_MASK_BIAS: 134,
    Epilogue.MASK: 136, Epilogue.SUMS: 256,
}  # fmt: skip
_MASKED = (Epilogue.RELU_MASK_BIAS, Epilogue.MASK)
_BIASED = (Epilogue.BIAS, Epilogue.RELU_BIAS, Epilogue.RELU_MASK_BIAS, Epilogue.SUMS)


class Attribute(NamedTuple):
    """A field of a descriptor: its number, and the C type that the library wants."""

    number: int
    kind: Any


#: cublasLtMatmulDescAttributes_t.
TRANSPOSE_A = Attribute(3, ctypes.c_int32)
TRANSPOSE_B = Attribute(4, ctypes.c_int32)
EPILOGUE = Attribute(7, ctypes.c_uint32)
BIAS_POINTER = Attribute(8, ctypes.c_void_p)
MASK_POINTER = Attribute(11, ctypes.c_void_p)
MASK_ROW_BITS = Attribute(12, ctypes.c_int64)
BIAS_TYPE = Attribute(26, ctypes.c_int32)

#: cublasLtMatmulPreferenceAttributes_t; alignments of A, B, C and D, in bytes.
WORKSPACE = Attribute(1, ctypes.c_uint64)
REDUCTIONS = Attribute(3, ctypes.c_uint32)
ALIGNMENTS = tuple(Attribute(number, ctypes.c_uint32) for number in (5, 6, 7, 8))

#: Bytes of workspace: what cuBLAS itself takes on Hopper (its guide, at cublasSetWorkspace).
WORKSPACE_BYTES = 32 * 2**20

#: cublasLtReductionScheme_t: where a sum is shared out among blocks, parts are kept in the
#: workspace in the type of the sums, and added in a fixed order by a step of its own. Adding
#: them in place (1) or in the type of the result (4) would be faster, and the bits worse.
REDUCTION = 2
#: No such sharing.
_NO_REDUCTION = 0

#: Bytes of alignment of a bias that any algorithm can ask for: no instruction reads more at once.
_BIAS_ALIGNED = 16
#: That of a mask, which is an array of its own: CuPy's memory begins at multiples of 512.
_MASK_ALIGNED = 256

#: How many algorithms the heuristic may return; the first that works is taken.
_CANDIDATES = 8


class _Candidate(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t; the algorithm comes first in it."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "Create": (_POINTER,),
    "Destroy": (_POINTER,),
    "MatmulDescCreate": (_POINTER, _INT, _INT),
    "MatrixLayoutCreate": (_POINTER, _INT, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "MatmulPreferenceCreate": (_POINTER,),
    "MatmulAlgoGetHeuristic": (*(_POINTER,) * 7, _INT, _POINTER, _POINTER),
    "Matmul": (*(_POINTER,) * 14, _SIZE, _POINTER),
} | {
    f"{family}{verb}": signature
    for family in ("MatmulDesc", "MatrixLayout", "MatmulPreference")
    for verb, signature in (
        ("Destroy", (_POINTER,)),
        ("SetAttribute", (_POINTER, _INT, _POINTER, _SIZE)),
        ("GetAttribute", (_POINTER, _INT, _POINTER, _SIZE, _POINTER)),
    )
}


class Library:
    """The loaded library, its functions declared."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        for name, arguments in _SIGNATURES.items():
            function = getattr(loaded, f"cublasLt{name}")
            function.argtypes, function.restype = arguments, _INT
        loaded.cublasLtGetVersion.argtypes, loaded.cublasLtGetVersion.restype = (), _SIZE
        self._loaded = loaded

    @property
    def version(self) -> str:
        """Such as "13.1.1"."""
        number = int(self._loaded.cublasLtGetVersion())  # 10000 major + 100 minor + patch
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    def status(self, name: str, *arguments: Any) -> int:
        """Call a function; return its status."""
        return int(getattr(self._loaded, f"cublasLt{name}")(*arguments))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            FastnetError: with its name and status, if it fails.
        """
        status = self.status(name, *arguments)
        if status != SUCCESS:
            raise FastnetError(f"cublasLt{name} failed with {status_name(status)}.")


def status_name(status: int) -> str:
    """A cublasStatus_t in words."""
    return f"CUBLAS_STATUS_{_STATUSES[status]}" if status in _STATUSES else f"status {status}"


@cache
def load(major: int) -> Library:
    """The library of a CUDA major version.

    Looked for like CuPy's own libraries: what is loaded already, NVIDIA's wheels, the system.

    Raises:
        BackendUnavailable: if there is none.
    """
    windows = sys.platform == "win32"
    name = f"cublasLt64_{major}.dll" if windows else f"libcublasLt.so.{major}"
    if not windows:
        with contextlib.suppress(OSError):
            return Library(ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW))
    for place in (*_places(name), name):
        with contextlib.suppress(OSError):
            return Library(ctypes.CDLL(str(place)))
    raise BackendUnavailable(
        f"cuBLASLt for CUDA {major} ({name}) is not installed: "
        f"{pip_install(f'cuda-toolkit[cublas]=={major}.*')}"
    )


def _places(name: str) -> Iterator[Path]:
    """Files of that name that NVIDIA's finder knows, then those in NVIDIA's wheels."""
    with contextlib.suppress(Exception):  # it has errors of its own for what it cannot find
        from cuda.pathfinder import load_nvidia_dynamic_lib

        found = Path(load_nvidia_dynamic_lib("cublasLt").abs_path)
        if found.name.startswith(name):
            yield found
    wheels = importlib.util.find_spec("nvidia")
    for folder in (wheels.submodule_search_locations or ()) if wheels else ():
        for below in ("*/lib", "*/bin", "*/bin/*"):
            yield from Path(folder).glob(f"{below}/{name}")


class _Descriptor:
    """Something that the library keeps, with attributes."""

    family = ""

    def __init__(self, library: Library, *arguments: Any) -> None:
        handle = _POINTER()
        library.call(f"{self.family}Create", ctypes.byref(handle), *arguments)
        self.handle, self._library = handle, library
        end = weakref.finalize(self, library.status, f"{self.family}Destroy", handle)
        end.atexit = False

    def set(self, attribute: Attribute, value: int) -> None:
        """Set a field.

        Raises:
            FastnetError: if the library refuses it.
        """
        content = attribute.kind(value)
        where, size = ctypes.byref(content), ctypes.sizeof(content)
        self._library.call(f"{self.family}SetAttribute", self.handle, attribute.number, where, size)


class Operation(_Descriptor):
    """What is computed: a cublasLtMatmulDesc_t for a `ProductSpec`."""

    family = "MatmulDesc"

    def __init__(self, library: Library, spec: ProductSpec) -> None:
        scale = _TYPES["float64" if spec.operands.name == "float64" else "float32"]
        super().__init__(library, _COMPUTING[spec.operands.name], scale)
        # CUBLAS_OP_T is 1. Its A is our b.
        self.set(TRANSPOSE_A, int(spec.transpose_b))
        self.set(TRANSPOSE_B, int(spec.transpose_a))
        self.set(EPILOGUE, EPILOGUES[spec.epilogue])
        if spec.epilogue in _BIASED:
            self.set(BIAS_TYPE, _TYPES[spec.result.name])
        if spec.epilogue in _MASKED:
            self.set(MASK_ROW_BITS, 8 * spec.mask_row_bytes)


class MatrixLayout(_Descriptor):
    """A matrix of ours, `(rows, columns)` row by row, as the library sees it: transposed."""

    family = "MatrixLayout"

    def __init__(self, library: Library, number: Number, rows: int, columns: int) -> None:
        super().__init__(library, _TYPES[number.name], columns, rows, columns)


class Preference(_Descriptor):
    """Which algorithms may be used.

    Args:
        library: the library.
        alignment: of all matrices, in bytes.
        reduction: how a sum that is shared out among blocks is put together.
    """

    family = "MatmulPreference"

    def __init__(self, library: Library, alignment: int, reduction: int = REDUCTION) -> None:
        super().__init__(library)
        self.set(WORKSPACE, WORKSPACE_BYTES)
        self.set(REDUCTIONS, reduction)
        for attribute in ALIGNMENTS:
            self.set(attribute, alignment)


def layouts(library: Library, spec: ProductSpec) -> tuple[MatrixLayout, MatrixLayout, MatrixLayout]:
    """The layouts of a, b and out."""
    a, b = (spec.rows, spec.depth), (spec.depth, spec.columns)
    return (
        MatrixLayout(library, spec.operands, *(a[::-1] if spec.transpose_a else a)),
        MatrixLayout(library, spec.operands, *(b[::-1] if spec.transpose_b else b)),
        MatrixLayout(library, spec.result, spec.rows, spec.columns),
    )


class Products:
    """The matrix products of the GPU that is current when it is made.

    Args:
        library: the library.
        workspace: address of `WORKSPACE_BYTES` on the device, aligned to 256. Products that
            share it have to be done one after the other: in one stream.
    """

    def __init__(self, library: Library, workspace: int) -> None:
        self.library, self.workspace = library, workspace
        self.handle = _POINTER()
        library.call("Create", ctypes.byref(self.handle))
        end = weakref.finalize(self, library.status, "Destroy", self.handle)
        end.atexit = False

    def prepare(self, spec: ProductSpec) -> "PreparedProduct | None":
        """Choose how `spec` is computed; None if the library does not have this epilogue for it.

        Raises:
            FastnetError: if it cannot be computed without an epilogue either.
        """
        product = PreparedProduct(self, spec)
        status = product.choose()
        if status == SUCCESS:
            return product
        if spec.epilogue is not Epilogue.NONE and status in (NOT_SUPPORTED, INVALID_VALUE):
            return None
        raise FastnetError(f"cuBLASLt has no algorithm for {spec} ({status_name(status)}).")


class PreparedProduct:
    """A product with its algorithm, chosen once, at its first call: the same at every later one.

    Where there is a bias there are two, for one that begins at a multiple of 16 bytes and for
    one that begins anywhere: it stands in the flat vector behind a weight of any size.

    May be called from several threads.
    """

    def __init__(self, products: Products, spec: ProductSpec) -> None:
        library = products.library
        real = ctypes.c_double if spec.operands.name == "float64" else ctypes.c_float
        self._products, self._library, self._spec = products, library, spec
        self._operation = Operation(library, spec)
        self._a, self._b, self._out = layouts(library, spec)
        self._one, self._zero = real(1), real(0)
        self._aligned: list[_Candidate] = []
        self._anywhere: list[_Candidate] = []
        self._lock = threading.Lock()

    def __call__(self, stream: int, a: int, b: int, out: int, bias: int = 0, mask: int = 0) -> None:
        """Compute it.

        Args:
            stream: the CUDA stream in which it is done.
            a: address on the device, as are all that follow.
            b: the right matrix.
            out: where the result goes.
            bias: `(columns,)`; 0 where the epilogue has none.
            mask: `(rows, spec.mask_row_bytes)` bytes; 0 where it has none.

        Raises:
            FastnetError: if the library refuses.
        """
        candidates = self._anywhere if bias % _BIAS_ALIGNED else self._aligned
        with self._lock:  # the pointers of an epilogue stand in the operation
            self._point(bias, mask)
            while True:
                status = self._library.status(
                    "Matmul", self._products.handle, self._operation.handle,
                    ctypes.byref(self._one), b, self._b.handle, a, self._a.handle,
                    ctypes.byref(self._zero), out, self._out.handle, out, self._out.handle,
                    ctypes.byref(candidates[0]), self._products.workspace, WORKSPACE_BYTES, stream,
                )  # fmt: skip
                # The heuristic may return what the device then refuses, always and at once.
                if status != NOT_SUPPORTED or len(candidates) == 1:
                    break
                del candidates[0]
        if status != SUCCESS:
            raise FastnetError(f"cublasLtMatmul failed with {status_name(status)}: {self._spec}.")

    def _point(self, bias: int, mask: int) -> None:
        if self._spec.epilogue in _BIASED:
            self._operation.set(BIAS_POINTER, bias)
        if self._spec.epilogue in _MASKED:
            self._operation.set(MASK_POINTER, mask)

    def choose(self) -> int:
        """Choose algorithms; return the status of the first choice that fails, else SUCCESS."""
        status, self._aligned = self._ask(_BIAS_ALIGNED)
        if status == SUCCESS and self._spec.epilogue in _BIASED:
            status, self._anywhere = self._ask(self._spec.result.bytes)
        return status

    def _ask(self, bias_alignment: int) -> tuple[int, list[_Candidate]]:
        """A status, and the algorithms by cuBLASLt's heuristic, the best first."""
        # It reads from an epilogue's pointers how they are aligned, and nothing else
        # (cublasLt.h, at CUBLASLT_MATMUL_DESC_BIAS_POINTER).
        self._point(bias_alignment, _MASK_ALIGNED)
        candidates, found = (_Candidate * _CANDIDATES)(), _INT()
        status = NOT_SUPPORTED
        for reduction in (REDUCTION, _NO_REDUCTION):
            preference = Preference(self._library, self._spec.alignment, reduction)
            status = self._library.status(
                "MatmulAlgoGetHeuristic", self._products.handle, self._operation.handle,
                self._b.handle, self._a.handle, self._out.handle, self._out.handle,
                preference.handle, _CANDIDATES, candidates, ctypes.byref(found),
            )  # fmt: skip
            fitting = [
                candidate
                for candidate in candidates[: found.value if status == SUCCESS else 0]
                if candidate.state == SUCCESS and candidate.workspace <= WORKSPACE_BYTES
            ]
            if fitting:
                return SUCCESS, fitting
        return (NOT_SUPPORTED if status == SUCCESS else status), []
