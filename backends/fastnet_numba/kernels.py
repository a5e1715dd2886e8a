"""The compiled kernels of a dtype: made once on a machine, then loaded from a folder.

Nothing is compiled for a network: its layers stand in tables that the kernels read. So there are
few kernels, and once they are cached, any network of any shape starts at once.

The folder is `NUMBA_CACHE_DIR`, or the user's cache folder. Numba itself compiles anew for
another processor or another version of itself; the folder's name does so for another version of
our own code, of which Numba looks at the entry's file only.
"""

import contextlib
import gc
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching, event, types

from fastnet_numba import prediction, shuffling, tiny, training
from fastnet_numba.ops import products

_log = logging.getLogger("fastnet")
_lock = threading.RLock()


@dataclass(frozen=True)
class Kernels:
    """What Python calls, for one dtype."""

    run: Callable[..., int]
    predict_at_once: Callable[..., bool]
    tiles_for: Callable[[Any], int]
    tiny: Callable[..., int]
    shuffle: Callable[..., None]


def _signatures(dtype: np.dtype[Any]) -> list[tuple[Any, tuple[Any, ...]]]:
    """Each entry with the types it is compiled for."""
    number = types.float32 if dtype.itemsize == 4 else types.float64
    index = types.int64

    def array(kind: Any, ndim: int = 1, constant: bool = False) -> Any:
        return types.Array(kind, ndim, "C", readonly=constant)

    written, given = array(number), array(number, constant=True)
    table = array(index, 2)
    order = array(index, 1, True)
    run = (
        table, array(types.float64, 2), array(index), array(types.float64),
        written, array(number, 2), written, written, array(types.float64),
        given, given, order, given, order, array(types.float64), array(index), index,
    )  # fmt: skip
    few = (table, written, written, array(number, 2, True), array(number, 2))
    steps = (
        array(index, 2), array(types.float64, 2), array(index), written, written,
        array(types.float64, 1, True), array(types.float64), types.float64, types.float64,
    )  # fmt: skip
    unsigned = types.uint64
    shuffle = (
        array(unsigned), array(unsigned), index, index,
        array(types.uint32), array(unsigned), array(index), array(unsigned, 2),
    )  # fmt: skip
    return [
        (products.tiles_for, (written,)),
        (training.run, run),
        (prediction.predict_at_once, few),
        (tiny.steps, steps),
        (shuffling.shuffle, shuffle),
    ]


def load(dtype: np.dtype[Any]) -> Kernels:
    """The kernels for float32 or float64, compiled if this machine has not done so before."""
    with _lock:
        return _load(dtype)


@cache
def _load(dtype: np.dtype[Any]) -> Kernels:
    entries = _signatures(dtype)
    if not numba.config.DISABLE_JIT:
        for entry, signature in entries:
            _enable_cache(entry)
            entry.disable_compile(False)
            with _compiling(dtype):
                _compile(entry, signature)
            entry.disable_compile()
    return Kernels(training.run, prediction.predict_at_once, products.tiles_for, tiny.steps, shuffling.shuffle)


def _compile(entry: Any, signature: tuple[Any, ...]) -> None:
    """Take it from the cache or compile it, and do without a cache that does not work."""
    try:
        entry.compile(signature)
    except Exception as error:  # a damaged file may raise anything when it is read
        if _folder() is None:
            raise
        _log.warning(
            "fastnet cannot use its compiled kernels in %s (%s: %s), so it compiles them anew; "
            "remove the folder if this happens again.",
            _folder(),
            type(error).__name__,
            error,
        )
        entry._cache = caching.NullCache()
        entry.compile(signature)


def _enable_cache(entry: Any) -> None:
    folder = _folder()
    if folder is None:
        return
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        entry.enable_caching()
    finally:
        numba.config.CACHE_DIR = before


@cache
def _folder() -> Path | None:
    """The folder for compiled code; None, with a warning once, where it cannot be written to."""
    import platformdirs

    parent = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("fastnet")
    digest = hashlib.sha256()
    for part in (numba.__version__, llvmlite.__version__):
        digest.update(part.encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    folder = Path(parent) / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}-{threading.get_ident()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        _log.warning(
            "fastnet cannot keep its compiled kernels in %s (%s), so every new process compiles "
            "them anew, which takes some seconds; set NUMBA_CACHE_DIR to a folder that can be "
            "written to.",
            folder,
            error.strerror or error,
        )
        return None
    return folder


class _Watcher(event.Listener):
    """Logs that kernels are compiled, when that begins."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def on_start(self, event: Any) -> None:
        _announce(self.dtype.name)

    def on_end(self, event: Any) -> None:
        pass


@cache
def _announce(dtype: str) -> None:
    _log.warning(
        "fastnet compiles its %s kernels for this machine: some seconds, once for each version.",
        dtype,
    )


@contextlib.contextmanager
def _compiling(dtype: np.dtype[Any]) -> Iterator[None]:
    level = numba.config.OPT
    collecting = gc.isenabled()
    # Kernels spell out their vectors, so the first level does for them, and takes less time.
    numba.config.OPT = min(level, 1)
    gc.disable()  # looking for garbage that the compiler does not make takes time too
    try:
        with event.install_listener("numba:compile", _Watcher(dtype)):
            yield
    finally:
        numba.config.OPT = level
        if collecting:
            gc.enable()
