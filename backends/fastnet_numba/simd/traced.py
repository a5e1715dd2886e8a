"""Functions of vectors that are written out as they run, and not compiled.

To compile a function, Numba finds out what each of its names is and where each branch leads, which
takes long even for a short one. Without branches none of that is needed: run once, on vectors that
stand for those of the code to come, the function writes an LLVM instruction for each operation.
"""

import inspect
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import config, typeof
from numba.core.registry import cpu_target
from numba.core.types.containers import BaseTuple
from numba.extending import _Intrinsic

from fastnet_numba.simd.vector import OPERATORS, Mask, vector_of, vector_type, widen

#: What an intrinsic returns to Numba: its signature, and what writes its code.
Typed = tuple[Any, Any]


class Traced:
    """A vector, mask or number of code that is being written.

    Args:
        context: Numba's, which knows how values are represented.
        builder: writes the code.
        kind: Numba's type of it.
        value: what it is in LLVM's code.
    """

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.context, self.builder, self.kind, self.value = context, builder, kind, value

    def like(self, kind: Any, value: Any) -> "Traced":
        """Another value of the same code."""
        return Traced(self.context, self.builder, kind, value)

    def given(self, value: Any) -> tuple[Any, Any]:
        """The type and LLVM's value of one that is traced, or of a number or a tuple of numbers."""
        if isinstance(value, Traced):
            return value.kind, value.value
        kind = typeof(value)
        return kind, self.context.get_constant_generic(self.builder, kind, value)

    def __neg__(self) -> "Traced":
        return self.like(self.kind, self.builder.fneg(self.value))


def _operator(symbol: Any, reflected: bool) -> Callable[[Traced, Any], Traced]:
    build, compares = OPERATORS[symbol]

    def operate(one: Traced, other: Any) -> Traced:
        given = [one.given(one), one.given(other)]
        kinds, values = zip(*(given[::-1] if reflected else given), strict=True)
        vector = vector_of(kinds)
        assert vector is not None, "one of the two must be a vector"
        wide = (
            widen(one.context, one.builder, vector_type(vector), kind, value)
            for kind, value in zip(kinds, values, strict=True)
        )
        return one.like(Mask(vector.lanes) if compares else vector, build(one.builder, *wide))

    return operate


for _symbol in OPERATORS:
    setattr(Traced, f"__{_symbol.__name__}__", _operator(_symbol, reflected=False))
for _symbol in (operator.add, operator.sub, operator.mul, operator.truediv):
    setattr(Traced, f"__r{_symbol.__name__}__", _operator(_symbol, reflected=True))


class _Traceable(_Intrinsic):
    """An intrinsic that traced functions may call, too."""

    def __call__(self, *given: Any) -> Any:
        """Write it."""
        one = next(value for value in given if isinstance(value, Traced))
        kinds, values = zip(*map(one.given, given), strict=True)
        signature, build = self._defn(one.context.typing_context, *kinds)
        return one.like(signature.return_type, build(one.context, one.builder, signature, values))


class _TracedFunction(_Intrinsic):
    """A function that traced functions call like any other."""

    def __call__(self, *given: Any) -> Any:
        """Run it."""
        return self._function(*given)


def traceable(define: Any) -> Any:
    """As Numba's `intrinsic`: LLVM instructions for kernels, and for traced functions."""
    made = _Traceable(define.__name__, define)
    made._register()
    return made


def _run(function: Any, context: Any, builder: Any, kinds: Any, values: Any) -> tuple[Any, ...]:
    """Write a function; gives what it returns, one or several values."""
    given = (Traced(context, builder, *pair) for pair in zip(kinds, values, strict=True))
    found = function(*given)
    return found if isinstance(found, tuple) else (found,)


@cache
def _results(function: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """The types of what a function returns for arguments of these types."""
    context = cpu_target.target_context
    given = [context.get_value_type(kind) for kind in kinds]
    scratch = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), given), "scratch")
    builder = ir.IRBuilder(scratch.append_basic_block())
    return tuple(one.kind for one in _run(function, context, builder, kinds, scratch.args))


def named(define: Any, names: list[str]) -> Any:
    """`define`, which takes any number of types, for an intrinsic of arguments of these names."""
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, either) for name in ("typing", *names)]
    define.__signature__ = inspect.Signature(parameters)
    return define


def _defined(names: list[str], results: Any, write: Any) -> Any:
    """What `_Intrinsic` is given: for arguments of these names, types and what writes the code."""

    def define(typing: Any, *kinds: Any) -> Any:
        found = results(kinds)

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            values = write(context, builder, sig.args, args)
            if len(values) == 1:
                return values[0]
            return context.make_tuple(builder, sig.return_type, values)

        return (found[0] if len(found) == 1 else BaseTuple.from_types(found))(*kinds), build

    return named(define, names)


def traced(function: Any) -> Any:
    """For functions of vectors without branches, of one result or a tuple of them."""
    if config.DISABLE_JIT:
        return function

    def write(context: Any, builder: Any, kinds: Any, values: Any) -> list[Any]:
        return [one.value for one in _run(function, context, builder, kinds, values)]

    names = list(inspect.signature(function).parameters)
    define = _defined(names, lambda kinds: _results(function, kinds), write)
    define.__doc__ = function.__doc__
    made = _TracedFunction(function.__name__, define)
    made._function = function
    made._register()
    return made


def by_code(functions: dict[int, Any]) -> Any:
    """A function of a code and vectors: that one of `functions`, which take the same arguments.

    For kernels; a code that is not there must not be given.
    """
    if config.DISABLE_JIT:
        return lambda code, *given: functions[code](*given)
    first = next(iter(functions.values()))

    def write(context: Any, builder: Any, kinds: Any, values: Any) -> list[Any]:
        (_, *kinds), (code, *values) = kinds, values
        places = [builder.append_basic_block("this") for _ in functions]
        done = builder.append_basic_block("done")
        choice = builder.switch(code, places[-1])
        ends = []
        for (which, function), place in zip(functions.items(), places, strict=True):
            choice.add_case(code.type(which), place)
            builder.position_at_end(place)
            ends.append((_run(function, context, builder, kinds, values), builder.block))
            builder.branch(done)
        builder.position_at_end(done)
        results = []
        for n, one in enumerate(ends[0][0]):
            result = builder.phi(one.value.type)
            for found, end in ends:
                result.add_incoming(found[n].value, end)
            results.append(result)
        return results

    names = ["code", *inspect.signature(first).parameters]
    return traceable(_defined(names, lambda kinds: _results(first, kinds[1:]), write))
