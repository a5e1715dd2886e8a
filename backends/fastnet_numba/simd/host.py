"""What the processor offers: how many numbers of a size one instruction works on, and its caches.

For the first, the compiler is asked and not the processor, so that `NUMBA_CPU_NAME` and
`NUMBA_CPU_FEATURES` are followed like everywhere in Numba.
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
    """Bytes of the caches that a core has for itself, or its part of those that it shares."""

    first: int
    second: int


#: Where the host does not tell: what most processors of the last ten years have at least.
USUAL = Caches(first=32 * 2**10, second=256 * 2**10)

#: Where Linux tells it, a folder for each processor.
SYSTEM = Path("/sys/devices/system/cpu")


@cache
def caches() -> Caches:
    """The first two levels, as Linux tells them; `USUAL` on other systems.

    Where cores differ, there are mostly two kinds, the first and the last of the processors. Blocks
    must fit on either, so the smaller counts, whichever of them this process may use: they decide
    in which order numbers are added up, and the same machine gives the same bits.
    """
    found = [_data_caches(processor) for processor in _first_and_last()]

    def least(level: int, usual: int) -> int:
        return min((sizes[level] for sizes in found if level in sizes), default=usual)

    return Caches(least(1, USUAL.first), least(2, USUAL.second))


def _first_and_last() -> set[int]:
    """The first and the last processor of the system."""
    spans = _spans(SYSTEM / "online")
    return {spans[0][0], spans[-1][-1]}


def _data_caches(processor: int) -> dict[int, int]:
    """Bytes of a core's caches of data, by level; only those whose size the system gives."""
    home = SYSTEM / f"cpu{processor}"
    threads = _length(home / "topology" / "thread_siblings_list")
    found = {}
    for folder in sorted((home / "cache").glob("index*")):
        try:
            kind, level, size = (
                (folder / name).read_text().strip() for name in ("type", "level", "size")
            )
            place, whole = int(level), int(size.removesuffix("K")) * 2**10
        except (OSError, ValueError):  # a system that tells this in another way
            continue
        cores = max(_length(folder / "shared_cpu_list") // threads, 1)
        if kind != "Instruction" and whole > 0:
            found[place] = whole // cores
    return found


def _length(path: Path) -> int:
    """How many processors a file lists."""
    return max(sum(last - first + 1 for first, last in _spans(path)), 1)


def _spans(path: Path) -> list[tuple[int, int]]:
    """The first and last of each span that a file lists, such as 0-3,8; 0 if it cannot be read."""
    try:
        spans = [span.split("-") for span in path.read_text().split(",")]
        return [(int(span[0]), int(span[-1])) for span in spans]
    except (OSError, ValueError):
        return [(0, 0)]
