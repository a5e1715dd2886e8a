"""A chain of layers, built one by one while a model is read, and the model made from it."""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.activations import Activation, Identity, Softmax
from fastnet.definition.layers import Dense, Dropout
from fastnet.definition.losses import LOSSES, Loss
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError, ModelFileError
from fastnet.model import Model

#: The loss that is computed together with an output, by the output's name.
_FITTING = {loss.needs: loss.name for loss in LOSSES.values() if loss.needs}

#: PyTorch's softplus is z itself above 20, where the difference is below 3e-9.
SOFTPLUS_THRESHOLD = 20.0

R = TypeVar("R")


def check_writable(network: Network, library: str) -> None:
    """Make sure that writers know every layer of a network.

    Raises:
        DefinitionError: naming the first that they do not.
    """
    if network.categories:
        raise DefinitionError(
            f"cannot write the network's {len(network.categories)} categories for {library}: only "
            "inputs of numbers are supported."
        )
    for one in network.placed:
        if not isinstance(one.layer, Dense | Dropout):
            raise DefinitionError(
                f"cannot write layer {one.name} ({one.layer.label}) for {library}: of fastnet's "
                "layers, only Dense and Dropout are supported."
            )


def row_of(rows: Mapping[str, R], activation: Activation, library: str) -> R:
    """The row of an activation in a library's table.

    Raises:
        DefinitionError: if it has none.
    """
    if activation.name not in rows:
        raise DefinitionError(
            f"fastnet cannot write activation {activation.name!r} for {library}, but "
            f"{', '.join(rows)}."
        )
    return rows[activation.name]


