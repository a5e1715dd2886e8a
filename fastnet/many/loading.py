"""Reading populations from their files."""

import os

from fastnet.many import population_files
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
