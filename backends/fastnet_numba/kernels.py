"""The compiled kernels of a dtype: made once on a machine, then loaded from a folder.

Nothing is compiled for a network: its layers stand in tables that the kernels read. So there are
few kernels: each entry, and each part (`simd/parts.py`), is compiled, or loaded, when it is first
needed, and most networks need few. Once they are cached, networks of any shape start at once.
"""

import contextlib
import gc
import logging
import threading
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any

import numba
import numpy as np
from numba.core import caching, event, types

from fastnet.interrupts import HeldSignals
from fastnet_numba import prediction, shuffling, square, tiny, training
from fastnet_numba.cache import KernelCache, folder
from fastnet_numba.ops import lanes, products
from fastnet_numba.simd.parts import plain_address, types_of
from fastnet_numba.versions import explained

_log = logging.getLogger("fastnet")
_lock = threading.RLock()


class Kernels:
    """What Python calls, for one dtype: float32 or float64."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._addresses: dict[Any, int] = {}

    def address_of(self, part: Any) -> int:
        """The address of a part of kernels (`simd/parts.py`)."""
        found = self._addresses.get(part)
        if found is None:
            made = _ready(part, self.dtype)
            found = self._addresses[part] = _address(made, self.dtype)
        return found

    @cached_property
    def tiles_for(self) -> Any:
        """The address of the register tiles."""
        return _ready(products.tiles_for, self.dtype)

    @cached_property
    def run(self) -> Any:
        """A run of steps, or whatever else takes whole passes."""
        return _ready(training.run, self.dtype)

    @cached_property
    def narrow_run(self) -> Any:
        """The same with the rows in the lanes."""
        return _ready(training.narrow_run, self.dtype)

    @cached_property
    def predict_at_once(self) -> Any:
        """Predictions for few rows."""
        return _ready(prediction.predict_at_once, self.dtype)

    @cached_property
    def tiny(self) -> Any:
        """A run of steps of a tiny network."""
        return _ready(tiny.steps, self.dtype)

    @cached_property
    def square(self) -> Any:
        """The same of two layers of at most four units."""
        return _ready(square.square_steps, self.dtype)

    @cached_property
    def side_by_side(self) -> Any:
        """Runs of steps of several tiny networks."""
        return _ready(lanes.steps, self.dtype)

    @cached_property
    def shuffle(self) -> Any:
        """Orders of rows."""
        return _ready(shuffling.shuffle, self.dtype)


load = cache(Kernels)


def _ready(entry: Any, dtype: np.dtype[Any]) -> Any:
    """The entry, compiled for the dtype if this machine has not done so before."""
    if numba.config.DISABLE_JIT:
        return entry
    signature = _signature(entry, dtype)
    doing = f"compile its kernel {_name(entry)} for {dtype.name}"
    # Numba stays unusable for the rest of the process if it is stopped while it loads or compiles.
    with _lock, HeldSignals() as signals:
        cache = entry._cache = KernelCache(entry, _folder_of(entry, dtype), signals)
        entry.disable_compile(False)
        with explained(doing), cache, _compiling(dtype):
            _compile(entry, signature)
        entry.disable_compile()
        # Numba would look for these conversions in the first call, where Ctrl-C becomes a KeyError.
        # Only a writable array is ever converted: to the read-only one of the signature.
        given = tuple(
            kind.copy(readonly=False) if isinstance(kind, types.Array) else kind
            for kind in signature
        )
        entry.typingctx.install_possible_conversions(given, signature)
    return entry


def _folder_of(entry: Any, dtype: np.dtype[Any]) -> str:
    """The folder of compiled code: its dtype's, or "any" for code whose arguments have no dtype.

    A process compiles such code once, for the dtype that needs it first, and one that begins with
    the other dtype must find it too.
    """
    one, other = (_signature(entry, np.dtype(name)) for name in ("float32", "float64"))
    return "any" if one == other else dtype.name


def _name(entry: Any) -> str:
    return f"{entry.py_func.__module__}.{entry.py_func.__name__}"


def _address(part: Any, dtype: np.dtype[Any]) -> int:
    """The address of compiled code."""
    if numba.config.DISABLE_JIT:
        return plain_address(part)
    found = part.overloads[_signature(part, dtype)]
    address: int = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
    return address


def _signature(entry: Any, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """The types that an entry or a part is compiled for."""
    number = types.float32 if dtype.itemsize == 4 else types.float64
    return _signatures(number).get(entry) or types_of(entry.py_func, number)


@cache
def _signatures(number: Any) -> dict[Any, tuple[Any, ...]]:
    """The types that each kernel which Python calls is compiled for."""
    index = types.int64

    def array(kind: Any, ndim: int = 1, constant: bool = False) -> Any:
        return types.Array(kind, ndim, "C", readonly=constant)

    written, given = array(number), array(number, constant=True)
    table = array(index, 2, True)
    order = array(index, 1, True)
    run = (
        table, array(types.float64, 2), array(index), array(types.float64),
        written, array(number, 2), written, written, array(types.float64),
        given, given, order, given, order, array(types.float64), array(index),
        array(types.float64), index,
    )  # fmt: skip
    few = (table, written, written, array(number, 2, True), array(number, 2))
    steps = (
        array(index, 2), array(types.float64, 2), array(index), written, written,
        array(types.float64, 1, True), array(types.float64), types.float64, types.float64,
    )  # fmt: skip
    together = (
        array(index, 2), array(index), written, written, written, written, written, index, index,
    )  # fmt: skip
    unsigned = types.uint64
    shuffle = (
        array(unsigned), array(unsigned), index, index,
        array(unsigned, 2), array(unsigned), array(unsigned, 2),
    )  # fmt: skip
    return {
        products.tiles_for: (written,),
        training.run: run,
        training.narrow_run: run,
        prediction.predict_at_once: few,
        tiny.steps: steps,
        square.square_steps: steps,
        lanes.steps: together,
        shuffling.shuffle: shuffle,
    }


def _compile(entry: Any, signature: tuple[Any, ...]) -> None:
    """Load it from the cache or compile it; anew, if the cache is damaged."""
    try:
        entry.compile(signature)
        return
    except Exception as error:  # a damaged file may raise anything when it is read
        if not entry._cache.in_use:
            raise
        _log.warning(
            "fastnet cannot use its compiled kernel %s in %s (%s: %s), so it compiles it anew; "
            "remove the folder if this happens again.",
            _name(entry),
            folder(),
            type(error).__name__,
            error,
        )
    try:
        entry._cache.flush()  # so that it is written anew as well
    except OSError:
        entry._cache = caching.NullCache()
    entry.compile(signature)


class _Watcher(event.Listener):
    """Says in the log that kernels are compiled, as soon as that begins."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def on_start(self, event: Any) -> None:
        _announce(self.dtype.name)

    def on_end(self, event: Any) -> None:
        pass


@cache
def _announce(dtype: str) -> None:
    _log.warning(
        "fastnet compiles its %s kernels for this machine: up to some seconds, once for each "
        "version.",
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
