"""Files: safetensors, with everything but the arrays as JSON in the header, and a digest.

The safetensors format does not notice a flipped bit in the data, so the header holds the SHA-256
of the whole file, computed with 64 zeros in the place of the digest: no file with a changed byte
loads. Any safetensors reader can read the arrays. Never pickle.

A file is written beside its final path, flushed to the disk, and renamed: a reader sees the old
file or the new one, complete. What a killed writer left is removed by the next write.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.errors import (
    DefinitionError,
    FileAccessError,
    ModelFileError,
    ModelFileMissing,
    UnknownName,
    message_of,
)
from fastnet.migrations import migrate
from fastnet.version import __version__

#: Incremented whenever older versions of fastnet cannot read new files; `fastnet.migrations` then
#: turns files of the format before into the new one.
FORMAT = 2

_ZEROS = "0" * 64
#: Our headers, a network's definition and some numbers, are never longer.
_HEADER_BYTES = 64 * 2**20
_KEY = "fastnet"
#: The file of a scratch folder that is locked while the folder is in use.
_IN_USE = "in-use"


def write(path: str | os.PathLike[str], kind: str, facts: Any, arrays: Mapping[str, Array]) -> Path:
    """Write one file, or leave an existing file unchanged.

    Args:
        path: of the file.
        kind: "model", "checkpoint", "population", "population checkpoint" or "ensemble".
        facts: anything that JSON can hold; floats stay exact.
        arrays: by name.

    Returns:
        The path.

    Raises:
        FileAccessError: if it cannot be written (it is also an `OSError`, with its errno).
    """
    from safetensors.numpy import save

    path = checks.path(path)
    head = {"format": FORMAT, "kind": kind, "digest": _ZEROS, "facts": facts}
    text = json.dumps(head, separators=(",", ":"))
    whole = save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, {_KEY: text})
    digest = _sha256(whole)
    # In the header, JSON stands inside a JSON string: the quotes are escaped. Ours is the
    # first such place, because it comes before the facts.
    mark = f'\\"digest\\":\\"{_ZEROS}'.encode()
    place = whole.index(mark) + len(mark) - 64
    store(path, whole[:place] + digest.encode() + whole[place + 64 :])
    return path


def store(path: Path, whole: bytes) -> None:
    """Write a whole file, or leave an existing file unchanged.

    Raises:
        FileAccessError: if it cannot be written (it is also an `OSError`, with its errno).
    """
    _refuse_device(path, "write")
    try:
        replace(path, whole)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError | ValueError) -> FileAccessError:
    """The error for a file that could not be written as a whole: what to do about `error`."""
    number, reason = _cause(error)
    if os.path.isdir(path):
        reason, remedy = "it is a folder", "Give a file in it"
    elif number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "Make room, or choose another folder"
    elif number == errno.ENOENT:
        remedy = f"Make the folder {str(_target(path).parent)!r} first"
    else:
        remedy = "Choose another folder"
    return FileAccessError(
        number,
        f"cannot write {str(path)!r}: {reason}; an existing file is unchanged. {remedy}",
    )


def _target(path: Path) -> Path:
    """The file that is written for `path`: what a link leads to, even if that is missing."""
    return Path(os.path.realpath(path))


def _is_device(path: Path) -> bool:
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def _refuse_device(path: Path, what: str) -> None:
    """Refuse a device, a pipe or a socket: it would be replaced by a file, or may never end."""
    if _is_device(path):
        raise FileAccessError(
            errno.EINVAL, f"cannot {what} {str(path)!r}: it is a device, not a file. Name a file"
        )


def check_apart(written: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    """Make sure, before a computation, that no file is written over another of its files.

    Files are told apart by what they are, not by their names: links lead to one file.

    Args:
        written: the paths of files that will be written, by what errors call them; None: no file.
        read: the paths of files that are read, likewise.

    Raises:
        DefinitionError: if two paths lead to one file; names both.
    """
    names = [(what, path) for what, path in (*written.items(), *read.items()) if path is not None]
    for place, (what, path) in enumerate(names[: sum(one is not None for one in written.values())]):
        for other, second in names[place + 1 :]:
            if _same(Path(path), Path(second)):
                raise DefinitionError(
                    f"{what} {str(path)!r} and {other} {str(second)!r} are the same file; "
                    f"choose another {what}."
                )


def _same(one: Path, two: Path) -> bool:
    try:
        return os.path.samefile(one, two)
    except (OSError, ValueError):  # at least one does not exist yet
        return _target(one) == _target(two)


def check_writable(path: str | os.PathLike[str], option: str) -> None:
    """Make sure, before a long computation, that a file can be written.

    Raises:
        FileAccessError: if it is a folder, its name is too long, or the folder of the file, or of
            what a link leads to, is missing or not writable.
    """
    import tempfile

    path = Path(path)
    _refuse_device(path, "write")
    if os.path.isdir(path):
        raise FileAccessError(
            errno.EISDIR, f"{option} {str(path)!r} is a folder; give a file in it"
        )
    folder = ""
    try:
        target = _target(path)
        if target.is_symlink():
            raise OSError(errno.ELOOP, "it is a link that leads back to itself; remove it")
        folder = f" ({str(target.parent)!r})"
        with tempfile.TemporaryFile(dir=target.parent):
            pass
        with contextlib.suppress(FileNotFoundError):
            _temporary(target).lstat()  # its name may be too long
    except (OSError, ValueError) as error:
        number, reason = _cause(error)
        raise FileAccessError(
            number, f"{option} {str(path)!r} cannot be written: {reason}{folder}"
        ) from error


def kind_of(path: str | os.PathLike[str]) -> str:
    """The kind of a file, as in `write`; the rest of it is not checked.

    Raises:
        ModelFileError: if it is not a fastnet file.
        ModelFileMissing: if there is none.
        FileAccessError: if it cannot be read, or is a device or a pipe, which may never end.
    """
    with _opened(checks.path(path)) as file:
        return str(_head(path, file).get("kind"))


def read(path: str | os.PathLike[str], kind: str) -> tuple[Any, dict[str, Array]]:
    """Read one file.

    Returns:
        The facts and the arrays.

    Raises:
        ModelFileError: if the file is truncated, altered, foreign, of another kind or newer.
        ModelFileMissing: if there is none.
        FileAccessError: if it cannot be read, or is a device or a pipe, which may never end.
    """
    with _opened(checks.path(path)) as file:
        head = _head(path, file)
        file.seek(0)
        whole = bytearray(file.read())
    if head.get("kind") != kind:
        reader = {
            "model": "fn.load",
            "population": "fn.load_population",
            "ensemble": "fn.load_ensemble",
        }
        found = head.get("kind", "")
        remedy = f"; {reader[found]} reads it" if found in reader else ""
        one, other = (f"{'an' if name == 'ensemble' else 'a'} {name}" for name in (found, kind))
        raise ModelFileError(f"{str(path)!r} holds {one}, not {other}{remedy}.")
    place = whole.find(head["digest"].encode())
    whole[place : place + 64] = _ZEROS.encode()
    if _sha256(whole) != head["digest"]:
        raise ModelFileError(
            f"{str(path)!r} was cut short or altered (its digest does not match); use another copy."
        )
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return migrate(head["format"], kind, head["facts"], load(bytes(whole)))
    except (SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(
            f"{str(path)!r} is not a whole safetensors file: {message_of(error)}."
        ) from error


@contextlib.contextmanager
def decoding(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """A `with` block that makes a model, or what else `kind` says, of what a file holds.

    Raises:
        ModelFileError: naming the file, for every error of what does not fit in it.
    """
    try:
        yield
    except ModelFileError:
        raise
    except UnknownName as error:
        raise ModelFileError(
            f"{str(path)!r} needs something that is not here: {error} If it was added from outside "
            "of fastnet, import that module first."
        ) from error
    except (KeyError, TypeError, ValueError, MemoryError, OverflowError) as error:
        raise ModelFileError(f"{str(path)!r} holds no {kind}: {message_of(error)}.") from error


def contents(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ModelFileMissing: if there is none.
        FileAccessError: if it cannot be read, or is a device or a pipe, which may never end.
    """
    with _opened(path) as file:
        return file.read()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    _refuse_device(path, "read")
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError as error:
        raise ModelFileMissing(error.errno, f"there is no file {str(path)!r}") from error
    except ModelFileError:
        raise
    except (OSError, ValueError) as error:
        number, reason = _cause(error)
        raise FileAccessError(number, f"cannot read {str(path)!r}: {reason}") from error


