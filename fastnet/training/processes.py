"""Who trains: this process alone, or with others. A fit asks the same of both."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Inputs
from fastnet.training.class_weights import BALANCED, balanced, class_counts, weigh_classes
from fastnet.training.stored_rows import StoredRows
from fastnet.training.trainer import Trainer

if TYPE_CHECKING:
    from fastnet.training.distributed.world import Distributed

T = TypeVar("T")


class OneProcess:
    """A process that trains alone.

    Args:
        resumable_by_many: whether several processes may go on with its checkpoints.
    """

    #: Whether it shows progress.
    first = True

    def __init__(self, resumable_by_many: bool = False) -> None:
        self.resumable_by_many = resumable_by_many

    def begin(self, seed: int, flat: Array) -> int:
        """The seed of all; the parameters become those of all."""
        return seed

    def rows(self, x: Any, y: Any, make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        """The rows to train on and those held out, which `make` makes of `x` and `y`."""
        return make()

    def targets(self, held_out: Data | None) -> Data | None:
        """What metrics are of: the targets and weights of all validation rows."""
        return held_out

    def weighed(self, class_weight: Any, outputs: int, data: Any, held_out: Any) -> Any:
        """Both, with the weights of their classes: arguments as of `weigh_classes`."""
        return weigh_classes(class_weight, outputs, data, held_out)

    def agree(self, settings: Callable[[], Mapping[str, Any]]) -> None:
        """Make sure that all train alike, by the plain values by name that `settings` makes."""

    def recognize(self, same: dict[str, Any], data: Any, held_out: Any) -> None:
        """Put into a checkpoint's identity what rows are recognized by, whoever has them."""
        for name, rows in (("training rows", data), ("validation rows", held_out)):
            if self.resumable_by_many and rows is not None:
                same[name] = self._digest(rows)

    def _digest(self, rows: Any) -> str:
        from fastnet.training.distributed.shares import digest_of_rows

        return f"{digest_of_rows(rows):016x} of {len(rows)}"

    def on_first(self, action: Callable[[], T]) -> T:
        """What `action` returns on the process that has the files, the only one that does it."""
        return action()

    def resumed(self, action: Callable[[], T], flat: Array) -> T:
        """The state of a fit, which `action` reads, with its parameters in `flat`."""
        return action()

    def trainer(self, make: Callable[..., Trainer]) -> Callable[..., Trainer]:
        """What makes the trainer, with arguments as for `Trainer`: `make` for a process alone."""
        return make


class SeveralProcesses(OneProcess):
    """The processes of a communicator; all of them call each method, in the same order.

    Errors are raised on all of them, and are the first's.
    """

    def __init__(self, options: "Distributed") -> None:
        from fastnet.training.distributed.ranks import Ranks

        super().__init__(resumable_by_many=True)
        self.options = options
        self.ranks = Ranks.of(options.communicator)
        self.first = self.ranks.rank == 0
        #: Whether a rank's rows stay in files.
        self.any_stored = False

    def begin(self, seed: int, flat: Array) -> int:
        """The seed of rank 0; the parameters become those of rank 0."""
        from fastnet.training.distributed.shares import check_alike

        check_alike(self.ranks, {"the number of parameters": flat.size, "dtype": flat.dtype.name})
        self.ranks.copy_first(flat)
        return self.ranks.from_first(seed)

    def rows(self, x: Any, y: Any, make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        """This rank's own rows, with the number of all, and its rows held out."""
        from fastnet.training.distributed.shares import check_alike, facts_of, shard_of

        data, held_out = self.ranks.together(make)
        check_alike(self.ranks, facts_of(x, y, data, held_out))
        stored = isinstance(data, StoredRows) or isinstance(held_out, StoredRows)
        self.any_stored = any(self.ranks.all_of(stored))
        return shard_of(data, sum(self.ranks.all_of(len(data)))), held_out

    def targets(self, held_out: Any) -> Data | None:
        """The targets and weights of all ranks' validation rows, without inputs."""
        if held_out is None:
            return None
        y = np.concatenate(self.ranks.all_of(held_out.y))
        weight = held_out.weight
        if weight is not None:
            weight = np.concatenate(self.ranks.all_of(weight))
        return Data(Inputs(np.empty((len(y), 0), y.dtype)), y, weight)

    def weighed(self, class_weight: Any, outputs: int, data: Any, held_out: Any) -> Any:
        """Both, with the weights of their classes; balanced ones are by all ranks' rows."""
        from fastnet.training.distributed.shares import shard_of

        if isinstance(class_weight, str) and class_weight == BALANCED:
            own = data.own
            counts = self.ranks.together(lambda: class_counts(own.y, outputs))
            class_weight = dict(enumerate(balanced(self.ranks.sum(counts)).tolist()))
        own, held_out = self.ranks.together(
            lambda: weigh_classes(class_weight, outputs, data.own, held_out)
        )
        return shard_of(own, len(data)), held_out

    def agree(self, settings: Callable[[], Mapping[str, Any]]) -> None:
        """Make sure that all ranks train alike."""
        from fastnet.training.distributed.shares import check_alike

        mine = dict(settings())
        for name in ("average_every", "deterministic"):
            mine[name] = getattr(self.options, name)
        check_alike(self.ranks, {name: repr(value) for name, value in mine.items()})

    def _digest(self, rows: Any) -> str:
        from fastnet.training.distributed.shares import digest_of_rows

        own = getattr(rows, "own", rows)
        digests, counts = zip(*self.ranks.all_of((digest_of_rows(own), len(own))), strict=True)
        return f"{sum(digests) % 2**64:016x} of {sum(counts)}"

    def on_first(self, action: Callable[[], T]) -> T:
        """What `action` returns on rank 0."""
        return self.ranks.on_first(action)

    def resumed(self, action: Callable[[], T], flat: Array) -> T:
        """The state of a fit as rank 0 has read it, with its parameters in `flat` on all."""
        found = self.ranks.on_first(action)
        self.ranks.copy_first(flat)
        return found

    def trainer(self, make: Callable[..., Trainer]) -> Callable[..., Trainer]:
        """What makes the trainer of this rank's part; of the same kind on all ranks."""
        if self.any_stored:
            from fastnet.training.distributed.streaming import DistributedStreamingTrainer

            return partial(DistributedStreamingTrainer, self.ranks, self.options)
        from fastnet.training.distributed.trainer import DistributedTrainer

        return partial(DistributedTrainer, self.ranks, self.options)


#: One for all fits that are not of several processes: it holds nothing of any of them.
_ALONE = OneProcess()


def joined(communicator: Any) -> OneProcess:
    """Those who train together: of `fit(communicator=...)`.

    Raises:
        DefinitionError: if it is no communicator.
    """
    if communicator is None:
        return _ALONE
    from fastnet.training.distributed.world import Distributed

    options = Distributed.of(communicator)
    if options.communicator.size == 1:
        return OneProcess(resumable_by_many=True)
    return SeveralProcesses(options)
