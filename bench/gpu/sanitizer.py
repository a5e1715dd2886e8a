"""compute-sanitizer on small shapes of every path through a network.

    python -m bench.gpu.sanitizer memcheck|racecheck|synccheck [BACKEND]

Ends with CANNOT_RUN where there is no such tool, or it does not know the device; some virtual
machines do not let it.
"""

import re
import shutil
import subprocess
import sys
from typing import Any

import numpy as np

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters
from fastnet_cupy.device import Device
from fastnet_cupy.names import KERNELS
from fastnet_cupy.program import CudaProgram
from fastnet_cupy.regimes import LAYERED, PATHS

#: What it says of a device that it cannot watch.
REFUSALS = ("not supported", "Unable to find", "LibraryNotLoaded", "Insufficient permission")

#: As EX_TEMPFAIL of sysexits.h.
CANNOT_RUN = 75

#: In place of a tool's name: the work itself.
WATCHED = "watched"

PRECISIONS = (None, "tf32", "bf16", "fp16")

#: A network with a layer of each kind that chains have.
NETWORK = fn.Network(
    6, [fn.Dense(17, "gelu"), fn.Dropout(0.2), fn.Dense(9, "relu"), fn.Dense(3, "softmax")],
    "crossentropy",
)  # fmt: skip
#: One with all others.
BLOCKS = fn.Network(
    fn.Inputs(4, (5, 3)),
    [fn.Embed((2, "one_hot"), fn.Periodic(3, 4)), fn.Dense(17), fn.BatchNorm(), fn.GELU(),
     fn.Residual([fn.LayerNorm(), fn.Dropout(0.2), fn.Dense(17, fn.PReLU())]), fn.Scale(),
     fn.Dense(3, "softmax")],
    "crossentropy",
)  # fmt: skip

#: Ways through a network: what is no chain has one of its own.
WAYS = {
    **{path: (NETWORK, regimes) for path, regimes in PATHS.items()},
    "staged": (BLOCKS, LAYERED),
}


def train(device: Device, path: str, precision: str | None, steps: int = 3) -> np.ndarray:
    """The losses of some steps of a small network with a tail of a batch and dropout."""
    network, regimes = WAYS[path]
    lowered = lower(network)
    program = CudaProgram(lowered, np.dtype("float32"), precision, device, regimes)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(37, 6)).astype("f4"), rng.integers(0, 3, 37)
    for column, size in enumerate(network.categories, 6 - len(network.categories)):
        x[:, column] = rng.integers(size, size=37)
    put = program.to_device
    flat = initial_parameters(network, 1).astype("f4")
    state = State(put(flat), put(fn.Adam().memory(lowered.trained, flat.dtype)))
    order = program.orders(3, range(steps), 37)
    run = Run(0, steps, 16, order, fn.Adam(), 0.01, l2=0.01, clip_norm=1.0, seed=2)
    return program.train(state, Data(Inputs(put(x)), put(y.astype(np.int64))), run)


def all_paths(device: Device) -> None:
    """Every path, in every precision that it has."""
    for path in WAYS:
        for precision in PRECISIONS[: 1 if path == "tiny" else None]:
            losses = train(device, path, precision)
            assert np.isfinite(losses).all(), f"{path} {precision}: {losses}"
            print(f"{path:<8} {precision or 'float32':<8} {losses}", flush=True)


def our_kernels() -> list[str]:
    """Options that leave out the library's kernels, which are not ours to check, and many."""
    head = r'extern "C" __global__ void(?:\s+__launch_bounds__\([^)]*\))?\s+(\w+)\('
    texts = (file.read_text(encoding="utf-8") for file in sorted(KERNELS.glob("*.cu")))
    names = [name for text in texts for name in re.findall(head, text)]
    return [option for name in names for option in ("--kernel-name", f"kne={name}")]


def main(tool: str, backend: str = "cupy") -> int:
    """Run this module's work under a tool of compute-sanitizer."""
    command = shutil.which("compute-sanitizer")
    if command is None:
        print("compute-sanitizer is not installed here (it comes with the CUDA toolkit).")
        return CANNOT_RUN
    only = [] if tool == "memcheck" else our_kernels()
    done = _ran([command, "--tool", tool, *only], backend)
    if done.returncode and only and not any(path in done.stdout for path in WAYS):
        print(done.stdout, "It does not take the kernels' names: now all of them.", sep="\n")
        done = _ran([command, "--tool", tool], backend)
    print(done.stdout)
    said = [line for line in done.stdout.splitlines() if line.startswith("=========")]
    refused = any(text in line for line in said for text in REFUSALS)
    if done.returncode and refused and "Traceback" not in done.stdout:
        print(f"compute-sanitizer cannot watch this device with {tool}.")
        return CANNOT_RUN
    return done.returncode


def _ran(command: list[str], backend: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*command, "--error-exitcode", "9", sys.executable, "-m", __spec__.name, WATCHED, backend],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def watched(backend: str) -> None:
    """What the tool watches."""
    if backend == "cupy":
        import cupy

        # CuPy's pool rounds up to 512 bytes, and what lies behind an array would still be its own.
        cupy.cuda.set_allocator(None)
    lowered = lower(NETWORK)
    program: Any = loading.load(backend).compile(lowered, np.dtype("float32"), None, None)
    all_paths(program.device)


if __name__ == "__main__":
    tool, *rest = sys.argv[1:]
    if tool == WATCHED:
        watched(*rest)
    else:
        sys.exit(main(tool, *rest))
