"""A fit on several ranks, some of which have their rows in files.

Each rank reads its own rows, in an order of its own, through two buffers (`training.streaming`). A
run of steps ends where the buffer of any rank does, so that all take the same ones.
"""

from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Program, Run
from fastnet.training.blocks import BlockOrder
from fastnet.training.distributed.shares import PieceShares, Shard, StoredShard
from fastnet.training.distributed.trainer import DistributedTrainer
from fastnet.training.settings import Settings
from fastnet.training.streaming import Feed, Piece, StreamingTrainer, check_batch


class DistributedStreamingTrainer(DistributedTrainer, StreamingTrainer):
    """One fit on this rank's rows, with all others. Arguments: as of `DistributedTrainer`."""

    def _feed(self, program: Program, data: Any, settings: Settings, seed: int) -> Feed | None:
        """What reads this rank's rows; None where they are in memory."""
        own, cuts = data.own, self.shares.cuts

        def check() -> None:
            if isinstance(data, StoredShard):
                check_batch(own, settings, int(np.diff(cuts).max()))

        self.ranks.together(check)
        if not isinstance(data, StoredShard):
            return None
        backend, own_seed = self.together.program, self.together.own_seed(seed)
        blocks = own.counts, own.buffer_blocks
        order = BlockOrder(backend, own_seed, *blocks, bool(settings.shuffle))
        return Feed(own, order, cuts, together=self.options.average_every)

    def _steps_here(self) -> int:
        """For how many steps this rank has rows in memory, which it may have to read."""
        if self.done:
            return super()._steps_here()
        piece = self.ranks.together(lambda: self._piece() if self.feed is not None else None)
        return super()._steps_here() if piece is None else piece.end - self.fit_state.step

    def _take(self, piece: Piece) -> None:
        self.together.shares = PieceShares(self.shares, piece)
        data = piece.data
        self.data = self.together.upload(Shard(data.x, data.y, data.weight, self.rows))

    def _masses(self, run: Run, epochs: int) -> Array:
        if self.feed is None or self.weight is None:
            return super()._masses(run, epochs)
        weights = self._weights(run.first_step // self.batches)
        sums = np.concatenate(([0.0], np.cumsum(weights, dtype=np.float64)))
        return self.ranks.sum(np.diff(sums[self.shares.cuts]))

    def _validation_loss(self, flat: Any) -> float:
        rows: Any = self.validation
        return self.together.loss(flat, rows)
