"""Python code in several processes, which the runtime's own `mpiexec` starts."""

import subprocess
import sys
from pathlib import Path

import child

#: The one of mpi4py's library, in the environment that the tests run in.
MPIEXEC = Path(sys.executable).parent / "mpiexec"

#: Ranks share the cores, so a thread each is enough, and one that waits gives way at once.
SETTINGS = {
    "FASTNET_BACKEND": "numpy", "OMP_NUM_THREADS": "1", "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
}  # fmt: skip


def start(ranks: int, code: str, *arguments: str, **variables: str) -> subprocess.Popen:
    """Start `code` on so many ranks and come back at once."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.Popen(
        [MPIEXEC, "-n", str(ranks), *command],
        env=child.environment(**{**SETTINGS, **variables}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(ranks: int, code: str, *arguments: str, **variables: str) -> str:
    """Run `code`; return what it printed. It must end well and keep its error stream empty."""
    with start(ranks, code, *arguments, **variables) as process:
        printed, errors = finish(process)
    assert process.returncode == 0, f"exit status {process.returncode}:\n{printed}\n{errors}"
    assert errors == ""
    return printed


def finish(process: subprocess.Popen) -> tuple[str, str]:
    """Wait for the end; what was printed. One that does not end is ended, and is a failure."""
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
