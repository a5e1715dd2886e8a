"""Kernels compiled for the processor, and launched over NumPy arrays."""

import ctypes
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulated.building import (
    LANGUAGE,
    OPTIMIZED,
    WARNINGS,
    Defines,
    Signature,
    build,
    generated,
    signatures,
    source_text,
)


class CompiledKernel:
    """A kernel that runs on the processor.

    Attributes:
        name: of the kernel.
        types: of its arguments: "f4", "i8"; "*f4" for a pointer, "*" for one to other things.
        parameters: their names.
        most_threads: of a block.
    """

    def __init__(self, library: ctypes.CDLL, signature: Signature) -> None:
        self.name = signature.name
        self.parameters = signature.parameters
        self.types: tuple[str, ...] = tuple(
            _function(library, f"fn_types_{self.name}", ctypes.c_char_p)().decode().split()
        )
        self.most_threads: int = _function(library, f"fn_threads_{self.name}", ctypes.c_uint)()
        self._launch = _function(
            library, f"fn_launch_{self.name}", ctypes.c_char_p,
            ctypes.c_uint, ctypes.c_uint, ctypes.c_size_t, ctypes.c_uint, ctypes.c_char_p,
        )  # fmt: skip

    def launch(
        self, blocks: int, threads: int, arguments: Sequence[Any], shared: int = 0, seed: int = 0
    ) -> None:
        """Run it to its end.

        Args:
            blocks: how many.
            threads: of a block.
            arguments: NumPy arrays, None for null, NumPy scalars of the kernel's own types.
            shared: bytes of dynamic shared memory.
            seed: of the schedule; 0: threads in their order.

        Raises:
            TypeError: if an argument is not of the kernel's type.
            ValueError: if there are more or fewer than it has, or the geometry is none.
            RuntimeError: if the kernel comes to a deadlock or misuses its warp.
        """
        self.check_geometry(blocks, threads)
        self.start(blocks, threads, self.values(arguments), shared, seed)

    def start(self, blocks: int, threads: int, values: bytes, shared: int, seed: int) -> None:
        """Run it with arguments that `values` has made; the arrays must still be there."""
        with _one_at_a_time:  # a library has one block at work
            wrong = self._launch(blocks, threads, shared, seed, values)
        if wrong is not None:
            raise RuntimeError(f"kernel {self.name}: {wrong.decode()}")

    def check_geometry(self, blocks: int, threads: int) -> None:
        """As CUDA would.

        Raises:
            ValueError: naming what is out of range.
        """
        if threads % 32 or not 32 <= threads <= self.most_threads:
            raise ValueError(
                f"kernel {self.name}: {threads} threads a block; it takes a multiple of 32 up to "
                f"{self.most_threads}."
            )
        if not 1 <= blocks < 2**31:
            raise ValueError(f"kernel {self.name}: {blocks} blocks; at least 1, below 2**31.")

    def values(self, arguments: Sequence[Any]) -> bytes:
        """Arguments as the launcher reads them, 8 bytes each."""
        self.check_count(arguments)
        return b"".join(self._value(place, argument) for place, argument in enumerate(arguments))

    def check_count(self, arguments: Sequence[Any]) -> None:
        """Raises ValueError if there are more or fewer arguments than the kernel has."""
        if len(arguments) != len(self.types):
            raise ValueError(
                f"kernel {self.name}: {len(arguments)} arguments; it takes {len(self.types)}: "
                f"{', '.join(self.parameters)}."
            )

    def _value(self, place: int, argument: Any) -> bytes:
        wanted = self.types[place]
        if wanted[0] == "*":
            if argument is None:
                return bytes(8)
            self.check_array(place, argument)
            return struct.pack("=Q", argument.__array_interface__["data"][0])
        self.check_scalar(place, argument)
        return bytes(argument.tobytes()).ljust(8, b"\0")

    def check_scalar(self, place: int, argument: Any) -> None:
        """Raises TypeError if `argument` is not a NumPy scalar of the kernel's type."""
        wanted = self.types[place]
        if not isinstance(argument, np.generic) or argument.dtype.str[1:] != wanted:
            raise self._mismatch(place, f"{np.dtype(wanted)}", argument)

    def check_array(self, place: int, argument: Any) -> None:
        """Raises TypeError if `argument` is not an array that a pointer may point to.

        Bytes (uint8) may stand for anything, and fp16 for its bits.
        """
        wanted = self.types[place][1:]
        if not isinstance(argument, np.ndarray):
            raise self._mismatch(place, f"an array of {wanted or 'any kind'}", argument)
        given = argument.dtype.str[1:]
        if wanted not in ("", given) and given != "u1" and (wanted, given) != ("u2", "f2"):
            raise self._mismatch(place, f"an array of {np.dtype(wanted)}", argument)
        if not argument.flags.c_contiguous:
            raise self._mismatch(place, "a C-contiguous array", argument)

    def _mismatch(self, place: int, wanted: str, argument: Any) -> TypeError:
        if isinstance(argument, np.ndarray):
            given = f"an array of {argument.dtype}, shape {argument.shape}"
            given += "" if argument.flags.c_contiguous else ", not contiguous"
        else:
            given = f"{type(argument).__name__} {argument!r}"
        return TypeError(
            f"kernel {self.name}, argument {place} ({self.parameters[place]}): "
            f"it takes {wanted}, given is {given}."
        )


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = list(arguments)
    return function


_one_at_a_time = threading.Lock()
_known: dict[Any, dict[str, CompiledKernel]] = {}


def kernels(
    source: Path | str, defines: Defines = (), flags: Sequence[str] = (*OPTIMIZED, *WARNINGS)
) -> dict[str, CompiledKernel]:
    """All kernels of a source, by name, compiled with `defines` as macros.

    Args:
        source: a file of the backend's kernels ("step.cu"), a path, or the text itself.
        defines: names and values.
        flags: of g++, beside those that every kernel needs.

    Raises:
        CompileError: with the compiler's message.
    """
    name, text = source_text(source)
    key = (text, tuple(defines), tuple(flags))
    if key not in _known:
        library = ctypes.CDLL(
            str(
                build(
                    generated(name, text, defines),
                    (*LANGUAGE, *flags, "-shared", "-fPIC", "-fvisibility=hidden"),
                    ".so",
                )
            )
        )
        _known[key] = {s.name: CompiledKernel(library, s) for s in signatures(text)}
    return _known[key]
