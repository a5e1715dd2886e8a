"""The whole report, measured anew: `python -m bench`.

Everything on one thread; then the named workloads, predictions and gradients on two, where there
are two processors; then the report. Run it on a quiet machine.

    python -m bench                      bench/REPORT.md, with bench/results/DATE-1-thread.json, ...
    python -m bench --processor avx2     bench/avx2/REPORT.md: as a processor with AVX2 only
    python -m bench --rounds 3           sooner, and less sure
    python -m bench --threads 1 --workload named --workload width    only these
"""

import argparse
import datetime
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import processor

FILES = ("bench/test_ceilings.py", "bench/test_contests.py", "bench/test_process.py")

#: The workloads on more than one thread; those on one are all.
TOGETHER = ("--workload=named", "--workload=calls")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="of each contest (default 5)")
    add("--processor", choices=list(processor.OTHERS), help="which all libraries are told it is")
    help_ = "how many; can be repeated (default 1, and 2 where there are two processors)"
    add("--threads", type=int, action="append", metavar="N", help=help_)
    help_ = "only this workload or group of `pytest bench`; can be repeated"
    add("--workload", action="append", default=[], metavar="NAME", help=help_)
    given = parser.parse_args(arguments)
    told = [given.processor] if given.processor else []
    options = ["--peers", f"--rounds={given.rounds}", *(f"--processor={name}" for name in told)]
    files = []
    for threads in given.threads or (1, 2)[: processor.available()]:
        count = "1-thread" if threads == 1 else f"{threads}-threads"
        name = "-".join([datetime.date.today().isoformat(), *told, count])
        files.append(f"bench/results/{name}.json")
        chosen = [f"--workload={which}" for which in given.workload]
        if threads > 1 and not chosen:
            chosen = [*TOGETHER]
        measure = ["pytest", *FILES, *chosen, *options, f"--threads={threads}"]
        began = time.monotonic()
        # A contestant whose results are wrong fails its own test, and is left out of the report.
        status = _run(*measure, f"--benchmark-json={files[-1]}")
        print(f"{count}: {(time.monotonic() - began) / 60:.1f} minutes")
        if status > 1:
            return status
    output = Path("bench", *told, "REPORT.md")
    output.parent.mkdir(exist_ok=True)
    return _run("bench.report", *files, f"--output={output}")


def _run(module: str, *arguments: str) -> int:
    print("python -m", module, *arguments, flush=True)
    return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
