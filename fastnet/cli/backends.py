"""`fastnet backends`, and how a backend was chosen."""

import os
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from fastnet.cli.terminal import JsonOption, document, say
from fastnet.contract import choosing, loading
from fastnet.contract.program import Probe
from fastnet.errors import BackendUnavailable

#: How a backend was chosen that was not asked for.
AUTOMATIC = "chosen automatically"


def command(as_json: JsonOption = False) -> None:
    """List the backends, and why some of them cannot run here."""
    try:
        chosen, trouble = choosing.choose().name, None
    except BackendUnavailable as error:
        chosen, trouble = "", error
    if as_json:
        document([_plain(name, name == chosen) for name in _listed(chosen)])
    else:
        _show(chosen)
    if trouble is not None:
        raise trouble
    if not as_json:
        say()
        say(f"* is the current backend ({how_chosen(None)}).")
        say("To choose another: --backend NAME or FASTNET_BACKEND=NAME.")


def _listed(chosen: str) -> list[str]:
    """All backends, and the variant in use, such as "array_api:torch", behind its own."""
    names = loading.known()
    if chosen and chosen not in names:
        names.insert(names.index(chosen.partition(":")[0]) + 1, chosen)
    return names


def _show(chosen: str) -> None:
    grid = Grid(box=None, pad_edge=False, show_header=True, header_style="bold")
    grid.add_column("", width=1)
    grid.add_column("backend", no_wrap=True)
    grid.add_column("usable", no_wrap=True)
    grid.add_column("", overflow="fold")
    for name in _listed(chosen):
        found, facts = _facts(name)
        if found.usable:
            lines = [f"{key}: {value}" for key, value in facts.items()]
        else:
            lines = [f"reason: {found.reason}", f"remedy: {found.remedy}"]
        mark = "*" if name == chosen else ""
        grid.add_row(mark, name, "yes" if found.usable else "no", escape("\n".join(lines)))
    Console().print(grid)


def _facts(name: str) -> tuple[Probe, Mapping[str, Any]]:
    """Whether a backend can run here, and what it says of itself if it can."""
    found = choosing.probe(name)
    if not found.usable:
        return found, {}
    try:
        return found, loading.load(name).describe()
    except BackendUnavailable as error:
        reason, _, remedy = str(error).partition("; ")
        return Probe(False, reason, remedy), {}


def _plain(name: str, chosen: bool) -> dict[str, Any]:
    """One backend, for programs."""
    found, facts = _facts(name)
    return {
        "name": name,
        "chosen": chosen,
        "usable": found.usable,
        "facts": {key: str(value) for key, value in facts.items()},
        "reason": found.reason or None,
        "remedy": found.remedy or None,
    }


def how_chosen(option: str | None) -> str:
    """How the backend in use was chosen; `option` is the value of --backend."""
    if option and option != "auto":
        return "chosen by --backend"
    variable = os.environ.get("FASTNET_BACKEND", "").strip()
    if variable and variable != "auto" and not option:
        return f"chosen by FASTNET_BACKEND={variable}"
    return AUTOMATIC
