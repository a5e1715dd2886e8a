"""What the processor offers: how many numbers of a size one instruction works on.

The compiler is asked, not the processor, so that `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES`
are followed like everywhere in Numba.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
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


@dataclass(frozen=True)
class Caches:
    """Bytes of the caches that a core has for itself."""

    first: int
    second: int


#: Where the host does not tell: what most processors of the last ten years have at least.
USUAL = Caches(first=32 * 2**10, second=256 * 2**10)


@cache
def caches() -> Caches:
    """The first two levels, as Linux tells them; `USUAL` on other systems."""
    found = {1: USUAL.first, 2: USUAL.second}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, level, size = (
                (folder / name).read_text().strip() for name in ("type", "level", "size")
            )
            if kind != "Instruction" and int(level) in found:
                found[int(level)] = int(size.removesuffix("K")) * 2**10
        except (OSError, ValueError):  # a system that tells this in another way
            continue
    return Caches(found[1], found[2])
