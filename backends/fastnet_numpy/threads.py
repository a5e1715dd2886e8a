"""The matrix library's threads, capped by the size of the problem.

A small product split over threads waits for them longer than it computes.
"""

from fastnet.contract.plan import Plan

#: Multiply-adds in a plan's largest product from which all threads are used: 8 million.
#: Training whole networks on two cores (bench/test_threads.py, whose figures are in
#: bench/results/), one thread's time over two threads' was 1.0 at 1 million, 1.1 to 1.3 from 2
#: to 6 million, and 1.4 to 1.6 from here on, on a quiet machine. On a busy one the second
#: thread costs more than it brings, the more so the smaller the products are.
WORTH_SHARING = 2**23


def wanted(plan: Plan, rows: int, asked: int | None) -> int | None:
    """The threads for batches of `rows` rows; None: as many as the library has."""
    if asked is not None:
        return asked
    largest = max(op.inputs * op.units for op in plan.affine)
    return None if largest * rows >= WORTH_SHARING else 1
