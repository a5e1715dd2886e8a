"""How many steps to ask of a backend at once."""

#: How long a run of steps should take, in seconds: short enough for Ctrl-C and a progress bar,
#: long enough that what happens between runs does not count.
RUN_SECONDS = 0.05

#: Where copying the result of a run back takes long, as it does when many parameters come from a
#: GPU, runs are so many times as long as that, which then is 5% of the time; but no longer than
#: so many seconds.
COMMIT_TIMES, LONGEST_RUN_SECONDS = 20, 2.0


class Pacing:
    """Chooses the length of each run by the time that the last one took.

    Attributes:
        steps: how many steps the next run should have at most.
    """

    def __init__(self) -> None:
        self.steps = 1

    def measured(self, steps: int, seconds: float, committing: float) -> None:
        """Learn from a run.

        Args:
            steps: how many it had.
            seconds: how long they took.
            committing: how long it took to copy their result back, in seconds.
        """
        wanted = max(RUN_SECONDS, min(COMMIT_TIMES * committing, LONGEST_RUN_SECONDS))
        self.steps = max(int(steps * wanted / max(seconds, 1e-9)), 1)
