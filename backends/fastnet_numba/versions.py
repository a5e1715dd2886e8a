"""Versions of Numba: which ones the kernels were tried with, and the error where another fails.

How kernels are compiled (`simd/compiled.py`, `simd/traced.py`, `cache.py`) rests on parts of Numba
that later versions may change. Most do not, so the extra asks for none of them in particular.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fastnet.errors import BackendUnavailable, FastnetError
from fastnet.extras import pip_install

TRIED = ("0.66.0", "0.68.1")


@contextmanager
def explained() -> Iterator[None]:
    """Say of what goes wrong with another version of Numba than those tried that this may be why.

    Raises:
        BackendUnavailable: instead of errors that do not come from fastnet or the system.
    """
    try:
        yield
    except (FastnetError, OSError, MemoryError):
        raise
    except Exception as error:
        import numba

        if numba.__version__ in TRIED:
            raise
        reason = str(error).partition("\n")[0]
        raise BackendUnavailable(
            f"backend 'numba' cannot compile its kernels with numba {numba.__version__} "
            f"({type(error).__name__}: {reason}); it was tried with {' and '.join(TRIED)}: "
            f"{pip_install(f'numba=={TRIED[-1]}')}, or choose backend 'numpy'."
        ) from error