class Chain:
    """Layers in order. An activation belongs to the dense layer before it.

    Args:
        source: the name of the file or object, with which errors begin.
        error: the class of errors for layers that fastnet does not support.

    Attributes:
        loss: the loss that the source was trained with, if known.
    """

    def __init__(
        self, source: str, error: type[DefinitionError | ModelFileError] = DefinitionError
    ) -> None:
        self.source = source
        self.error = error
        self.loss: str | Loss | None = None
        self._layers: list[Dense | Dropout] = []
        self._arrays: list[tuple[Array, Array | None] | None] = []
        self._scale: Array | float = 1.0
        self._shift: Array | float = 0.0

    def refuse(self, reason: str) -> DefinitionError | ModelFileError:
        """Make the error that says why the source is not supported."""
        return self.error(f"{self.source}: {reason}")

    def standardize(self, name: str, scale: Any, shift: Any) -> None:
        """Add x * scale + shift before the first layer: one number each, or `(inputs,)`."""
        if self._layers:
            raise self.refuse(f"{name} comes after a layer; it must come before.")
        scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
        self._finite(name, scale, shift)
        with np.errstate(over="ignore", invalid="ignore"):
            self._scale, self._shift = self._scale * scale, self._shift * scale + shift

    def dense(
        self, name: str, weight: Array, bias: Array | None, activation: Activation | None = None
    ) -> None:
        """Add a dense layer: weight `(inputs, units)`, bias `(units,)` or None."""
        for array in (weight, bias):
            if array is not None and array.dtype not in (np.float32, np.float64):
                raise self.refuse(
                    f"{name} has weights of {array.dtype}; fastnet supports float32 and float64: "
                    "convert the model first."
                )
        fits = weight.ndim == 2 and weight.size > 0
        if not fits or (bias is not None and bias.shape != weight.shape[1:]):
            shape = None if bias is None else bias.shape
            raise self.refuse(
                f"{name} has weights {weight.shape} and bias {shape}; they must be (inputs, units) "
                "and (units,), with at least one input and one unit."
            )
        if self._width not in (None, weight.shape[0]):
            raise self.refuse(
                f"{name} has {weight.shape[0]} inputs, but the layer before it has {self._width} "
                "outputs."
            )
        self._finite(name, weight, bias)
        if self._layers and getattr(self._layers[-1], "activation", None) == Softmax():
            raise self.refuse(f"{name} follows a softmax; in fastnet softmax is the output only.")
        self._layers.append(Dense(weight.shape[1], activation or Identity(), bias is not None))
        self._arrays.append((weight, bias))

    def activate(self, name: str, activation: Activation) -> None:
        """Add an activation to the last layer, which has none yet."""
        if activation.name == "identity":
            return
        last = self._layers[-1] if self._layers else None
        if not isinstance(last, Dense) or last.activation.name != "identity":
            before = "Dropout" if isinstance(last, Dropout) else "an activation"
            reason = "comes before the first dense layer" if last is None else f"follows {before}"
            raise self.refuse(
                f"{name} {reason}; in fastnet an activation belongs to a dense layer: put a dense "
                "layer before it."
            )
        self._layers[-1] = Dense(last.units, activation, last.bias)

    def activation(self, name: str, kind: type[Activation], **constants: Any) -> Activation:
        """Make an activation with constants of the source, which may be out of range."""
        try:
            return kind(**constants)
        except DefinitionError as error:
            raise self.refuse(f"{name}: {error}") from error

    def drop(self, name: str, rate: float) -> None:
        """Add dropout."""
        try:
            self._layers.append(Dropout(rate))
        except DefinitionError as error:
            raise self.refuse(f"{name}: {error}") from error
        self._arrays.append(None)

    def model(
        self,
        loss: str | Loss | Mapping[str, Any] | None,
        dtype: Any,
        backend: str | None,
        seed: int | None,
    ) -> Model:
        """Make the model; `importing.from_onnx` documents the arguments.

        Raises:
            DefinitionError: if the loss or the dtype is invalid, or does not fit the network.
        """
        wanted = None if loss is None else resolve("loss", LOSSES, loss)
        given = None if dtype is None else checks.dtype(dtype).name
        if not any(self._arrays):
            raise self.refuse("it has no dense layer.")
        kind = given or self._dtype
        self._fold()
        inputs = next(pair[0].shape[0] for pair in self._arrays if pair is not None)
        try:
            network = Network(inputs, self._layers)
        except DefinitionError as error:
            raise self.refuse(str(error)) from error
        fitting = wanted or self.loss or _FITTING.get(network.output.name, "mse")
        network = Network(inputs, self._ended(fitting), fitting)
        arrays = {}
        for index, pair in enumerate(self._arrays):
            if pair is not None:
                arrays[f"{index}.weight"] = pair[0]
                if pair[1] is not None:
                    arrays[f"{index}.bias"] = pair[1]
        return Model.of(network, arrays, backend=backend, dtype=kind, seed=seed)

    def _ended(self, loss: str | Loss) -> list[Dense | Dropout]:
        """The layers; where they end in logits, with the output activation that the loss needs."""
        needs = resolve("loss", LOSSES, loss).needs
        last = self._layers[-1]
        if needs is None or not isinstance(last, Dense) or last.activation.name != "identity":
            return self._layers
        return [*self._layers[:-1], Dense(last.units, needs, last.bias)]

    @property
    def _width(self) -> int | None:
        """The number of outputs so far, if known."""
        widths = [pair[0].shape[1] for pair in self._arrays if pair is not None]
        if widths:
            return int(widths[-1])
        scale = np.broadcast_arrays(self._scale, self._shift)[0]
        return scale.shape[0] if scale.ndim else None

    @property
    def _dtype(self) -> str:
        """float64 if weights are, or if folding a shift into float32 would lose digits."""
        wide = any(pair is not None and pair[0].dtype == np.float64 for pair in self._arrays)
        return "float64" if wide or np.any(self._shift) else "float32"

    def _fold(self) -> None:
        """Fold the standardization into the first dense layer, in float64."""
        scale, shift = self._scale, self._shift
        index = next(i for i, pair in enumerate(self._arrays) if pair is not None)
        first, layer = self._arrays[index], self._layers[index]
        assert first is not None
        assert isinstance(layer, Dense)
        if np.all(scale == 1) and not np.any(shift):
            return
        if index > 0:
            raise self.refuse("it has Dropout between a standardization and the first layer.")
        weight, bias = first[0].astype(np.float64), first[1]
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.broadcast_to(shift, weight.shape[0]) @ weight
            weight = weight * np.broadcast_to(scale, weight.shape[0])[:, None]
        if bias is not None or np.any(moved):
            bias = moved if bias is None else bias + moved
        self._finite("the standardization", weight, bias)
        self._arrays[index] = (weight, bias)
        self._layers[index] = Dense(layer.units, layer.activation, bias is not None)
        self._scale, self._shift = 1.0, 0.0

    def _finite(self, name: str, *arrays: Array | None) -> None:
        for array in arrays:
            if array is not None and not np.isfinite(array).all():
                raise self.refuse(f"{name} has values that are not finite.")
