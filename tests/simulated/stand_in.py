"""A stand-in for CuPy, as unkind as a GPU may be: for what `cupy_device.py` asks of it.

There are two GPUs. Work waits in its stream until somebody waits for it, or is done at once, or by
chance, as the schedule says; a stream sees nothing of another's work but by an event. New memory
holds NaN, and so does memory that is freed, as soon as the stream that it was made in comes to it.
What is used on another GPU than the current one, or has no room, is refused. Kernels and products
are those of the simulated device.
"""

import ctypes
import itertools
import pickle
import random
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet_cupy.compiler import Compiled
from simulated import building, compiled
from simulated.products import multiply

#: As CuPy's pool has it: sizes are multiples of this, and arrays begin at one.
_UNIT = 512
_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_RELAXED, _TO_DEVICE = 2, 1


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"CUDA's error {status}")
        self.status = status


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class Machine:
    """Two GPUs, and what stands for the modules `cupy` and `cupy.cuda`.

    Args:
        schedule: "late", "early", "device first" (the caller's own streams are late), or the seed
            of a schedule by chance.
        memory_bytes: of each GPU.
    """

    def __init__(self, schedule: str | int = "late", memory_bytes: int = 2**32) -> None:
        self.schedule, self.memory_bytes = schedule, memory_bytes
        self._chance = random.Random(schedule)
        self.live = [0, 0]
        self.streams: dict[int, Stream] = {}
        self.numbers = itertools.count(0x1000, 16)
        self.functions: dict[int, Function] = {}
        #: Where pinned memory begins and ends.
        self.pinned: list[tuple[int, int, bytearray]] = []
        #: Freed, but perhaps still to be read by what is late.
        self.freed: list[Any] = []
        self._thread = threading.local()
        self._own: dict[int, Stream] = {}
        self.cuda = types.ModuleType("cupy.cuda")
        self.cupy = types.ModuleType("cupy")
        self._fill()

    def _fill(self) -> None:
        """Give the modules what CuPy's have."""
        machine = self

        def bound(kind: Any) -> Any:
            """A class whose instances know the machine, without being told."""
            return type(kind.__name__, (kind,), {"machine": machine})

        self.Array, self.Device = bound(Array), bound(Device)
        cuda: Any = self.cuda
        cuda.Stream, cuda.Event, cuda.Device = bound(Stream), bound(Event), self.Device
        cuda.Module = bound(Module)
        cuda.get_current_stream = lambda: self.stack()[-1]
        cuda.get_elapsed_time = lambda first, then: 1.0
        cuda.alloc_pinned_memory = self._pin
        cuda.driver = types.SimpleNamespace(
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=_DYNAMIC_SHARED,
            funcSetAttribute=self._allow,
        )
        cuda.runtime = types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError, streamCaptureModeRelaxed=_RELAXED,
            memcpyHostToDevice=_TO_DEVICE, runtimeGetVersion=lambda: 13000,
            cudaDevAttrMultiProcessorCount=16, cudaDevAttrMaxSharedMemoryPerBlockOptin=97,
            deviceGetAttribute=lambda number, device: {16: 2, 97: 227 * 1024}[number],
            memGetInfo=lambda: (self.memory_bytes - self.live[self.current], self.memory_bytes),
            memcpyAsync=self._copy,
        )  # fmt: skip
        cupy: Any = self.cupy
        cupy.cuda, cupy.ndarray, cupy.empty = cuda, self.Array, self.empty
        cupy.from_dlpack = lambda array: array
        cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: 0)

    def put_in(self, monkeypatch: Any) -> None:
        """Let `cupy_device.py` find this instead of CuPy, NVRTC and cuBLASLt."""
        from fastnet_cupy import compiler, cublaslt, cupy_device

        monkeypatch.setitem(sys.modules, "cupy", self.cupy)
        monkeypatch.setitem(sys.modules, "cupy.cuda", self.cuda)
        monkeypatch.setattr(compiler, "compile_file", _compile_file)
        monkeypatch.setattr(cublaslt, "load", lambda major: self)
        monkeypatch.setattr(cublaslt, "Products", Products)
        monkeypatch.setattr(cupy_device, "_open", {})

    @property
    def current(self) -> int:
        """The number of this thread's GPU."""
        return getattr(self._thread, "device", 0)

    @current.setter
    def current(self, device: int) -> None:
        self._thread.device = device

    def stack(self) -> list["Stream"]:
        """This thread's streams on its GPU, the current one last."""
        stacks = self._thread.__dict__.setdefault("stacks", {})
        if self.current not in stacks:
            if self.current not in self._own:
                self._own[self.current] = self.cuda.Stream()
            stacks[self.current] = [self._own[self.current]]
        found: list[Stream] = stacks[self.current]
        return found

    def asked(self, stream: "Stream") -> None:
        """Something was asked of a stream: do some of all that waits."""
        if self.schedule == "early" or (self.schedule == "device first" and stream.non_blocking):
            stream.finish()
        elif isinstance(self.schedule, int):
            for other in list(self.streams.values()):
                if self._chance.random() < 1 / 3:
                    other.finish()

    def empty(self, shape: Any, dtype: Any = float) -> "Array":
        """A new array in the current stream's memory."""
        kind, device = np.dtype(dtype), self.current
        count = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        size = -(-max(count, 1) // _UNIT) * _UNIT
        if self.live[device] + size > self.memory_bytes:
            raise OutOfMemoryError(f"{size} bytes")
        self.live[device] += size
        memory = np.full(size + _UNIT, 0xFF, np.uint8)
        owner = Owner()
        weakref.finalize(owner, self._free, memory, self.stack()[-1], size)
        start = -memory.ctypes.data % _UNIT
        plain = memory[start : start + count].view(kind).reshape(shape)
        return self.Array(plain, owner, device)  # type: ignore[no-any-return]

    def _free(self, memory: Any, stream: "Stream", size: int) -> None:
        self.live[stream.device] -= size
        self.freed.append(memory)
        if stream.captured is None:
            stream.add(lambda: memory.fill(0xFF))

    def _pin(self, size: int) -> bytearray:
        memory = bytearray(b"\xff" * size)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.pinned.append((start, start + size, memory))
        return memory

    def _copy(self, to: int, source: int, size: int, kind: int, pointer: int) -> None:
        assert kind == _TO_DEVICE
        assert any(start <= source and source + size <= end for start, end, _ in self.pinned), (
            "what is copied is not pinned: CUDA may copy it late, and may wait for the stream"
        )
        stream = self.streams[pointer]
        stream.check()
        stream.add(lambda: ctypes.memmove(to, source, size))

    def _allow(self, pointer: int, which: int, size: int) -> None:
        assert which == _DYNAMIC_SHARED
        self.functions[pointer].allowed = size


class Owner:
    """What the views of one array have in common: its memory is freed with it."""


class Device:
    """A GPU; in a `with` block it is this thread's."""

    machine: Machine
    compute_capability = "90"

    def __init__(self, device: int | None = None) -> None:
        self.id = self.machine.current if device is None else int(device)

    def __enter__(self) -> "Device":
        self._before = self.machine.current
        self.machine.current = self.id
        return self

    def __exit__(self, *error: Any) -> None:
        self.machine.current = self._before


class Stream:
    """A queue of work."""

    machine: Machine

    def __init__(self, non_blocking: bool = False) -> None:
        self.device, self.non_blocking = self.machine.current, non_blocking
        self.waiting: list[Callable[[], Any]] = []
        self.done = 0
        self.captured: list[Callable[[], Any]] | None = None
        self.ptr = next(self.machine.numbers)
        self.machine.streams[self.ptr] = self

    def check(self) -> None:
        """It must be one of the current GPU's."""
        assert self.machine.current == self.device, (
            f"GPU {self.machine.current} is current, the stream is of GPU {self.device}"
        )

    def add(self, work: Callable[[], Any]) -> None:
        """Ask for something."""
        if self.captured is not None:
            self.captured.append(work)
            return
        self.waiting.append(work)
        self.machine.asked(self)

    def finish(self, until: int | None = None) -> None:
        """Do what waits, or its first part."""
        if self.captured is not None:
            return
        until = self.done + len(self.waiting) if until is None else until
        while self.done < until:
            work = self.waiting.pop(0)
            self.done += 1
            work()

    def synchronize(self) -> None:
        """Wait for it."""
        assert self.captured is None, "waited for in a capture"
        self.finish()

    def wait_event(self, event: "Event") -> None:
        """Let later work wait for an event."""
        self.check()
        assert self.captured is None, "an event in a capture"
        if event.place is not None:
            stream, until = event.place
            self.add(lambda: stream.finish(until))

    def begin_capture(self, mode: int) -> None:
        """Record from now on."""
        self.check()
        assert mode == _RELAXED
        self.captured = []

    def end_capture(self) -> "Graph":
        """Record no more."""
        work, self.captured = self.captured, None
        assert work is not None
        return Graph(work, self.device)

    def __enter__(self) -> "Stream":
        self.check()
        self.machine.stack().append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        assert self.machine.stack().pop() is self


class Graph:
    """Recorded work."""

    def __init__(self, work: list[Callable[[], Any]], device: int) -> None:
        self._work, self._device = work, device

    def launch(self, stream: Stream) -> None:
        """Ask for it."""
        stream.check()
        assert stream.device == self._device
        for work in self._work:
            stream.add(work)


class Event:
    """The end of what a stream has so far."""

    machine: Machine

    def __init__(self, disable_timing: bool = False) -> None:
        self._device = self.machine.current
        self.place: tuple[Stream, int] | None = None

    def record(self, stream: Stream) -> None:
        """Mark it."""
        stream.check()
        assert self._device == stream.device
        assert stream.captured is None, "an event in a capture"
        self.place = stream, stream.done + len(stream.waiting)

    def synchronize(self) -> None:
        """Wait for it."""
        if self.place is not None:
            self.place[0].finish(self.place[1])


class Memory:
    """Where an array begins."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr

    def copy_from_device_async(self, source: "Memory", size: int, stream: Stream) -> None:
        """Ask for a copy."""
        stream.check()
        to, start = self.ptr, source.ptr
        stream.add(lambda: ctypes.memmove(to, start, size))


class Array:
    """An array on a GPU: sliced, reshaped and copied."""

    machine: Machine

    def __init__(self, plain: Any, owner: Owner, device: int) -> None:
        self.plain, self._owner, self._number = plain, owner, device
        self.data = Memory(plain.__array_interface__["data"][0])
        self.shape, self.dtype, self.size = plain.shape, plain.dtype, plain.size
        self.ndim, self.nbytes, self.flags = plain.ndim, plain.nbytes, plain.flags
        self.strides = plain.strides

    @property
    def device(self) -> Device:
        """Where it is."""
        return self.machine.Device(self._number)  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, key: Any) -> "Array":
        return type(self)(self.plain[key], self._owner, self._number)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._number

    def reshape(self, *shape: Any) -> "Array":
        """A view."""
        made = self.plain.reshape(*shape)
        assert not made.size or np.shares_memory(made, self.plain)
        return type(self)(made, self._owner, self._number)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> "Array":
        """A copy, by a kernel of the current GPU in its current stream."""
        self._check()
        if not copy and self.dtype == dtype and self.flags.c_contiguous:
            return self
        made = self.machine.empty(self.shape, dtype)
        to, source = made.plain, self.plain
        self.machine.stack()[-1].add(lambda: np.copyto(to, source, "unsafe"))
        return made

    def sort(self) -> None:
        """Sort along the last axis, in the current stream."""
        self._check()
        assert self.flags.c_contiguous
        keys = self.plain
        self.machine.stack()[-1].add(lambda: keys.sort(axis=-1))

    def get(self, stream: Any = None, out: Any = None, blocking: bool = True) -> Any:
        """Copy to the host; without `out` it would be a view in unified memory."""
        assert out is not None, "with CUPY_ENABLE_UMP=1 this is a view, and nothing waits for it"
        self._check()
        stream, source = stream or self.machine.stack()[-1], self.plain
        stream.check()
        stream.add(lambda: np.copyto(out, source))
        if blocking:
            stream.synchronize()
        return out

    def set(self, host: Any, stream: Stream) -> None:
        """Ask for a copy from the host."""
        self._check()
        stream.check()
        assert type(host) is np.ndarray
        assert (host.shape, host.dtype) == (self.shape, self.dtype)
        assert self.flags.c_contiguous
        to = self.plain
        stream.add(lambda: np.copyto(to, host))

    def _check(self) -> None:
        assert self.machine.current == self._number, (
            f"GPU {self.machine.current} is current, the array is of GPU {self._number}"
        )


class Module:
    """Compiled kernels."""

    machine: Machine

    def load(self, cubin: bytes) -> None:
        """Take what `_compile_file` made."""
        self._kernels = compiled.kernels(*pickle.loads(cubin))

    def get_function(self, name: str) -> "Function":
        """One of them."""
        function = Function(self._kernels[name])
        self.machine.functions[function.ptr] = function
        return function


class Function:
    """A kernel."""

    def __init__(self, kernel: compiled.CompiledKernel) -> None:
        self._kernel, self.ptr = kernel, id(self)
        self.allowed = 48 * 1024 - 1024

    def __call__(
        self, grid: Any, block: Any, arguments: Any, shared_mem: int, stream: Stream
    ) -> None:
        stream.check()
        assert shared_mem <= self.allowed, "so much shared memory is not allowed"
        kernel, given = self._kernel, []
        for kind, argument in zip(kernel.types, arguments, strict=True):
            if isinstance(argument, Array):
                argument._check()
                given.append(argument.plain)
            elif kind[0] == "*":
                assert type(argument) is np.uintp
                assert argument == 0
                given.append(None)
            else:
                given.append(argument)
        kernel.check_geometry(grid[0], block[0])
        values = kernel.values(given)
        stream.add(lambda: kernel.start(grid[0], block[0], values, shared_mem, 1))


def _compile_file(file: str, defines: Any, architecture: str) -> Compiled:
    """Which kernels are meant, with a log in which nothing is spilled."""
    _, text = building.source_text(file)
    lines = [
        f"Function properties for {kernel.name}\n"
        "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"
        for kernel in building.signatures(text)
    ]
    return Compiled(pickle.dumps((file, defines)), "\n".join(lines))


class Products:
    """cuBLASLt, by addresses."""

    def __init__(self, library: Machine, workspace: int) -> None:
        self._machine = library
        assert workspace % 256 == 0

    def prepare(self, spec: Any) -> Any:
        """A product; None for epilogues of float64, as the simulated device has it."""
        if spec.epilogue.value != "none" and spec.operands.store == "float64":
            return None

        def product(stream: int, a: int, b: int, out: int, bias: int = 0, mask: int = 0) -> None:
            queue = self._machine.streams[stream]
            queue.check()
            assert not any(address % spec.alignment for address in (a, b, out))
            arrays = (
                _at(a, spec.rows * spec.depth, spec.operands.store),
                _at(b, spec.depth * spec.columns, spec.operands.store),
                _at(out, spec.rows * spec.columns, spec.result.store),
                _at(bias, spec.columns, spec.result.store),
                _at(mask, spec.rows * spec.mask_row_bytes, "uint8"),
            )
            queue.add(lambda: multiply(spec, *arrays))  # type: ignore[arg-type]

        return product


def _at(address: int, count: int, dtype: str) -> Any:
    """The array at an address; None at 0."""
    if not address:
        return None
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype)
