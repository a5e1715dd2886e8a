"""Which way through a network is taken for which sizes: tiny, narrow or layered.

All figures here are estimates from the counts in the comments: no GPU was at hand when they were
chosen. `bench/gpu.sh` measures what they decide.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Regimes:
    """Where one way ends and the next begins.

    Attributes:
        tiny_products: multiplications of a step's way forward up to which one block does whole
            runs alone. A multiprocessor of an H100 or H200 makes 128 a clock at best: some 10 us
            for 2^18 of them and twice as many on the way back, which is about what the launches
            of a step's kernels take.
        narrow_training: rows of a batch from which on training takes the kernel that is made for
            one network; to make it takes a second or two, the first time on a machine.
        narrow_asking: rows from which on predictions, losses and gradients take it.
    """

    tiny_products: int = 2**18
    narrow_training: int = 64
    narrow_asking: int = 4096


REGIMES = Regimes()
