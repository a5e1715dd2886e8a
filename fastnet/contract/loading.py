"""Backends by name: which ones there are, and importing one.

`fastnet` knows backends by name only; this is where a name becomes a module.
"""

import importlib
import sys
from typing import Any

from fastnet.errors import BackendUnavailable, FastnetError, message_of, unknown
from fastnet.interrupts import HeldSignals

#: Raised by one whenever something in the contract changes its meaning. Checked on loading,
#: because a checkout's fastnet can meet an installed backend.
CONTRACT = 3

#: The backends of this project, by the package that holds each; others join through the
#: entry-point group `fastnet.backends`, whose entries name an object that is a `Backend`.
BUILT_IN = {
    "numpy": "fastnet_numpy",
    "numba": "fastnet_numba",
    "cupy": "fastnet_cupy",
    "array_api": "fastnet_array_api",
}
ENTRY_POINTS = "fastnet.backends"


def known() -> list[str]:
    """The names of all backends, installed or not: ours first, then others'."""
    return [*BUILT_IN, *(name for name in _others() if name not in BUILT_IN)]


def _others() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def load(name: str) -> Any:
    """Import a backend by its name; `array_api:torch` is its variant for a library.

    Returns:
        A `fastnet.contract.program.Backend`.

    Raises:
        BackendUnavailable: if the name is unknown, it is not installed, or it was made for
            another version of the contract.
    """
    if not isinstance(name, str) or name.endswith(":"):
        raise BackendUnavailable(unknown("backend", name, ["auto", *known()]))
    asked, (name, _, variant) = name, name.partition(":")
    try:
        if name in BUILT_IN:
            backend = getattr(sys.modules.get(BUILT_IN[name]), "BACKEND", None)
            if backend is None:
                with HeldSignals():  # Numba stays unusable if its import is stopped half way
                    backend = importlib.import_module(BUILT_IN[name]).BACKEND
        else:
            others = _others()
            if name not in others:
                raise BackendUnavailable(unknown("backend", asked, ["auto", *known()]))
            backend = others[name].load()
    except FastnetError:
        raise
    except Exception as error:  # somebody else's module may raise anything
        if isinstance(error, ImportError) and error.name == BUILT_IN.get(name, ""):
            raise BackendUnavailable(
                f"backend {name!r} is not in this version of fastnet (there is no package "
                f"{error.name!r}); use 'numpy'."
            ) from error
        raise BackendUnavailable(
            f"backend {name!r} could not be imported: {message_of(error)}."
        ) from error
    contract = getattr(backend, "contract", None)
    if contract != CONTRACT:
        raise BackendUnavailable(
            f"backend {name!r} was made for contract {contract}, this fastnet has {CONTRACT}; "
            "install versions of the two that belong together."
        )
    return backend.variant(variant) if variant else backend


def lacking(name: str, table: str, kind: str) -> BackendUnavailable:
    """The error for a kind that backend `name` does not have; it lists the backends that do."""
    having = []
    for other in known():
        try:
            if other != name and kind in load(other).kinds.get(table, ()):
                having.append(repr(other))
        except Exception:  # somebody else's backend must not hide what is wrong with this one
            continue
    remedy = f"these backends have it: {', '.join(having)}" if having else "no backend here has it"
    return BackendUnavailable(f"backend {name!r} does not have {table} {kind!r}; {remedy}.")
