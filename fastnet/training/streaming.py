"""A fit on rows that stay in their files: they come through two buffers.

While steps run on the rows of one buffer, a thread fills the other. A backend gets each buffer as
rows of its own, and a run for the whole batches in it. The rows that are left over, less than a
batch, go into the next buffer, first of all: so the batches are those of the same rows in memory in
the same order, and so are the steps, bit for bit.

What a step is depends on its number: dropout masks do, and a backend takes batch `step % batches`
of the rows that it has. So the batches of a buffer are placed where the numbers of their steps say.
The last batch of an epoch, if it is a smaller one, is a run of its own.
"""

from collections.abc import Callable, Iterator
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
    """

    first_step: int
    steps: int
    data: Data
    order: Array | None

    @property
    def end(self) -> int:
        """The number of the step after the last."""
        return self.first_step + self.steps


class Feed:
    """Reads the rows of a fit, in the order of their batches.

    Args:
        rows: in files.
        order: of the rows.
        batch: rows of a step.
    """

    def __init__(self, rows: StoredRows, order: BlockOrder, batch: int) -> None:
        self.rows, self.order, self.batch = rows, order, batch
        self.batches = -(-len(rows) // batch)
        largest = np.sort(rows.counts)[-rows.buffer_blocks :].sum()
        # In front is room for the rows that were left over in the other.
        self.buffers = [rows.buffer(batch - 1 + int(largest)) for _ in range(2)]

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
            # Where the fit goes on in the middle of an epoch, buffers before that are left out. The
            # rows that they would leave over are of a step that is done: any will do.
            skipped = int(np.searchsorted(ends, step * self.batch, side="right"))
            before = int(ends[skipped - 1]) if skipped else 0
            left, step = self.rows.buffer(before % self.batch), 0
            for place in range(skipped, len(blocks)):
                self.rows.check_unchanged()
                whole = self._fill(self.buffers[turn % 2], left, blocks[place])
                within = self.order.within(epoch, place, rows[place])
                order = np.concatenate((np.arange(len(left)), len(left) + within))
                done = epoch * self.batches + (int(ends[place]) - rows[place]) // self.batch
                piece, left = self._divide(whole, order, done)
                found = [piece] if piece.steps else []
                if place == len(blocks) - 1 and len(left):
                    found.append(Piece(piece.end, 1, left, None))
                turn += 1
                yield found

    def _fill(self, buffer: Data, left: Data, blocks: Array) -> Data:
        """What was left over, and the rows of some blocks behind it."""
        self.rows.expect(blocks)
        start = place = self.batch - 1
        for block in blocks.tolist():
            count = int(self.rows.counts[block])
            self.rows.fill(block, slice_of(buffer, place, place + count))
            place += count
        whole = slice_of(buffer, start - len(left), place)
        _copy(left, slice_of(whole, 0, len(left)))
        return whole

    def _divide(self, whole: Data, order: Array, first_step: int) -> tuple[Piece, Data]:
        """The whole batches of a buffer, and the rows that are left over, in their order."""
        steps, rest = divmod(len(order), self.batch)
        used = steps * self.batch
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
            return Piece(first_step, 0, data, None), left
        placed = np.roll(order.reshape(steps, self.batch), first_step % steps, axis=0)
        return Piece(first_step, steps, data, np.stack([placed.reshape(-1)] * 2)), left


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
        self.feed: Feed | None = None
        if isinstance(data, StoredRows):
            _check(data, settings)
            seed, shuffled = seed_of_fit(settings.seed, fit_state.fit), bool(settings.shuffle)
            order = BlockOrder(program, seed, data.counts, data.buffer_blocks, shuffled)
            self.feed = Feed(data, order, settings.batch_size)
            self.coming = ahead(self.feed.pieces(fit_state.step, settings.epochs))
            others["order"] = BlockShuffled(order)

        def upload(rows: Any) -> Any:
            return rows if isinstance(rows, StoredRows) else program.upload(rows)

        others["upload"] = upload
        super().__init__(program, flat, data, validation, settings, fit_state, **others)
        if self.feed is not None:
            self.order = None  # of all rows at once; each piece has its own

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
        step = self.fit_state.step
        while not self.pieces or self.pieces[0].end <= step:
            self.pieces = self.pieces[1:] or next(self.coming)
            if self.pieces:
                self.data = self.program.upload(self.pieces[0].data)
        piece = self.pieces[0]
        return piece.order, min(steps, piece.end - step)

    def _masses(self, run: Run, epochs: int) -> Array:
        if self.feed is None or self.weight is None:
            return super()._masses(run, epochs)
        # The order of the epoch that is done: not all of its pieces need have been in this process.
        parts = list(self.feed.order.rows(run.first_step // self.batches))
        weights = self.weight[np.concatenate(parts)]
        starts = np.arange(0, self.rows, self.settings.batch_size)
        return np.asarray(np.add.reduceat(weights, starts, dtype=np.float64))

    def _validation_loss(self, flat: Any) -> float:
        rows: Any = self.validation
        return stored_rows.loss(self.program, flat, rows)

    def _validation_predictions(self, flat: Any) -> Array:
        rows: Any = self.validation
        stored = isinstance(rows, StoredRows)
        return stored_rows.predict(self.program, flat, rows if stored else rows.x)


def trainer_of(data: Any, validation: Any) -> Callable[..., Trainer]:
    """The trainer for rows in memory, or for those in files."""
    stored = isinstance(data, StoredRows) or isinstance(validation, StoredRows)
    return StreamingTrainer if stored else Trainer


def _check(data: StoredRows, settings: Settings) -> None:
    """Make sure that a batch is no larger than a buffer.

    Raises:
        DefinitionError: if it is.
    """
    rows = int(data.counts.max()) * data.buffer_blocks
    what = "optimizer 'lbfgs' needs" if isinstance(settings.optimizer, LBFGS) else "batch_size is"
    if settings.batch_size > rows or isinstance(settings.optimizer, LBFGS):
        raise DefinitionError(
            f"{what} {settings.batch_size:,} rows at once, and of an array in a file a buffer "
            f"holds {rows:,}: give a smaller batch_size, more buffer_blocks in "
            "shuffle=fn.BlockShuffle(...), or an array in memory, x = np.array(x)."
        )


def _copy(source: Data, target: Data, places: Array | slice = slice(None)) -> None:
    for part, out in zip(source.parts, target.parts, strict=True):
        if part is not None:
            out[places] = part
