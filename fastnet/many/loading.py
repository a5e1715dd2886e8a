"""Reading populations and ensembles from their files."""

import os

from fastnet.many import ensemble_files, population_files
from fastnet.many.ensemble import Ensemble
from fastnet.many.population import Population


def load_population(
    path: str | os.PathLike[str],
    *,
    backend: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Population:
    """Read a population that `Population.save` wrote.

    Args:
        path: the file.
        backend: as for `Model`.
        threads: as for `Model`.
        precision: as for `Model`.

    Raises:
        ModelFileError, BackendUnavailable: as for `fn.load`.
    """
    saved = population_files.read(path)
    population = Population.__new__(Population)
    population._set_up(
        saved.network,
        saved.flats,
        saved.dtype,
        saved.seeds,
        backend,
        threads,
        precision,
        saved.table,
    )
    return population


def load_ensemble(
    path: str | os.PathLike[str], *, backend: str | None = None, threads: int | None = None
) -> Ensemble:
    """Read an ensemble that `Ensemble.save` wrote.

    Args:
        path: the file.
        backend: as for `Model`.
        threads: as for `Model`.

    Raises:
        ModelFileError, BackendUnavailable: as for `fn.load`.
    """
    saved = ensemble_files.read(path)
    populations = []
    for part in saved.populations:
        population = Population.of(
            part.network,
            part.flats,
            seed=part.seeds,
            backend=backend,
            dtype=part.dtype,
            threads=threads,
        )
        population.table = part.table
        populations.append(population)
    ensemble = Ensemble.__new__(Ensemble)
    ensemble._set_up(populations, saved.weights, saved.scores)
    return ensemble
