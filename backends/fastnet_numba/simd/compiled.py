"""How the kernels are compiled."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numba
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary

#: For every kernel: the GIL is released, a division by zero gives infinity or NaN as in NumPy, and
#: no rule of arithmetic is relaxed (no `fastmath`): NaN must be noticed, and sums have an order.
#: Without Numba's runtime (`_nrt`) no references are counted: kernels make no arrays, and whoever
#: calls an entry holds those it hands over. Counting takes longer than a layer of a small network.
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait for the block's end."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    held: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *given: held.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held:
        handler(*held[0])


class _EntryLibrary(JITCodeLibrary):
    """The code of a kernel that Python calls."""

    def _finalize_specific(self) -> None:
        # Machine code is handed over to a callback, where an exception would be lost.
        with _interrupts_held():
            super()._finalize_specific()


class _InnerLibrary(JITCodeLibrary):
    """The code of a kernel that only kernels call, as LLVM has it before any work on it.

    Its callers contain it, so that it is optimized and becomes machine code as part of an entry,
    once. Numba's own library does both for each kernel again, which takes a quarter of the time.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """None."""
        return 0

    @property
    def codegen(self) -> Any:
        """Stands in for the compiler, which would write an environment into the machine code."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: kernels raise nothing, for which they would need it."""


class _EntryCompiler(compiler.Compiler):
    """Numba's compiler, with a library of ours."""

    library: type[JITCodeLibrary] = _EntryLibrary

    def define_pipelines(self) -> Any:
        """The passes: Numba's."""
        name = self.state.func_id.func_qualname
        self.state.library = self.library(self.state.targetctx.codegen(), name)
        self.state.library.enable_object_caching()
        return super().define_pipelines()


class _InnerCompiler(_EntryCompiler):
    library = _InnerLibrary


#: For kernels that Python calls.
entry: Callable[..., Any] = partial(
    numba.njit, **OPTIONS, no_cfunc_wrapper=True, pipeline_class=_EntryCompiler
)

#: For kernels that only kernels call: without the wrappers for Python, which take longer to compile
#: than most kernels do.
kernel: Callable[..., Any] = partial(entry, no_cpython_wrapper=True, pipeline_class=_InnerCompiler)

#: For kernels in inner loops or with one caller: inlined, because a call takes long where arrays
#: are handed over (each is seven numbers, written to the stack and read back).
inlined: Callable[..., Any] = partial(kernel, forceinline=True)

#: For kernels that are copied into their two callers before anything is compiled: else all
#: that they call would be optimized once more, for nothing.
spliced: Callable[..., Any] = partial(numba.njit, **OPTIONS, inline="always")