def _cause(error: OSError | ValueError) -> tuple[int, str]:
    """The number and text of an error; an impossible path raises a ValueError."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error.strerror or str(error)
    return errno.EINVAL, str(error)


def _sha256(whole: bytes | bytearray) -> str:
    import hashlib  # slow to import, and needed for files only

    return hashlib.sha256(whole).hexdigest()


def _head(path: str | os.PathLike[str], file: BinaryIO) -> dict[str, Any]:
    """Read our part of a safetensors header, which is eight bytes of length, then JSON."""
    begin = file.read(8)
    foreign = f"{str(path)!r} is not a fastnet file, or was cut short{_of_others(path, begin)}."
    length = int.from_bytes(begin, "little")
    if not 0 < length <= _HEADER_BYTES:
        raise ModelFileError(foreign)
    try:
        header = json.loads(file.read(length))
        head = json.loads(header["__metadata__"][_KEY])
        version, digest = head["format"], head["digest"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(foreign) from error
    if (
        not isinstance(version, int)
        or not isinstance(digest, str)
        or len(digest) != 64
        or not digest.isascii()
    ):
        raise ModelFileError(foreign)
    if version > FORMAT:
        raise ModelFileError(
            f"{str(path)!r} has format {version}; fastnet {__version__} reads up to {FORMAT}: "
            "use the fastnet that wrote the file, or a newer one."
        )
    return dict(head)


#: Files of other programs, by how their names end or how they begin, and what reads them.
_OTHERS = (
    ((".onnx",), b"", "an ONNX file: fn.from_onnx(path) reads it"),
    ((".keras", ".h5", ".hdf5"), b"\x89HDF", "a Keras model: fn.from_keras(model) converts it"),
    (
        (".pt", ".pth", ".bin"),
        b"PK\x03\x04",
        "a file of PyTorch: fn.from_torch(module) converts the module that it is loaded into",
    ),
    (
        (".pkl", ".pickle", ".joblib"),
        b"\x80",
        "a pickle: fn.from_sklearn(estimator) converts what it holds",
    ),
    ((".csv", ".tsv", ".parquet"), b"PAR1", "a table: the model is another file"),
)


def _of_others(path: str | os.PathLike[str], begin: bytes) -> str:
    """What a file of another program seems to be."""
    for by_name in (True, False):
        for ends, start, what in _OTHERS:
            named = os.fspath(path).lower().endswith(ends)
            if named if by_name else start and begin.startswith(start):
                return f"; it looks like {what}"
    return ""


def replace(path: Path, whole: bytes) -> None:
    """Replace a file as a whole. A link stays a link, and the file mode is kept."""
    with replacing(path) as file:
        file.write(whole)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to; it replaces `path` at the end, or is removed after an error."""
    path = _target(path)
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link that leads back to itself")
    _sweep(path)
    with _beside(path) as (file, temporary):
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        yield file
        file.flush()
        os.fsync(file.fileno())
        if os.name == "nt":  # which renames no open files; elsewhere the lock lasts until then
            file.close()
        os.replace(temporary, path)
    with contextlib.suppress(PermissionError, IsADirectoryError):  # Windows opens no folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _temporary(path: Path) -> Path:
    """The name of a new file in the same folder."""
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in the same folder, locked while it is being written, removed after an error."""
    while True:
        temporary = _temporary(path)
        with open(temporary, "xb") as file:
            # Another writer may have removed it as a leftover before it was locked: try again.
            if not _lock(file) or not temporary.exists():
                continue
            try:
                yield file, temporary
            finally:
                temporary.unlink(missing_ok=True)  # it is gone already if it was renamed
            return


def _sweep(path: Path) -> None:
    """Remove what killed writers of the same file left: files that are not locked."""
    import glob

    for leftover in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        with contextlib.suppress(OSError), open(leftover, "rb") as file:
            if _lock(file):
                leftover.unlink()


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed or the process ends; return whether it was free."""
    try:
        import fcntl
    except ImportError:  # Windows, where a file that is open cannot be removed anyway
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: remove nothing that may be in use
        return not file.readable()
    return True


def sweep_scratch(path: Path) -> None:
    """Remove the scratch folders for `path` that killed processes left."""
    import glob
    import shutil

    path = _target(path)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.????????.scratch"):
        with contextlib.suppress(OSError), open(leftover / _IN_USE, "ab") as file:
            if _lock(file):
                shutil.rmtree(leftover)


@contextlib.contextmanager
def scratch_folder(path: Path, sweep: bool = True) -> Iterator[Path]:
    """A new folder beside `path` for what is needed while that is being made; removed at the end.

    It holds a locked file while it is in use. What a killed process left is removed by the next one
    that makes a scratch folder for the same path.

    Args:
        path: the file or folder that is being made.
        sweep: remove such folders now. Processes that make theirs at the same time do so before.

    Raises:
        FileAccessError: if it cannot be made.
    """
    import shutil

    if sweep:
        sweep_scratch(path)
    path = _target(path)
    folder = path.with_name(f".{path.name}.{os.urandom(4).hex()}.scratch")
    try:
        folder.mkdir()
        file = open(folder / _IN_USE, "wb")  # noqa: SIM115  # open as long as the folder is in use
    except OSError as error:
        raise unwritable(folder, error) from error
    with file:
        _lock(file)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
