"""Measures of the matrix products that layouts and kernels share."""

#: Bytes of B beyond which it is packed: about half of a cache near a core. Measured on
#: 1024-2048-2048-10: unpacked products ran at a third of the speed, those of 784-128 alike.
LARGE_BYTES = 2**20

#: Rows of A from which packing B pays: it costs about as much as one row's products.
WORTH_PACKING = 24

#: Vectors in a row of a panel, and its rows: 128 KiB, an eighth of a cache near a core.
PANEL, PANEL_DEPTH = 4, 512
