"""fastnet: dense neural networks at the speed of the machine.

One definition of a network runs on NumPy, on loops compiled by Numba, or on a GPU through
CuPy; the environment variable `FASTNET_BACKEND` chooses.

    import fastnet as fn

    net = fn.Network(3, [fn.Dense(4, "sigmoid"), fn.Dense(1, "sigmoid")], loss="mse")
    model = fn.Model(net, seed=1)
    model.fit(x, y, optimizer=fn.SGD(2.0), epochs=10_000, batch_size=None)
    model.predict(x)
"""

from fastnet import datasets
from fastnet.backend import using
from fastnet.checkpoints import Checkpoint
from fastnet.errors import (
    BackendUnavailable,
    DataError,
    DefinitionError,
    Diverged,
    DoesNotFit,
    FastnetError,
    FileAccessError,
    MissingExtra,
    ModelFileError,
    ModelFileMissing,
)
from fastnet.functions import (
    ELU,
    GELU,
    MAE,
    MSE,
    SELU,
    Arrays,
    BinaryCrossentropy,
    Crossentropy,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Huber,
    Identity,
    LeakyReLU,
    LecunNormal,
    LecunUniform,
    Normal,
    Poisson,
    Quantile,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    Zeros,
)
from fastnet.history import History
from fastnet.interchange.importing import from_keras, from_onnx, from_sklearn, from_torch
from fastnet.model import Model, load
from fastnet.network import Dense, Dropout, Network
from fastnet.optimizers import LBFGS, SGD, Adagrad, Adam, AdamW, Lion, RMSprop, Rprop
from fastnet.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    OneCycle,
    ReduceOnPlateau,
    Step,
    WarmUp,
)
from fastnet.settings import EarlyStopping

__version__ = "0.1.0"

__all__ = [
    "ELU", "GELU", "LBFGS", "MAE", "MSE", "SELU", "SGD", "Adagrad", "Adam", "AdamW", "Arrays",
    "BackendUnavailable", "BinaryCrossentropy", "Checkpoint", "Constant", "Cosine",
    "Crossentropy", "DataError", "DefinitionError", "Dense", "Diverged", "DoesNotFit", "Dropout",
    "EarlyStopping", "Exponential", "FastnetError", "FileAccessError", "GlorotNormal",
    "GlorotUniform", "HeNormal", "HeUniform", "History", "Huber", "Identity", "InverseScaling",
    "LeakyReLU", "LecunNormal", "LecunUniform", "Lion", "MissingExtra", "Model",
    "ModelFileError", "ModelFileMissing", "Network", "Normal", "OneCycle", "Poisson",
    "Quantile", "RMSprop", "ReLU", "ReduceOnPlateau", "Rprop", "SiLU", "Sigmoid", "Softmax",
    "Softplus", "Step", "Tanh", "WarmUp", "Zeros", "__version__", "datasets", "from_keras",
    "from_onnx", "from_sklearn", "from_torch", "load", "using",
]  # fmt: skip
