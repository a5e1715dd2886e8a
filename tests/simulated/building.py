"""Shared libraries and programs, made from kernels by g++.

A `.cu` file stands, unchanged, in a generated source that adds a launcher for each kernel
(`launcher.h`). What is made is kept in a folder for temporary files, by a hash of all that goes
into it.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastnet_cupy import names
from fastnet_cupy.names import KERNELS

HERE = Path(__file__).parent

Defines = Sequence[tuple[str, str]]

#: Warnings are errors, but for what a header's part that is not used brings about.
WARNINGS = (
    "-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-unused-variable",
    "-Wno-maybe-uninitialized", "-Wno-sign-compare",
)  # fmt: skip
#: Most of what is compiled runs for less time than its compilation takes, which -O2 makes longer.
OPTIMIZED = ("-O1",)
#: Sums are rounded as they are written, the same on every processor.
LANGUAGE = ("-std=c++17", "-ffp-contract=off")

_SIGNATURE = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+'
    r"(?:__launch_bounds__\s*\((?P<bounds>[^)]*)\)\s*)?"
    r"(?P<name>\w+)\s*\((?P<parameters>[^)]*)\)"
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


class CompileError(Exception):
    """The compiler's message about a kernel's source."""


@dataclass(frozen=True)
class Signature:
    """What the text of a source says of a kernel.

    Attributes:
        name: of the kernel.
        threads: the most that a block may have, an expression of C++.
        parameters: their names.
    """

    name: str
    threads: str
    parameters: tuple[str, ...]


def absence() -> str | None:
    """Why kernels cannot be compiled here, or None."""
    if shutil.which("g++") is None:
        return "g++ is not installed; on Debian: apt install g++"
    if sys.platform != "linux":
        return "kernels are compiled for the processor on Linux only"
    return None


def signatures(text: str) -> list[Signature]:
    """The kernels in a source, in its order."""
    found = []
    for match in _SIGNATURE.finditer(_COMMENT.sub(" ", text)):
        parameters = tuple(
            re.findall(r"\w+", part)[-1]
            for part in match["parameters"].split(",")
            if part.strip() not in ("", "void")
        )
        threads = (match["bounds"] or "1024").split(",")[0].strip()
        found.append(Signature(match["name"], threads, parameters))
    return found


def source_text(source: Path | str) -> tuple[str, str]:
    """The name and the text of a source.

    Args:
        source: a file of the backend's kernels ("step.cu"), a path, or the text itself.
    """
    if isinstance(source, str) and "\n" in source:
        return "kernels.cu", source
    path = KERNELS / source
    return path.name, path.read_text()


def generated(name: str, text: str, defines: Defines, last: str = "") -> str:
    """The source that g++ gets: the kernels in a nameless namespace, then their launchers.

    So nothing in one library is taken for what another one calls the same, `__shared__` may stand
    in templates, and 64-bit integers are `long long`, as on a GPU.
    """
    macros = "".join(f"#define {name} {value}\n" for name, value in defines)
    launchers = "".join(f"FN_LAUNCHER({s.name}, {s.threads})\n" for s in signatures(text))
    return (
        f'#include "launcher.h"\n{macros}'
        "namespace fn_kernels {\nnamespace {\n"
        "typedef long long int64_t;\ntypedef unsigned long long uint64_t;\n"
        f'#line 1 "{name}"\n{text}\n#line 1 "launchers"\n'
        f"}}\n{launchers}}}\n{last}"
    )


@cache
def compiler() -> str:
    """The compiler's name and version."""
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout


@cache
def folder() -> Path:
    """Where what is compiled is kept: this user's own, else this process's own."""
    path = Path(tempfile.gettempdir()) / f"fastnet-simulated-{os.getuid()}"
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        if found.st_uid == os.getuid() and not found.st_mode & 0o022 and path.is_dir():
            return path
    return Path(tempfile.mkdtemp(prefix="fastnet-simulated-"))


def build(code: str, flags: Sequence[str], ending: str) -> Path:
    """Compile generated code, unless it was before.

    Args:
        code: what `generated` made.
        flags: all of g++'s, but for files and folders.
        ending: of the file that comes out.

    Raises:
        CompileError: with the compiler's message.
    """
    digest = hashlib.sha256()
    headers = [*sorted(HERE.glob("*.h")), *sorted(KERNELS.glob("*.cuh"))]
    texts = [names.header(), *(header.read_text() for header in headers)]
    for part in (compiler(), code, repr(tuple(flags)), *texts):
        digest.update(part.encode() + b"\0")
    target = folder() / (digest.hexdigest()[:32] + ending)
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        source, result = Path(work, "generated.cpp"), Path(work, "result")
        source.write_text(code)
        Path(work, names.HEADER).write_text(names.header())
        folders = [f"-I{place}" for place in (HERE, KERNELS, work)]
        command = ["g++", *flags, *folders, str(source), "-o", str(result)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CompileError(done.stderr)
        result.replace(target)  # at one stroke: another process may be at it, too
    return target
