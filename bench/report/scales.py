"""Where numbers stand on an axis: its marks, and labels that do not lie on each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """From values to pixels.

    Attributes:
        low, high: the values at its ends.
        pixels: how long it is.
        log: logarithmic; otherwise even, and `low` is zero.
    """

    low: float
    high: float
    pixels: float
    log: bool = True

    def __call__(self, value: float) -> float:
        """Pixels from the low end."""
        if self.log:
            return self.pixels * math.log(value / self.low) / math.log(self.high / self.low)
        return self.pixels * value / self.high

    def marks(self, room: float) -> list[float]:
        """Round values, each with `room` pixels to itself."""
        most = max(2, int(self.pixels / room))
        return _powers(self.low, self.high, most) if self.log else _even(self.high, most)


def logarithmic(low: float, high: float, pixels: float, free: float) -> Scale:
    """A scale from `low` to `high`, with `free` pixels beyond both."""
    if low == high:
        low, high = low / 2, high * 2
    beyond = (high / low) ** (free / (pixels - 2 * free))
    return Scale(low / beyond, high * beyond, pixels)


def speeds(values: Sequence[float], pixels: float, free: float) -> Scale:
    """For ratios around 1: from 0.5 to 2 at the least."""
    return logarithmic(min(0.5, *values), max(2.0, *values), pixels, free)


def _powers(low: float, high: float, most: int) -> list[float]:
    """1, 2, 5 or 1, 3 in every decade, or one in every few; 1 is among them if it is between."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for step, digits in [(1, (1, 2, 5)), (1, (1, 3)), *((step, (1,)) for step in range(1, 30))]:
        found = [float(f"{d}e{e}") for e in exponents if e % step == 0 for d in digits]
        found = [mark for mark in found if low <= mark <= high]
        if len(found) <= most:
            break
    return found


def _even(high: float, most: int) -> list[float]:
    """Zero and round steps up to `high`."""
    exponent = math.floor(math.log10(high))
    steps = [float(f"{digit}e{e}") for e in (exponent - 1, exponent) for digit in (1, 2, 5)]
    step = next((step for step in steps if int(high / step) < most), steps[-1])
    return [k * step for k in range(int(high / step) + 1)]


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places, moved as little as it takes to be `gap` apart and between `low` and `high`."""
    # Labels that would touch stand together, around the middle of where they want to be.
    groups: list[list[int]] = []
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        groups.append([i])
        while len(groups) > 1:
            above, below = (_start(group, places, gap, low, high) for group in groups[-2:])
            if below >= above + gap * len(groups[-2]):
                break
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = list(places)
    for group in groups:
        start = _start(group, places, gap, low, high)
        for k, i in enumerate(group):
            moved[i] = start + k * gap
    return moved


def _start(
    group: Sequence[int], places: Sequence[float], gap: float, low: float, high: float
) -> float:
    """Where the first label of a group stands."""
    long = (len(group) - 1) * gap
    middle = sum(places[i] for i in group) / len(group)
    return max(low, min(middle - long / 2, high - long))
