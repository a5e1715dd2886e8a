"""What one network on one device has: its tables there, its kernels, its kind of number."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnet_cupy.device import Device, Kernel
from fastnet_cupy.layout import Layout, tabulate
from fastnet_cupy.names import SUM_COLUMNS, THREADS, WARP, Mode
from fastnet_cupy.precision import Number

#: Blocks of a kernel that goes over entries, for each multiprocessor, at most: as many as can be
#: resident at once, which is 2,048 threads (CUDA C++ Programming Guide, "Compute Capabilities").
BLOCKS_EACH = 2048 // THREADS

#: Bytes of shared memory that a kernel declares by itself, rounded up.
OWN_BYTES = 1024


@dataclass
class Source:
    """Rows to go through the network, on the device.

    Attributes:
        rows: how many there are.
        x: `(rows, inputs)`.
        y: `(rows, outputs)`, or None where there are labels, or no loss is computed.
        labels: `(rows,)` int64, or None.
        weights: `(rows,)`, or None.
        order: `(epochs, rows)` int64, or None.
    """

    rows: int
    x: Any
    y: Any = None
    labels: Any = None
    weights: Any = None
    order: Any = None


@dataclass
class Request:
    """What a pass computes for the next batch.

    Attributes:
        mode: what is computed.
        block: the run's control block.
        steps: the step table; None: there is no dropout.
        scalars: the step's.
        parameters: `(size,)`.
        copy: the same as products read them, where that is fewer bits; else None.
        source: the rows.
        out: `(rows, outputs)`: where predictions go; else None.
    """

    mode: Mode
    block: Any
    steps: Any
    scalars: Any
    parameters: Any
    copy: Any
    source: Source
    out: Any = None

    @property
    def weights(self) -> Any:
        """The parameters as products read them."""
        return self.parameters if self.copy is None else self.copy


@dataclass
class Context:
    """A device, a network as it follows it, and the kernels for one kind of number.

    Attributes:
        device: where.
        layout: the network.
        number: the kind of number.
        int_table, float_table: the layout's tables, on the device.
        factors: `(2, trained)` on the device: for each parameter those of the learning rate and of
            the weight decay; None where all are 1.
        shares: `(size - trained,)` on the device: the statistics'; None where none are moved.
    """

    device: Device
    layout: Layout
    number: Number
    int_table: Any = field(init=False)
    float_table: Any = field(init=False)
    factors: Any = field(init=False)
    shares: Any = field(init=False)

    def __post_init__(self) -> None:
        tables = tabulate(self.layout)
        self.int_table = self.device.upload(tables.ints)
        self.float_table = self.device.upload(tables.floats)
        self.factors, self.shares = (
            None if array is None else self.device.upload(array.astype(self.number.real))
            for array in (self.layout.factors, self.layout.shares)
        )

    def kernel(self, file: str, name: str, **defines: Any) -> Kernel:
        """A kernel for this kind of number, with further macros."""
        macros = [(self.number.macro, ""), *((key, str(value)) for key, value in defines.items())]
        return self.device.kernel(file, name, tuple(macros))

    def blocks(self, entries: int) -> int:
        """Blocks for a kernel that goes over so many entries."""
        most = BLOCKS_EACH * self.device.multiprocessors
        return max(min(math.ceil(entries / THREADS), most), 1)

    def real(self, *shape: int) -> Any:
        """An array for sums, parameters and gradients."""
        return self.device.empty(shape, self.number.real)

    def store(self, *shape: int) -> Any:
        """An array for the values between layers."""
        return self.device.empty(shape, self.number.store)

    def add_up(self, parts: Any, rows: int, columns: int, sums: Any) -> None:
        """sums `(columns,)` = the sums of the columns of parts `(rows, columns)`."""
        shape = (np.int32(rows), np.int32(columns), np.int32(rows))
        groups = math.ceil(columns / SUM_COLUMNS)
        self.kernel("layered.cu", "sum_parts")(groups, THREADS, (parts, *shape, sums))


def lanes_of(columns: int, most: int = WARP) -> int:
    """Lanes that share a row of so many columns: a power of two."""
    lanes = 1
    while lanes < columns and lanes < most:
        lanes *= 2
    return lanes
