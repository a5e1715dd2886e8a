"""Numbers that threads share, by atomic LLVM instructions.

The twins are in `emulated.py`.
"""

import ctypes
import os
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnet_numba.simd.vector import call

_I = ir.IntType(64)
_VOID = ir.VoidType()

#: The system's functions, bound to names of our own, so that compiled code from the cache finds
#: them on every system: one that lets another thread run, one that sleeps for so many microseconds
#: (the system adds some fifty), and one that tells the thread's processor. Where a system has not
#: both of the latter by these names, neither is used.
_YIELD = "fastnet_yield_thread"
_SLEEP = "fastnet_sleep_microseconds"
_PROCESSOR = "fastnet_current_processor"


def _bind(symbol: str, name: str) -> bool:
    """Give the system's function of this name to compiled code; False if there is none."""
    library = ctypes.WinDLL("kernel32") if os.name == "nt" else ctypes.CDLL(None)  # type: ignore[attr-defined]
    function = getattr(library, name, None)
    if function is not None:
        llvm.add_symbol(symbol, ctypes.cast(function, ctypes.c_void_p).value)
    return function is not None


_bind(_YIELD, "SwitchToThread" if os.name == "nt" else "sched_yield")
#: Whether a thread can know its processor, and sleep (Linux).
_PLACED = _bind(_PROCESSOR, "sched_getcpu") and _bind(_SLEEP, "usleep")


def pause(builder: Any, triple: str) -> None:
    """Tell a processor of this kind that it is in a waiting loop; nothing where no way is known.

    ARM's YIELD does nothing on most of its processors; ISB takes about as long as x86's PAUSE.
    """
    architecture = triple.partition("-")[0]
    if "86" in architecture:
        call(builder, "llvm.x86.sse2.pause", _VOID, [])
    elif architecture.startswith(("aarch64", "arm64")):
        call(builder, "llvm.aarch64.isb", _VOID, [ir.IntType(32)(15)])


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.ptrtoint(data, _I)
    # llvmlite's atomic instructions take a typed pointer.
    return builder.inttoptr(builder.add(first, builder.mul(at, _I(8))), _I.as_pointer())


@intrinsic
def publish(typing: Any, array: Any, at: Any, value: Any) -> tuple[Any, Any]:
    """array[at] = value; a thread that observes it sees all that was written before."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _place(context, builder, sig.args[0], args[0], args[1])
        builder.store_atomic(args[2], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), build


@intrinsic
def observe(typing: Any, array: Any, at: Any) -> tuple[Any, Any]:
    """array[at], as another thread published it."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _place(context, builder, sig.args[0], args[0], args[1])
        return builder.load_atomic(pointer, "acquire", 8, typ=_I)

    return types.int64(array, types.intp), build


@intrinsic
def spin(typing: Any) -> tuple[Any, Any]:
    """Tell the processor that this is a waiting loop."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pause(builder, llvm.get_process_triple())
        return context.get_dummy_value()

    return types.void(), build


@intrinsic
def yield_thread(typing: Any) -> tuple[Any, Any]:
    """Let the operating system run another thread."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        call(builder, _YIELD, ir.IntType(32), [])
        return context.get_dummy_value()

    return types.void(), build


@intrinsic
def current_processor(typing: Any) -> tuple[Any, Any]:
    """The processor's number that this thread runs on now; -1 where the system does not tell."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not _PLACED:
            return _I(-1)
        return builder.sext(call(builder, _PROCESSOR, ir.IntType(32), []), _I)

    return types.int64(), build


@intrinsic
def sleep_briefly(typing: Any) -> tuple[Any, Any]:
    """Leave the processor, and let the system choose one anew."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _PLACED:
            call(builder, _SLEEP, ir.IntType(32), [ir.IntType(32)(1)])
        else:
            call(builder, _YIELD, ir.IntType(32), [])
        return context.get_dummy_value()

    return types.void(), build
