"""In what blocks matrix products read their second operand, by the caches of this host.

A product C = A B goes through B in blocks of some rows and columns, each packed into panels, one
panel as wide as the largest tile. A block stays in the second-level cache while all rows of A and C
pass by. Where A is a transpose, a tile reads a few numbers from each of many rows of that, and on
the way a cache line for each: where a panel's rows are no longer than a line, that is half of what
is read, so A is packed as well.
"""

from dataclasses import dataclass

from fastnet.arrays.cache_lines import LINE
from fastnet_numba.simd.host import LANES, Caches, register_bytes
from fastnet_numba.simd.tiles import HEIGHTS, WIDTHS

#: Rows of A from which packing B pays where it stays packed for others, or where C fills half of
#: the second cache: a plain product fetches none of C ahead, and may read it again for every so
#: many steps of depth. The time of a step with plain products over that with packed ones, with
#: AVX-512 on Zen 4 (bench/results/numba-packing-steps-2026-11-29.json): 0.88 to 0.93 for 16 rows of
#: A, 0.97 to 1.00 for more where C is less, 0.98 to 1.06 where it is not; with AVX2 (-avx2- there)
#: 0.87 to 0.99, 0.96 to 1.01 and 0.95 to 1.23. Where more layers than those measured share the
#: caches, packing gains more.
WORTH_PACKING = 96

#: Rows of A from which it pays where the rows of B lie multiples of a page apart, whatever C is:
#: they share a few sets of the first cache, a way of which is mostly as large as a page. The fewer
#: where a panel is but a cache line of each row. Likewise, with AVX2 1.02 to 1.09 for 16 rows, and
#: 1.11 to 1.38 for more; with AVX-512 0.88 to 0.98 for 16 rows, 0.97 to 1.01 for 64 and 128, and
#: 1.01 to 1.05 for more.
WORTH_PARTING, PAGE = (12 if WIDTHS[0] * register_bytes() <= LINE else 96), 4096

#: Steps of depth for which a plain product goes over all columns, where B comes from farther away
#: than the second cache: with one row of A, and with more. So what is read of a row of B lies in
#: one piece, and few pages are in use at once. Such products alone take 1.1 to 2 times as long
#: without (bench/results/numba-2026-11-28.md).
STEPS_OF_ONE_ROW, STEPS_OF_ROWS = 16, 128

#: Steps of depth of a product of rows with rows: four rows of B should stay in half of the first
#: cache. Likewise, 2,048 at once take 1.3 times as long with AVX2.
STEPS_ALONG = 1024

#: Vectors in a row of a panel.
PANEL = WIDTHS[0]

#: Bytes of a block's rows, at least: four cache lines. So blocks are as deep as fits, because C is
#: read and written once more for every further block.
ROW_BYTES = 256

#: How far ahead B is brought near while it is packed: rows, or columns of a transpose. Likewise,
#: with 2048 x 2048 packing takes 0.75 times as long, or 0.9 times.
FETCHED_ROWS, FETCHED_COLUMNS = 16, 64

#: B is packed from so many times the bytes of the first cache. A choice: with 128 rows on Zen 4,
#: 0.9 to 1.0 from 0.4 to 2.3 MB, and 1.2 from 4 MB on
#: (bench/results/numba-packing-2026-11-29.json); a smaller second cache gains earlier.
PACKED_FROM = 4


@dataclass(frozen=True)
class Blocks:
    """Sizes in entries: see `products.Room`."""

    depth: int
    entries: int
    strip: int
    rows: int
    plain: int

    def has_large(self, weights: int) -> bool:
        """Whether products with so many weights may be packed, or go step by step through them."""
        return weights > self.plain


def worth_packing(rows, columns, row, entries, lanes, itemsize):
    """Whether packing B pays. Kernels ask this too (`products.packing_pays`).

    Args:
        rows, columns: of C.
        row: how far B's rows are apart.
        entries: of a block.
        lanes, itemsize: numbers in a vector, and bytes of a number.
    """
    crowded = row * itemsize % PAGE == 0
    fewest = WORTH_PARTING if crowded else WORTH_PACKING
    large = crowded or rows * columns >= entries  # half of the second cache
    return rows >= fewest and large and row > PANEL * lanes


def is_far(numbers, entries):
    """Whether the second cache has no room for so many numbers; a block's entries fill half of it.

    Kernels ask this too (`products.comes_from_far`).
    """
    return numbers > 2 * entries


def blocks_for(itemsize: int, caches: Caches) -> Blocks:
    """The blocks for numbers of this size in bytes.

    A block takes half of the second cache. Where A is packed, the rows of it that a block is used
    for in turn take an eighth, and a strip of them fills the first cache with a panel.
    """
    lanes, tall = LANES[itemsize], HEIGHTS[0]
    panel = PANEL * lanes
    depth = max(caches.second // 2 // max(ROW_BYTES, panel * itemsize) // lanes, 1) * lanes
    strip = rows = 0
    if panel * itemsize <= LINE:
        strip = max(caches.first // ((panel + tall) * itemsize) // lanes, 1) * lanes
        rows = max(caches.second // 8 // (strip * itemsize * tall), 1) * tall
    # A panel has as many rows as a strip, also where a core has little of a second cache.
    entries = max(caches.second // 2 // itemsize, max(depth, strip) * panel)
    return Blocks(depth, entries, strip, rows, PACKED_FROM * caches.first // itemsize)
