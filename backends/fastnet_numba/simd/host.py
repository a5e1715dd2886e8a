"""What the processor offers: how many numbers of a size one instruction works on.

The compiler is asked, not the processor, so that `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES`
are followed like everywhere in Numba.
"""

from functools import cache
from typing import Any

import llvmlite.binding as llvm
from numba.core.registry import cpu_target

#: Adds two vectors of 512 bits; from the code one sees how many instructions that takes.
_PROBE = """
define void @add(ptr %p, ptr %q) {
  %x = load <16 x float>, ptr %p, align 4
  %y = load <16 x float>, ptr %q, align 4
  %z = fadd <16 x float> %x, %y
  store <16 x float> %z, ptr %p, align 4
  ret void
}
"""


@cache
def _target_machine() -> Any:
    return cpu_target.target_context.codegen()._tm


@cache
def register_bytes() -> int:
    """Bytes of the widest register that the compiler uses: 64, 32 or 16."""
    code = _target_machine().emit_assembly(llvm.parse_assembly(_PROBE))
    if "%zmm" in code:
        return 64
    return 32 if "%ymm" in code else 16


def registers() -> int:
    """How many such registers there are: 16, or 32 with AVX-512 and on ARM."""
    return 16 if register_bytes() < 64 and "x86" in llvm.get_process_triple() else 32


#: Numbers in a vector, by their size in bytes.
LANES = {size: register_bytes() // size for size in (4, 8)}
