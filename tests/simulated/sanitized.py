"""Launches in a process of their own, watched by g++'s sanitizers.

The kernels become a program without Python, whose arrays are exactly as large as given:
"address,undefined" finds accesses outside them and outside shared memory, overflows and misaligned
vectors, "thread" finds data races, with one thread of the operating system for each CUDA thread.
"""

import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulated import building, compiled

MEMORY = "address,undefined"
RACES = "thread"

_FLAGS = {
    MEMORY: (
        "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all", "-fsanitize-sections=fn_shared",
    ),
    RACES: ("-O1", "-g", "-fsanitize=thread", "-pthread", "-DFN_HOST_THREADS"),
}  # fmt: skip
_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1 history_size=4",
}


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel.

    Attributes:
        kernel: its name.
        blocks: how many.
        threads: of a block.
        arguments: NumPy arrays, None for null, NumPy scalars of the kernel's own types. Views of
            one array stay views of one array; launches of one run may share arrays.
        shared: bytes of dynamic shared memory.
        seed: of the schedule; 0: threads in their order.
    """

    kernel: str
    blocks: int
    threads: int
    arguments: Sequence[Any]
    shared: int = 0
    seed: int = 1


def run(
    source: Path | str,
    launches: Sequence[Launch],
    defines: building.Defines = (),
    sanitizer: str = MEMORY,
    plain: Path | str | None = None,
    timeout: float = 120,
) -> None:
    """Do launches one after the other under a sanitizer; arrays hold the results afterwards.

    Args:
        source: a file of the backend's kernels ("step.cu"), a path, or the text itself.
        launches: what to do.
        defines: macros, names and values.
        sanitizer: MEMORY or RACES.
        plain: a source with the same kernels that may be compiled already, for the types of their
            arguments; None: this one.
        timeout: seconds until the run is given up.

    Raises:
        AssertionError: with the sanitizer's report, or what else went wrong, such as a deadlock
            or a write to a read-only array.
        TypeError, ValueError: if an argument does not suit its kernel.
    """
    name, text = building.source_text(source)
    signatures = [s.name for s in building.signatures(text)]
    program = building.build(
        building.generated(name, text, defines, _main(signatures)),
        (*building.LANGUAGE, *building.WARNINGS, *_FLAGS[sanitizer]),
        ".program",
    )
    arrays = _Arrays()
    # The plain library knows the kernels' types, and checks the arguments.
    kernels = compiled.kernels(plain or source, defines) if launches else {}
    work = [_packed(launch, kernels, signatures, arrays) for launch in launches]
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given"), Path(folder, "made")
        given.write_bytes(arrays.packed() + struct.pack("=q", len(work)) + b"".join(work))
        try:
            done = subprocess.run(
                [*_still_addresses(), str(program), str(given), str(made)],
                env={**os.environ, **_OPTIONS}, capture_output=True, text=True, timeout=timeout,
                errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{name} did not end within {timeout} seconds.") from error
        # An AssertionError of its own: the report is the message.
        if done.returncode:
            raise AssertionError(f"{name}, exit status {done.returncode}:\n{done.stderr}")
        arrays.take_over(made.read_bytes())


def _main(names: Sequence[str]) -> str:
    known = "".join(f'{{"{name}", fn_kernels::fn_launch_{name}}}, ' for name in names)
    return (
        '#include "program.h"\n'
        f"static const fn_host::Known known[] = {{{known}}};\n"
        "int main(int, char **files) "
        "{ return fn_host::run_program(known, files[1], files[2]); }\n"
    )


def _still_addresses() -> list[str]:
    """ThreadSanitizer of g++ 12 gives up where addresses are shuffled by more than 28 bits."""
    try:
        bits = int(Path("/proc/sys/vm/mmap_rnd_bits").read_text())
    except (OSError, ValueError):
        return []
    return ["setarch", "-R"] if bits > 28 else []


class _Arrays:
    """The arrays of a run, each with what it is a view of only once."""

    def __init__(self) -> None:
        self._owners: list[np.ndarray[Any, Any]] = []

    def place(self, array: np.ndarray[Any, Any]) -> tuple[int, int]:
        """Number of the array that owns the memory, and the offset in it, in bytes."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if not owner.flags.c_contiguous:
            owner = array
        if not any(known is owner for known in self._owners):
            self._owners.append(owner)
        number = next(i for i, known in enumerate(self._owners) if known is owner)
        return number, _address(array) - _address(owner)

    def packed(self) -> bytes:
        parts = [struct.pack("=q", len(self._owners))]
        for owner in self._owners:
            data = owner.tobytes()
            parts += [struct.pack("=q", len(data)), data.ljust(-(-len(data) // 8) * 8, b"\0")]
        return b"".join(parts)

    def take_over(self, data: bytes) -> None:
        start = 0
        for owner in self._owners:
            new = np.frombuffer(data, np.uint8, owner.nbytes, start)
            start += owner.nbytes
            if owner.flags.writeable:
                owner.reshape(-1).view(np.uint8)[:] = new
            elif owner.tobytes() != new.tobytes():
                raise AssertionError(f"a read-only array, shape {owner.shape}, was written to.")


def _address(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _packed(
    launch: Launch,
    kernels: dict[str, compiled.CompiledKernel],
    names: Sequence[str],
    arrays: _Arrays,
) -> bytes:
    kernel = kernels[launch.kernel]
    kernel.check_geometry(launch.blocks, launch.threads)
    values = kernel.values(launch.arguments)
    parts = [
        struct.pack(
            "=6q", names.index(launch.kernel), launch.blocks, launch.threads, launch.shared,
            launch.seed, len(launch.arguments),
        )
    ]  # fmt: skip
    for i, argument in enumerate(launch.arguments):
        if isinstance(argument, np.ndarray):
            parts.append(struct.pack("=2q", *arrays.place(argument)))
        else:
            parts.append(struct.pack("=q", -1) + values[8 * i : 8 * i + 8])
    return b"".join(parts)
