"""Compile beforehand, without a GPU, what the contests and checks need on one.

    python -m bench.gpu.kernels FOLDER [ARCHITECTURE ...]

On the machine with the GPU, `CUPY_CACHE_DIR=FOLDER bash bench/gpu.sh first` then compiles next to
nothing, if its NVRTC is of this version.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import fastnet as fn
from bench.gpu.contests import contests
from bench.gpu.ours import precision_of
from bench.gpu.sanitizer import BLOCKS, NETWORK
from fastnet.contract.lowering import lower
from fastnet_cupy import compiler
from fastnet_cupy.buffers import Buffers
from fastnet_cupy.context import Context
from fastnet_cupy.layout import lay_out
from fastnet_cupy.precision import Number, number_for
from fastnet_cupy.regimes import REGIMES
from fastnet_cupy.tiny import Tiny

#: Bytes of shared memory that a block may have (CUDA C++ Programming Guide, 13.0, "Compute
#: Capabilities").
SHARED_BYTES = {
    "sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "sm_120": 99 * 1024,
}  # fmt: skip

FILES = ("step.cu", "layered.cu")


class Compiling:
    """As much of a device as planning asks for until it launches something."""

    multiprocessors = 1

    def __init__(self, architecture: str) -> None:
        self.architecture, self.shared_bytes = architecture, SHARED_BYTES[architecture]

    def upload(self, array: Any) -> Any:
        """The array itself."""
        return array

    def kernel(self, file: str, name: str, defines: tuple[tuple[str, str], ...] = ()) -> Any:
        """Compile it, and say whether it spills."""
        compiled = compiler.compile_file(file, defines, self.architecture)

        class Kernel:
            spills = compiled.spills(name)

        return Kernel()


def wanted() -> Iterator[tuple[fn.Network, str | None]]:
    """The networks that are run, and their precisions."""
    for precision in (None, "tf32", "bf16", "fp16"):
        yield NETWORK, precision
        yield BLOCKS, precision
    seen: set[Any] = set()
    for contest in contests():
        key = contest.units, contest.precision
        if key not in seen:
            seen.add(key)
            yield contest.network, precision_of(contest)


def compile_for(network: fn.Network, precision: str | None, architecture: str) -> None:
    """All kernels that a network may be run with."""
    number: Number = number_for(np.dtype("float32"), precision)
    device: Any = Compiling(architecture)
    context = Context(device, lay_out(lower(network)), number)
    for file in (*FILES, *["staged.cu"] * bool(context.layout.stages)):
        compiler.compile_file(file, ((number.macro, ""),), architecture)
    if precision is None and context.layout.is_plain:
        Tiny(context)
    _ = Buffers(context, REGIMES).shape


def main(arguments: Sequence[str]) -> int:
    """Compile into a folder."""
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return int(not arguments)
    folder, *architectures = arguments
    os.environ["CUPY_CACHE_DIR"] = folder
    begun = time.perf_counter()
    # NVRTC lets Python's other threads run.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        asked = [
            (network, precision, architecture)
            for architecture in architectures or SHARED_BYTES
            for network, precision in wanted()
        ]
        work = [(given, pool.submit(compile_for, *given)) for given in asked]
    for given, one in work:
        if one.exception() is not None:  # beside others NVRTC may fail to open a file of its own
            compile_for(*given)
    entries = [*compiler.cache_folder().glob("*.cubin")]
    size = sum(entry.stat().st_size for entry in entries) / 2**20
    spent = time.perf_counter() - begun
    print(f"{len(entries)} files, {size:.1f} MiB, in {folder} after {spent:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
