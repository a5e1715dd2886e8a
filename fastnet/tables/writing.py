"""Writing tables to files, block by block."""

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnet import files
from fastnet.errors import FileAccessError
from fastnet.extras import polars
from fastnet.tables.csv_blocks import first_line
from fastnet.tables.reading import extension

if TYPE_CHECKING:
    import polars as pl


def write_csv(frames: "Iterable[pl.DataFrame]", put: Callable[[bytes], Any]) -> None:
    """Write frames one below the other as one CSV; `put` is called with the bytes of each."""
    for index, frame in enumerate(frames):
        buffer = io.BytesIO()
        frame.write_csv(buffer, include_header=index == 0)
        put(buffer.getvalue())


def write(frames: "Iterable[pl.DataFrame]", path: str | os.PathLike[str]) -> None:
    """Write frames one below the other to one file, whole or not at all.

    The extension of the path decides the format.

    Raises:
        DataError: for an unknown extension.
        FileAccessError: if the file cannot be written.
    """
    kind, target = extension(path, "the output"), Path(path)
    broken = polars().exceptions
    try:
        with files.replacing(target) as file:
            if kind == ".csv":
                write_csv(frames, file.write)
            else:
                with _scan_of(frames, target.absolute().parent) as scan:
                    scan.sink_parquet(file)
    except FileAccessError:
        raise
    except OSError as error:
        raise files.unwritable(target, error) from error
    except (broken.PolarsError, broken.PanicException) as error:  # which have no error number
        reason = f"{first_line(error)}; an existing file is unchanged. Choose another folder"
        raise FileAccessError(None, f"cannot write {str(path)!r}: {reason}") from error


@contextmanager
def _scan_of(frames: "Iterable[pl.DataFrame]", folder: Path) -> "Iterator[pl.LazyFrame]":
    """Keep frames in temporary Parquet files, and scan those.

    Polars writes a Parquet file from a frame or a scan, not from frames that come one by one.
    """
    pl = polars()
    with tempfile.TemporaryDirectory(prefix=".fastnet-", dir=folder) as parts:
        paths = []
        for index, frame in enumerate(frames):
            paths.append(Path(parts) / f"{index}.parquet")
            frame.write_parquet(paths[-1])
        yield pl.scan_parquet(paths, glob=False, hive_partitioning=False)
