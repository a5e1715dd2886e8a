"""Numbers as a reader wants them: three digits that count, and a unit that suits."""

#: Where there is no number.
NOTHING = "\N{EN DASH}"

_TIMES = "\N{MULTIPLICATION SIGN}"

#: Units of time, in seconds.
TIMES = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))


def digits(number: float) -> str:
    """Three significant digits, never an exponent: "0.0712", "1.00", "12.3", "3,120"."""
    if number == 0:
        return "0"
    places = 2 - _exponent(number)
    return f"{round(number, places):,.{max(places, 0)}f}"


def time(seconds: float) -> str:
    """In ns, µs, ms or s."""
    # Rounded first: what would be 1,000 ns is 1.00 µs.
    rounded = float(f"{seconds:.2e}")
    fits = (unit for unit in TIMES if rounded < 999.5 * unit[0])
    scale, name = next(fits, TIMES[-1])
    return f"{digits(seconds / scale)} {name}"


def rate(amount: float, of: str) -> str:
    """`amount` a second, of "FLOP" or "B", in billions: "34.5 GFLOP/s"."""
    return f"{digits(amount / 1e9)} G{of}/s"


def size(amount: float) -> str:
    """Bytes in MB (millions), all in the same unit so that a column can be compared."""
    return f"{digits(amount / 1e6)} MB"


def times(ratio: float) -> str:
    """A ratio: "3.67x", with a proper sign."""
    return digits(ratio) + _TIMES


def percent(share: float) -> str:
    """A share in percent."""
    return f"{digits(100 * share)} %"


def tick(number: float) -> str:
    """A round number, as short as it goes: "0.1", "1", "1,000"."""
    return f"{number:,.9f}".rstrip("0").rstrip(".")


def tick_times(ratio: float) -> str:
    """A round ratio."""
    return tick(ratio) + _TIMES


def tick_time(seconds: float) -> str:
    """A round time: "10 µs"."""
    scale, unit = next((pair for pair in reversed(TIMES) if seconds >= pair[0] * 0.999), TIMES[0])
    return f"{tick(round(seconds / scale, 9))} {unit}"


def threads(count: int) -> str:
    """Of threads."""
    return "1 thread" if count == 1 else f"{count} threads"


def _exponent(number: float) -> int:
    """Of ten, once the number is rounded to three digits."""
    return int(f"{number:.2e}".partition("e")[2])
