"""Parts of kernels that are compiled by themselves, and called by their address.

A kernel is compiled with all that it calls. What not every network needs is a part: it is
compiled, or loaded, for the first network that does (`Kernels.address_of`), and the tables that
kernels follow say where it is.

A call is declared by `by_address` and says what is to be done (`clip_norm`); the part says what it
has done (`norm_clipped`), or is one of several for the same call (each activation, for `activate`).
"""

import inspect
from collections.abc import Callable
from typing import Any

from numba import config
from numba.core import types
from numba.core.types.containers import BaseTuple
from numba.extending import intrinsic

from fastnet_numba.simd.traced import named

#: Where the compiler is switched off, an address is a place in this list.
_PLAIN: list[Callable[..., Any]] = []


def plain_address(function: Callable[..., Any]) -> int:
    """What stands for the function's address where the compiler is switched off."""
    if function not in _PLAIN:
        _PLAIN.append(function)
    return _PLAIN.index(function)


def types_of(function: Callable[..., Any], number: Any) -> tuple[Any, ...]:
    """The types of a part's arguments: by its parameters' names, integers for all others.

    A parameter that is annotated with a named tuple has the type of that tuple, of fields whose
    types go by their names likewise.

    Args:
        function: a part, or what declares it.
        number: Numba's type of parameters, rows and the arena; None if there are none.
    """

    def array(kind: Any, ndim: int = 1, constant: bool = False) -> Any:
        return kind and types.Array(kind, ndim, "C", readonly=constant)

    index, wide = types.int64, types.float64
    known = {
        **dict.fromkeys(("p", "g", "m", "copies", "out", "data"), array(number)),
        "memory": array(number, 2),
        "ops": array(index, 2, True),
        **dict.fromkeys(("places", "order", "labels"), array(index, 1, True)),
        "x": array(number, constant=True),
        **dict.fromkeys(("constants", "shared", "segments", "wide"), array(wide)),
        "signals": array(index),
        **dict.fromkeys(("mass", "factor", "rate", "decay", "l1", "l2", "most"), wide),
        **dict.fromkeys(("weighted", "in_turn", "more", "both"), types.boolean),
    }

    def kind(name: str, form: Any) -> Any:
        if form is inspect.Parameter.empty:
            return known.get(name, index)
        return BaseTuple.from_types([known.get(field, index) for field in form._fields], form)

    parameters = inspect.signature(function).parameters
    return tuple(kind(name, one.annotation) for name, one in parameters.items())


def by_address(result: Any) -> Callable[[Any], Any]:
    """Declare a function of kernels that calls parts by their address, its first argument.

    The function that is decorated names the other arguments, which are those of each part; the
    first of its named tuples begins with an array of numbers. `result` is Numba's type of what a
    part returns.
    """

    def declared(function: Any) -> Any:
        if config.DISABLE_JIT:
            return lambda address, *given: _PLAIN[address](*given)
        parameters = inspect.signature(function).parameters
        names, empty = list(parameters), inspect.Parameter.empty
        matrices = [name for name in names if parameters[name].annotation is not empty]
        places = [n for n, name in enumerate(names) if name in ("p", "g", "m", *matrices)]

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            convention, kinds = context.call_conv, sig.args[1:]
            kind = convention.get_function_type(sig.return_type, kinds).as_pointer()
            part = builder.inttoptr(args[0], kind)
            _, value = convention.call_function(builder, part, sig.return_type, kinds, args[1:])
            return value

        def define(typing: Any, address: Any, *kinds: Any) -> tuple[Any, Any]:
            first = kinds[places[0]] if places else None
            first = first[0] if isinstance(first, BaseTuple) else first
            number = None if first is None else first.dtype
            return result(types.intp, *types_of(function, number)), build

        define.__doc__ = function.__doc__
        return intrinsic(named(define, ["address", *names]))

    return declared
