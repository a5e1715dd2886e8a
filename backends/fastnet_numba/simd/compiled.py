"""How the kernels are compiled."""

import contextlib
import copy
import signal
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.types import Function, Type
from numba.core.typing import Context

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

    def finalize(self) -> None:
        """Link it with all kernels that it calls, be it through others, and make machine code."""
        # Callers first: of what nothing calls yet LLVM would leave out the code.
        all_of_them = self._linking_libraries
        for library in all_of_them:  # grows meanwhile
            more = dict.fromkeys(library._linking_libraries)
            all_of_them += [one for one in more if one not in all_of_them]
        super().finalize()

    def serialize_using_object_code(self) -> tuple[str, str, tuple[bytes, bytes]]:
        """The machine code and, instead of what it was made from, the names that are in it."""
        functions, variables = self._final_module.functions, self._final_module.global_variables
        lines = [f'@"{one.name}" = global i8 0' for one in variables if not one.is_declaration]
        for one in functions:
            if not one.is_declaration:
                lines.append(f'define void @"{one.name}"() {{ unreachable }}')
        module = llvm.parse_assembly("\n".join(lines))
        return self.name, "object", (self._get_compiled_object(), module.as_bitcode())

    def _finalize_specific(self) -> None:
        # Machine code is handed over to a callback, where an exception would be lost.
        with _interrupts_held():
            super()._finalize_specific()


class _InnerLibrary(JITCodeLibrary):
    """The code of a kernel that only kernels call, as LLVM has it before any work on it.

    Entries are linked with it, so that it is optimized and becomes machine code as part of them,
    once. Numba's own library does both, and links, for each kernel again.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Leave everything to the entries."""
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


class _Typing(Context):
    """What Numba knows of types, and remembers: it asks anew in each kernel, and several times."""

    _found: dict[Any, Any]

    @staticmethod
    @cache
    def of(context: Context) -> "_Typing":
        """Another view of the same context."""
        made: _Typing = copy.copy(context)
        made.__class__ = _Typing
        made._found = {}
        return made

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature of a function, or operator, of Numba's or ours for these arguments."""
        plain = not kws and (isinstance(func, Function) or not isinstance(func, Type))
        try:
            found = self._found.get((func, args)) if plain else None
        except TypeError:  # a slice among them
            plain, found = False, None
        if found is None:
            found = super().resolve_function_type(func, args, kws)
            if plain:
                self._found[func, args] = found
        return found


#: Passes of Numba's that look for what is not in these kernels, or that only describe them.
_NEEDLESS = {
    "with_lifting",
    "inline_closure_likes",
    "Rewrite dynamic raises",
    "make_function_op_code_to_jit_function",
    "find_literally",
    "literal_unroll",
    "LiteralPropagation",
    "inline_overloads",
    "nopython_rewrites",
    "nopython_supported_feature_validation",
    "annotate_types",
    "dump_parfor_diagnostics",
}


class _EntryCompiler(compiler.Compiler):
    """Numba's compiler, with a library of ours and without the passes that are needless here."""

    library: type[JITCodeLibrary] = _EntryLibrary

    def define_pipelines(self) -> Any:
        """The passes."""
        self.state.typingctx = _Typing.of(self.state.typingctx)
        name = self.state.func_id.func_qualname
        self.state.library = self.library(self.state.targetctx.codegen(), name)
        self.state.library.enable_object_caching()
        pipelines = super().define_pipelines()
        for pipeline in pipelines:
            pipeline.passes = [one for one in pipeline.passes if one[0].name() not in _NEEDLESS]
            pipeline.finalize()
        return pipelines


class _InnerCompiler(_EntryCompiler):
    library = _InnerLibrary


#: For kernels that Python calls.
entry: Callable[..., Any] = partial(
    numba.njit, **OPTIONS, no_cfunc_wrapper=True, pipeline_class=_EntryCompiler
)

#: For kernels that only kernels call: without the wrappers for Python, which take longer to compile
#: than most kernels do. Unless it is told not to, Numba inlines whatever an inlined kernel calls.
kernel: Callable[..., Any] = partial(
    entry, no_cpython_wrapper=True, forceinline=False, pipeline_class=_InnerCompiler
)

#: For kernels in inner loops or with one caller: inlined, because a call takes long where arrays
#: are handed over (each is seven numbers, written to the stack and read back).
inlined: Callable[..., Any] = partial(kernel, forceinline=True)

#: For kernels that are copied into their two callers before anything is compiled: else all
#: that they call would be optimized once more, for nothing.
spliced: Callable[..., Any] = partial(numba.njit, **OPTIONS, inline="always")
