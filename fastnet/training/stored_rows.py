"""Rows to learn from that stay in their files, and are read block by block."""

import itertools
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from fastnet import random
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.arrays.stored import Stored, is_stored
from fastnet.arrays.targets import loss_targets, target_shape
from fastnet.contract.program import Data, Inputs, Program
from fastnet.definition.network import Network
from fastnet.errors import DataError
from fastnet.training.blocks import BlockShuffle, block_counts
from fastnet.training.rows import as_outputs, checked_rows, checked_targets, rows_at_once

Item = TypeVar("Item")

#: Blocks that the system is asked for ahead, where they are read one behind the other.
_EXPECTED = 16

#: Rows whose membership in a part is drawn at a time; a multiple of 8, for packed bits.
_DRAWN_ROWS = 2**20


class StoredRows:
    """Inputs in a file, with their targets and weights; made by `rows_of`.

    Args:
        network: what they are for.
        dtype: of the rows in memory, float32 or float64.
        x: the inputs.
        y: the targets, in a file or checked in memory.
        weight: checked, in memory, or None.
        shuffle: says how large blocks are.

    Attributes:
        bounds: where blocks begin, and the last one ends, `(blocks + 1,)`.
        counts: the rows of each block that count, `(blocks,)`.
        row_bytes: of a row in memory.
    """

    def __init__(
        self,
        network: Network,
        dtype: np.dtype[Any],
        x: Stored,
        y: Stored | Array,
        weight: Array | None,
        shuffle: BlockShuffle,
    ) -> None:
        self.network, self.dtype = network, dtype
        self.x, self._y, self._weight = x, y, weight
        self.buffer_blocks = shuffle.buffer_blocks
        kind, columns = network.loss.targets, network.targets
        if isinstance(y, np.ndarray) and y.ndim == 2:  # as losses take them
            columns = network.outputs
        self._given_shape = target_shape(y.shape, len(x), columns, kind)
        labels = len(self._given_shape) == 1
        self._y_dtype = np.dtype(np.intp) if labels else dtype
        self._y_shape: tuple[int, ...] = (len(x),) if labels else (len(x), network.outputs)
        of_y = self._y_dtype.itemsize * int(np.prod(self._y_shape[1:]))
        of_weight = 0 if weight is None else dtype.itemsize
        self.row_bytes = network.inputs * dtype.itemsize + of_y + of_weight
        counts = block_counts(len(x), shuffle.rows_of_block(self.row_bytes, x.chunk))
        self.bounds = np.concatenate(([0], np.cumsum(counts)))
        self.counts = counts
        #: Packed bits, one for each row: whether it is one of these; None: all are.
        self._chosen: Array | None = None

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def fits(self) -> bool:
        """Whether one buffer holds all rows."""
        return len(self.counts) <= self.buffer_blocks

    @property
    def labeled(self) -> bool:
        """Whether targets are class indices."""
        return len(self._y_shape) == 1

    @property
    def weight(self) -> Array | None:
        """The weights of these rows, or None."""
        return None if self._weight is None else self._of_all(self._weight)

    @property
    def y(self) -> Array:
        """All targets of these rows, read into memory."""
        parts = [self.targets(block) for block in range(len(self.counts))]
        return np.concatenate(parts)

    def weighed(self, weight: Array) -> "StoredRows":
        """The same rows with other weights, `(rows,)`, one of which at least is above 0."""
        of_all = weight
        if self._chosen is not None:
            of_all = np.zeros(len(self.x), weight.dtype)
            of_all[self._mask(0, len(self.x))] = weight
        found = self._copy()
        found._weight = checks.weights(of_all, len(self.x), self.dtype)
        return found

    def _copy(self) -> "StoredRows":
        found = StoredRows.__new__(StoredRows)
        found.__dict__.update(self.__dict__)
        return found

    def check(self) -> None:
        """Look through all rows, block by block.

        Raises:
            DataError: naming the row of the first value that is not finite, or that its loss does
                not take.
        """
        kind = self.network.loss.targets

        def read(block: int) -> Array:
            self.expect(range(block, min(block + _EXPECTED, len(self.counts))))
            return self.x.read(int(self.bounds[block]), int(self.bounds[block + 1]))

        read_ahead = ahead(map(read, range(len(self.counts))))
        for (start, stop), x in zip(self._spans(), read_ahead, strict=True):
            self.network.features(x, self.dtype, first_row=start)
            if isinstance(self._y, Stored):
                given = self._y.read(start, stop)
                columns = self.network.targets
                loss_targets(given, len(given), columns, kind, self.dtype, first_row=start)

    def check_unchanged(self) -> None:
        """Make sure that nobody has written to the files.

        Raises:
            DataError: if somebody has.
        """
        for part in (self.x, self._y):
            if isinstance(part, Stored):
                part.check_unchanged()

    def split(self, seed: int, fraction: float) -> tuple["StoredRows", "StoredRows"]:
        """Hold rows out, each with the probability `fraction`, by a random word of its own.

        Returns:
            The other rows, and those that are held out.

        Raises:
            DataError: if one part is empty, or its weights are all zero.
        """
        least = random.keep_threshold(fraction)
        bits = []
        for start in range(0, len(self.x), _DRAWN_ROWS):
            count = min(_DRAWN_ROWS, len(self.x) - start)
            stream = start // _DRAWN_ROWS
            words = random.words(seed, random.SPLIT, stream, count, part=1)
            bits.append(np.packbits(words >= least))
        chosen = np.concatenate(bits)
        parts = self._part(chosen), self._part(~chosen)
        for part in parts:
            if not len(part):
                raise DataError(f"validation={fraction:g} leaves one part without rows.")
            if part.weight is not None and not part.weight.any():
                raise DataError("validation split: all sample weights of one part are zero.")
        return parts

    def _part(self, chosen: Array) -> "StoredRows":
        part = self._copy()
        part._chosen = chosen
        here = [int(part._mask(start, stop).sum()) for start, stop in self._spans()]
        part.counts = np.array(here)
        return part

    def _mask(self, start: int, stop: int) -> Array:
        """Which rows from `start` to `stop` are of this part, `(rows,)` bool."""
        assert self._chosen is not None
        first = start // 8
        bits = np.unpackbits(self._chosen[first : -(-stop // 8)])
        return bits[start - 8 * first : stop - 8 * first].astype(bool)

    def _of_all(self, values: Array) -> Array:
        return values if self._chosen is None else values[self._mask(0, len(values))]

    def _spans(self) -> Iterator[tuple[int, int]]:
        return itertools.pairwise(self.bounds.tolist())

    def expect(self, blocks: Iterable[int]) -> None:
        """Have the system read some blocks ahead, where it can."""
        for block in blocks:
            self.x.expect(int(self.bounds[block]), int(self.bounds[block + 1]))

    def buffer(self, rows: int) -> Data:
        """Room for so many rows."""
        weight = None if self._weight is None else np.empty(rows, self.dtype)
        y = np.empty((rows, *self._y_shape[1:]), self._y_dtype)
        return Data(Inputs(np.empty((rows, self.network.inputs), self.dtype)), y, weight)

    def fill(self, block: int, out: Data) -> None:
        """Read the rows of a block into `out`, which has as many."""
        start, stop = int(self.bounds[block]), int(self.bounds[block + 1])
        mask = None if self._chosen is None else self._mask(start, stop)
        chosen = slice(None) if mask is None else mask
        if mask is None:
            self.x.read(start, stop, out.x.numbers)
        else:
            out.x.numbers[...] = self.x.read(start, stop)[mask]
        out.y[...] = self._targets(start, stop)[chosen]
        if self._weight is not None:
            out.weight[...] = self._weight[start:stop][chosen]

    def targets(self, block: int) -> Array:
        """The targets of a block."""
        start, stop = int(self.bounds[block]), int(self.bounds[block + 1])
        found = self._targets(start, stop)
        return found if self._chosen is None else found[self._mask(start, stop)]

    def _targets(self, start: int, stop: int) -> Array:
        """The targets of all rows from `start` to `stop`, as losses take them."""
        if not isinstance(self._y, Stored):
            return self._y[start:stop]
        shape = (stop - start, *self._given_shape[1:])
        found = self._y.read(start, stop, np.empty(shape, self._y_dtype)).reshape(shape)
        return as_outputs(found, self.network)

    def load(self) -> Data:
        """All rows, read into memory."""
        whole = self.buffer(len(self))
        place = 0
        for block, count in enumerate(self.counts.tolist()):
            self.fill(block, slice_of(whole, place, place + count))
            place += count
        self.check_unchanged()
        return whole

    def blocks(self) -> Iterator[Data]:
        """All rows, block by block; the next one is read ahead."""

        def read(block: int) -> Data:
            self.expect(range(block, min(block + _EXPECTED, len(self.counts))))
            out = self.buffer(int(self.counts[block]))
            self.fill(block, out)
            return out

        yield from ahead(read(block) for block in np.flatnonzero(self.counts).tolist())
        self.check_unchanged()

    def parts_of_digest(self) -> Iterator[tuple[tuple[int, ...], str, Iterator[Array]]]:
        """What a digest covers: the shape, the dtype and the pieces of inputs, targets, weights."""
        x_shape, y_shape = (len(self), self.network.inputs), (len(self), *self._y_shape[1:])
        yield x_shape, self.dtype.str, (part.x.numbers for part in self.blocks())
        targets = (self.targets(block) for block in range(len(self.counts)))
        yield y_shape, self._y_dtype.str, targets
        if (weight := self.weight) is not None:
            yield weight.shape, weight.dtype.str, iter([weight])


def rows_of(
    network: Network,
    dtype: np.dtype[Any],
    x: Any,
    y: Any,
    sample_weight: Any,
    shuffle: object = True,
    program: Program | None = None,
) -> Data | StoredRows:
    """Rows as `checked_rows` makes them; those in files stay there, unless one buffer holds all.

    Args:
        network: what they are for.
        dtype: float32 or float64.
        x: `(rows, inputs)`.
        y: `(rows,)` or `(rows, outputs)`; classes as indices or one-hot.
        sample_weight: `(rows,)`, or None.
        shuffle: as for `Model.fit`.
        program: on whose device rows without weights stay if they are there already; None: all
            rows go to the host.

    Raises:
        DataError: if an array is invalid, or they do not fit together.
    """
    if program is not None and sample_weight is None and type(x) is not np.ndarray:
        found = rows_at_once(network, program, x, y)
        if found is not None:
            return found
    if not is_stored(x):
        return checked_rows(network, dtype, x, y, sample_weight)
    checks.feature_shape(tuple(x.shape), network.inputs)
    inputs = Stored(x, "x")
    targets = Stored(y, "y") if is_stored(y) else checked_targets(network, dtype, y, len(inputs))
    weight = checks.weights(sample_weight, len(inputs), dtype)
    rule = shuffle if isinstance(shuffle, BlockShuffle) else BlockShuffle()
    rows = StoredRows(network, dtype, inputs, targets, weight, rule)
    rows.check()
    return rows.load() if rows.fits else rows


def loss(program: Program, parameters: Any, data: Data | StoredRows) -> float:
    """The loss over all rows, where the backend has them, or of rows in files."""
    if isinstance(data, Data):
        return program.loss(parameters, data)
    total = mass = 0.0
    for part in data.blocks():
        weight = len(part) if part.weight is None else float(part.weight.sum(dtype=np.float64))
        total += weight * program.loss(parameters, program.upload(part))
        mass += weight
    return total / mass


def predict(program: Program, parameters: Any, x: Inputs | StoredRows) -> Array:
    """Predictions `(rows, outputs)` for rows where the backend has them, or in files."""
    if isinstance(x, Inputs):
        return program.predict(parameters, x)
    found = [program.predict(parameters, program.upload(part).x) for part in x.blocks()]
    return np.concatenate(found)


def predict_stored(network: Network, program: Program, parameters: Any, x: Any) -> Array:
    """Predictions `(rows, outputs)` for an array in a file, block by block.

    Raises:
        DataError: if it has no rows, the wrong number of columns, or is not numeric.
    """
    plan, dtype = program.plan, program.dtype
    checks.feature_shape(tuple(x.shape), plan.inputs)
    stored = Stored(x, "x")
    step = BlockShuffle().rows_of_block(plan.inputs * dtype.itemsize, stored.chunk)
    out = np.empty((len(stored), plan.outputs), dtype)

    def read(start: int) -> Array:
        raw = stored.read(start, min(start + step, len(stored)))
        return network.features(raw, dtype, allow_nan=True, first_row=start)

    starts = range(0, len(stored), step)
    for start, rows in zip(starts, ahead(map(read, starts)), strict=True):
        out[start : start + step] = program.predict(parameters, Inputs(program.to_device(rows)))
    stored.check_unchanged()
    return out


def slice_of(data: Data, start: int, stop: int) -> Data:
    """Rows from `start` to `stop`, without copying them."""
    here = slice(start, stop)
    weight = None if data.weight is None else data.weight[here]
    return Data(Inputs(data.x.numbers[here]), data.y[here], weight)


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Iterate; the next item is made in a thread while one is used."""
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and needed for files only

    end = object()
    with ThreadPoolExecutor(1, "fastnet-read") as reader:
        coming: Any = reader.submit(next, items, end)
        while (found := coming.result()) is not end:
            coming = reader.submit(next, items, end)
            yield found
