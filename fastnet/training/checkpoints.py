"""Checkpoints: the state of a fit in a file, from which it continues bit for bit."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import files
from fastnet.advice import setting
from fastnet.arguments import explained
from fastnet.arrays import cache_lines, checks
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data
from fastnet.definition.named import as_plain
from fastnet.definition.network import Network, detach
from fastnet.definition.optimizers import LBFGS
from fastnet.errors import DefinitionError, ModelFileError
from fastnet.records import Record
from fastnet.training.blocks import BlockShuffle
from fastnet.training.fit_state import BestLoss, FitState
from fastnet.training.history import COLUMNS, History
from fastnet.training.settings import Settings
from fastnet.training.stored_rows import StoredRows

#: What the names of arrays of metrics begin with.
_METRIC = "history.metrics."


@explained("fn.Checkpoint")
class Checkpoint(Record):
    """Where and how often a fit writes its state; it also does at its end.

    Args:
        path: the file, replaced each time.
        seconds: write when so many have passed since the last time; None: by epochs only.
        epochs: write after every so many epochs; None: by seconds only.

    Raises:
        DefinitionError: if a number is not above 0.
    """

    path: str | os.PathLike[str]
    seconds: float | None = 60.0
    epochs: int | None = None

    def __post_init__(self) -> None:
        checks.path(self.path, "checkpoint path")
        if self.seconds is not None:
            checks.number(self.seconds, "checkpoint seconds", above=0)
        if self.epochs is not None:
            checks.integer(self.epochs, "checkpoint epochs")

    def checked(self, resume: bool) -> Path:
        """The path, once it is sure that a fit may write there.

        Raises:
            DefinitionError: if the file exists and is not to be resumed from.
            FileAccessError: if it cannot be written.
        """
        path = Path(self.path)
        files.check_writable(path, "checkpoint")
        if path.exists() and not resume:
            raise DefinitionError(
                f"checkpoint {str(path)!r} already exists: add {setting('resume', True)} "
                "to continue from it; remove it to start again, or name another file."
            )
        return path


def requested(checkpoint: Any, resume: bool) -> Checkpoint | None:
    """The checkpoint that a fit is given: a path, a `Checkpoint` or None.

    Raises:
        DefinitionError: if it is something else, or `resume` has nothing to resume from.
    """
    checks.flag(resume, "resume")
    found = checkpoint
    if isinstance(found, str | os.PathLike):
        found = Checkpoint(found)
    if found is not None and not isinstance(found, Checkpoint):
        raise DefinitionError(f"checkpoint is {found!r}; it must be a path or fn.Checkpoint(...).")
    if resume and found is None:
        raise DefinitionError(
            f"{setting('resume', True)} needs {setting('checkpoint')}, the file to resume from."
        )
    return found


def check_resumable(settings: Settings) -> None:
    """Make sure that a fit with these settings can go on from a checkpoint.

    Raises:
        DefinitionError: if it cannot.
    """
    if isinstance(settings.optimizer, LBFGS):
        raise DefinitionError(
            "optimizer 'lbfgs' keeps its memory inside SciPy, so it cannot be resumed; leave out "
            "checkpoint."
        )


def identity(
    network: Network,
    flat: Array,
    settings: Settings,
    data: Data | StoredRows,
    validation: Data | StoredRows | None,
) -> dict[str, Any]:
    """What must be the same to resume a fit: plain values by name."""
    return {
        **network_identity(network, flat),
        **settings_identity(settings),
        "training rows": _digest_of(data),
        "validation rows": None if validation is None else _digest_of(validation),
    }


def network_identity(network: Network, flat: Array) -> dict[str, Any]:
    """The part of `identity` that says what is trained."""
    spec = network.spec()
    initial = detach(spec)
    return {
        "network": spec,
        "initial weights": {name: digest(array) for name, array in initial.items()},
        "dtype": flat.dtype.name,
    }


def settings_identity(settings: Settings) -> dict[str, Any]:
    """The part of `identity` that says how."""
    return {
        "optimizer": settings.optimizer.spec(),
        "batch_size": settings.batch_size,
        "shuffle": _plain_shuffle(settings.shuffle),
        "l1": settings.l1,
        "l2": settings.l2,
        "clip_norm": settings.clip_norm,
        "clip_value": settings.clip_value,
        "dropout_factor": as_plain(settings.dropout_factor),
        "seed": settings.seed,
    }


def _plain_shuffle(shuffle: bool | BlockShuffle) -> Any:
    return asdict(shuffle) if isinstance(shuffle, BlockShuffle) else shuffle


def _digest_of(data: Data | StoredRows) -> str:
    """Of all rows; those in files are read once more."""
    if isinstance(data, Data):
        return digest(*data.parts)
    return _digest_of_pieces(data.parts_of_digest())


def digest(*arrays: Array | None) -> str:
    """A short text that only the same arrays have."""
    return _digest_of_pieces(
        (array.shape, array.dtype.str, [array]) for array in arrays if array is not None
    )


def _digest_of_pieces(parts: Iterable[tuple[tuple[int, ...], str, Iterable[Array]]]) -> str:
    """Of arrays in pieces: of each the whole shape, the dtype, and what it consists of."""
    import hashlib

    found = hashlib.blake2b(digest_size=16)
    for shape, dtype, pieces in parts:
        found.update(repr((shape, dtype)).encode())
        for piece in pieces:
            found.update(np.ascontiguousarray(piece).data.cast("B"))
    return found.hexdigest()


def write(path: Path, same: Mapping[str, Any], flat: Array, fit_state: FitState) -> None:
    """Write the state of a fit.

    Raises:
        FileAccessError: if the file cannot be written; the last checkpoint stays.
    """
    facts, arrays = plain(flat, fit_state)
    files.write(path, "checkpoint", {"same": same, **facts}, arrays)


def plain(flat: Array, fit_state: FitState) -> tuple[dict[str, Any], dict[str, Array]]:
    """The state of a fit as plain values and arrays by name, of which `restored` makes it anew."""
    history = fit_state.history
    facts = {
        "step": fit_state.step,
        "updates": fit_state.updates,
        "stopping": _best_to_plain(fit_state.early_stopping),
        "plateau": _best_to_plain(fit_state.plateau),
        "scale": fit_state.rate_factor,
        "fit": fit_state.fit,
    }
    arrays = {"parameters": flat, "memory": fit_state.memory, "pending": fit_state.pending_losses}
    if fit_state.best_parameters is not None:
        arrays["best"] = fit_state.best_parameters
    for name in COLUMNS:
        values = getattr(history, name)
        arrays[f"history.{name}"] = np.array(values, np.int64 if name == "epoch" else np.float64)
    for name, values in history.metrics.items():
        arrays[f"{_METRIC}{name}"] = np.array(values, np.float64)
    return facts, arrays


def read(
    path: Path, same: Mapping[str, Any], flat: Array, shape: tuple[int, ...], batches: int
) -> FitState:
    """Read the state of a fit, and its parameters into `flat`.

    Args:
        path: the file.
        same: the `identity` of the fit that is resumed.
        flat: the model's parameters, `(size,)`.
        shape: of the optimizer's memory.
        batches: steps per epoch.

    Raises:
        ModelFileError: if the file is damaged, or of another fit; it names the difference.
        ModelFileMissing: if there is none.
    """
    facts, arrays = files.read(path, "checkpoint")
    with explaining(path):
        check_same(path, facts["same"], same)
        fit_state = restored(facts, arrays, flat, shape, batches)
    flat[...] = arrays["parameters"]
    return fit_state


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the contents of a checkpoint into our error."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"checkpoint {str(path)!r} is incomplete: {error!r}.") from error


def check_same(path: Path, was: Mapping[str, Any], same: Mapping[str, Any]) -> None:
    """Make sure that a checkpoint is of this fit, by their identities.

    Raises:
        ModelFileError: if it is not; it names the difference.
    """
    was = {"dropout_factor": 1.0, **was}  # what older ones do not have
    for name, value in same.items():
        if was[name] != value:
            raise ModelFileError(
                f"checkpoint {str(path)!r} is of another fit: its "
                f"{_difference(name, was[name], value)}. Resume with the settings and "
                "rows that it was begun with, or begin again in another file."
            )


def restored(
    facts: Mapping[str, Any],
    arrays: Mapping[str, Array],
    flat: Array,
    shape: tuple[int, ...],
    batches: int,
) -> FitState:
    """The state of a fit, of what `plain` made of it; arguments as for `read`.

    Raises:
        KeyError, TypeError, ValueError, IndexError: if a fit cannot continue from it.
    """
    _check(facts, arrays, flat, shape, batches)
    metrics = {
        name.removeprefix(_METRIC): arrays[name].tolist()
        for name in arrays
        if name.startswith(_METRIC)
    }
    lists = {name: arrays[f"history.{name}"].tolist() for name in COLUMNS}
    return FitState(
        step=facts["step"],
        updates=facts["updates"],
        memory=cache_lines.copy(arrays["memory"]),
        pending_losses=arrays["pending"],
        early_stopping=_best_from_plain(facts["stopping"]),
        best_parameters=arrays.get("best"),
        plateau=_best_from_plain(facts["plateau"]),
        rate_factor=facts["scale"],
        fit=checks.integer(facts.get("fit", 0), "fit", least=0),
        history=History(**lists, metrics=metrics),
    )


def _check(
    facts: Mapping[str, Any],
    arrays: Mapping[str, Array],
    flat: Array,
    shape: tuple[int, ...],
    batches: int,
) -> None:
    """Make sure that a fit can continue from what a file holds, whoever wrote it."""
    step = checks.integer(facts["step"], "step", least=0)
    checks.integer(facts["updates"], "updates", least=0)
    checks.number(facts["scale"], "scale", least=0, most=1)
    epochs = arrays["history.epoch"]
    if len(epochs) and epochs[-1] != step // batches:
        raise ValueError(f"step {step} is not in epoch {epochs[-1]}")
    wanted = {
        "parameters": (flat.shape, flat.dtype),
        "best": (flat.shape, flat.dtype),
        "memory": (shape, flat.dtype),
        "pending": ((step % batches,), np.float64),
        "history.epoch": ((len(epochs),), np.int64),
        **{
            f"history.{n}": ((len(epochs),), np.float64)
            for n in ("loss", "learning_rate", "seconds")
        },
    }
    for name in arrays:
        if name.startswith(_METRIC):
            wanted[name] = ((len(epochs),), np.float64)
    if len(arrays["history.validation_loss"]):
        wanted["history.validation_loss"] = ((len(epochs),), np.float64)
    for name, (shape, dtype) in wanted.items():
        if name == "best" and name not in arrays:
            continue
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}")
    if not np.isfinite(arrays["parameters"]).all():
        raise ValueError("its parameters are not finite")


def _best_to_plain(found: BestLoss) -> list[Any]:
    """As JSON holds it, which has no infinity: the best loss before the first epoch."""
    return ["inf" if math.isinf(found.best) else found.best, found.epochs_without_improvement]


def _best_from_plain(plain: list[Any]) -> BestLoss:
    best, waited = plain
    return BestLoss(float(best), int(waited))


def _difference(name: str, was: Any, now: Any) -> str:
    """The first place where two plain values differ, in words."""
    if name.endswith("rows"):
        return f"{name} were different"
    if isinstance(was, dict) and isinstance(now, dict) and set(was) == set(now):
        key = next(key for key in now if was[key] != now[key])
        return _difference(f"{name} {key}", was[key], now[key])
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        place = next(i for i in range(len(now)) if was[i] != now[i])
        return _difference(f"{name}[{place}]", was[place], now[place])
    if isinstance(was, list) and isinstance(now, list):
        return f"{name} were {len(was)}, now they are {len(now)}"
    return f"{name} was {_short(was)}, now it is {_short(now)}"


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Summarize a checkpoint: its network's plain form, its settings, and how far the fit is.

    Raises:
        ModelFileError: if the file is damaged.
        ModelFileMissing: if there is none.
    """
    facts, arrays = files.read(path, "checkpoint")
    return described(path, facts["same"], arrays)


def described(
    path: str | os.PathLike[str], same: Mapping[str, Any], arrays: Mapping[str, Array]
) -> dict[str, Any]:
    """The summary of one fit's identity and arrays, as a file holds them.

    Raises:
        ModelFileError: if they are damaged; it names the file.
    """
    try:
        spec = same["network"]
        for layer in spec["layers"]:
            if isinstance(layer.get("init"), dict) and layer["init"].get("name") == "arrays":
                del layer["init"]  # of initial weights that were given only digests are kept
        Network.from_spec(spec)
        losses = {
            name: float(arrays[f"history.{name}"][-1]) if len(arrays[f"history.{name}"]) else None
            for name in ("loss", "validation_loss")
        }
        return {
            "epochs": len(arrays["history.epoch"]),
            "parameters": int(arrays["parameters"].size),
            "dtype": str(arrays["parameters"].dtype),
            "optimizer": {"name": str(same["optimizer"]["name"]), **same["optimizer"]},
            "batch_size": checks.integer(same["batch_size"], "batch_size"),
            "seed": checks.integer(same["seed"], "seed", least=0),
            **losses,
            "network": spec,
        }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelFileError(f"checkpoint {str(path)!r} is incomplete: {error!r}.") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
