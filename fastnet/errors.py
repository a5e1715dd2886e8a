"""fastnet's errors. Each is also the built-in error that a user would catch."""

from collections.abc import Iterable


class FastnetError(Exception):
    """The root of every error that fastnet raises on purpose."""


class DefinitionError(FastnetError, ValueError):
    """An invalid network, optimizer, schedule or setting."""


class UnknownName(DefinitionError):
    """A name that no activation, loss, optimizer or the like has."""


class ArgumentError(DefinitionError, TypeError):
    """An argument that a function does not have, or one that it lacks."""


class DataError(FastnetError, ValueError):
    """Invalid rows, targets or weights."""


class BackendUnavailable(FastnetError, ImportError):
    """A backend that is unknown, cannot run here, or lacks something; the message has a remedy."""


class DoesNotFit(FastnetError, MemoryError):
    """Work that needs more of a device's memory than is free; the message says what would fit."""


class MissingExtra(FastnetError, ImportError):
    """An optional package that is not installed; the message has the pip command."""


class ModelFileError(FastnetError, ValueError):
    """A file that is not a whole and unchanged fastnet file of a known version, or an ONNX file
    that is damaged or holds no dense network.
    """


class FileAccessError(ModelFileError, OSError):
    """A file that cannot be read or written: no such folder, no permission, a full disk.

    Args:
        errno: as in `OSError`, or None.
        strerror: what is wrong, in full.
    """

    def __init__(self, errno: int | None, strerror: str) -> None:
        super().__init__(errno, strerror)
        # With two built-ins as parents, neither OSError's fields nor its text come by themselves.
        self.errno, self.strerror = errno, strerror

    def __str__(self) -> str:
        return str(self.strerror)


class FileMissing(FileAccessError, FileNotFoundError):
    """There is no file of that name."""


class ModelFileMissing(FileMissing):
    """There is no model or checkpoint of that name."""


class Diverged(FastnetError, ArithmeticError):
    """The loss or a parameter stopped being finite; the model keeps its last finite parameters."""


#: What other libraries call some things, in the form of `plain_name`.
_MEANT = {
    "cuda": "cupy",
    "gpu": "cupy",
    "torch": "array_api:torch",
    "pytorch": "array_api:torch",
    "jax": "array_api:jax.numpy",
    "bce": "binary_crossentropy",
    "bcewithlogits": "binary_crossentropy",
    "logloss": "binary_crossentropy",
    "ce": "crossentropy",
    "categoricalcrossentropy": "crossentropy",
    "sparsecategoricalcrossentropy": "crossentropy",
    "softmaxcrossentropy": "crossentropy",
    "nll": "crossentropy",
    "l2": "mse",
    "meansquarederror": "mse",
    "squarederror": "mse",
    "l1": "mae",
    "meanabsoluteerror": "mae",
    "absoluteerror": "mae",
    "smoothl1": "huber",
    "pinball": "quantile",
    "quantiles": "quantile",
    "gaussian": "gaussian_nll",
    "gaussiannllloss": "gaussian_nll",
    "logistic": "sigmoid",
    "linear": "identity",
    "none": "identity",
    "swish": "silu",
    "momentum": "sgd",
    "xavier": "glorot_uniform",
    "xavieruniform": "glorot_uniform",
    "xaviernormal": "glorot_normal",
    "kaiminguniform": "he_uniform",
    "kaimingnormal": "he_normal",
    "acc": "accuracy",
    "rsquared": "r2",
    "onecyclelr": "one_cycle",
    "cosineannealing": "cosine",
    "steplr": "step",
}


def plain_name(name: str) -> str:
    """A name without capitals, underscores and the like, in which spellings of it agree."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def message_of(error: BaseException) -> str:
    """What an error says, as the end of another's sentence: without a full stop of its own."""
    text = f"{error} is missing" if type(error) is KeyError else str(error)
    return text.rstrip(".")


def unknown(kind: str, value: object, known: Iterable[str]) -> str:
    """Say that `value` is no known `kind`, with the nearest known name and the whole list."""
    import difflib

    names = sorted(known)
    near = [_MEANT.get(plain_name(str(value)), "")]
    if near[0].partition(":")[0] not in names:  # the variants of a backend are not listed
        near = difflib.get_close_matches(str(value).lower(), names, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {value!r}{guess} Known: {', '.join(names)}."
