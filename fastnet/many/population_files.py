"""Population files: a network, the parameters and seeds of all members, in one safetensors file."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastnet import files
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.lowering import lower
from fastnet.definition.network import Network, attach, detach
from fastnet.errors import DefinitionError

#: What such a file is called.
KIND = "population"


class SavedPopulation(NamedTuple):
    """What a population file holds.

    Attributes:
        network: the network.
        flats: the parameters, `(members, size)` of the dtype.
        dtype: "float32" or "float64".
        seeds: one a member.
        table: the facts of the table they were trained on, or None.
    """

    network: Network
    flats: Array
    dtype: str
    seeds: list[int]
    table: dict[str, Any] | None


def write(path: str | os.PathLike[str], saved: SavedPopulation) -> Path:
    """Write a population file, whole or not at all: each parameter is `(members, ...)` there.

    Raises:
        FileAccessError: if it cannot be written.
    """
    facts, arrays = facts_and_arrays(saved)
    return files.write(path, KIND, facts, arrays)


def facts_and_arrays(saved: SavedPopulation) -> tuple[dict[str, Any], dict[str, Array]]:
    """A population as a file holds it: what JSON can hold, and the arrays by name."""
    spec = saved.network.spec()
    arrays = detach(spec)
    facts = {"network": spec, "dtype": saved.dtype, "seeds": saved.seeds, "table": saved.table}
    for piece in lower(saved.network).parameters:
        part = saved.flats[:, piece.offset : piece.offset + piece.size]
        arrays[piece.name] = part.reshape(len(part), *piece.shape)
    return facts, arrays


def read(path: str | os.PathLike[str]) -> SavedPopulation:
    """Read a population file.

    Raises:
        ModelFileError: if the file is truncated, altered, foreign or of a newer version.
        ModelFileMissing: if there is none.
    """
    return of_facts(path, *files.read(path, KIND))


def of_facts(
    path: str | os.PathLike[str], facts: dict[str, Any], arrays: dict[str, Array]
) -> SavedPopulation:
    """The population that a file holds.

    Raises:
        ModelFileError: if facts or arrays are no population's; it names the file.
    """
    with files.decoding(path, KIND):
        attach(facts["network"], arrays)
        network = Network.from_spec(facts["network"])
        dtype = checks.dtype(facts["dtype"]).name
        seeds = [checks.seed(seed) for seed in facts["seeds"]]
        plan = lower(network)
        flats = np.empty((len(seeds), plan.size), dtype)
        names = {piece.name for piece in plan.parameters}
        if set(arrays) != names or not seeds:
            raise DefinitionError(f"it holds {sorted(arrays)}, the network has {sorted(names)}")
        for piece in plan.parameters:
            array = arrays[piece.name]
            if array.shape != (len(seeds), *piece.shape) or array.dtype != flats.dtype:
                raise DefinitionError(f"{piece.name} is {array.dtype} {array.shape}")
            flats[:, piece.offset : piece.offset + piece.size] = array.reshape(len(seeds), -1)
        return SavedPopulation(network, flats, dtype, seeds, facts.get("table"))
