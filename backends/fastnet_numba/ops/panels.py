"""Measures of the matrix products that layouts and kernels share."""

#: Bytes of B beyond which it is packed. Measured (bench/test_products.py), a plain product's time
#: over a packed one's: 0.9 at 1 MB, 1.0 at 2.3, 1.2 at 4, 1.5 at 16.
LARGE_BYTES = 3 * 2**20

#: Rows of A from which packing B pays. Likewise: 0.8 at 8 and 16 rows, 1.0 at 32, 1.1 at 64.
WORTH_PACKING = 32

#: Vectors in a row of a panel, and its rows: 128 KiB with vectors of 512 bits. Likewise, on a busy
#: machine: 2 or 8 vectors take 1.02 times as long, 128 rows 1.05 times, 1,024 rows the same.
PANEL, PANEL_DEPTH = 4, 512
