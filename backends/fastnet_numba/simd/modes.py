"""How the processor treats subnormal numbers, for the calling thread, by LLVM instructions.

Many processors compute with subnormal numbers in microcode, many times slower. Parameters and
memory are never subnormal (`fastnet.definition.optimizers`), but what a step computes between them
may be: probabilities and slopes of saturated units, and products of many small slopes. In training,
losses and gradients such numbers are therefore 0 (`training.run` has the exception). That changes
results by less than the smallest normal number, 1e-38 in float32 and 2e-308 in float64.

The twins are in `emulated.py`.
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnet_numba.simd.vector import call

_WORD = ir.IntType(64)
_HALF = ir.IntType(32)
_VOID = ir.VoidType()

_TRIPLE = llvm.get_process_triple()
_X86, _ARM = "x86_64" in _TRIPLE, "aarch64" in _TRIPLE or "arm64" in _TRIPLE

#: The bits of the control word by which subnormal results and operands count as 0. x86-64: FTZ and
#: DAZ of MXCSR. ARM64: FZ of FPCR. None elsewhere.
FLUSHING = 0x8040 if _X86 else (1 << 24 if _ARM else 0)


@intrinsic
def control_word(typing: Any) -> tuple[Any, Any]:
    """The thread's control word for floating-point numbers."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _X86:
            room = builder.bitcast(builder.alloca(_HALF), ir.PointerType())
            call(builder, "llvm.x86.sse.stmxcsr", _VOID, [room])
            return builder.zext(builder.load(room, typ=_HALF), _WORD)
        if _ARM:
            return call(builder, "llvm.aarch64.get.fpcr", _WORD, [])
        return _WORD(0)

    return types.int64(), build


@intrinsic
def set_control_word(typing: Any, word: Any) -> tuple[Any, Any]:
    """Set it, for instance to what it was."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _X86:
            room = builder.bitcast(builder.alloca(_HALF), ir.PointerType())
            builder.store(builder.trunc(args[0], _HALF), room)
            call(builder, "llvm.x86.sse.ldmxcsr", _VOID, [room])
        elif _ARM:
            call(builder, "llvm.aarch64.set.fpcr", _VOID, [args[0]])
        return context.get_dummy_value()

    return types.void(types.int64), build
