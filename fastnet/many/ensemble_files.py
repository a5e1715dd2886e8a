"""Ensemble files: the populations of an ensemble, weights and calibration, in one file."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastnet import files
from fastnet.arrays.checks import Array
from fastnet.many.population_files import SavedPopulation, facts_and_arrays, of_facts

#: What such a file is called.
KIND = "ensemble"


class SavedEnsemble(NamedTuple):
    """What an ensemble file holds.

    Attributes:
        populations: the members, those of one network together.
        weights: `(members,)` float64, which sum to 1.
        scores: the calibration, `(rows, targets)` float64, or None.
    """

    populations: list[SavedPopulation]
    weights: Array
    scores: Array | None


def write(path: str | os.PathLike[str], saved: SavedEnsemble) -> Path:
    """Write an ensemble file, whole or not at all: names begin with the population's number.

    Raises:
        FileAccessError: if it cannot be written.
    """
    arrays = {"weights": saved.weights}
    if saved.scores is not None:
        arrays["scores"] = saved.scores
    parts = []
    for number, population in enumerate(saved.populations):
        facts, own = facts_and_arrays(population)
        parts.append(facts)
        arrays.update({f"{number}/{name}": array for name, array in own.items()})
    return files.write(path, KIND, {"populations": parts}, arrays)


def read(path: str | os.PathLike[str]) -> SavedEnsemble:
    """Read an ensemble file.

    Raises:
        ModelFileError: if the file is truncated, altered, foreign or of a newer version.
        ModelFileMissing: if there is none.
    """
    facts, arrays = files.read(path, KIND)
    with files.decoding(path, KIND):
        weights, scores = arrays.pop("weights"), arrays.pop("scores", None)
        populations = []
        for number, part in enumerate(facts["populations"]):
            begin = f"{number}/"
            own = {
                name.removeprefix(begin): arrays.pop(name)
                for name in list(arrays)
                if name.startswith(begin)
            }
            populations.append(of_facts(path, part, own))
        members = sum(len(part.seeds) for part in populations)
        if arrays or not populations or weights.shape != (members,):
            raise ValueError(f"it holds {sorted(arrays)} beside {members} members")
        targets = populations[0].network.targets
        if not (np.isfinite(weights).all() and weights.min() >= 0):
            raise ValueError("its weights are not numbers of 0 or more")
        if scores is not None and (scores.ndim != 2 or scores.shape[1] != targets):
            raise ValueError(f"its calibration is {scores.shape}")
        return SavedEnsemble(populations, weights, scores)
