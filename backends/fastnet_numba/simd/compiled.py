"""How the kernels are compiled."""

import contextlib
import copy
import operator
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import PassManager, _pass_registry
from numba.core.types import Function, Number, boolean
from numba.core.types.misc import unliteral
from numba.core.typing import Context
from numba.extending import intrinsic, models, register_model

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

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout  # all is optimized together


def tidy(passes: Any) -> None:
    """Add to a manager of passes the few that written code needs."""
    passes.add_loop_rotate_pass()
    passes.add_instruction_combine_pass()
    passes.add_jump_threading_pass()


class _WrittenLibrary(_EntryLibrary):
    """The code of an entry that is written instruction by instruction, as it is to be."""

    def _optimize_final_module(self) -> None:
        builder = self._codegen._pass_builder(opt=0, loop_vectorize=False, slp_vectorize=False)
        passes = builder.getModulePassManager()
        tidy(passes)
        passes.run(self._final_module, builder)


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
        """No address: 0."""
        return 0

    @property
    def codegen(self) -> Any:
        """Stands in for the compiler, which would write an environment into the machine code."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: kernels raise nothing, for which they would need it."""


def _either(compare: Any) -> Any:
    """Python's `min` or `max` of two numbers, for which Numba compiles a function."""

    @intrinsic
    def choice(typing: Any, x: Any, y: Any) -> tuple[Any, Any]:
        kind = typing.unify_types(x, y)

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            decide = context.get_function(compare, boolean(kind, kind))
            return builder.select(decide(builder, (args[1], args[0])), args[1], args[0])

        return kind(kind, kind), build

    return choice


_OF_TWO: dict[Any, Any] = {min: _either(operator.lt), max: _either(operator.gt)}


class _Function(Function):
    """A function or operator that remembers what it gives for arguments of which types.

    Numba goes through all its ways to add, say, for each sum, and again when it writes its code;
    and again for each number that stands in the code, which has a type of its own.
    """

    _impl_keys: dict[Any, Any]

    def __init__(self, templates: tuple[Any, ...]) -> None:
        super().__init__(templates)
        self._found: dict[Any, Any] = {}

    @staticmethod
    @cache
    def like(function: Function) -> "_Function":
        """The same function; Numba's own, which other code uses, stays as it is."""
        return _Function(function.templates)

    def augment(self, other: Any) -> Any:
        """Numba's function with what other code has registered for it meanwhile."""
        return Function(self.templates).augment(other)

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """The signature for arguments of these types."""
        if kws:
            return super().get_call_type(context, args, kws)
        given, found = args, self._found.get(args)
        if found is None:
            kinds = tuple(map(unliteral, args))
            numbers = all(isinstance(kind, Number) for kind in kinds)
            if numbers and not any(one.prefer_literal for one in self.templates):
                args = kinds
            written = _OF_TWO.get(self.typing_key) if numbers and len(args) == 2 else None
            if written is None:
                found = super().get_call_type(context, args, kws)
            else:
                function = context.resolve_value_type(written)
                found = function.get_call_type(context, args, kws)
                self._impl_keys[found.args] = function.get_impl_key(found)
            self._found[given] = found
        return found


register_model(_Function)(models.OpaqueModel)


class _Typing(Context):
    """What Numba knows of types, with functions that remember."""

    @staticmethod
    @cache
    def like(context: Context) -> "_Typing":
        """The same context."""
        made: _Typing = copy.copy(context)
        made.__class__ = _Typing
        return made

    def _lookup_global(self, value: Any) -> Any:
        found = super()._lookup_global(value)
        return _Function.like(found) if type(found) is Function else found


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


class _Passes(PassManager):
    """Runs passes without telling listeners of each."""

    def __init__(self, passes: Iterable[Any]) -> None:
        super().__init__("fastnet")
        self.passes = list(passes)
        self.finalize()

    def run(self, state: Any) -> None:
        """All of them, one after the other."""
        for kind, _ in self.passes:
            one = _pass_registry.get(kind).pass_inst
            one.analysis = self._analysis
            one.run_pass(state)


class _EntryCompiler(compiler.Compiler):
    """Numba's compiler, with a library of ours and without the passes that are needless here."""

    library: type[JITCodeLibrary] = _EntryLibrary

    def define_pipelines(self) -> Any:
        """The passes."""
        self.state.typingctx = self.state.targetctx.typing_context = _Typing.like(
            self.state.typingctx
        )
        name = self.state.func_id.func_qualname
        self.state.library = self.library(self.state.targetctx.codegen(), name)
        self.state.library.enable_object_caching()
        (passes,) = super().define_pipelines()
        return [_Passes(one for one in passes.passes if one[0].name() not in _NEEDLESS)]


class _WrittenCompiler(_EntryCompiler):
    library = _WrittenLibrary


class _InnerCompiler(_EntryCompiler):
    library = _InnerLibrary


#: For kernels that Python calls.
entry: Callable[..., Any] = partial(
    numba.njit, **OPTIONS, no_cfunc_wrapper=True, pipeline_class=_EntryCompiler
)

#: For those of LLVM's instructions alone: all passes take as long again as machine code does, and
#: gain nothing.
written: Callable[..., Any] = partial(entry, pipeline_class=_WrittenCompiler)

#: For kernels that kernels call by their address: see `parts.py`.
part: Callable[..., Any] = partial(entry, no_cpython_wrapper=True)


def part_named(name: str, function: Any) -> Any:
    """A part of which there are several with one text, each with a name of its own."""
    function.__name__ = function.__qualname__ = name
    return part(function)


#: For kernels that only kernels call: without the wrappers for Python, which take longer to compile
#: than most kernels do. Unless it is told not to, Numba inlines whatever an inlined kernel calls.
kernel: Callable[..., Any] = partial(part, forceinline=False, pipeline_class=_InnerCompiler)

#: For kernels in inner loops or with one caller: inlined, because a call takes long where arrays
#: are handed over (each is seven numbers, written to the stack and read back).
inlined: Callable[..., Any] = partial(kernel, forceinline=True)
