"""fastnet: dense neural networks at the speed of the machine.

One definition of a network runs on NumPy, on loops compiled by Numba, or on a GPU through
CuPy; the environment variable `FASTNET_BACKEND` chooses.

    import fastnet as fn

    net = fn.Network(3, [fn.Dense(4, "sigmoid"), fn.Dense(1, "sigmoid")], loss="mse")
    model = fn.Model(net, seed=1)
    model.fit(x, y, optimizer=fn.SGD(2.0), epochs=10_000, batch_size=None)
    model.predict(x)
"""

from fastnet import startup  # noqa: F401, I001  # the first of all

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastnet import datasets
from fastnet.definition.activations import (
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Identity,
    LeakyReLU,
    Mish,
    Parametric,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastnet.definition.embedding import Embed, Inputs, Periodic, PiecewiseLinear
from fastnet.definition.initializers import (
    Arrays,
    FromData,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Normal,
    Zeros,
)
from fastnet.definition.layers import (
    Activate,
    BatchNorm,
    Dense,
    Dropout,
    LayerNorm,
    Residual,
    Scale,
)
from fastnet.definition.losses import (
    MAE,
    MSE,
    BinaryCrossentropy,
    Crossentropy,
    GaussianNLL,
    Huber,
    Poisson,
    Quantile,
)
from fastnet.definition.network import Network
from fastnet.definition.optimizers import LBFGS, SGD, Adagrad, Adam, AdamW, Lion, RMSprop, Rprop
from fastnet.definition.schedules import (
    Constant,
    Cosine,
    CosLog,
    Exponential,
    FlatCosine,
    InverseScaling,
    OneCycle,
    ReduceOnPlateau,
    Step,
    WarmUp,
)
from fastnet.errors import (
    ArgumentError,
    BackendUnavailable,
    DataError,
    DefinitionError,
    Diverged,
    DoesNotFit,
    FastnetError,
    FileAccessError,
    FileMissing,
    MissingExtra,
    ModelFileError,
    ModelFileMissing,
)
from fastnet.version import __version__

if TYPE_CHECKING:  # imported when they are first used: see `_LATER` and `_MODULES`
    from fastnet import benchmark, interchange, many, model, sklearn, tables, training  # noqa: F401
    from fastnet.contract.choosing import using
    from fastnet.interchange.importing import from_keras, from_onnx, from_sklearn, from_torch
    from fastnet.many.candidates import Candidate
    from fastnet.many.ensemble import Ensemble
    from fastnet.many.loading import load_ensemble, load_population
    from fastnet.many.population import Population
    from fastnet.many.searching import Search, search
    from fastnet.model import Model, load
    from fastnet.training.blocks import BlockShuffle
    from fastnet.training.checkpoints import Checkpoint
    from fastnet.training.distributed.world import Distributed, world
    from fastnet.training.history import History
    from fastnet.training.settings import EarlyStopping

__all__ = [
    "ELU", "GELU", "LBFGS", "MAE", "MSE", "SELU", "SGD", "Activate", "Adagrad", "Adam", "AdamW",
    "ArgumentError", "Arrays", "BackendUnavailable", "BatchNorm", "BinaryCrossentropy",
    "BlockShuffle", "Candidate", "Checkpoint", "Constant", "CosLog", "Cosine", "Crossentropy",
    "DataError", "DefinitionError", "Dense", "Distributed", "Diverged", "DoesNotFit", "Dropout",
    "EarlyStopping", "Embed", "Ensemble", "Exponential", "FastnetError", "FileAccessError",
    "FileMissing", "FlatCosine", "FromData", "GaussianNLL", "GlorotNormal", "GlorotUniform",
    "Hardsigmoid", "Hardswish", "HeNormal", "HeUniform", "History", "Huber", "Identity", "Inputs",
    "InverseScaling", "LayerNorm", "LeakyReLU", "LecunNormal", "LecunUniform", "Lion", "Mish",
    "MissingExtra", "Model", "ModelFileError", "ModelFileMissing", "Network", "Normal", "OneCycle",
    "PReLU", "Parametric", "Periodic", "PiecewiseLinear", "Poisson", "Population", "Quantile",
    "RMSprop", "ReLU", "ReLU6", "ReduceOnPlateau", "Residual", "Rprop", "Scale", "Search", "SiLU",
    "Sigmoid", "Softmax", "Softplus", "Step", "Tanh", "WarmUp", "Zeros", "__version__", "datasets",
    "from_keras", "from_onnx", "from_sklearn", "from_torch", "load", "load_ensemble",
    "load_population", "search", "using", "world",
]  # fmt: skip

#: Where the names are that `import fastnet` does without: all but a network's definition.
_LATER = {
    "BlockShuffle": "fastnet.training.blocks",
    "Candidate": "fastnet.many.candidates",
    "Checkpoint": "fastnet.training.checkpoints",
    "Distributed": "fastnet.training.distributed.world",
    "EarlyStopping": "fastnet.training.settings",
    "Ensemble": "fastnet.many.ensemble",
    "History": "fastnet.training.history",
    "Model": "fastnet.model",
    "Population": "fastnet.many.population",
    "Search": "fastnet.many.searching",
    "from_keras": "fastnet.interchange.importing",
    "from_onnx": "fastnet.interchange.importing",
    "from_sklearn": "fastnet.interchange.importing",
    "from_torch": "fastnet.interchange.importing",
    "load": "fastnet.model",
    "load_ensemble": "fastnet.many.loading",
    "load_population": "fastnet.many.loading",
    "search": "fastnet.many.searching",
    "using": "fastnet.contract.choosing",
    "world": "fastnet.training.distributed.world",
}


#: Modules and packages that are imported when they are first used, as `fastnet.tables`.
_MODULES = ("benchmark", "interchange", "many", "model", "sklearn", "tables", "training")

if not TYPE_CHECKING:  # type checkers would take any name for one that is here

    def __getattr__(name: str) -> Any:
        """Import what is more than a definition when it is first used (PEP 562)."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name in _LATER:
            found = globals()[name] = getattr(import_module(_LATER[name]), name)
            return found
        here = sys.modules[__name__]  # where Python looks for the name that was meant
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=here)


def __dir__() -> list[str]:
    own = [name for name in globals() if name.startswith("__")]
    # `help(fastnet)` uses all that is listed, also where there is no scikit-learn.
    return sorted({*own, *__all__, *_MODULES} - {"sklearn"})
