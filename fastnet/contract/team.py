"""How processes that share memory train together: each has a part of every batch."""

from collections.abc import Callable

from fastnet.arrays.checks import Array
from fastnet.contract.rows import Data
from fastnet.contract.run import Run, State
from fastnet.records import Record


class Team(Record):
    """Processes that share memory and do the steps of runs together, each on rows of its own.

    Attributes:
        rank: this process's number.
        memory: as many bytes as `TeamWork.bytes`, uint8, which all see; 0 before the first run.
        barrier: waits until all have called it; what each has written before, all see then.
    """

    rank: int
    memory: Array
    barrier: Callable[[], None]


class TeamRun(Record):
    """A run, as a process of a team has it.

    Attributes:
        run: its `batch_size` counts the rows of all; order and seed are the process's own.
        cuts: `(batches + 1,)` intp: where the process's rows of each batch begin in the order of an
            epoch; they end where the next ones begin, and may be none.
        masses: `(steps,)` float64: the mass of each step's batch over all processes.
    """

    run: Run
    cuts: Array
    masses: Array


class TeamWork(Record):
    """How a backend does the steps of a team.

    Attributes:
        bytes: of shared memory that it needs.
        train: as `Program.train`, with the same losses, parameters and memory in all processes.
    """

    bytes: int
    train: Callable[[Team, State, Data, TeamRun], Array]
