"""How much memory this process may still take."""

import logging
from pathlib import Path

from fastnet.errors import DoesNotFit

_log = logging.getLogger("fastnet")

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Bytes that are free, or soon would be: the machine's, or what a container leaves of them.

    None where the system does not tell.
    """
    found = [size for size in (_machine(), _container()) if size is not None]
    return min(found, default=None)


def _machine() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _container() -> int | None:
    try:
        most = int((_CGROUP / "memory.max").read_text())  # "max" where there is no limit
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return max(most - used + int(stat.get("inactive_file", 0)), 0)
    except (OSError, ValueError):
        return None


def text(size: float) -> str:
    """A number of bytes for a person: "1.5 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 999.5:  # with three digits; of more, "g" makes an exponent
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size * 1024:,.0f} GiB"


def check_room(members: int, each: int, what: str) -> None:
    """Say what the members of a population need, and make sure that it is there.

    Args:
        members: how many.
        each: bytes of one.
        what: what needs them, for the message.

    Raises:
        DoesNotFit: if it is not there; it says for how many members there is room.
    """
    free = available()
    needed = f"{what} of {members:,} members: {text(members * each)} of memory"
    if free is not None and members * each > free:
        raise DoesNotFit(
            f"{needed}, and {text(free)} are free; there is room for {free // each:,} members."
        )
    _log.info("%s", needed)
