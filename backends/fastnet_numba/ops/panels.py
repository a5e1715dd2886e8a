"""In what blocks matrix products read their second operand, by the caches of this host.

A product C = A B goes through B in blocks of some rows and columns, each packed into panels, one
panel as wide as the largest tile. A block is used for some rows of A and C at a time. The block
and these rows of A stay in the second-level cache together, while a tile's rows of A, and with
narrow vectors a panel too, stay in the first.
"""

from dataclasses import dataclass

from fastnet_numba.simd.host import LANES, Caches
from fastnet_numba.simd.tiles import HEIGHTS, WIDTHS

#: Rows of A from which packing B pays. Measured (bench/test_products.py), a plain product's time
#: over a packed one's: 0.9 at 8 and 16 rows, 1.1 at 32 and 64; on a busy machine, 1,024 x 1,024:
#: 0.7 and 0.8, and 0.9.
WORTH_PACKING = 32

#: Rows of A from which it pays already where B's rows lie multiples of a page apart, so that those
#: of a panel share a few sets of the caches, and B has more than so many rows of panels. Likewise,
#: 1.1 at 8 and 16 rows of 2048 x 2048.
WORTH_PARTING, PAGE, MANY_PIECES = 8, 4096, 2**15

#: Vectors in a row of a panel.
PANEL = WIDTHS[0]

#: Rows of a block: many, because C is read and written once more for every further block.
DEPTH = 512

#: B is packed from so many times the bytes of the first cache. A choice: with 128 rows on Zen 4,
#: 0.9 to 1.0 from 0.4 to 2.3 MB, and 1.2 from 4 MB on; a smaller second cache gains earlier.
PACKED_FROM = 4


@dataclass(frozen=True)
class Blocks:
    """Sizes in entries.

    Attributes:
        depth, columns: of a block of B.
        rows: of A and C, for which it is used in turn.
        plain: how many entries of B are not packed.
    """

    depth: int
    columns: int
    rows: int
    plain: int


def blocks_for(itemsize: int, caches: Caches) -> Blocks:
    """The blocks for numbers of this size in bytes.

    A block takes half of the second cache, and its rows of A an eighth.
    """
    panel, row = PANEL * LANES[itemsize], DEPTH * itemsize
    columns = max(caches.second // 2 // (row * panel), 1) * panel
    rows = max(caches.second // 8 // (row * HEIGHTS[0]), 1) * HEIGHTS[0]
    return Blocks(DEPTH, columns, rows, PACKED_FROM * caches.first // itemsize)
