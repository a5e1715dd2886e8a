"""Steps of one contest, for a profiler: `python -m bench.gpu.one_step PRECISION [BACKEND]`."""

import sys
from dataclasses import replace

from bench.gpu.contests import contests, small
from bench.gpu.ours import Fastnet

#: Fewer than a graph's, so that kernels are launched one by one.
STEPS = 3


def main(precision: str, backend: str = "cupy") -> None:
    """Train a network that has a kernel of its own in every precision."""
    held = contests() if backend == "cupy" else small()
    contest = next(one for one in held if one.name in ("64-5-2^17", "16-2-2^7"))
    Fastnet(replace(contest, precision=precision), backend).go(STEPS)


if __name__ == "__main__":
    main(*sys.argv[1:])
