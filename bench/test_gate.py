"""Speed ratios that every change must keep: between NumPy, Numba and the loop by hand.

The limits are wide, because the machine may be busy, and the best of three tries counts. These
tests time by themselves, so `--benchmark-disable` does not disable them.
"""

import statistics
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from bench import handwritten
from bench.workloads import NAMED, Workload
from fastnet.benchmark import FitWorkload, Maker, contest

#: How many times as fast as NumPy Numba must be.
FASTER = {"xor": 60.0, "mnist": 1.2}

#: The most that NumPy may take, in times of the loop by hand.
BY_HAND = {"xor": 1.3, "tab": 1.3, "mnist": 1.3}

#: A median of many rounds strays less, which matters where a ratio lies near its floor, as mnist's.
TRIES, ROUNDS = 3, 15


def ratio(work: Workload, first: Maker, second: Maker) -> float:
    """The first one's time divided by the second's; their parameters must agree."""
    found, problems = contest(
        {"first": first, "second": second},
        lambda epochs: FitWorkload(work, "numpy", epochs, 1, "float64"),
        work.check_epochs,
        trains=True,
        rounds=ROUNDS,
    )
    assert not problems
    pairs = zip(found["first"].seconds, found["second"].seconds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def numpy(work: Workload) -> Maker:
    """The NumPy backend, on one thread."""
    return lambda epochs: FitWorkload(work, "numpy", epochs, 1)


def best(measure: Callable[[], float], enough: Callable[[float], bool]) -> list[float]:
    """The ratios of up to three tries, stopping at the first that is enough."""
    found: list[float] = []
    while len(found) < TRIES and not (found and enough(found[-1])):
        found.append(measure())
    return found


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
@pytest.mark.parametrize("name", FASTER)
def test_numba_beats_numpy(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One thread each, through `fit`."""
    work, least = NAMED[name], FASTER[name]
    found = best(
        lambda: ratio(work, numpy(work), lambda epochs: FitWorkload(work, "numba", epochs, 1)),
        lambda reached: reached >= least,
    )
    with capsys.disabled():
        print(f"\n{name}: Numba {max(found):.3g} times as fast as NumPy ({least:g} at least)")
    assert max(found) >= least, f"tries: {found}"


@pytest.mark.parametrize("name", BY_HAND)
def test_numpy_keeps_up_with_a_loop_by_hand(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One thread each, through `fit` with its checks and records."""
    work, most = NAMED[name], BY_HAND[name]
    found = best(
        lambda: ratio(work, numpy(work), lambda epochs: handwritten.Trainer(work, epochs, 1)),
        lambda reached: reached <= most,
    )
    with capsys.disabled():
        print(
            f"\n{name}: NumPy takes {min(found):.2f} times as long as the loop ({most:g} at most)"
        )
    assert min(found) <= most, f"tries: {found}"
