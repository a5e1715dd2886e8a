"""Arrays that stay in their files and are read by slices: `np.memmap`, and what is like it.

That is whatever has a shape, a dtype of NumPy's and slices, but does not lie in memory, such as the
datasets of h5py and the arrays of Zarr.

A memory map is read by calls, not through the map: what is read through one counts as the process's
own memory until the system takes it back, and a file that is cut short meanwhile would kill the
process.
"""

import mmap
import os
import weakref
from typing import Any

import numpy as np

from fastnet.arrays import dlpack
from fastnet.arrays.checks import Array
from fastnet.errors import DataError, message_of

#: Bytes at the beginning of a memory map that must be those of its file.
_COMPARED = 4096


def is_stored(value: Any) -> bool:
    """Whether `value` is an array that stays in a file and is read by slices."""
    if isinstance(value, np.memmap):
        return value.ndim > 0
    if isinstance(value, np.ndarray | np.generic) or dlpack.foreign(value):
        return False
    if hasattr(value, "toarray") or hasattr(value, "iloc"):  # sparse, or pandas' own
        return False
    shape = getattr(value, "shape", None)
    sized = isinstance(shape, tuple) and len(shape) > 0
    return sized and isinstance(getattr(value, "dtype", None), np.dtype)


class Stored:
    """An array in a file.

    Args:
        array: one for which `is_stored` holds.
        what: its name in errors.

    Attributes:
        shape, dtype: the array's.
        chunk: the rows that the file holds together, where it says so; else 1.
    """

    def __init__(self, array: Any, what: str) -> None:
        self.array, self.what = array, what
        self.shape = tuple(int(length) for length in array.shape)
        self.dtype: np.dtype[Any] = array.dtype
        chunks = getattr(array, "chunks", None)
        first = chunks[0] if isinstance(chunks, tuple) and chunks else 1
        self.chunk = max(first, 1) if isinstance(first, int) else 1
        self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._path = _path_of(array)
        self._file: int | None = None
        self._start = 0
        if isinstance(array, np.memmap):
            self._open(array)
        self._stamp = self._state_of_file()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int, out: Array | None = None) -> Array:
        """The rows from `start` to `stop`, as a new array, or in `out`, cast to its dtype.

        Raises:
            DataError: if they cannot be read.
        """
        shape = (stop - start, *self.shape[1:])
        if self._file is None:
            try:
                found = np.asarray(self.array[start:stop])
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise self._unreadable(start, error) from error
            if found.shape != shape:
                raise DataError(
                    f"{self.what} gave rows of shape {found.shape} for rows {start} to {stop - 1}, "
                    f"not {shape}: it changed while it was being read. Train on a copy of it."
                )
            if out is None:
                return found
        else:
            direct = out is not None and out.dtype == self.dtype and out.flags.c_contiguous
            found = (
                out.reshape(shape) if direct and out is not None else np.empty(shape, self.dtype)
            )
            self._fill(found, start)
            if direct or out is None:
                return found
        with np.errstate(over="ignore"):
            np.copyto(out, found.reshape(out.shape), casting="unsafe")
        return out

    def expect(self, start: int, stop: int) -> None:
        """Have the system read rows ahead, where it can: it then reads them in one piece."""
        if self._file is not None and hasattr(os, "posix_fadvise"):
            first = self._start + start * self._row_bytes
            length = (stop - start) * self._row_bytes
            os.posix_fadvise(self._file, first, length, os.POSIX_FADV_WILLNEED)

    def check_unchanged(self) -> None:
        """Make sure that nobody has written to the file since this was made.

        Raises:
            DataError: if somebody has.
        """
        if self._state_of_file() != self._stamp:
            raise DataError(
                f"{self.what} changed while it was being read: its file {self._path!r} was "
                "written to. Train again, on a file that nothing writes to."
            )

    def _open(self, array: Any) -> None:
        """Open the file of a memory map, if its rows stand in it one behind the other."""
        private = array.mode == "c"  # changes are in memory only
        if self._path is None or private or not array.flags.c_contiguous:
            return
        if not hasattr(os, "preadv") or not array.size:
            return
        mapped = np.frombuffer(array._mmap, np.uint8)
        start = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        start += array.ctypes.data - mapped.ctypes.data
        try:
            file = os.open(self._path, os.O_RDONLY)
        except OSError:  # it has been removed: the map still has it
            return
        try:
            if os.fstat(file).st_size < start + array.nbytes:
                raise DataError(
                    f"{self.what} has {array.nbytes:,} bytes, and its file {self._path!r} is "
                    "shorter: it was cut short. Make the memory map anew."
                )
            head = min(_COMPARED, array.nbytes)
            same = os.pread(file, head, start) == bytes(array.reshape(-1).view(np.uint8)[:head])
        except BaseException:
            os.close(file)
            raise
        if not same:  # another file has taken its name
            os.close(file)
            return
        self._file, self._start = file, start
        weakref.finalize(self, os.close, file)

    def _fill(self, out: Array, start: int) -> None:
        """Read rows into `out`, which is C-contiguous."""
        assert self._file is not None
        rest = out.reshape(-1).view(np.uint8).data
        place = self._start + start * self._row_bytes
        while rest:
            try:
                count = os.preadv(self._file, [rest], place)
            except OSError as error:
                raise self._unreadable(start, error) from error
            if not count:
                raise DataError(
                    f"{self.what} changed while it was being read: its file {self._path!r} was "
                    "cut short. Train again, on a file that nothing writes to."
                )
            rest, place = rest[count:], place + count

    def _unreadable(self, row: int, error: Exception) -> DataError:
        return DataError(f"{self.what} cannot be read from row {row} on: {message_of(error)}.")

    def _state_of_file(self) -> tuple[int, int] | None:
        """What a change of the file changes; None where no file is known."""
        try:
            if self._file is not None:
                found = os.fstat(self._file)
            elif self._path is not None:
                found = os.stat(self._path)
            else:
                return None
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns


def _path_of(array: Any) -> str | None:
    """The file of a memory map, or of a dataset of h5py; None for others."""
    path = getattr(array, "filename", None) or getattr(
        getattr(array, "file", None), "filename", None
    )
    try:
        return os.path.abspath(os.fspath(path)) if path is not None else None
    except TypeError:
        return None
