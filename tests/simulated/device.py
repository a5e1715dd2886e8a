"""A device that is the processor: the kernels run under g++, products in NumPy.

It is as strict as a GPU may be: new memory holds NaN, every launch has another
order of threads, copies come late, arrays of the host are refused.
"""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet_cupy.device import Epilogue, Event, Graph, Kernel, Product, ProductSpec
from simulated import compiled
from simulated.products import multiply
from simulated.queues import HostEvent, HostGraph, LateCopies

#: Of the first byte of an array, as CuPy's pool has it at the least.
ALIGNMENT = 256


class DeviceArray(np.ndarray[Any, Any]):
    """An array of the device: sliced and reshaped, but never computed with on this side."""

    __array_ufunc__ = None  # type: ignore[assignment]  # NumPy's way to refuse operators

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Refuse NumPy's functions, as a CuPy array does."""
        return NotImplemented


def plain(array: Any) -> Array:
    """The same memory, for this module and for tests to look at."""
    return array.view(np.ndarray)  # type: ignore[no-any-return]


class HostDevice:
    """One device.

    Args:
        memory_bytes: that it has in all.
        multiprocessors: how many blocks can be at work at once.
        shared_bytes: dynamic shared memory that a block may have.
        seed: of the first launch's schedule, the next one's is one more; 0: always in order.
        epilogues: whether products have any.
    """

    architecture = "host"
    product_bytes = 0

    def __init__(
        self,
        memory_bytes: int = 4 << 30,
        multiprocessors: int = 2,
        shared_bytes: int = 227 * 1024,
        seed: int = 1,
        epilogues: bool = True,
    ) -> None:
        self.multiprocessors = multiprocessors
        self.shared_bytes = shared_bytes
        self._memory_bytes = memory_bytes
        self._live: dict[int, int] = {}
        self._seed = seed
        self._epilogues = epilogues
        self._recording: list[Callable[[], None]] | None = None
        self._copies = LateCopies()
        self.lent = self.handed_back = 0

    def memory(self) -> tuple[int, int]:
        return self._memory_bytes - sum(self._live.values()), self._memory_bytes

    def holds(self, array: Any) -> bool:
        if not isinstance(array, DeviceArray):
            return False
        owner: Any = array
        while owner.base is not None:
            owner = owner.base
        return id(owner) in self._live

    def join(self) -> None:
        pass

    def lend(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self.lent += 1
        return self.empty(shape, dtype)

    def hand_back(self) -> None:
        self.handed_back = self.lent

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self._not_while_recording("asking for memory")
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        size = -(-count // 512) * 512
        free, total = self.memory()
        if size > free:
            raise MemoryError(f"{size} bytes asked for, {free} of {total} are free.")
        owner = np.full(count + ALIGNMENT, 0xFF, np.uint8)
        self._live[id(owner)] = size
        weakref.finalize(owner, self._live.pop, id(owner))
        start = -owner.__array_interface__["data"][0] % ALIGNMENT
        return owner[start : start + count].view(dtype).reshape(shape).view(DeviceArray)

    def upload(self, array: Array) -> Any:
        if isinstance(array, DeviceArray):
            raise TypeError("upload takes an array of the host, given is one of the device.")
        target = self.empty(array.shape, array.dtype)
        plain(target)[...] = array
        return target

    def copy(self, target: Any, source: Any) -> None:
        self._own(target, "the target of a copy")
        if target.shape != source.shape or target.dtype != source.dtype:
            raise ValueError(
                f"copy from {source.dtype} {source.shape} to {target.dtype} {target.shape}."
            )
        if isinstance(source, DeviceArray):
            self._own(source, "the source of a copy")
            self._do(lambda: np.copyto(plain(target), plain(source)))
        else:
            self._not_while_recording("copying from the host")
            np.copyto(plain(target), source)

    def sort(self, keys: Any) -> None:
        self._not_while_recording("sorting")
        self._own(keys, "what is sorted")
        if keys.ndim != 2 or keys.dtype != "int64" or not keys.flags.c_contiguous or not keys.size:
            raise ValueError(f"sort takes int64 (rows, entries); given: {keys.dtype} {keys.shape}.")
        plain(keys).sort(axis=1)

    def download(self, array: Any) -> Array:
        self._not_while_recording("downloading")
        self._own(array, "what is downloaded")
        return plain(array).copy()

    def kernel(self, file: str, name: str, defines: tuple[tuple[str, str], ...] = ()) -> Kernel:
        found = compiled.kernels(file, defines)
        if name not in found:
            raise ValueError(f"{file} has no kernel {name!r}; it has {', '.join(found)}.")
        return HostKernel(self, found[name])

    def product(self, spec: ProductSpec) -> Product | None:
        plainly = spec.epilogue is Epilogue.NONE
        if not plainly and (not self._epilogues or spec.operands.store == "float64"):
            return None
        return _Product(self, spec)

    def capture(self, work: Callable[[], None]) -> Graph:
        self._not_while_recording("capturing")
        steps: list[Callable[[], None]] = []
        self._recording = steps
        try:
            work()
        finally:
            self._recording = None
        return HostGraph(steps)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Array:
        array: Array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[...] = 0xFF
        return array

    def stage(self, target: Any, source: Array, after: Any) -> Event:
        self._not_while_recording("staging")
        self._own(target, "the target of a copy")
        if isinstance(source, DeviceArray):
            raise TypeError("stage takes a pinned array, given is one of the device.")
        if target.size != source.size or target.dtype != source.dtype:
            raise ValueError(
                f"stage from {source.dtype} {source.shape} to {target.dtype} {target.shape}."
            )
        if after is not None:
            after.wait()
        return self._copies.begin(plain(target), source)

    def wait_for(self, event: Event) -> None:
        self._not_while_recording("waiting")
        event.wait()

    def event(self) -> Event:
        self._not_while_recording("an event")
        return HostEvent()

    def launch(
        self,
        kernel: compiled.CompiledKernel,
        blocks: int,
        threads: int,
        arguments: tuple[Any, ...],
        shared: int,
    ) -> None:
        """Check a launch of a kernel; do it, or record it."""
        kernel.check_geometry(blocks, threads)
        if not 0 <= shared <= self.shared_bytes:
            raise ValueError(
                f"kernel {kernel.name}: {shared} bytes of shared memory; a block may have "
                f"{self.shared_bytes}."
            )
        for place, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray):
                self._own(argument, f"kernel {kernel.name}, argument {place}")
        values = kernel.values(arguments)

        def work(kept: tuple[Any, ...] = arguments) -> None:  # the arrays, while it may be done
            kernel.start(blocks, threads, values, shared, self._seed)
            if self._seed:
                self._seed = self._seed % 0x7FFFFFFF + 1

        self._do(work)

    def _do(self, work: Callable[[], None]) -> None:
        if self._recording is None:
            work()
        else:
            self._recording.append(work)

    def _own(self, array: Any, what: str) -> None:
        if not self.holds(array):
            raise TypeError(f"{what} is not an array of this device: {type(array).__name__}.")

    def _not_while_recording(self, what: str) -> None:
        if self._recording is not None:
            raise RuntimeError(f"{what} while a graph is captured.")


class HostKernel:
    """A kernel of a device. The processor has registers enough."""

    spills = False

    def __init__(self, device: HostDevice, kernel: compiled.CompiledKernel) -> None:
        self._device = device
        self._kernel = kernel

    def __call__(
        self, blocks: int, threads: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> None:
        self._device.launch(self._kernel, blocks, threads, arguments, shared)


class _Product:
    """A prepared matrix product."""

    def __init__(self, device: HostDevice, spec: ProductSpec) -> None:
        self._device = device
        self._spec = spec

    def __call__(self, a: Any, b: Any, out: Any, bias: Any, mask: Any) -> None:
        spec, kind = self._spec, self._spec.epilogue
        self._check("a", a, spec.rows * spec.depth, spec.operands.store)
        self._check("b", b, spec.depth * spec.columns, spec.operands.store)
        self._check("out", out, spec.rows * spec.columns, spec.result.store)
        if kind not in (Epilogue.NONE, Epilogue.MASK):
            self._check("bias", bias, spec.columns, spec.result.store)
        if kind in (Epilogue.RELU_MASK_BIAS, Epilogue.MASK):
            self._check("mask", mask, spec.rows * spec.mask_row_bytes, "uint8")
        for name, array in (("a", a), ("b", b), ("out", out)):
            if array.__array_interface__["data"][0] % spec.alignment:
                raise ValueError(f"a product's {name} is not aligned as it should be: {spec}.")
        if any(np.may_share_memory(plain(out), plain(given)) for given in (a, b)):
            raise ValueError(f"a product's out lies in what it reads: {spec}.")
        a, b, out = plain(a), plain(b), plain(out)
        bias, mask = (None if x is None else plain(x) for x in (bias, mask))
        self._device._do(lambda: multiply(spec, a, b, out, bias, mask))

    def _check(self, name: str, array: Any, size: int, dtype: str) -> None:
        self._device._own(array, f"a product's {name}")
        if array.size != size or array.dtype != dtype or not array.flags.c_contiguous:
            raise ValueError(
                f"a product's {name} is {array.dtype} {array.shape}; it takes {size} entries of "
                f"{dtype}, contiguous: {self._spec}."
            )
