"""The device on a real GPU, by CuPy: its memory, its kernels, its graphs.

All work goes into one stream of the device's own, from any thread; what a thread captures goes into
a stream made for that, so other threads are not disturbed.

CuPy is imported when a device is opened, never before.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet_cupy import compiler, cublaslt
from fastnet_cupy.device import Product, ProductSpec
from fastnet_cupy.finding import cuda_major
from fastnet_cupy.pinned import Pinned

#: cudaError_t.
_OUT_OF_MEMORY = 2

#: What a kernel gets for None: CuPy would pass no argument at all.
_NULL = np.uintp(0)


class CupyDevice:
    """The GPU that is current for CuPy when this is made. See `device.Device`."""

    def __init__(self) -> None:
        import cupy

        self._cupy, self._runtime = cupy, cupy.cuda.runtime
        self._id = cupy.cuda.Device().id
        with self.current():
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._copies = cupy.cuda.Stream(non_blocking=True)
        self._capturing = threading.local()
        self._lock = threading.RLock()
        self._pinned: Pinned | None = None
        self._copying = threading.Lock()
        self._modules: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}
        self._kernels: dict[tuple[str, str, tuple[tuple[str, str], ...]], CupyKernel] = {}
        self._products: dict[ProductSpec, cublaslt.PreparedProduct | None] = {}
        self._workspace: Any = None
        self.product_bytes = cublaslt.WORKSPACE_BYTES
        self._matrix_products: cublaslt.Products | None = None

        def attribute(name: str) -> int:
            number = getattr(self._runtime, f"cudaDevAttr{name}")
            return int(self._runtime.deviceGetAttribute(number, self._id))

        self.multiprocessors = attribute("MultiProcessorCount")
        self.shared_bytes = attribute("MaxSharedMemoryPerBlockOptin")
        self.architecture = f"sm_{cupy.cuda.Device(self._id).compute_capability}"

    def current(self) -> Any:
        """A context in which this device is this thread's current one."""
        # A new one each time: in some versions of CuPy threads must not share one.
        return self._cupy.cuda.Device(self._id)

    def _queue(self) -> Any:
        """The stream of this thread's work: the device's, or that of its capture."""
        capturing = getattr(self._capturing, "stream", None)
        return self._stream if capturing is None else capturing

    @contextlib.contextmanager
    def _making_room(self, bytes_: int, *where: Any) -> Iterator[None]:
        """Make this device and its stream current, and report missing memory in bytes.

        `where`: what is made current instead.
        """
        try:
            with contextlib.ExitStack() as stack:
                for one in where or (self.current(), self._stream):
                    stack.enter_context(one)
                yield
        except (MemoryError, self._runtime.CUDARuntimeError) as error:
            if isinstance(error, MemoryError) or error.status == _OUT_OF_MEMORY:
                raise MemoryError(f"there is no room for {bytes_:,} bytes: {error}") from error
            raise

    def memory(self) -> tuple[int, int]:
        with self.current():
            free, total = self._runtime.memGetInfo()
            return free + self._cupy.get_default_memory_pool().free_bytes(), total

    def holds(self, array: Any) -> bool:
        return isinstance(array, self._cupy.ndarray) and array.device.id == self._id

    def join(self) -> None:
        with self.current():
            self._after(self._cupy.cuda.get_current_stream(), self._stream)

    def lend(self, shape: tuple[int, ...], dtype: Any) -> Any:
        # In the caller's stream, from whose memory it then comes.
        with self._making_room(math.prod(shape) * np.dtype(dtype).itemsize, self.current()):
            new = self._cupy.empty(shape, dtype)
        self.join()  # what used that memory before may still be at work
        return new

    def hand_back(self) -> None:
        with self.current():
            self._after(self._stream, self._cupy.cuda.get_current_stream())

    def _after(self, first: Any, then: Any) -> None:
        """Let later work of a stream wait for all earlier work of another."""
        if first.ptr != then.ptr:
            event = self._cupy.cuda.Event(disable_timing=True)
            event.record(first)
            then.wait_event(event)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        with self._making_room(math.prod(shape) * np.dtype(dtype).itemsize):
            return self._cupy.empty(shape, dtype)

    def upload(self, array: Array) -> Any:
        new = self.empty(array.shape, array.dtype)
        self.copy(new, array)
        return new

    def copy(self, target: Any, source: Any) -> None:
        if not target.size:
            return
        queue = self._queue()
        if isinstance(source, np.ndarray):
            assert queue is self._stream, "a copy from the host cannot be captured"
            assert target.flags.c_contiguous
            assert target.nbytes == source.nbytes
            with self._copying:
                if self._pinned is None:
                    self._pinned = Pinned(self.pinned, self._send, self.event)
                self._pinned.copy(target.data.ptr, np.ascontiguousarray(source))
            return
        with self.current(), queue:
            if target.flags.c_contiguous and source.flags.c_contiguous:
                target.data.copy_from_device_async(source.data, target.nbytes, queue)
            else:
                target[...] = source

    def _send(self, target: int, source: Array) -> None:
        """Begin to copy pinned memory to an address, in the device's stream."""
        with self.current():
            self._begin_copy(target, source, self._stream)

    def _begin_copy(self, target: int, source: Array, stream: Any) -> None:
        self._runtime.memcpyAsync(
            target, source.ctypes.data, source.nbytes, self._runtime.memcpyHostToDevice, stream.ptr
        )

    def download(self, array: Any) -> Array:
        # With `out`, because with CUPY_ENABLE_UMP=1 CuPy returns the device's own memory otherwise,
        # and does not wait.
        host: Array = np.empty(array.shape, array.dtype)
        if host.size:
            with self.current(), self._stream:
                array.get(stream=self._stream, out=host, blocking=True)
        return host

    def sort(self, keys: Any) -> None:
        with self._making_room(keys.nbytes):
            # One row it sorts by digits; entries of several it compares, with their rows' numbers.
            (keys[0] if len(keys) == 1 else keys).sort()

    def kernel(
        self, file: str, name: str, defines: tuple[tuple[str, str], ...] = ()
    ) -> "CupyKernel":
        """The kernel `name` of `kernels/<file>`, compiled with `defines` as macros.

        Raises:
            FastnetError: if it does not compile.
        """
        found = self._kernels.get((file, name, defines))
        if found is not None:  # without the lock, behind which another may be compiled
            return found
        with self._lock, self.current():
            if (file, name, defines) not in self._kernels:
                if (file, defines) not in self._modules:
                    compiled = compiler.compile_file(file, defines, self.architecture)
                    module = self._cupy.cuda.Module()
                    module.load(compiled.cubin)
                    self._modules[file, defines] = module, compiled
                module, compiled = self._modules[file, defines]
                made = CupyKernel(self, module.get_function(name), compiled.spills(name))
                self._kernels[file, name, defines] = made
            return self._kernels[file, name, defines]

    def product(self, spec: ProductSpec) -> Product | None:
        """Prepare a matrix product, always the same for the same `spec`.

        Raises:
            FastnetError: if it cannot be computed even without an epilogue.
            MemoryError: if there is no room for the workspace.
        """
        with self._lock, self.current():
            if self._matrix_products is None:
                library = cublaslt.load(cuda_major(self._cupy))
                self._workspace = self.empty((cublaslt.WORKSPACE_BYTES,), np.uint8)
                self.product_bytes = 0
                self._matrix_products = cublaslt.Products(library, self._workspace.data.ptr)
            if spec not in self._products:
                self._products[spec] = self._matrix_products.prepare(spec)
            prepared = self._products[spec]
        if prepared is None:
            return None

        def multiply(a: Any, b: Any, out: Any, bias: Any, mask: Any) -> None:
            pointers = (0 if array is None else array.data.ptr for array in (a, b, out, bias, mask))
            with self.current():
                prepared(self._queue().ptr, *pointers)

        return multiply

    def capture(self, work: Callable[[], None]) -> "CupyGraph":
        """Record what `work` launches. The graph keeps no array alive: its owner has to."""
        with self.current():
            stream = self._cupy.cuda.Stream(non_blocking=True)
            # Relaxed, because a kernel may have to be loaded at its first launch.
            stream.begin_capture(self._runtime.streamCaptureModeRelaxed)
            self._capturing.stream = stream
            try:
                work()
            except BaseException:
                with contextlib.suppress(Exception):
                    stream.end_capture()
                raise
            finally:
                self._capturing.stream = None
            return CupyGraph(self, stream.end_capture())

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A host array that `stage` can copy from while the device computes.

        Raises:
            MemoryError: if there is no room for it.
        """
        count = math.prod(shape)
        if not count:
            return np.empty(shape, dtype)
        bytes_ = count * np.dtype(dtype).itemsize
        with self._making_room(bytes_):
            room = self._cupy.cuda.alloc_pinned_memory(bytes_)
        return np.frombuffer(room, dtype, count).reshape(shape)

    def stage(self, target: Any, source: Array, after: Any) -> "CupyEvent":
        if after is None:  # then wait for what used the memory before it was `target`'s
            after = self.event()
        with self.current():
            self._copies.wait_event(after.recorded)
            self._begin_copy(target.data.ptr, source, self._copies)
            return CupyEvent(self._copies, keep=(target, source))

    def wait_for(self, event: Any) -> None:
        with self.current():
            self._queue().wait_event(event.recorded)

    def event(self) -> "CupyEvent":
        with self.current():
            return CupyEvent(self._queue())

    def launch(self, function: Any, grid: tuple[int, int], arguments: Any, shared: int) -> None:
        """Launch a function of CuPy's with (blocks, threads) of `grid`."""
        with self.current():
            queue = self._queue()
            function((grid[0],), (grid[1],), arguments, shared_mem=shared, stream=queue)

    def replay(self, graph: Any, times: int) -> None:
        """Launch a graph of CuPy's, so many times in a row."""
        with self.current():
            for _ in range(times):
                graph.launch(self._stream)


