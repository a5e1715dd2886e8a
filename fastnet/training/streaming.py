"""A fit on rows that stay in their files: they come through two buffers.

While steps run on the rows of one buffer, a thread fills the other. A backend gets each buffer as
rows of its own, and a run for the whole batches in it. The rows that are left over, less than a
batch, go into the next buffer, first of all: so the batches are those of the same rows in memory in
the same order, and so are the steps, bit for bit.

What a step is depends on its number: dropout masks do, and a backend takes batch `step % batches`
of the rows that it has. So the batches of a buffer are placed where the numbers of their steps say.
The last batch of an epoch, if it is a smaller one, is a run of its own.

Several processes train so, too, each on its own rows (`distributed.streaming`): then a batch has as
many of them as the shares say.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Program, Run
from fastnet.definition.optimizers import LBFGS
from fastnet.errors import DefinitionError
from fastnet.random import seed_of_fit
from fastnet.training import stored_rows
from fastnet.training.blocks import BlockOrder, BlockShuffled
from fastnet.training.fit_state import FitState
from fastnet.training.settings import Settings
from fastnet.training.stored_rows import StoredRows, ahead, slice_of
from fastnet.training.trainer import Trainer


@dataclass
class Piece:
    """Steps on rows that are in memory.

    Attributes:
        first_step: the number of the first step.
        steps: how many.
        data: the rows of their batches.
        order: of these rows, `(2, rows)`, as `Run` has it for steps from `first_step` on.
        cuts: `(steps + 1,)`, where batch `step % steps` begins in the order.
    """

    first_step: int
    steps: int
    data: Data
    order: Array | None
    cuts: Array

    @property
    def end(self) -> int:
        """The number of the step after the last."""
        return self.first_step + self.steps


class Feed:
    """Reads the rows of a fit, in the order of their batches.

    Args:
        rows: in files.
        order: of the rows.
        cuts: `(batches + 1,)`, where batches begin in the order of an epoch, and the last one ends.
        alone: how many batches at the end of an epoch are a piece of their own.
        together: of how many batches a piece has a multiple, but for the last of an epoch.
    """

    def __init__(
        self, rows: StoredRows, order: BlockOrder, cuts: Array, alone: int = 0, together: int = 1
    ) -> None:
        self.rows, self.order, self.cuts = rows, order, cuts
        self.alone, self.together = alone, together
        self.batches = len(cuts) - 1
        largest = np.sort(rows.counts)[-rows.buffer_blocks :].sum()
        # In front is room for the rows that were left over in the other.
        ends = np.minimum(np.arange(self.batches) + together, self.batches)
        self.room = int((cuts[ends] - cuts[:-1]).max())
        self.buffers = [rows.buffer(self.room + int(largest)) for _ in range(2)]

    @classmethod
    def of_size(cls, rows: StoredRows, order: BlockOrder, size: int) -> "Feed":
        """One for batches of so many rows, but for a smaller one at the end of an epoch."""
        ends = np.arange(-(-len(rows) // size) + 1) * size
        return cls(rows, order, np.minimum(ends, len(rows)), alone=int(len(rows) % size > 0))

    def pieces(self, first_step: int, epochs: int) -> Iterator[list[Piece]]:
        """The steps from `first_step` on to the end of `epochs`, those of one buffer at a time.

        The rows of a buffer are valid until the one after the next is asked for.
        """
        first, step = divmod(first_step, self.batches)
        turn = 0
        for epoch in range(first, epochs):
            blocks = self.order.blocks(epoch)
            rows = [int(self.rows.counts[part].sum()) for part in blocks]
            ends = np.cumsum(rows)
            done = self._batches_in(ends)
            # Where the fit goes on in the middle of an epoch, buffers before that are left out. The
            # rows that they would leave over are of a step that is done: any will do.
            skipped = int(np.searchsorted(ends, self.cuts[step], side="right"))
            skipped = min(skipped, len(blocks) - 1)
            before, step = 0, 0
            left = self.rows.buffer(0)
            if skipped:
                before = int(done[skipped - 1])
                left = self.rows.buffer(int(ends[skipped - 1] - self.cuts[before]))
            for place in range(skipped, len(blocks)):
                self.rows.check_unchanged()
                whole = self._fill(self.buffers[turn % 2], left, blocks[place])
                within = self.order.within(epoch, place, rows[place])
                order = np.concatenate((np.arange(len(left)), len(left) + within))
                after = int(done[place])
                piece, left = self._divide(whole, order, epoch, before, after)
                found, before = [piece] if piece.steps else [], after
                if place == len(blocks) - 1 and after < self.batches:
                    cuts = self.cuts[after:] - self.cuts[after]
                    found.append(Piece(piece.end, self.batches - after, left, None, cuts))
                turn += 1
                yield found

    def _batches_in(self, ends: Array) -> Array:
        """How many batches may be done with so many rows of an epoch, for each buffer's end."""
        whole = np.searchsorted(self.cuts, ends, side="right") - 1
        last = whole >= self.batches
        whole = np.minimum(whole // self.together * self.together, self.batches - self.alone)
        whole[last] = self.batches - self.alone
        return whole

    def _fill(self, buffer: Data, left: Data, blocks: Array) -> Data:
        """What was left over, and the rows of some blocks behind it."""
        self.rows.expect(blocks)
        start = place = self.room
        for block in blocks.tolist():
            count = int(self.rows.counts[block])
            self.rows.fill(block, slice_of(buffer, place, place + count))
            place += count
        whole = slice_of(buffer, start - len(left), place)
        _copy(left, slice_of(whole, 0, len(left)))
        return whole

    def _divide(
        self, whole: Data, order: Array, epoch: int, first: int, after: int
    ) -> tuple[Piece, Data]:
        """Some batches of an epoch, and the rows that are left over, in their order."""
        steps, cuts = after - first, self.cuts[first : after + 1] - self.cuts[first]
        used, first_step = int(cuts[-1]), epoch * self.batches + first
        rest = len(order) - used
        order, over = order[:used], order[used:]
        left = whole.take(over)
        # What is left over shall lie behind all others: what lies there takes its places.
        places, stays = over[over < used], np.ones(rest, bool)
        stays[over[over >= used] - used] = False
        strays = np.flatnonzero(stays)
        _copy(whole.take(used + strays), whole, places)
        moved = np.empty(rest, np.intp)
        moved[strays] = places
        behind = order >= used
        order[behind] = moved[order[behind] - used]
        data = slice_of(whole, 0, used)
        if not steps:
            return Piece(first_step, 0, data, None, cuts), left
        later = steps - first_step % steps  # the batches from here on come first
        order = np.concatenate((order[cuts[later] :], order[: cuts[later]]))
        sizes = np.roll(np.diff(cuts), first_step % steps)
        placed = np.concatenate(([0], np.cumsum(sizes)))
        return Piece(first_step, steps, data, np.stack([order] * 2), placed), left


class StreamingTrainer(Trainer):
    """One fit, whose training or validation rows stay in files. Arguments: as of `Trainer`."""

    def __init__(
        self,
        program: Program,
        flat: Array,
        data: Any,
        validation: Any,
        settings: Settings,
        fit_state: FitState,
        **others: Any,
    ) -> None:
        self.pieces: list[Piece] = []
        seed = seed_of_fit(settings.seed, fit_state.fit)
        self.feed = self._feed(program, data, settings, seed)
        if self.feed is not None:
            self.coming = ahead(self.feed.pieces(fit_state.step, settings.epochs))
            others["order"] = BlockShuffled(self.feed.order)

        def upload(rows: Any) -> Any:
            streamed = rows is data and self.feed is not None
            return rows if streamed or isinstance(rows, StoredRows) else program.upload(rows)

        others["upload"] = upload
        super().__init__(program, flat, data, validation, settings, fit_state, **others)
        if self.feed is not None:
            self.order = None  # of all rows at once; each piece has its own

    def _feed(self, program: Program, data: Any, settings: Settings, seed: int) -> Feed | None:
        """What reads the rows; None where they are in memory."""
        if not isinstance(data, StoredRows):
            return None
        check_batch(data, settings, settings.batch_size)
        shuffled = bool(settings.shuffle)
        order = BlockOrder(program, seed, data.counts, data.buffer_blocks, shuffled)
        return Feed.of_size(data, order, settings.batch_size)

    def run(self) -> None:
        """Train until the epochs are done or something ends the fit."""
        try:
            super().run()
        finally:
            if self.feed is not None:
                self.coming.close()

    def _order(self, steps: int) -> tuple[Any, int]:
        if self.feed is None:
            return super()._order(steps)
        piece = self._piece()
        return piece.order, min(steps, piece.end - self.fit_state.step)

    def _piece(self) -> Piece:
        """The piece of the next step."""
        while not self.pieces or self.pieces[0].end <= self.fit_state.step:
            self.pieces = self.pieces[1:] or next(self.coming)
            if self.pieces:
                self._take(self.pieces[0])
        return self.pieces[0]

    def _take(self, piece: Piece) -> None:
        """Hand the rows of a piece to the backend."""
        self.data = self.program.upload(piece.data)

    def _masses(self, run: Run, epochs: int) -> Array:
        if self.feed is None or self.weight is None:
            return super()._masses(run, epochs)
        weights = self._weights(run.first_step // self.batches)
        starts = self.feed.cuts[:-1]
        return np.asarray(np.add.reduceat(weights, starts, dtype=np.float64))

    def _weights(self, epoch: int) -> Array:
        """The weights of the rows in the order of an epoch: not all of it need have been here."""
        assert self.feed is not None
        assert self.weight is not None
        return np.asarray(self.weight[np.concatenate(list(self.feed.order.rows(epoch)))])

    def _validation_loss(self, flat: Any) -> float:
        rows: Any = self.validation
        return stored_rows.loss(self.program, flat, rows)

    def _validation_predictions(self, flat: Any) -> Array:
        rows: Any = self.validation
        stored = isinstance(rows, StoredRows)
        return stored_rows.predict(self.program, flat, rows if stored else rows.x)


def check_batch(data: StoredRows, settings: Settings, batch: int) -> None:
    """Make sure that a batch is no larger than a buffer.

    Args:
        data: the rows in files.
        settings: of the fit.
        batch: how many of these rows a batch has.

    Raises:
        DefinitionError: if it is.
    """
    rows = int(data.counts.max()) * data.buffer_blocks
    lbfgs = isinstance(settings.optimizer, LBFGS)
    what = "optimizer 'lbfgs' needs" if lbfgs else "batch_size is"
    if batch > rows or lbfgs:
        raise DefinitionError(
            f"{what} {settings.batch_size:,} rows at once, and of an array in a file a buffer "
            f"holds {rows:,}: give a smaller batch_size, more buffer_blocks in "
            "shuffle=fn.BlockShuffle(...), or an array in memory, x = np.array(x)."
        )


def _copy(source: Data, target: Data, places: Array | slice = slice(None)) -> None:
    for part, out in zip(source.parts, target.parts, strict=True):
        if part is not None:
            out[places] = part
