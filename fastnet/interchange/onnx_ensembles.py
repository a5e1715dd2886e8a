"""An ensemble as one ONNX graph: the members side by side, and what is made of their outputs."""

import os
from typing import Any

import numpy as np

from fastnet import files
from fastnet.arrays import checks
from fastnet.errors import DefinitionError
from fastnet.extras import need
from fastnet.interchange.chain import check_writable
from fastnet.interchange.onnx_writer import Writer, check_size
from fastnet.many.ensemble import Ensemble


def write(ensemble: Ensemble, path: str | os.PathLike[str], encoded: bool = False) -> None:
    """Write the graph that `exporting.ensemble_to_onnx` documents."""
    onnx = need("onnx", "onnx", "writing an ONNX file")
    target = checks.path(path)
    for population in ensemble.populations:
        check_writable(population.network, "ONNX")
        if population.dtype != ensemble.dtype:
            raise DefinitionError(
                "an ONNX graph is of one dtype, and this ensemble has float32 and float64 members."
            )
    for model in ensemble:
        model.parameters.check()
    check_size("ensemble", sum(one.parameters.nbytes for one in ensemble.populations))
    files.store(target, _EnsembleWriter(onnx, ensemble, encoded).serialized())


class _EnsembleWriter(Writer):
    """The members' nodes between the inputs and outputs of the first one's graph."""

    def __init__(self, onnx: Any, ensemble: Ensemble, encoded: bool) -> None:
        super().__init__(onnx, ensemble[0], encoded)
        self._ensemble = ensemble

    @property
    def width(self) -> int:
        """Columns of a prediction."""
        return self._ensemble.network.targets

    def predictions(self, x: str) -> dict[str, str]:
        """The mean and, but for tables, the standard deviation of `Ensemble.predict`."""
        ensemble, targets = self._ensemble, self.width
        members = [self.network(model, x) for model in ensemble]
        variances: list[str] = []
        if ensemble.predicts_variances:
            floor = self.number(ensemble.least_variance)
            for one in members:
                exponential = self.node("Exp", self._columns_of(one, targets, 2 * targets))
                variances.append(self.node("Max", exponential, floor))
            members = [self._columns_of(one, 0, targets) for one in members]
        mean = self._mean(members)
        if not ensemble.predicts_deviations or ensemble.table is not None:
            return {"prediction": mean}
        apart = [self.node("Sub", one, mean) for one in members]
        between = self._mean([self.node("Mul", one, one) for one in apart])
        if variances:
            variance = self.node("Add", self._mean(variances), between)
        else:
            share = 1 - float(np.sum(ensemble.weights**2))
            variance = self.node("Div", between, self.number(share))
        return {"prediction": mean, "std": self.node("Sqrt", variance)}

    def _mean(self, members: list[str]) -> str:
        pairs = zip(members, self._ensemble.weights, strict=True)
        parts = [self.node("Mul", one, self.number(float(weight))) for one, weight in pairs]
        return self.node("Sum", *parts)

    def _columns_of(self, value: str, start: int, end: int) -> str:
        bounds = [self.constant("bound", np.array([at], np.int64)) for at in (start, end, 1)]
        return self.node("Slice", value, *bounds)
