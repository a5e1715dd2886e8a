"""Model files: a network, its parameters, dtype, seed and table in one safetensors file."""

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
from fastnet.parameters import Parameters


class Saved(NamedTuple):
    """What a model file holds.

    Attributes:
        network: the network.
        flat: its parameters, `(size,)` of the dtype.
        dtype: "float32" or "float64".
        seed: the model's.
        table: the facts of the table it was trained on, or None.
    """

    network: Network
    flat: Array
    dtype: str
    seed: int
    table: dict[str, Any] | None


def write(path: str | os.PathLike[str], saved: Saved) -> Path:
    """Write a model file, whole or not at all.

    Raises:
        FileAccessError: if it cannot be written.
    """
    spec = saved.network.spec()
    arrays = detach(spec)
    facts = {"network": spec, "dtype": saved.dtype, "seed": saved.seed, "table": saved.table}
    pieces = Parameters(lower(saved.network).parameters, saved.flat)
    return files.write(path, "model", facts, {**arrays, **pieces})


def read(path: str | os.PathLike[str]) -> Saved:
    """Read a model file of this format or an earlier one.

    Raises:
        ModelFileError: if the file is truncated, altered, foreign or of a newer version.
        ModelFileMissing: if there is none.
    """
    facts, arrays = files.read(path, "model")
    with files.decoding(path, "model"):
        attach(facts["network"], arrays)
        network = Network.from_spec(facts["network"])
        dtype, seed = checks.dtype(facts["dtype"]).name, checks.seed(facts["seed"])
        plan = lower(network)
        flat = np.empty(plan.size, dtype)
        pieces = Parameters(plan.parameters, flat)
        if set(arrays) != set(pieces):
            raise DefinitionError(f"it holds {sorted(arrays)}, the network has {sorted(pieces)}")
        for name, array in arrays.items():
            if array.shape != pieces[name].shape or array.dtype != flat.dtype:
                raise DefinitionError(f"{name} is {array.dtype} {array.shape}")
            pieces[name][...] = array
        return Saved(network, flat, dtype, seed, facts.get("table"))
