"""Versions of Numba: which ones the kernels were tried with, and the error that a failure becomes.

How kernels are compiled (`simd/compiled.py`, `simd/traced.py`, `cache.py`) rests on parts of Numba
that later versions may change. Most do not, so the extra asks for none of them in particular.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fastnet.errors import BackendUnavailable, FastnetError
from fastnet.extras import pip_install

TRIED = ("0.66.0", "0.68.1")


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn an error of Numba into one that says what failed and what to do.

    Args:
        doing: what Numba does, such as "load its kernels".

    Raises:
        BackendUnavailable: instead of errors that do not come from fastnet or the system.
    """
    try:
        yield
    except (FastnetError, OSError, MemoryError):
        raise
    except Exception as error:
        import numba

        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        remedy = "choose backend 'numpy'"
        if numba.__version__ not in TRIED:
            install = pip_install(f"numba=={TRIED[-1]}")
            remedy = f"it was tried with {' and '.join(TRIED)}: {install}, or {remedy}"
        raise BackendUnavailable(
            f"backend 'numba' cannot {doing} with numba {numba.__version__} "
            f"({type(error).__name__}: {reason}); {remedy}."
        ) from error
