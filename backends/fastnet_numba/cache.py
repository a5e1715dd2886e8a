"""The compiled kernels of earlier processes, in a folder.

The folder is `NUMBA_CACHE_DIR`, or the user's cache folder; one that can only be read will do.
Numba itself compiles anew for another processor or another version of itself; the folder's name
does so for another version of our own code, of which Numba looks at the entry's file only, and of
what kernels take from fastnet: codes and constants.

Of several processes that need an entry which is not there, one compiles it, and the others wait.
"""

import contextlib
import hashlib
import logging
import os
import pickle
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from fastnet import random
from fastnet.arrays.cache_lines import LINE
from fastnet.contract.kinds import TABLES
from fastnet.definition.activations import NORMAL_TAIL
from fastnet.definition.optimizers import negligible
from fastnet.interrupts import HeldSignals

_log = logging.getLogger("fastnet")

#: For so many seconds a process waits for another's kernel before it compiles its own: longer than
#: compiling takes on any but an emulated machine. The other one may have been halted.
PATIENCE = 120.0

#: Seconds from one look whether the other is done to the next.
PAUSE = 0.02


@cache
def folder() -> Path:
    """The folder for the kernels of this version."""
    import platformdirs

    parent = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("fastnet")
    digest = hashlib.sha256()
    # Kernels hold what they take from fastnet itself as constants, the codes of kinds first of all.
    bounds = (negligible(np.float32), negligible(np.float64))
    constants = (TABLES, NORMAL_TAIL, random.SHUFFLE, random.DROPOUT, bounds, LINE)
    for part in (numba.__version__, llvmlite.__version__, *constants):
        digest.update(repr(part).encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return Path(parent) / f"kernels-{digest.hexdigest()[:16]}"


@cache
def _tell_unwritable(error: str) -> None:
    _log.warning(
        "fastnet cannot keep its compiled kernels in %s (%s), so every new process compiles "
        "them anew, which takes some seconds; set NUMBA_CACHE_DIR to a folder that can be "
        "written to.",
        folder(),
        error,
    )


@cache
def _tell_waiting() -> None:
    _log.warning("fastnet waits for another process that compiles its kernels.")


class _Lock:
    """A lock on a file. The system gives it back when a process ends, however that happens."""

    def __init__(self, path: Path, signals: HeldSignals) -> None:
        self.path = path
        self.signals = signals
        self.file: int | None = None

    def acquire(self) -> None:
        """Wait for the lock, but not forever, and do without one where there can be none."""
        if self.file is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # what cannot be written to is written to by no other process either
            return
        deadline = time.monotonic() + PATIENCE
        if not _locked(self.file):
            _tell_waiting()
            while time.monotonic() < deadline and not _locked(self.file):
                time.sleep(PAUSE)
                self.signals.deliver()

    def release(self) -> None:
        """Let the next one in."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                _unlock(self.file)
            os.close(self.file)
            self.file = None


if sys.platform == "win32":
    import msvcrt

    def _locked(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _locked(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do, if a forked process has it too


class _Locator(caching.UserProvidedCacheLocator):
    """Where Numba looks: in a folder that need not be there, nor be written to."""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """The locator of a function's code."""
        return cls(py_func, py_file)


class _Results(caching.CompileResultCacheImpl):
    """What a file holds: the code with its digest, for damaged code would end the process."""

    _locator_classes = (_Locator,)

    def reduce(self, cres: Any) -> tuple[bytes, bytes]:
        """What the file of compiled code will hold."""
        code = dumps(super().reduce(cres))
        return hashlib.sha256(code).digest(), code

    def rebuild(self, target_context: Any, payload: tuple[bytes, bytes]) -> Any:
        """The compiled code of a file."""
        digest, code = payload
        if hashlib.sha256(code).digest() != digest:
            raise ValueError("the file is damaged: its digest does not match its code")
        return super().rebuild(target_context, pickle.loads(code))


class KernelCache(caching.FunctionCache):
    """An entry's compiled code, for one dtype or any.

    Use it as a context manager: from where the code turns out to be missing to the block's end, no
    other process compiles it.

    Attributes:
        in_use: whether what is being done now takes something from files: errors may be theirs.
    """

    _impl_class = _Results
    in_use = False

    def __init__(self, entry: Any, subfolder: str, signals: HeldSignals) -> None:
        before = numba.config.CACHE_DIR
        # One for each dtype: Numba writes an entry's index anew for each, with what it read before.
        numba.config.CACHE_DIR = str(folder() / subfolder)
        try:
            super().__init__(entry.py_func)
        finally:
            numba.config.CACHE_DIR = before
        self._lock = _Lock(Path(self.cache_path) / f"{entry.py_func.__name__}.lock", signals)

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        # What Numba adds is the same in each file: the folder is for one version of all code.
        return signature, codegen.magic_tuple()

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The code, or None if it has to be compiled, which no other process does meanwhile."""
        self.in_use = True
        found = self._read(signature, target_context)
        if found is None:
            self._lock.acquire()
            found = self._read(signature, target_context)
        self.in_use = found is not None
        return found

    def _read(self, signature: Any, target_context: Any) -> Any:
        # Numba's own `load_overload` first gets ready to compile, for which it imports a hundred of
        # its modules, and SciPy's matrix library. Code that is compiled needs its runtime only.
        rtsys.initialize(target_context)
        try:
            return self._load_overload(signature, target_context)
        except OSError:  # what cannot be read is not there
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep the code, if the folder can be written to."""
        self.in_use = True  # the list of what there is
        try:
            super().save_overload(signature, result)
        except OSError as error:
            _tell_unwritable(error.strerror or str(error))

    def __enter__(self) -> "KernelCache":
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()
