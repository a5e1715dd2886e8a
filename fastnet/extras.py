"""Optional packages: imported when first needed, with the exact pip line where one is missing."""

import importlib
from typing import Any

from fastnet.errors import MissingExtra


def need(module: str, extra: str, purpose: str) -> Any:
    """Import `module`.

    Raises:
        MissingExtra: if it is not installed, saying which extra of fastnet brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtra(
            f"{purpose} needs {package}, which is not installed: "
            f"python -m pip install 'fastnet[{extra}]'"
        ) from error


def polars() -> Any:
    """The library that tables are read with.

    Raises:
        MissingExtra: if it is not installed.
    """
    return need("polars", "tables", "reading tables")
