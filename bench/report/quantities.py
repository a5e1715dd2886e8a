"""Numbers as text: three significant digits and a fitting unit."""

from collections.abc import Callable

#: Shown where nothing was measured.
NOTHING = "\N{EN DASH}"

TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def digits(number: float) -> str:
    """Three significant digits, never an exponent: "0.0712", "1.00", "12.3", "3,120"."""
    if number == 0:
        return "0"
    places = 2 - int(f"{number:.2e}".partition("e")[2])
    return f"{round(number, places):,.{max(places, 0)}f}"


def tick(number: float) -> str:
    """A round number, as short as possible: "0.1", "1", "65,536"."""
    return f"{number:,g}"


def time(seconds: float, number: Callable[[float], str] = digits) -> str:
    """In s, ms, µs or ns."""
    if seconds == 0:
        return "0 s"
    # Rounded first: what would be 1,000 ns is 1.00 µs.
    scale, unit = next((pair for pair in TIMES if float(f"{seconds:.2e}") >= pair[0]), TIMES[-1])
    return f"{number(seconds / scale)} {unit}"


def rate(amount: float, of: str) -> str:
    """`amount` of "FLOP" or "B" per second, in billions: "34.5 GFLOP/s"."""
    return f"{digits(amount / 1e9)} G{of}/s"


def size(amount: float, number: Callable[[float], str] = digits) -> str:
    """Bytes, always in MB (millions), so that a column can be compared."""
    return f"{number(amount / 1e6)} MB"


def times(ratio: float, number: Callable[[float], str] = digits) -> str:
    """A ratio: 3.67 with a multiplication sign."""
    return f"{number(ratio)}\N{MULTIPLICATION SIGN}"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{digits(100 * share)} %"


def threads(count: int) -> str:
    """A number of threads."""
    return "1 thread" if count == 1 else f"{count} threads"
