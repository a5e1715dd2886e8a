"""How many steps to ask of a backend at once."""

#: How long a run of steps should take, in seconds: half of the 0.1 s within which a response seems
#: immediate (Card, Robertson and Mackinlay, CHI 1991), for Ctrl-C and the progress bar.
RUN_SECONDS = 0.05

#: Taking over the result of a run takes long where there are many parameters, or some come from a
#: GPU. A run then takes COMMIT_TIMES as long as that, so that it is 1% of the time, but at most
#: LONGEST_RUN_SECONDS (a choice, not measured). Ctrl-C waits for a run, the last of a fit
#: WITH_THE_REST times as long.
COMMIT_TIMES, LONGEST_RUN_SECONDS = 100, 2.0


#: What the first run counts on, before anything is measured: the seconds of a step on no rows, of a
#: row, and of a multiply-add of the forward pass, with the two of the backward pass. About what the
#: NumPy backend takes with one thread (bench/TABLES.md). What is faster is asked for more by the
#: second run.
STEP_SECONDS, ROW_SECONDS, PRODUCT_SECONDS = 5e-5, 2e-8, 1e-10

#: Likewise, the seconds of checking and copying a byte of the result: 1.2e-10 to 1.4e-10 on the
#: machine of bench/results/numba-2026-11-28.md.
BYTE_SECONDS = 1.5e-10

#: How long the first run should take at most, in seconds: if it is ten times as slow, it takes
#: LONGEST_RUN_SECONDS.
FIRST_RUN_SECONDS = 0.2

#: If the steps that are left make a run at most this many times as long, it takes them too: to
#: begin and end another takes as long as some steps, and RUN_SECONDS is half of what is allowed.
WITH_THE_REST = 2


class Pacing:
    """Chooses the length of each run by the time that the last one took.

    Times count by the row: a step on the few rows that are left over at an epoch's end says little
    about a whole batch.

    Args:
        batch_size: rows of a step.
        products: multiply-adds of a forward pass on one row: the first run's length is by them.
        committed: bytes whose result is taken over after a run: likewise.
    """

    def __init__(self, batch_size: int, products: int, committed: int = 0) -> None:
        self.batch_size = batch_size
        seconds = STEP_SECONDS + batch_size * (ROW_SECONDS + products * PRODUCT_SECONDS)
        wanted = seconds_of_run(committed * BYTE_SECONDS, FIRST_RUN_SECONDS)
        self.rows = int(wanted / seconds) * batch_size

    @property
    def steps(self) -> int:
        """How many steps the next run should have at most, one or more."""
        return max(self.rows // self.batch_size, 1)

    def measured(self, rows: int, seconds: float, committing: float) -> None:
        """Learn from a run.

        Args:
            rows: how many rows its steps had.
            seconds: how long they took.
            committing: how long it took to check and copy their result, in seconds.
        """
        wanted = seconds_of_run(committing, LONGEST_RUN_SECONDS)
        self.rows = int(rows * wanted / max(seconds, 1e-9))


def seconds_of_run(between: float, longest: float, shortest: float = RUN_SECONDS) -> float:
    """How long a run should take, if what is done between two runs takes `between` seconds."""
    return max(shortest, min(COMMIT_TIMES * between, longest))
