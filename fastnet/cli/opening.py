"""Opening the files that commands take: a model or an ensemble, and either kind of checkpoint."""

import os
from typing import Any

from fastnet import files
from fastnet.training import population_checkpoints


def opened(path: str | os.PathLike[str], backend: str | None = None) -> Any:
    """Load what `fastnet train` wrote: an `fn.Model`, or an `fn.Ensemble` of several members.

    Raises:
        ModelFileError: if the file is damaged, foreign, or of neither.
        ModelFileMissing: if there is none.
    """
    from fastnet.many.ensemble_files import KIND
    from fastnet.many.loading import load_ensemble
    from fastnet.model import load

    return (load_ensemble if files.kind_of(path) == KIND else load)(path, backend=backend)


def sizes(model: Any) -> dict[str, int]:
    """How many parameters a model has; or an ensemble, all of them together, and its members."""
    from fastnet.many.ensemble import Ensemble

    if isinstance(model, Ensemble):
        size = sum(one.parameters.size for one in model.populations)
        return {"parameters": size, "members": len(model)}
    return {"parameters": model.parameters.flat.size}


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a checkpoint, of one network or of several."""
    return files.kind_of(path) in ("checkpoint", population_checkpoints.KIND)
