"""A chain of layers, built one by one while a model is read, and the model made from it."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.activations import Activation, Identity
from fastnet.definition.embedding import Embed, Embedding, Inputs
from fastnet.definition.layers import (
    Activate,
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LayerNorm,
    Residual,
    Scale,
)
from fastnet.definition.losses import LOSSES, Loss
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError, ModelFileError
from fastnet.interchange.fronts import Front
from fastnet.model import Model

#: The loss that is computed together with an output, by the output's name.
_FITTING = {loss.needs: loss.name for loss in LOSSES.values() if loss.needs}

#: PyTorch's softplus is z itself above 20, where the difference is below 3e-9.
SOFTPLUS_THRESHOLD = 20.0

R = TypeVar("R")


#: The layers that writers know.
_WRITABLE = (Embedding, Dense, Dropout, Activate, LayerNorm, BatchNorm, Scale, Residual)


def check_writable(network: Network, library: str) -> None:
    """Make sure that writers know every layer of a network.

    Raises:
        DefinitionError: naming the first that they do not.
    """
    for one in network.placed:
        if not isinstance(one.layer, _WRITABLE):
            known = ", ".join(layer.__name__ for layer in _WRITABLE)
            raise DefinitionError(
                f"cannot write layer {one.name} ({one.layer.label}) for {library}, but {known}."
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
    """Layers in order. An activation right after a dense layer becomes part of it.

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
        self._layers: list[Layer] = []
        self._arrays: list[dict[str, Array]] = []
        self._inputs: int | None = None
        self._both: Inputs | None = None
        #: An embedding whose numbers are not known yet, and where its columns stand in fastnet.
        self.front: Front | None = None
        self._places: Array | None = None
        self._outputs: int | None = None
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
        arrays = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        self._float(name, arrays)
        fits = weight.ndim == 2 and weight.size > 0
        if not fits or (bias is not None and bias.shape != weight.shape[1:]):
            shape = None if bias is None else bias.shape
            raise self.refuse(
                f"{name} has weights {weight.shape} and bias {shape}; they must be (inputs, units) "
                "and (units,), with at least one input and one unit."
            )
        layer = Dense(weight.shape[1], activation or Identity(), bias is not None)
        self._append(name, layer, arrays, *weight.shape)

    def embed(self, name: str, inputs: Inputs, embed: Embed, arrays: dict[str, Array]) -> None:
        """Add the layer that comes first and embeds categories or numbers."""
        self._check_first(name)
        layer = self.made(name, Embedding, embed, inputs)
        self._float(name, arrays)
        for key, shape in layer.parameters(0).items():
            if arrays[key].shape != shape:
                raise self.refuse(f"{name}: {key} is {arrays[key].shape}; it must be {shape}.")
        if arrays:
            self._append(name, embed, arrays, inputs.columns)
        self._both, self._inputs, self._outputs = inputs, inputs.columns, layer.outputs(0, name)

    def begin(self, front: Front) -> None:
        """Begin with an embedding whose columns of numbers the next layer tells."""
        self._check_first(front.name)
        self.front = front

    def _check_first(self, name: str) -> None:
        scaled = np.any(self._shift) or np.any(np.asarray(self._scale) != 1)
        if self._layers or scaled or self.front is not None or self._both is not None:
            raise self.refuse(f"{name} does not come first; in fastnet an embedding must.")

    def layer(self, name: str, layer: Layer, **arrays: Array) -> None:
        """Add a norm or a Scale, all of whose parameters are `(units,)`."""
        self._float(name, arrays)
        shapes = {array.shape for array in arrays.values()}
        if len(shapes) != 1 or any(len(shape) != 1 or 0 in shape for shape in shapes):
            raise self.refuse(f"{name} has parameters {sorted(shapes)}; they must be (units,).")
        if "variance" in arrays and np.any(arrays["variance"] < 0):
            raise self.refuse(f"{name} has a variance below 0.")
        ((width,),) = shapes
        self._append(name, layer, arrays, width, width)

    def activate(self, name: str, activation: Activation, alpha: Array | None = None) -> None:
        """Add an activation; `alpha` are its parameters, `(units,)`, or one for all units."""
        if activation.name == "identity":
            return
        arrays = {}
        if alpha is not None:
            self._float(name, {"alpha": alpha})
            width = alpha.size if self._width is None else self._width
            if alpha.ndim != 1 or alpha.size not in (1, width) or not alpha.size:
                raise self.refuse(f"{name} has parameters {alpha.shape}; they must be ({width},).")
            if self._width is None and alpha.size == 1:
                raise self.refuse(f"{name} comes first; give it one parameter for each input.")
            arrays["alpha"] = np.array(np.broadcast_to(alpha, width))
        last = self._layers[-1] if self._layers else None
        if isinstance(last, Dense) and last.activation.name == "identity":
            self._finite(name, *arrays.values())
            self._layers[-1] = Dense(last.units, activation, last.bias)
            self._arrays[-1].update(arrays)
        else:
            self._append(name, Activate(activation), arrays, *[arrays["alpha"].size] * 2 if arrays
                         else ())  # fmt: skip

    def made(self, name: str, kind: Callable[..., R], *given: Any, **constants: Any) -> R:
        """Make a layer or an activation with constants of the source, which may be out of range."""
        try:
            return kind(*given, **constants)
        except DefinitionError as error:
            raise self.refuse(f"{name}: {error}") from error

    def drop(self, name: str, rate: float) -> None:
        """Add dropout."""
        self._append(name, self.made(name, Dropout, rate), {})

    def inner(self) -> "Chain":
        """A chain for the layers of a residual block that comes next."""
        chain = Chain(self.source, self.error)
        chain._inputs = chain._outputs = self._width
        return chain

    def block(self, name: str, inner: "Chain") -> None:
        """Add the residual block of a chain that `inner` made."""
        block = self.made(name, Residual, tuple(inner._layers))
        arrays = {
            f"{index}.{key}": array
            for index, own in enumerate(inner._arrays)
            for key, array in own.items()
        }
        if inner._inputs != inner._outputs:
            raise self.refuse(
                f"{name} adds {inner._outputs} outputs to its {inner._inputs} inputs; fastnet "
                "supports x + f(x) of the same units."
            )
        self._append(name, block, arrays, *[inner._inputs] * 2 if inner._inputs else ())

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
        if not any(name.endswith("weight") for own in self._arrays for name in own):
            raise self.refuse("it has no dense layer.")
        kind = given or self._dtype
        self._fold()
        try:
            network = Network(self._both or self._inputs or 0, self._layers)
        except DefinitionError as error:
            raise self.refuse(str(error)) from error
        fitting = wanted or self.loss or _FITTING.get(network.output.name, "mse")
        network = Network(network.both_inputs, self._ended(fitting), fitting)
        arrays = {
            f"{index}.{name}": array
            for index, own in enumerate(self._arrays)
            for name, array in own.items()
        }
        return Model.of(network, arrays, backend=backend, dtype=kind, seed=seed)

    def _settled(self, front: Front, outputs: int) -> None:
        """Put the embedding first, now that the layer after it is known."""
        self.front = None
        inputs, embed, places = self.made(front.name, front.settle, outputs)
        self._float(front.name, front.arrays)
        self._finite(front.name, *front.arrays.values())
        self._layers.insert(0, embed)
        self._arrays.insert(0, dict(front.arrays))
        self._both, self._inputs, self._outputs = inputs, inputs.columns, outputs
        self._places = places if np.any(np.diff(places) != 1) else None

    def _placed(self, name: str, layer: Layer, arrays: dict[str, Array]) -> dict[str, Array]:
        """The arrays of a layer whose inputs stand in another order in the source."""
        if self._places is None or not arrays:
            return arrays
        if isinstance(layer, Residual):
            raise self.refuse(
                f"{name} follows an embedding that does not have its numbers first, and then the "
                "categories in order; bring its columns in this order."
            )
        order = np.argsort(self._places)
        if isinstance(layer, Dense):
            self._places = None
            return {**arrays, "weight": arrays["weight"][order]}
        return {key: array[order] for key, array in arrays.items()}

    @property
    def has_blocks(self) -> bool:
        """Whether there are residual blocks."""
        return any(isinstance(layer, Residual) for layer in self._layers)

    def _append(
        self,
        name: str,
        layer: Layer,
        arrays: dict[str, Array],
        inputs: int | None = None,
        outputs: int | None = None,
    ) -> None:
        """Add a layer; inputs and outputs where it says what they are."""
        if self.front is not None and inputs is not None:
            self._settled(self.front, inputs)
        if inputs is not None and self._width not in (None, inputs):
            raise self.refuse(
                f"{name} has {inputs} inputs, but the layer before it has {self._width} outputs."
            )
        self._finite(name, *arrays.values())
        last = self._layers[-1] if self._layers else None
        if isinstance(last, Dense | Activate) and last.activation.name == "softmax":
            raise self.refuse(f"{name} follows a softmax; in fastnet softmax is the output only.")
        self._layers.append(layer)
        self._arrays.append(self._placed(name, layer, arrays))
        self._inputs = self._inputs or inputs
        self._outputs = outputs or self._outputs

    def _ended(self, loss: str | Loss) -> list[Layer]:
        """The layers; where they end in logits, with the output activation that the loss needs."""
        needs = resolve("loss", LOSSES, loss).needs
        last = self._layers[-1]
        if needs is None or not isinstance(last, Dense) or last.activation.name != "identity":
            return self._layers
        return [*self._layers[:-1], Dense(last.units, needs, last.bias)]

    @property
    def _width(self) -> int | None:
        """The number of outputs so far, if known."""
        if self._outputs is not None:
            return self._outputs
        scale = np.broadcast_arrays(self._scale, self._shift)[0]
        return scale.shape[0] if scale.ndim else None

    @property
    def _dtype(self) -> str:
        """float64 if weights are, or if folding a shift into float32 would lose digits."""
        wide = any(
            name.endswith("weight") and array.dtype == np.float64
            for own in self._arrays
            for name, array in own.items()
        )
        return "float64" if wide or np.any(self._shift) else "float32"

    def _fold(self) -> None:
        """Fold the standardization into the first dense layer, in float64."""
        scale, shift = self._scale, self._shift
        if np.all(scale == 1) and not np.any(shift):
            return
        first, layer = self._arrays[0], self._layers[0]
        if not isinstance(layer, Dense):
            raise self.refuse(
                f"it has {type(layer).__name__} between a standardization and the first dense "
                "layer; fastnet supports it right before one."
            )
        weight, bias = first["weight"].astype(np.float64), first.get("bias")
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.broadcast_to(shift, weight.shape[0]) @ weight
            weight = weight * np.broadcast_to(scale, weight.shape[0])[:, None]
        if bias is not None or np.any(moved):
            bias = moved if bias is None else bias + moved
        self._finite("the standardization", weight, bias)
        self._arrays[0] = {**first, "weight": weight}
        if bias is not None:
            self._arrays[0]["bias"] = bias
        self._layers[0] = Dense(layer.units, layer.activation, bias is not None)
        self._scale, self._shift = 1.0, 0.0

    def _float(self, name: str, arrays: Mapping[str, Array]) -> None:
        for array in arrays.values():
            if array.dtype not in (np.float32, np.float64):
                raise self.refuse(
                    f"{name} has weights of {array.dtype}; fastnet supports float32 and float64: "
                    "convert the model first."
                )

    def _finite(self, name: str, *arrays: Array | None) -> None:
        for array in arrays:
            if array is not None and not np.isfinite(array).all():
                raise self.refuse(f"{name} has values that are not finite.")
