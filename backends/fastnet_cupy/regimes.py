"""Which path through a network is taken for which sizes: tiny, narrow, or layer by layer.

All figures here are estimates, derived in the comments: no GPU was at hand when they were chosen.
`bench/gpu.sh` measures what they decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Rows of a batch from which on a network that the narrow kernel fits is trained faster layer by
#: layer, by the kind of number and the widest layer, padded: `bash bench/gpu.sh first` prints what
#: belongs here. None are known yet.
LAYERED_FROM: dict[tuple[str, int], int] = {}


@dataclass(frozen=True)
class Regimes:
    """Where one path ends and the next begins.

    Attributes:
        tiny_products: multiplications of a step's forward pass up to which one block does whole
            runs alone. Forward, back and gradient read shared memory about 1.25 times for each
            of three products, and a multiprocessor reads 32 numbers a clock: 4 us for 2^16 on an
            H100 or H200, about what the launches of a narrow step take.
        tiny_products_alone: the same for batches too small for the narrow path: 2^18 take some
            16 us, about as long as the launches of a layered step.
        narrow_training: rows of a batch from which on training takes the kernel that is made for
            one network; to compile it takes some seconds, the first time on a machine.
        narrow_evaluation: rows from which on predictions, losses and gradients take it.
        layered_from: rows from which on nothing takes it, though it fits: see `LAYERED_FROM`.
    """

    tiny_products: int = 2**16
    tiny_products_alone: int = 2**18
    narrow_training: int = 64
    narrow_evaluation: int = 4096
    layered_from: Mapping[tuple[str, int], int] = field(default_factory=lambda: LAYERED_FROM)


REGIMES = Regimes()

_NEVER = 2**62

#: One path for all sizes (narrow: where it fits), to be tested by itself.
LAYERED = Regimes(-1, -1, _NEVER, _NEVER)
NARROW = Regimes(-1, -1, 1, 1, {})
PATHS = {"tiny": REGIMES, "narrow": NARROW, "layered": LAYERED}