class CupyKernel:
    """A compiled kernel. See `device.Kernel`."""

    def __init__(self, device: CupyDevice, function: Any, spills: bool) -> None:
        self._device, self._function, self.spills = device, function, spills
        self._allowed = 0
        self._lock = threading.Lock()

    def __call__(
        self, blocks: int, threads: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> None:
        if shared > self._allowed:
            self._allow(shared)
        given = tuple(_NULL if argument is None else argument for argument in arguments)
        self._device.launch(self._function, (blocks, threads), given, shared)

    def _allow(self, shared: int) -> None:
        """Let it have so much shared memory, and never less afterwards.

        Up to 48 KiB need no setting, but the kernel's own shared memory counts too: so it is always
        set.
        """
        from cupy.cuda import driver

        which = driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        with self._lock, self._device.current():
            if shared > self._allowed:
                driver.funcSetAttribute(self._function.ptr, which, shared)
                self._allowed = shared


class CupyGraph:
    """Captured work. See `device.Graph`."""

    def __init__(self, device: CupyDevice, graph: Any) -> None:
        self._device, self._graph = device, graph

    def replay(self, times: int) -> None:
        self._device.replay(self._graph, times)


class CupyEvent:
    """The end of the work that a stream has so far. See `device.Event`.

    Args:
        stream: one of the device that is current.
        keep: what must not be freed before.
    """

    def __init__(self, stream: Any, keep: Any = None) -> None:
        from cupy.cuda import Event

        self.recorded, self._keep = Event(), keep
        self.recorded.record(stream)

    def wait(self) -> None:
        self.recorded.synchronize()

    def milliseconds_since(self, earlier: Any) -> float:
        from cupy.cuda import get_elapsed_time

        self.recorded.synchronize()
        return float(get_elapsed_time(earlier.recorded, self.recorded))


_open: dict[int, CupyDevice] = {}
_opening = threading.Lock()


def open_device() -> CupyDevice:
    """The GPU that is current for CuPy: one device for all programs, with its compiled kernels."""
    import cupy

    number = cupy.cuda.Device().id
    with _opening:
        if number not in _open:
            _open[number] = CupyDevice()
        return _open[number]
