"""Which processes train together, and that none outlives another's failure."""

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.errors import DefinitionError, MissingExtra
from fastnet.extras import REQUIREMENTS, need, pip_install
from fastnet.records import Record

#: What launchers of MPI programs tell a process: its rank, and how many there are. Those of MPICH,
#: Intel MPI and Slurm's PMI; of Open MPI; of PMIx, which does not say how many.
_RANK_AND_SIZE = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", ""),
)

#: How long a rank but the first waits before it reports an uncaught error, in seconds: one that all
#: ranks have is then reported by the first alone, which ends the others meanwhile (a choice).
FIRST_SPEAKS_SECONDS = 1.0


class Alone:
    """The communicator of a process that trains alone, with what scripts mostly ask of one."""

    rank = 0
    size = 1

    def bcast(self, value: Any, root: int = 0) -> Any:
        """The value itself."""
        return value

    def gather(self, value: Any, root: int = 0) -> list[Any]:
        """The value, in a list."""
        return [value]

    def allgather(self, value: Any) -> list[Any]:
        """The value, in a list."""
        return [value]

    def Barrier(self) -> None:  # noqa: N802  # mpi4py's name
        """Wait for nobody."""


@explained("fn.Distributed")
class Distributed(Record):
    """How several processes train together: for `fit(communicator=...)`.

    Args:
        communicator: `fn.world()`, or any other of mpi4py.
        deterministic: add the gradients up in the order of the ranks, so that the same number of
            ranks gives the same bits. False leaves the order to MPI, which may be faster. Ranks
            that share one machine's memory always add up in their order.
        average_every: how many steps each rank takes by itself between two averages of the
            parameters and of the optimizer's memory; an average is also taken at the end of every
            epoch. 1 averages the gradients in every step, which trains as one process would. More
            is for slow networks, and trains otherwise (local SGD: Stich, ICLR 2019).

    Raises:
        DefinitionError: if the communicator is none, or the number is below 1.
    """

    communicator: Any
    deterministic: bool = True
    average_every: int = 1

    def __post_init__(self) -> None:
        checks.integer(self.average_every, "average_every")
        checks.flag(self.deterministic, "deterministic")
        named = all(hasattr(self.communicator, name) for name in ("rank", "size", "allgather"))
        if not named or isinstance(self.communicator, Distributed):
            raise DefinitionError(
                f"communicator is {self.communicator!r}; it must be fn.world(), a communicator of "
                "mpi4py, or fn.Distributed(...)."
            )

    @classmethod
    def of(cls, communicator: Any) -> "Distributed":
        """What `fit(communicator=...)` was given, with the defaults for a plain communicator.

        Raises:
            DefinitionError: if it is no communicator.
        """
        return communicator if isinstance(communicator, cls) else cls(communicator)


def world() -> Any:
    """The communicator of all processes that `mpiexec` started; one that stands alone without it.

    So one script serves both: `python script.py` and `mpiexec -n 4 python script.py`.

    From then on, an error that nobody catches ends all processes, not only its own; so does
    `sys.exit` with a status that is not 0.

    Returns:
        mpi4py's `COMM_WORLD`, or an object with `rank` 0 and `size` 1.

    Raises:
        MissingExtra: if `mpiexec` started several processes, and mpi4py or its MPI library is
            missing, or is not the one that `mpiexec` belongs to.
    """
    launched = [(rank, size) for rank, size in _RANK_AND_SIZE if rank in os.environ]
    if not launched and "mpi4py.MPI" not in sys.modules:
        return Alone()
    communicator = mpi().COMM_WORLD
    sizes = [int(os.environ.get(size, 1)) for _, size in launched]
    if communicator.size == 1 and max(sizes, default=1) > 1:
        library = mpi().Get_library_version().split("\n")[0].strip("\0 ")
        raise MissingExtra(
            f"mpiexec started {max(sizes)} processes, but the MPI library of mpi4py ({library}) "
            f"sees one: it is another library's mpiexec. Use the one beside {sys.executable}, "
            f"which comes with the library: {pip_install(*REQUIREMENTS['mpi'])}"
        )
    end_together(communicator)
    return communicator


def mpi() -> Any:
    """The module `mpi4py.MPI`, which starts MPI when it is first imported.

    Raises:
        MissingExtra: if it or its MPI library is not installed.
    """
    purpose = "training by several processes"
    try:
        with warnings.catch_warnings():  # of another library's mpiexec, which `world` refuses
            warnings.filterwarnings("ignore", "suspicious MPI execution environment")
            return need("mpi4py.MPI", "mpi", purpose)
    except RuntimeError as error:  # there is mpi4py, but no library that it can load
        raise MissingExtra(
            f"{purpose} needs an MPI library, and mpi4py found none: "
            f"{pip_install(*REQUIREMENTS['mpi'])}"
        ) from error


#: What marks an error that every rank raises.
_EVERYWHERE = "_fastnet_everywhere"


def mark_everywhere(error: BaseException) -> None:
    """Note on an error that every rank raises it, so that one rank reports it, and all leave."""
    setattr(error, _EVERYWHERE, True)


def is_everywhere(error: BaseException | None) -> bool:
    """Whether every rank raises this error, or one that it was raised from or after."""
    while error is not None and not getattr(error, _EVERYWHERE, False):
        error = error.__cause__ or error.__context__
    return error is not None


_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], Any]


def end_together(communicator: Any) -> None:
    """From now on, let an error that nobody catches end all processes.

    mpi4py's own runner (`python -m mpi4py script.py`) does the same; so nobody has to remember it.
    """
    if communicator.size == 1 or getattr(sys.excepthook, "ends_all", False):
        return
    before, rank = sys.excepthook, communicator.rank

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        everywhere = is_everywhere(error)
        if everywhere and rank:
            return
        if rank:
            time.sleep(FIRST_SPEAKS_SECONDS)
        try:
            before(kind, error, trace)
        except Exception:
            traceback.print_exc()
        if not everywhere:
            end_all(1)

    report.ends_all = True  # type: ignore[attr-defined]
    sys.excepthook = report
    sys.exit = _exit


class _Exit(SystemExit):
    """An exit that ends all processes if nobody catches it, unless all have the same error."""

    @property
    def code(self) -> Any:  # type: ignore[override]
        """The status. Python itself asks for it, from no function, once nobody has caught this."""
        status = self.args[0] if self.args else None
        if status and sys._getframe().f_back is None and not is_everywhere(self):
            if mpi().COMM_WORLD.rank:
                time.sleep(FIRST_SPEAKS_SECONDS)
            if not isinstance(status, int):
                print(status, file=sys.stderr)
                status = 1
            end_all(status)
        return status


def _exit(status: Any = None, /) -> NoReturn:
    """Leave Python, as `sys.exit` does; a status that is not 0 ends all processes."""
    raise _Exit(status)


def end_all(status: int) -> None:
    """End all processes that MPI started, this one too, with this exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    mpi().COMM_WORLD.Abort(status)
