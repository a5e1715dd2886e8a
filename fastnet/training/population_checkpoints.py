"""Checkpoints of a population's fit: the states of all members' fits in one file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import files
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data
from fastnet.definition.network import Network
from fastnet.training import checkpoints
from fastnet.training.fit_state import FitState
from fastnet.training.settings import Settings

#: What such a file is called.
KIND = "population checkpoint"


def identity(
    network: Network,
    flats: Array,
    settings: Sequence[Settings],
    data: Sequence[Data],
    validation: Sequence[Data | None],
) -> dict[str, Any]:
    """What must be the same to resume a fit: that of each member, and its dropout factor."""
    # Members share arrays, each of which is read once. They are held here, so that no other array
    # has the number of one of them.
    digests: dict[int, str] = {}

    def digest(rows: Data | None) -> list[str] | None:
        parts = [] if rows is None else [part for part in rows.parts if part is not None]
        for part in parts:
            if id(part) not in digests:
                digests[id(part)] = checkpoints.digest(part)
        return [digests[id(part)] for part in parts] or None

    return {
        **checkpoints.network_identity(network, flats),
        "members": [
            {
                **checkpoints.settings_identity(one),
                "training rows": digest(rows),
                "validation rows": digest(held_out),
            }
            for one, rows, held_out in zip(settings, data, validation, strict=True)
        ],
    }


def write(
    path: Path, same: Mapping[str, Any], flats: Array, fit_states: Sequence[FitState]
) -> None:
    """Write the states of all members' fits.

    Args:
        path: the file, replaced as a whole.
        same: their `identity`.
        flats: the parameters, `(members, size)`.
        fit_states: one a member.

    Raises:
        FileAccessError: if the file cannot be written; the last checkpoint stays.
    """
    members, arrays = [], {}
    for member, (flat, fit_state) in enumerate(zip(flats, fit_states, strict=True)):
        facts, own = checkpoints.plain(flat, fit_state)
        members.append(facts)
        arrays.update({f"{member}.{name}": array for name, array in own.items()})
    files.write(path, KIND, {"same": same, "members": members}, arrays)


def read(
    path: Path,
    same: Mapping[str, Any],
    flats: Array,
    shapes: Sequence[tuple[int, ...]],
    batches: Sequence[int],
) -> list[FitState]:
    """Read the states of all members' fits, and their parameters into `flats`.

    Args:
        path: the file.
        same: the `identity` of the fit that is resumed.
        flats: the parameters, `(members, size)`.
        shapes: of the memories of the members' optimizers.
        batches: steps per epoch of each.

    Raises:
        ModelFileError: if the file is damaged, or of another fit; it names the difference.
        ModelFileMissing: if there is none.
    """
    facts, arrays = files.read(path, KIND)
    with checkpoints.explaining(path):
        checkpoints.check_same(path, facts["same"], same)
        own: list[dict[str, Array]] = [{} for _ in shapes]
        for name, array in arrays.items():
            member, _, part = name.partition(".")
            own[int(member)][part] = array
        found = [
            checkpoints.restored(*of_member)
            for of_member in zip(facts["members"], own, flats, shapes, batches, strict=True)
        ]
    for flat, parts in zip(flats, own, strict=True):
        flat[...] = parts["parameters"]
    return found


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Summarize a checkpoint: the first member's settings, the most epochs, and the mean losses.

    Raises:
        ModelFileError: if the file is damaged.
        ModelFileMissing: if there is none.
    """
    facts, arrays = files.read(path, KIND)
    with checkpoints.explaining(Path(path)):
        found = []
        for member, settings in enumerate(facts["same"]["members"]):
            own = {
                name.removeprefix(f"{member}."): array
                for name, array in arrays.items()
                if name.startswith(f"{member}.")
            }
            found.append(checkpoints.described(path, {**facts["same"], **settings}, own))
        losses = {
            name: float(np.mean(known)) if (known := _known(found, name)) else None
            for name in ("loss", "validation_loss")
        }
        epochs = max(one["epochs"] for one in found)
        return {**found[0], "members": len(found), "epochs": epochs, **losses}


def summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Summarize a checkpoint, of one network or of several, which then has `members`.

    Raises:
        ModelFileError: if the file is damaged, or no checkpoint.
        ModelFileMissing: if there is none.
    """
    return (describe if files.kind_of(path) == KIND else checkpoints.describe)(path)


def _known(found: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [one[name] for one in found if one[name] is not None]
