"""compute-sanitizer on small shapes of every path through a network.

    python -m bench.gpu.sanitizer memcheck|racecheck

Ends with CANNOT_RUN where there is no such tool, or it does not know the device; some virtual
machines do not let it.
"""

import shutil
import subprocess
import sys

import numpy as np

import fastnet as fn
from fastnet.contract import plan
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet_cupy.device import Device
from fastnet_cupy.program import CudaProgram
from fastnet_cupy.regimes import PATHS

#: What it says of a device that it cannot watch.
REFUSALS = ("not supported", "Unable to find", "LibraryNotLoaded", "Insufficient permission")

#: As EX_TEMPFAIL of sysexits.h.
CANNOT_RUN = 75

PRECISIONS = (None, "tf32", "bf16", "fp16")


def train(device: Device, path: str, precision: str | None, steps: int = 3) -> np.ndarray:
    """The losses of some steps of a small network with a tail of a batch and dropout."""
    hidden = (fn.Dense(9, "gelu"), fn.Dropout(0.2), fn.Dense(5, "relu"))
    network = fn.Network(3, [*hidden, fn.Dense(2, "softmax")], "crossentropy")
    program = CudaProgram(plan.lower(network), np.dtype("float32"), precision, device, PATHS[path])
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(37, 3)).astype("f4"), rng.integers(0, 2, 37)
    put = program.to_device
    flat = plan.initial_parameters(network, 1).astype("f4")
    state = State(put(flat), put(fn.Adam().memory(flat.size, flat.dtype)))
    order = np.stack([rng.permutation(37) for _ in range(steps)])
    run = Run(0, steps, 16, order, fn.Adam(), 0.01, l2=0.01, clip_norm=1.0, seed=2)
    return program.train(state, Data(Inputs(put(x)), put(y.astype(np.int64))), run)


def all_paths(device: Device) -> None:
    """Every path, in every precision that it has."""
    for path in PATHS:
        for precision in PRECISIONS[: 1 if path == "tiny" else None]:
            losses = train(device, path, precision)
            assert np.isfinite(losses).all(), f"{path} {precision}: {losses}"
            print(f"{path:<8} {precision or 'float32':<8} {losses}", flush=True)


def main(tool: str) -> int:
    """Run this module's work under a tool of compute-sanitizer."""
    command = shutil.which("compute-sanitizer")
    if command is None:
        print("compute-sanitizer is not installed here (it comes with the CUDA toolkit).")
        return CANNOT_RUN
    done = subprocess.run(
        [command, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", __spec__.name],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    print(done.stdout)
    said = [line for line in done.stdout.splitlines() if line.startswith("=========")]
    refused = any(text in line for line in said for text in REFUSALS)
    if done.returncode and refused and "Traceback" not in done.stdout:
        print(f"compute-sanitizer cannot watch this device with {tool}.")
        return CANNOT_RUN
    return done.returncode


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(main(sys.argv[1]))
    import cupy

    from fastnet_cupy.cupy_device import CupyDevice

    # CuPy's pool rounds up to 512 bytes, and what lies behind an array would still be its own.
    cupy.cuda.set_allocator(None)
    all_paths(CupyDevice())
