"""What this machine is, and whether fastnet's CUDA backend can run here."""

import importlib.metadata
import platform
import subprocess
import sys

import fastnet as fn
from fastnet.contract import choosing, loading
from fastnet.contract.program import Probe

#: What the steps of `bench/gpu.sh` need, and what they use where it is.
NEEDED = ("numpy", "pytest", "pytest-benchmark")
USED = ("torch", "jax", "hypothesis", "scipy", "pytest-xdist")

PACKAGES = (
    *NEEDED, *USED, "threadpoolctl", "cupy-cuda13x", "cupy-cuda12x", "nvidia-cublas",
    "nvidia-cuda-nvrtc", "nvidia-cuda-runtime", "triton", "jaxlib",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of Python, fastnet and the packages that are here."""
    found = {"python": platform.python_version(), "fastnet": fn.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def gpu() -> dict[str, str]:
    """What nvidia-smi says of the GPU; empty where there is no such command."""
    asked = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    try:
        said = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    first = said.splitlines()[0].split(", ") if said.strip() else []
    return dict(zip(asked.split(","), first, strict=False))


def facts() -> dict[str, str]:
    """Of the machine."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{f"gpu {name}": value for name, value in gpu().items()},
    }


def probe(backend: str) -> Probe:
    """Whether a backend can run here."""
    return choosing.probe(backend)


def main(backend: str = "cupy") -> int:
    """Tell all that; 1 if the CUDA backend cannot run here."""
    for name, value in {**facts(), **versions()}.items():
        print(f"{name:<20} {value}")
    absent = [name for name in NEEDED if name not in versions()]
    if absent:
        print(f"Absent, so that some tests cannot run: pip install {' '.join(absent)}")
    found = probe(backend)
    if not found.usable:
        print(f"fastnet cannot run on a GPU here: {found.reason}. {found.remedy}", file=sys.stderr)
        return 1
    for name, value in loading.load(backend).describe().items():
        print(f"{name:<20} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
