"""What threads share: numbers, by atomic LLVM instructions, and vectors that go past the caches.

The twins are in `emulated.py`.
"""

import ctypes
import os
import platform
import sys
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnet_numba.simd.vector import INDEX, LANE, Vector, address, call

_VOID = ir.VoidType()

#: The system's function that lets another thread run, bound to a name of our own, so that compiled
#: code from the cache finds it on every system.
_YIELD = "fastnet_yield_thread"
if os.name == "nt":
    _library, _name = ctypes.WinDLL("kernel32"), "SwitchToThread"  # type: ignore[attr-defined]
else:
    _library, _name = ctypes.CDLL(None), "sched_yield"
_address = ctypes.cast(getattr(_library, _name), ctypes.c_void_p).value
llvm.add_symbol(_YIELD, _address)

#: Linux's number of the system call "futex", by which a thread sleeps until a number changes; None
#: elsewhere. Its arguments are integers, and go through the function "syscall".
_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_LINUX = sys.platform == "linux" and sys.maxsize > 2**32
_FUTEX = _NUMBERS.get(platform.machine()) if _LINUX else None
_CALL = "fastnet_system_call"
if _FUTEX is not None:
    llvm.add_symbol(_CALL, ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value)

#: Its operations, and how long a thread sleeps at most, in nanoseconds.
_WAIT, _WAKE, _NAP = 0, 1, 1_000_000


def pause(builder: Any, triple: str) -> None:
    """Tell a processor of this kind that it is in a waiting loop; nothing where no way is known.

    ARM's YIELD does nothing on most of its processors; ISB takes about as long as x86's PAUSE.
    """
    architecture = triple.partition("-")[0]
    if "86" in architecture:
        call(builder, "llvm.x86.sse2.pause", _VOID, [])
    elif architecture.startswith(("aarch64", "arm64")):
        call(builder, "llvm.aarch64.isb", _VOID, [LANE(15)])


def order_streams(builder: Any, triple: str) -> None:
    """Have what was streamed on a processor of this kind seen before what is written from here on.

    x86 alone has another fence for it than for all that is written.
    """
    if "86" in triple.partition("-")[0]:
        call(builder, "llvm.x86.sse.sfence", _VOID, [])
    else:
        builder.fence("release")


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.ptrtoint(data, INDEX)
    # llvmlite's atomic instructions take a typed pointer.
    return builder.inttoptr(builder.add(first, builder.mul(at, INDEX(8))), INDEX.as_pointer())


def _futex(builder: Any, pointer: Any, operation: int, number: Any, nap: Any) -> None:
    given = [INDEX(_FUTEX), pointer, INDEX(operation), number, nap, INDEX(0), INDEX(0)]
    call(builder, _CALL, INDEX, given)


@intrinsic
def publish(typing: Any, array: Any, at: Any, value: Any) -> tuple[Any, Any]:
    """array[at] = value; a thread that observes it sees all that was written before.

    What this thread observes afterwards is not from before.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _place(context, builder, sig.args[0], args[0], args[1])
        builder.store_atomic(args[2], pointer, "release", 8)
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), build


@intrinsic
def observe(typing: Any, array: Any, at: Any) -> tuple[Any, Any]:
    """array[at], as another thread published it."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _place(context, builder, sig.args[0], args[0], args[1])
        return builder.load_atomic(pointer, "acquire", 8, typ=INDEX)

    return types.int64(array, types.intp), build


@intrinsic
def claim(typing: Any, array: Any, at: Any) -> tuple[Any, Any]:
    """array[at], which is one more from here on: no other thread is given the same number."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _place(context, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", pointer, INDEX(1), "monotonic")

    return types.int64(array, types.intp), build


@intrinsic
def stream(typing: Any, array: Any, at: Any, value: Any) -> tuple[Any, Any]:
    """Write a vector to where `array[at]` begins, past all caches, which drop what they have of it.

    Others see it once this thread has gone through `drain` and published a number. Where the place
    is no multiple of a vector's bytes, as it may be in memory that processes share, it is an
    ordinary store.
    """
    assert isinstance(value, Vector)
    assert value.element == array.dtype, (value, array)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        number = sig.args[0].dtype.bitwidth // 8
        whole = number * value.lanes
        rest = builder.and_(builder.ptrtoint(pointer, INDEX), INDEX(whole - 1))
        with builder.if_else(builder.icmp_unsigned("==", rest, INDEX(0))) as (aligned, other):
            with aligned:
                stored = builder.store(args[2], pointer, align=whole)
                one = builder.module.add_metadata([LANE(1)])
                stored.set_metadata("nontemporal", one)
            with other:
                builder.store(args[2], pointer, align=number)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), build


@intrinsic
def drain(typing: Any) -> tuple[Any, Any]:
    """Have what was written by `stream` seen before what is written from here on."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        order_streams(builder, llvm.get_process_triple())
        return context.get_dummy_value()

    return types.void(), build


@intrinsic
def spin(typing: Any) -> tuple[Any, Any]:
    """Tell the processor that this is a waiting loop."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pause(builder, llvm.get_process_triple())
        return context.get_dummy_value()

    return types.void(), build


@intrinsic
def doze(typing: Any, array: Any, at: Any, seen: Any) -> tuple[Any, Any]:
    """Sleep while array[at] is `seen`, until `wake` or for a millisecond; or let the operating
    system run another thread, where it has no such call.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _FUTEX is None:
            call(builder, _YIELD, ir.IntType(32), [])
            return context.get_dummy_value()
        kind = ir.ArrayType(INDEX, 2)
        nap = ir.GlobalVariable(builder.module, kind, builder.module.get_unique_name("nap"))
        nap.linkage, nap.global_constant = "internal", True
        nap.initializer = ir.Constant(kind, [0, _NAP])
        pointer = builder.ptrtoint(_place(context, builder, sig.args[0], args[0], args[1]), INDEX)
        _futex(builder, pointer, _WAIT, args[2], builder.ptrtoint(nap, INDEX))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), build


@intrinsic
def wake(typing: Any, array: Any, at: Any) -> tuple[Any, Any]:
    """Wake the threads, of all processes that share the array, that doze at array[at]."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _FUTEX is not None:
            place = _place(context, builder, sig.args[0], args[0], args[1])
            _futex(builder, builder.ptrtoint(place, INDEX), _WAKE, INDEX(2**31 - 1), INDEX(0))
        return context.get_dummy_value()

    return types.void(array, types.intp), build
