"""Optional packages: imported when first needed, with the pip command where one is missing."""

import importlib
from typing import Any

from fastnet.errors import MissingExtra

#: What each optional feature needs, in pip's words. The extras in pyproject.toml of the same name
#: are the same; a test compares them. Messages name these packages and not `fastnet[...]`, which
#: would work from a package index only.
REQUIREMENTS = {
    "numba": ("numba>=0.66", "platformdirs>=4"),
    "cuda13": ("cupy-cuda13x>=14", "cuda-toolkit[cublas,cudart,nvrtc]==13.*", "platformdirs>=4"),
    "cuda12": ("cupy-cuda12x>=14", "cuda-toolkit[cublas,cudart,nvrtc]==12.*", "platformdirs>=4"),
    "array-api": ("array-api-compat>=1.11",),
    "tables": ("polars>=1.30", "narwhals>=2.0"),
    "onnx": ("onnx>=1.17",),
    "torch": ("torch>=2.3",),
    "plot": ("matplotlib>=3.8",),
    "mpi": ("mpi4py>=4.1", "mpich>=4.3"),
    "scipy": ("scipy>=1.12",),
    "sklearn": ("scikit-learn>=1.7", "scipy>=1.12"),
}


def pip_install(*requirements: str) -> str:
    """The command that installs some packages, each quoted for any shell."""
    return " ".join(["python -m pip install", *(f'"{one}"' for one in requirements)])


def need(module: str, extra: str, purpose: str) -> Any:
    """Import `module`.

    Args:
        module: its name, also with dots.
        extra: the key of `REQUIREMENTS` that it belongs to.
        purpose: what needs it, the beginning of the error.

    Raises:
        MissingExtra: if it is not installed; gives the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtra(
            f"{purpose} needs {package}, which is not installed: "
            f"{pip_install(*REQUIREMENTS[extra])}"
        ) from error


def polars() -> Any:
    """The library that tables are read with.

    Raises:
        MissingExtra: if it is not installed.
    """
    return need("polars", "tables", "reading tables")
