"""Shuffling by blocks of rows, for data on a disk: `BlockShuffle` says how.

The way is CorgiPile's (Xu et al., "Stochastic gradient descent without full data shuffle", SIGMOD
2022, arXiv 2206.05830): a buffer is filled with blocks drawn at random, and its rows are mixed. A
disk then reads whole blocks, nearly as fast as one behind the other. Beyond that paper, the blocks
of a buffer are drawn from all parts of the file alike: of as many neighbors as there are buffers,
each buffer gets one, at random. So also in a sorted file each buffer holds rows of every kind.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Program
from fastnet.records import Record
from fastnet.training.orders import RowOrder, Shuffled

#: Bytes of a block, about, where its rows are not given. A choice: a random read of so many bytes
#: is nearly as fast as a sequential one on an SSD, and a buffer holds many of them.
BLOCK_BYTES = 2**20


@explained("fn.BlockShuffle")
class BlockShuffle(Record):
    """Shuffle in blocks of rows, as `fit` does with data on a disk: `fit(shuffle=BlockShuffle())`.

    In each epoch a buffer is filled with up to `buffer_blocks` blocks of rows, drawn at random from
    all parts of the file alike, and all rows in it are mixed; then the next buffer, until all rows
    have been used. So the rows of a step come from the blocks of one buffer: the more blocks it
    holds, the nearer this is to a full shuffle.

    The order depends on the seed, the epoch, and the two numbers here, on nothing else. Where all
    rows fit into the buffer, it is the full shuffle of data in memory.

    Args:
        block_rows: consecutive rows of a block; None: about a megabyte of them, and whole chunks of
            an HDF5 or Zarr file.
        buffer_blocks: how many blocks are mixed. The memory for rows is twice that, since the next
            buffer is filled while steps run.

    Raises:
        DefinitionError: if a number is not 1 or more.
    """

    block_rows: int | None = None
    buffer_blocks: int = 64

    def __post_init__(self) -> None:
        # Python's own numbers: checkpoints hold them.
        buffer_blocks = checks.integer(self.buffer_blocks, "buffer_blocks")
        object.__setattr__(self, "buffer_blocks", buffer_blocks)
        if self.block_rows is not None:
            object.__setattr__(self, "block_rows", checks.integer(self.block_rows, "block_rows"))

    @classmethod
    def within(cls, memory: int) -> "BlockShuffle":
        """The one whose two buffers take a quarter of so many bytes."""
        return cls(buffer_blocks=max(memory // 8 // BLOCK_BYTES, 1))

    def rows_of_block(self, row_bytes: int, chunk: int = 1) -> int:
        """The rows of a block, for rows of so many bytes that a file holds in chunks."""
        if self.block_rows is not None:
            return self.block_rows
        rows = max(BLOCK_BYTES // max(row_bytes, 1), 1)
        return max(round(rows / chunk), 1) * chunk


class BlockOrder:
    """The order of the rows in each epoch, buffer by buffer.

    Args:
        program: shuffles rows.
        seed: of the fit.
        counts: the rows of each block, `(blocks,)`.
        buffer_blocks: blocks of a buffer, at most.
        shuffle: whether to shuffle; else blocks and rows come as they are.
    """

    def __init__(
        self, program: Program, seed: int, counts: Array, buffer_blocks: int, shuffle: bool
    ) -> None:
        self.program, self.seed, self.counts = program, seed, counts
        self.shuffle = shuffle
        #: How many buffers an epoch has; they hold equally many blocks, to one.
        self.buffers = math.ceil(len(counts) / buffer_blocks)
        self.starts = np.concatenate(([0], np.cumsum(counts)))

    def blocks(self, epoch: int) -> list[Array]:
        """The numbers of the blocks in each buffer of an epoch, ascending within one."""
        number = np.arange(len(self.counts))
        if not self.shuffle:
            return np.array_split(number, self.buffers)
        # A group of as many neighbors as there are buffers is spread over them at random. Places
        # that the last group lacks are drawn, too, so that each buffer may be without one.
        groups = math.ceil(len(number) / self.buffers)
        places = groups * self.buffers
        seed = random.seed_of_part(self.seed, 0)
        words = random.words(seed, random.SHUFFLE, epoch, places).astype(np.uint64)
        pairs = (words << np.uint64(32)) | np.arange(places, dtype=np.uint64)
        pairs = np.sort(pairs.reshape(groups, self.buffers), axis=1)
        drawn = (pairs & np.uint64(0xFFFFFFFF)).astype(np.intp)
        return [blocks[blocks < len(number)] for blocks in drawn.T]

    def within(self, epoch: int, buffer: int, rows: int) -> Array:
        """The order of the rows in a buffer, `(rows,)` intp, by their places in it."""
        if not self.shuffle:
            return np.arange(rows)
        seed = random.seed_of_part(self.seed, buffer + 1)
        found = self.program.orders(seed, range(epoch, epoch + 1), rows)
        return np.asarray(self.program.to_host(found)[0])

    def rows(self, epoch: int) -> Iterator[Array]:
        """The numbers of the rows in an epoch, in their order, for each buffer."""
        for buffer, blocks in enumerate(self.blocks(epoch)):
            parts = [np.arange(self.starts[block], self.starts[block + 1]) for block in blocks]
            here = np.concatenate(parts)
            yield here[self.within(epoch, buffer, len(here))]


class BlockShuffled:
    """The same order for rows in memory. Arguments: as of `BlockOrder`."""

    def __init__(self, order: BlockOrder) -> None:
        self.order = order

    def of_epochs(self, epochs: range) -> Any:
        """The orders of the rows in some epochs, `(len(epochs), rows)` intp."""
        found = [np.concatenate(list(self.order.rows(epoch))) for epoch in epochs]
        return self.order.program.to_device(np.stack(found))


def row_order(shuffle: bool | BlockShuffle, program: Program, seed: int, data: Data) -> RowOrder:
    """The order of rows in memory that a fit's `shuffle` asks for, which is not False."""
    rows = len(data)
    if isinstance(shuffle, BlockShuffle):
        row_bytes = sum(part.nbytes for part in data.parts if part is not None) // rows
        counts = block_counts(rows, shuffle.rows_of_block(row_bytes))
        if len(counts) > shuffle.buffer_blocks:
            return BlockShuffled(BlockOrder(program, seed, counts, shuffle.buffer_blocks, True))
    return Shuffled(program, seed, rows)


def block_counts(rows: int, block_rows: int) -> Array:
    """The rows of each block, `(blocks,)`."""
    counts = np.full(-(-rows // block_rows), block_rows)
    counts[-1] = rows - (len(counts) - 1) * block_rows
    return counts
