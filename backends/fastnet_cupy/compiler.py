"""From `kernels/*.cu` to machine code: the one place that compiles, and keeps what it compiled.

NVRTC is called through CuPy, but not by `cupy.RawModule`, which always adds `-ftz=true`: a
float32 model keeps its subnormal numbers, as NumPy does. NVRTC needs no GPU and compiles for any.

The folder is `CUPY_CACHE_DIR`, or the user's cache folder. An entry is named by all that it was
made from, and begins with its own digest: one that is damaged is ignored.
"""

import contextlib
import hashlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fastnet import files
from fastnet.errors import FastnetError
from fastnet_cupy import names
from fastnet_cupy.names import KERNELS

_log = logging.getLogger("fastnet")

#: Raised by one when entries of the cache get another form.
_FORMAT = 2
_DIGEST_BYTES = 32

#: Seconds after which a compilation is announced: up to about one second a person's flow of
#: thought stays uninterrupted (Nielsen, Usability Engineering, 1993, chapter 5).
_PATIENCE = 1.0

#: The last writes spills into the log. All but that and the first are NVRTC's defaults (NVRTC's
#: guide, "Supported Compile Options"), named because results depend on them: -ftz=true would make
#: subnormal numbers zero, and -fmad=false round a product apart from its sum, at half the speed.
OPTIONS = (
    "-std=c++17", "-ftz=false", "-prec-div=true", "-prec-sqrt=true", "-fmad=true",
    "--ptxas-options=-v",
)  # fmt: skip

_INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
_ONCE = re.compile(r"\s*#\s*pragma\s+once\b")


class Compiled(NamedTuple):
    """A compiled file.

    Attributes:
        cubin: an ELF file for one architecture.
        log: of NVRTC, with the registers and memory of each kernel.
    """

    cubin: bytes
    log: str

    def spills(self, kernel: str) -> bool:
        """Whether a kernel moves registers to memory, because it has too few."""
        report = re.search(
            rf"Function properties for {kernel}\n.*?(\d+) bytes spill stores, (\d+)", self.log
        )
        if report is None:
            _log.warning("the compiler does not report whether kernel %r spills registers.", kernel)
            return False
        return any(map(int, report.groups()))


def source_of(file: str, defines: tuple[tuple[str, str], ...] = (), folder: Path = KERNELS) -> str:
    """`file` with its macros, `names.cuh` and the headers beside it, each at its first `#include`.

    So the source is all that a cubin is made from. Errors still name the right file and line.

    Args:
        file: a name in `folder`.
        defines: macros, by name and value; they hold from the first line on.
        folder: where the file and its headers are.
    """
    seen = {file}

    def lines_of(name: str) -> Iterator[str]:
        yield f'#line 1 "{name}"'
        path = folder / name
        text = names.header() if name == names.HEADER else path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), start=1):
            included = _INCLUDE.match(line)
            header = included[1] if included else ""
            if _ONCE.match(line) or header in seen:
                yield ""
            elif header == names.HEADER or (header and (folder / header).is_file()):
                seen.add(header)
                yield from lines_of(header)
                yield f'#line {number + 1} "{name}"'
            else:
                yield line

    macros = [f"#define {name} {value}" for name, value in defines]
    return "\n".join([*macros, *lines_of(file), ""])


def compile_file(
    file: str,
    defines: tuple[tuple[str, str], ...],
    architecture: str,
    folder: Path = KERNELS,
) -> Compiled:
    """Machine code of `kernels/<file>`, from the cache, or compiled and cached.

    Args:
        file: a name in `folder`.
        defines: macros, by name and value.
        architecture: such as "sm_90".
        folder: where the file and its headers are.

    Raises:
        FastnetError: if it does not compile; the text has NVRTC's log.
    """
    from cupy.cuda import nvrtc

    source = source_of(file, defines, folder)
    options = (*OPTIONS, f"--gpu-architecture={architecture}")
    made_from = repr((_FORMAT, source, options, nvrtc.getVersion()))
    entry = f"{Path(file).stem}-{hashlib.sha256(made_from.encode()).hexdigest()}.cubin"
    kept = _read(cache_folder() / entry)
    if kept is not None:
        return kept
    compiled = _compile(file, source, options, architecture)
    _keep(cache_folder() / entry, compiled)
    return compiled


def _compile(file: str, source: str, options: tuple[str, ...], architecture: str) -> Compiled:
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source, file, (), ())
    try:
        with _announced():
            nvrtc.compileProgram(program, options)
        # CuPy takes the last byte off (`getCUBIN` in its nvrtc.pyx), as of a text that ends with
        # a zero. It is a zero here too, but part of the ELF file.
        log = nvrtc.getProgramLog(program).rstrip("\0")
        return Compiled(nvrtc.getCUBIN(program) + b"\0", log)
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program).strip()
        version = ".".join(map(str, nvrtc.getVersion()))
        raise FastnetError(
            f"the kernels of {file} do not compile for {architecture} with NVRTC {version} "
            f"({error}):\n{log}"
        ) from error
    finally:
        nvrtc.destroyProgram(program)


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Log that kernels are being compiled, if it takes long."""
    timer = threading.Timer(_PATIENCE, _announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@cache
def _announce() -> None:
    _log.warning("fastnet compiles its CUDA kernels: some seconds, once for each version.")


def cache_folder() -> Path:
    """Where compiled code is kept; it need not exist."""
    chosen = os.environ.get("CUPY_CACHE_DIR")
    if chosen:
        return Path(chosen) / "fastnet-cuda"
    try:
        import platformdirs
    except ImportError:  # no package that CuPy needs has it
        local = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
        parent = os.environ.get(local) or os.path.join(os.path.expanduser("~"), ".cache")
        return Path(parent) / "fastnet" / "cuda"
    return Path(platformdirs.user_cache_dir("fastnet")) / "cuda"


def _read(path: Path) -> Compiled | None:
    """An entry; None if there is none, or it is damaged."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    digest, content = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    log, _, cubin = content.partition(b"\0")
    return Compiled(cubin, log.decode())


def _keep(path: Path, compiled: Compiled) -> None:
    """Write an entry, whole or not at all; a failure is logged once."""
    content = compiled.log.encode() + b"\0" + compiled.cubin
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        _cannot_keep(path.parent, error.strerror or str(error))


@cache
def _cannot_keep(folder: Path, reason: str) -> None:
    _log.warning(
        "fastnet cannot keep its compiled CUDA kernels in %s (%s), so every new process compiles "
        "them again; set CUPY_CACHE_DIR to a folder that can be written to.",
        folder,
        reason,
    )
