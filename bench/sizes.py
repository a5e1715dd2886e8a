"""The disk space of a library and its dependencies."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

#: The requirement that installs each contestant.
INSTALLED = {
    "by hand": "numpy",
    "numpy": "fastnet-dense",
    "numba": "fastnet-dense[numba]",
    "torch": "torch",
    "jax": "jax",
    "scikit-learn": "scikit-learn",
    "onnxruntime": "onnxruntime",
}

#: fastnet's own packages, because an editable installation does not list their files.
_OWN = ("fastnet", "fastnet_numpy", "fastnet_numba", "fastnet_cupy", "fastnet_array_api")


def installed_bytes(requirement: str) -> int:
    """Bytes on disk of a distribution and its dependencies, without compiled bytecode.

    Raises:
        PackageNotFoundError: if one of them is not installed.
    """
    return sum(_bytes(name) for name in closure(requirement))


def closure(requirement: str) -> set[str]:
    """The names of a distribution and its dependencies on this machine.

    Raises:
        PackageNotFoundError: if one of them is not installed.
    """
    seen: dict[str, set[str]] = {}
    waiting = [Requirement(requirement)]
    while waiting:
        one = waiting.pop()
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        extras = {"", *one.extras}
        fresh = extras - seen.get(name, set())
        if not fresh:
            continue
        seen.setdefault(name, set()).update(extras)
        for text in distribution(name).requires or []:
            needed = Requirement(text)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in fresh):
                waiting.append(needed)
    return set(seen)


def _bytes(name: str) -> int:
    if name == "fastnet-dense":
        places = [find_spec(package) for package in _OWN]
        folders = [Path(place.origin).parent for place in places if place and place.origin]
        files = [file for folder in folders for file in folder.rglob("*")]
        return sum(_size(file) for file in files)
    found: Distribution = distribution(name)
    if found.files is None:
        raise PackageNotFoundError(f"{name}, whose installation does not list its files")
    return sum(_size(Path(str(file.locate()))) for file in found.files)


def _size(file: Path) -> int:
    if file.suffix == ".pyc" or not file.is_file():
        return 0
    return file.stat().st_size
