"""Networks of narrow layers: forward, loss, backward and weight gradient in one kernel."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fastnet_cupy.context import OWN_BYTES, Context, Request
from fastnet_cupy.device import Kernel
from fastnet_cupy.layers import IDENTITY
from fastnet_cupy.layout import Layout
from fastnet_cupy.names import WARP
from fastnet_cupy.precision import Number

#: Widths that layers are padded to.
WIDTHS = (16, 32, 64, 128)

#: Layers, at most: each has code of its own in the kernel, which takes longer to compile.
MOST_LAYERS = 12

#: How a layer's output is divided among warps: warps along the rows and along the columns, and
#: tiles of 16 rows of a warp, the fastest first; side by side those in which a block has the same
#: rows. A warp that has all columns keeps its rows in registers from one product to the next (16
#: bits). Two tiles let tensor cores use each weight twice from one reading; four warps along the
#: columns leave room for more layers.
SHARES = (((8, 1, 1), (4, 2, 2)), ((4, 2, 1),), ((2, 4, 1),))

#: The widest layer of a network whose rows stay in a warp's registers. For 128 rows, a product of
#: 32 by 32 then reads 32 tiles of 16 x 16 from shared memory instead of 48; one of 64 by 64 reads
#: 128 either way, and waits for no other warp; one of 128 by 128 would read 512 instead of 384.
WIDEST_KEPT = 64

#: Registers for a thread's sums, at most, of the 255 that it can have: the compiler needs some
#: thirty more. With fewer it depends on the network, the architecture and the compiler's version
#: whether there are enough, so the kernel is compiled to find out.
MOST_SUMS = 224

#: Above so many, loops of products of 32-bit and 64-bit numbers are not unrolled: in an unrolled
#: loop more factors wait in registers. (In 16 bits a loop that is not unrolled takes more of them.)
#: With fewer, what spills is compiled again without unrolling, so a wrong figure costs time only.
ROOMY_SUMS = 76

#: Fragments of a layer's weight gradient that a warp has at the least, where tensor cores compute
#: it: with eight, five readings of shared memory give eight products, with four, three give four,
#: with one, two give one.
FRAGMENTS = (8, 4, 2, 1)

#: Blocks of a multiprocessor, at most: while one waits at a barrier or for memory, another works.
TOGETHER = 2

#: Sums of a thread up to which two blocks may have registers enough, 128 for each thread: with more
#: it would be compiled in vain. In NVRTC 13.0, 60 have in 16 bits and in TF32; 68 and 72 have not.
TOGETHER_SUMS = 64

#: Sums of a thread up to which it has more fragments than it must, in 16 bits, where its block is
#: alone. In NVRTC 13.0, 176 leave registers enough.
ALONE_SUMS_16_BIT = 176

#: Bytes of shared memory that a multiprocessor keeps for each of its blocks (CUDA C++ Programming
#: Guide, "Compute Capability 8.x"); it has room for one block of the largest size with them.
BLOCK_BYTES = 1024

#: Rows whose gradients a block sums up in float32, and in how many turns, at most, blocks share out
#: a batch with more of them: their parts of the gradient take memory.
ROWS_OF_SUM, MOST_TURNS = 4096, 8


def _padded(width: int, least: int) -> int | None:
    return next((w for w in WIDTHS if w >= max(width, least)), None)


@dataclass(frozen=True)
class Shape:
    """What a kernel is made for; its macros, in words.

    Attributes:
        widths: of the input and of each layer, padded.
        codes: the layers' activations.
        slopes: whether slopes of hidden layers are kept.
        output_slopes: whether the last layer has any.
        masks: whether there is dropout behind layers.
        row_warps, column_warps, tiles: as `SHARES`.
        unrolled: whether loops of 32-bit and 64-bit products are unrolled.
        together: blocks that a multiprocessor is to have at once.
        ahead: whether there is room for the x of the rows that come next.
        fragments: as `FRAGMENTS`.
    """

    widths: tuple[int, ...]
    codes: tuple[int, ...]
    slopes: bool
    output_slopes: bool
    masks: bool
    row_warps: int
    column_warps: int
    tiles: int
    unrolled: bool = True
    together: int = 1
    ahead: bool = True
    fragments: int = 1

    @property
    def rows(self) -> int:
        """Rows that a block takes through the network together."""
        return self.row_warps * self.tiles * 16

    @property
    def threads(self) -> int:
        """Of a block."""
        return WARP * self.row_warps * self.column_warps

    @property
    def chained(self) -> bool:
        """Whether a warp has all columns of its rows."""
        return self.column_warps == 1

    @property
    def macros(self) -> dict[str, str]:
        """For the compiler."""
        return {
            "FN_LAYERS": str(len(self.codes)),
            "FN_WIDTHS": ",".join(map(str, self.widths)),
            "FN_CODES": ",".join(map(str, self.codes)),
            "FN_SLOPES": str(int(self.slopes)),
            "FN_OUTPUT_SLOPES": str(int(self.output_slopes)),
            "FN_MASKS": str(int(self.masks)),
            "FN_ROW_WARPS": str(self.row_warps),
            "FN_COLUMN_WARPS": str(self.column_warps),
            "FN_TILES": str(self.tiles),
            "FN_UNROLLED": str(int(self.unrolled)),
            "FN_TOGETHER": str(self.together),
            "FN_AHEAD": str(int(self.ahead)),
            "FN_FRAGMENTS": str(self.fragments),
        }

    def shared_bytes(self, number: Number) -> int:
        """Dynamic shared memory of a block: `Chip` in kernels/narrow_chip.cuh, in its order."""
        padding = 16 // number.bytes
        weights = sum(
            i * (j + padding) for i, j in zip(self.widths[:-1], self.widths[1:], strict=True)
        )
        inputs = self.rows * sum(w + padding for w in self.widths[:-1])
        slopes = self.rows * sum(w + padding for w in self.widths[1:-1]) if self.slopes else 0
        itemsize = number.real_bytes
        d = self.rows * (max(self.widths[1:]) + padding) * number.bytes * (1 + self.chained)
        targets = self.rows * (self.widths[-1] + 1) * itemsize
        x = self.rows * self.widths[0] if self.ahead else 0
        places = 2 * self.rows * np.dtype(np.int64).itemsize
        output = self.rows * (self.widths[-1] + 1) * (1 + self.output_slopes)
        biases = sum(self.widths[1:])
        column = 0 if number.on_tensor_cores else self.threads
        stored = (weights + inputs + slopes) * number.bytes + max(d, targets) + places
        return stored + (x + output + biases + column) * itemsize

    def sums(self, number: Number) -> int:
        """Registers for what a thread adds up: gradients, and a layer's output."""
        kept = sum(
            self._share(inputs // 16, units // 8, number)
            for inputs, units in zip(self.widths[:-1], self.widths[1:], strict=True)
        )
        output = self.tiles * max(self.widths[1:]) // 8 // self.column_warps * 4
        rows = self.tiles * max(self.widths) // 4 if self.chained else 0
        return (kept + output) * number.real_bytes // 4 + rows

    def _share(self, tall: int, broad: int, number: Number) -> int:
        """A thread's sums of a layer's gradient: `Share` in kernels/narrow_gradient.cuh."""
        warps, groups = self.row_warps * self.column_warps, 1
        if number.on_tensor_cores:
            most = min(warps, self.rows // 16, self.fragments * warps // (tall * broad))
            groups = 1 << max(most, 1).bit_length() - 1
        row_warps = min(tall, warps // groups)
        columns = max(broad // (warps // groups // row_warps), 1)
        bias = math.ceil(columns / row_warps) * 4 if number.on_tensor_cores else 1
        return tall // row_warps * columns * 4 + bias


def shapes_for(layout: Layout, number: Number, shared_bytes: int) -> Iterator[Shape]:
    """The kernels that a network may have, the fastest first.

    Args:
        layout: the network.
        number: the kind of number.
        shared_bytes: what a block may have.
    """
    if not layout.is_plain or len(layout.layers) > MOST_LAYERS:
        return
    for same_rows in SHARES:
        shapes = [shape for share in same_rows for shape in _shapes(layout, number, share)]
        for together in (TOGETHER, 1):
            room = (shared_bytes + BLOCK_BYTES) // together - BLOCK_BYTES - OWN_BYTES
            for shape in shapes:
                options = (
                    replace(shape, together=together, ahead=ahead) for ahead in (True, False)
                )
                fits = next((one for one in options if one.shared_bytes(number) <= room), None)
                if fits is not None:
                    yield from _with_registers(fits, number)


def _shapes(layout: Layout, number: Number, share: tuple[int, int, int]) -> Iterator[Shape]:
    """The shape that a network has with one of `SHARES`, where it has one."""
    hidden = layout.layers[:-1]
    row_warps, column_warps, tiles = share
    least = 8 * column_warps
    columns = (layout.inputs, *(layer.units for layer in layout.layers))
    widths = tuple(width for own in columns if (width := _padded(own, least)) is not None)
    if len(widths) < len(columns):
        return
    shape = Shape(
        widths=widths,
        codes=tuple(layer.code for layer in layout.layers),
        slopes=not all(layer.slope_from_output for layer in hidden),
        output_slopes=layout.softmax or layout.layers[-1].code != IDENTITY,
        masks=any(layer.masks for layer in hidden),
        row_warps=row_warps,
        column_warps=column_warps,
        tiles=tiles,
    )
    if tiles > 1 and (shape.slopes or not number.is_16_bit):
        return
    if shape.chained and not (number.is_16_bit and max(widths) <= WIDEST_KEPT):
        return
    if shape.sums(number) <= MOST_SUMS:
        yield shape


def _with_registers(shape: Shape, number: Number) -> Iterator[Shape]:
    """The shape with as many fragments, and loops as far unrolled, as there are registers for."""
    alone = ALONE_SUMS_16_BIT if number.is_16_bit else ROOMY_SUMS
    most = TOGETHER_SUMS if shape.together > 1 else alone
    options = (
        replace(shape, fragments=fragments)
        for fragments in (FRAGMENTS if number.on_tensor_cores else FRAGMENTS[-1:])
    )
    found = next((one for one in options if one.sums(number) <= most), None)
    if found is not None:
        yield found
    elif number.is_16_bit and shape.together == 1:
        yield shape
    if shape.together == 1 and not number.is_16_bit:
        yield replace(shape, unrolled=False)


def shape_for(
    layout: Layout, number: Number, shared_bytes: int, spills: Callable[[Shape], bool]
) -> Shape | None:
    """The fastest of `shapes_for` whose kernel does not spill; None where there is none.

    Args:
        layout: the network.
        number: the kind of number.
        shared_bytes: what a block may have.
        spills: compiles a shape's kernel, and returns whether it moves registers to memory.
    """
    shapes = shapes_for(layout, number, shared_bytes)
    return next((shape for shape in shapes if not spills(shape)), None)


def kernel_for(context: Context, shape: Shape) -> Kernel:
    """The kernel of a shape."""
    return context.kernel("narrow.cu", "narrow", **shape.macros)


def _most_blocks(context: Context, rows: int, together: int) -> int:
    """As many as can be at work at once, or more for many rows: a block's sums are float32."""
    at_once = together * context.device.multiprocessors
    return max(at_once, min(math.ceil(rows / ROWS_OF_SUM), MOST_TURNS * at_once))


class NarrowPass:
    """The path through a network by the kernel made for it, for batches of up to `rows` rows.

    Args:
        context: its device and network.
        shape: the kernel.
        rows: of a batch, at most.
        training: whether gradients are computed.

    Attributes:
        loss_parts: `(count,)` float64, what `total` adds up.
        gradients: `(count, stride)`, to be added up.
        count, stride: their shapes.
        scaled: whether gradients carry the step's scale.
    """

    scaled = False

    def __init__(self, context: Context, shape: Shape, rows: int, training: bool) -> None:
        self.context, self.shape = context, shape
        most = _most_blocks(context, rows, shape.together)
        self.blocks = min(math.ceil(rows / shape.rows), most)
        self.kernel = kernel_for(context, shape)
        self.count = self.loss_count = self.blocks
        self.stride = -(-context.layout.size // WARP) * WARP
        self.loss_parts = context.device.empty((self.blocks,), "float64")
        self.gradients = context.real(self.blocks if training else 0, self.stride)

    @staticmethod
    def bytes_needed(context: Context, rows: int, training: bool) -> tuple[int, int]:
        """Bytes of device memory: fixed, and for each row of a batch."""
        if not training:
            return 0, 0
        blocks = _most_blocks(context, rows, TOGETHER)
        return blocks * (context.layout.size + WARP) * context.number.real_bytes, 0

    def launch(self, request: Request) -> None:
        """Compute what is requested."""
        context, source = self.context, request.source
        self.kernel(
            self.blocks,
            self.shape.threads,
            (
                np.int32(request.mode),
                context.int_table,
                context.float_table,
                request.block,
                request.steps,
                request.scalars,
                request.parameters,
                source.order,
                source.x,
                source.y,
                source.labels,
                source.weights,
                request.out,
                self.loss_parts,
                self.gradients,
                np.int64(self.stride),
            ),
            self.shape.shared_bytes(context.number),
        )
