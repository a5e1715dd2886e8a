"""Warnings that point at the line of the user's program from which fastnet was called."""

import sys
import warnings

#: Packages whose lines are not the user's own: ours, the one that wraps the methods of our
#: estimators, and the one that runs `with` blocks.
_BETWEEN = frozenset({"fastnet", "sklearn", "contextlib"})


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn, naming the first line that is in none of these packages."""
    # `warnings.warn(skip_file_prefixes=...)` does this from Python 3.12 on.
    level, frame = 2, sys._getframe(1)
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
