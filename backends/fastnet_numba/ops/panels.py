"""In what blocks matrix products read their second operand, by the caches of this host.

A product C = A B goes through B in blocks of some rows and columns, each packed into panels, one
panel as wide as the largest tile. A block stays in the second-level cache while all rows of A and C
pass by. Where A is a transpose, a tile reads a few numbers from each of many rows of that, and on
the way a cache line for each: where a panel's rows are no longer than a line, that is half of what
is read, so A is packed as well.
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

#: Bytes of a cache line.
LINE = 64

#: Vectors in a row of a panel.
PANEL = WIDTHS[0]

#: Bytes of a block's rows, at least: four cache lines. So blocks are as deep as fits, because C is
#: read and written once more for every further block.
ROW_BYTES = 256

#: How far ahead B is brought near while it is packed: rows, or columns of a transpose. Measured on
#: Zen 4, 2048 x 2048: packing takes 0.75 times as long, or 0.9 times.
FETCHED_ROWS, FETCHED_COLUMNS = 16, 64

#: B is packed from so many times the bytes of the first cache. A choice: with 128 rows on Zen 4,
#: 0.9 to 1.0 from 0.4 to 2.3 MB, and 1.2 from 4 MB on; a smaller second cache gains earlier.
PACKED_FROM = 4


@dataclass(frozen=True)
class Blocks:
    """Sizes in entries: see `products.Room`."""

    depth: int
    entries: int
    strip: int
    rows: int
    plain: int


def blocks_for(itemsize: int, caches: Caches) -> Blocks:
    """The blocks for numbers of this size in bytes.

    A block takes half of the second cache. Where A is packed, the rows of it that a block is used
    for in turn take an eighth, and a strip of them fills the first cache with a panel.
    """
    lanes, tall = LANES[itemsize], HEIGHTS[0]
    panel = PANEL * lanes
    depth = max(caches.second // 2 // max(ROW_BYTES, panel * itemsize) // lanes, 1) * lanes
    entries = max(caches.second // 2 // itemsize, depth * panel)
    strip = rows = 0
    if panel * itemsize <= LINE:
        strip = max(caches.first // ((panel + tall) * itemsize) // lanes, 1) * lanes
        rows = max(caches.second // 8 // (strip * itemsize * tall), 1) * tall
    return Blocks(depth, entries, strip, rows, PACKED_FROM * caches.first // itemsize)
