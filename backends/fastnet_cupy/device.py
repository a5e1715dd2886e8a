"""The seam between planning and the device: all that the rest of this backend needs from a GPU.

Two devices have it: CuPy's (`cupy_device.py`), and one in the tests, which runs the
same kernels on the processor. Planning, buffers, the order of arguments and the geometry of
launches are therefore the same code on both, and every test run goes through them.

An array of a device is a NumPy or a CuPy array: both are sliced and reshaped alike, and
nothing else is done with them on this side of the seam.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from fastnet.arrays.checks import Array
from fastnet_cupy.precision import Number


class Epilogue(Enum):
    """What a matrix product does to its result before it is stored."""

    NONE = "none"
    #: out + bias, a number a column.
    BIAS = "bias"
    #: max(out + bias, 0). A device may make 0 of NaN: so only training uses it, where a NaN can
    #: only come from parameters that are not finite, and those are noticed by themselves.
    RELU_BIAS = "relu_bias"
    #: The same, and one bit an entry is kept in `mask`: whether it was positive.
    RELU_MASK_BIAS = "relu_mask_bias"
    #: out where `mask` has its bit, else 0.
    MASK = "mask"
    #: out as it is; `bias` becomes the sums of b's columns.
    SUMS = "sums"


@dataclass(frozen=True)
class ProductSpec:
    """out = epilogue(op(a) @ op(b)), out `(rows, columns)`, all matrices row by row.

    Attributes:
        rows: of out.
        columns: of out.
        depth: columns of op(a), rows of op(b).
        transpose_a: `a` is stored `(depth, rows)`.
        transpose_b: `b` is stored `(columns, depth)`.
        operands: the numbers of a and b, and how they are multiplied.
        result: the numbers of out and bias: float32 or float64, or as the operands are.
        epilogue: what is done before out is stored.
        alignment: bytes at which a, b and out begin, at the least: a power of two.
    """

    rows: int
    columns: int
    depth: int
    transpose_a: bool
    transpose_b: bool
    operands: Number
    result: Number
    epilogue: Epilogue = Epilogue.NONE
    alignment: int = 256

    @property
    def mask_row_bytes(self) -> int:
        """Bytes of `mask` for a row of out: whole groups of 128 bits, as cuBLASLt asks."""
        return -(-self.columns // 128) * 16


#: A prepared product, called with (a, b, out, bias, mask); bias and mask may be None.
Product = Callable[[Any, Any, Any, Any, Any], None]


class Kernel(Protocol):
    """A compiled kernel.

    Attributes:
        spills: whether it has too few registers, and moves some to memory and back.
    """

    spills: bool

    def __call__(
        self, blocks: int, threads: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> None:
        """Launch it.

        Args:
            blocks: how many, in one row.
            threads: of a block, a multiple of 32, in one row.
            arguments: device arrays (or None, for a null pointer) and NumPy scalars of the
                very type that the kernel declares.
            shared: bytes of dynamic shared memory.
        """
        ...


class Graph(Protocol):
    """Work that was captured once, to be repeated without Python."""

    def replay(self, times: int) -> None:
        """Do it again, so many times in a row."""
        ...


class Event(Protocol):
    """A moment in the order of the device's work."""

    def wait(self) -> None:
        """Make the processor wait for it."""
        ...

    def milliseconds_since(self, earlier: Any) -> float:
        """Time that the device took from an earlier event to this one; waits for this one."""
        ...


class Device(Protocol):
    """One GPU, with a queue of its own in which work is done in the order of the calls.

    Attributes:
        multiprocessors: how many blocks can certainly be at work at once.
        shared_bytes: dynamic shared memory that a block may have, in bytes.
        architecture: of the code, such as "sm_90".
        product_bytes: that the first matrix product will take for itself; 0 once it has.
    """

    multiprocessors: int
    shared_bytes: int
    architecture: str
    product_bytes: int

    def memory(self) -> tuple[int, int]:
        """Bytes that can be had now, and bytes in all."""
        ...

    def holds(self, array: Any) -> bool:
        """Whether `array` is one of this device's own."""
        ...

    def join(self) -> None:
        """Let later work wait for all earlier work of the caller's own queue.

        Arrays that a user passes are filled and freed in the order of the user's own queue.
        """
        ...

    def lend(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new array of the caller's own queue, for this device's work to fill."""
        ...

    def hand_back(self) -> None:
        """Let the caller's later work wait for all earlier work of this device."""
        ...

    def address(self, array: Any) -> int:
        """Where a device array begins."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new array on the device; what it holds is undefined.

        Raises:
            MemoryError: if there is no room for it.
        """
        ...

    def upload(self, array: Array) -> Any:
        """A copy of a host array on the device.

        Raises:
            MemoryError: if there is no room for it.
        """
        ...

    def copy(self, target: Any, source: Any) -> None:
        """Fill a device array from a device array or a host array of its shape and dtype.

        A host array may be changed as soon as this returns.
        """
        ...

    def download(self, array: Any) -> Array:
        """A new host array with what a device array holds, once all work before is done."""
        ...

    def sort(self, keys: Any) -> None:
        """Sort each row of a device array `(rows, entries)` int64, none of them empty, in place.

        Raises:
            MemoryError: if there is no room for it.
        """
        ...

    def kernel(self, file: str, name: str, defines: tuple[tuple[str, str], ...] = ()) -> Kernel:
        """The kernel `name` of `kernels/<file>`, compiled with `defines` as macros.

        Compiled once for a set of file and defines, and kept.
        """
        ...

    def product(self, spec: ProductSpec) -> Product | None:
        """Prepare a matrix product; None if this device does not have this epilogue for it."""
        ...

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work` launches, without doing it. It may not allocate memory."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A host array that `stage` can copy from while the device computes."""
        ...

    def stage(self, target: Any, source: Array, after: Any) -> Event:
        """Begin to copy a pinned array to the device, beside the device's other work.

        Args:
            target: a device array.
            source: a pinned array of the same size; not to be changed before the event.
            after: an event to wait for first (the last use of `target`), or None.
        """
        ...

    def wait_for(self, event: Event) -> None:
        """Let no later work begin before `event`. The processor does not wait."""
        ...

    def event(self) -> Event:
        """The moment at which all work so far is done."""
        ...
