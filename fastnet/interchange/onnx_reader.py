"""Reading an ONNX graph: its nodes are run once, in order, on symbols instead of numbers.

A value is a constant, the shape of an array, or a `Signal`: an expression (`expressions`) in the
outputs of the last matrix product (a `Stage`). At the next product, or at the graph's end, the
expression must be an activation of fastnet.
"""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.callers import warn
from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.layers import Activate, BatchNorm, LayerNorm, Scale
from fastnet.errors import ModelFileError
from fastnet.interchange.chain import Chain
from fastnet.interchange.expressions import Unrecognized, Z
from fastnet.interchange.onnx_file import REALS, WHOLE, OnnxFile, domain_of, label, type_name
from fastnet.interchange.onnx_operations import OPERATIONS, Operations
from fastnet.interchange.onnx_values import Signal, Stage, Value
from fastnet.interchange.recognition import Recognized

#: What to do about frequent operators that fastnet does not support.
_REMEDIES = {
    "LogSoftmax": "fastnet predicts probabilities: end the network in Softmax.",
}


def read(path: str | os.PathLike[str]) -> Chain:
    """Read the layers of a file's network.

    Raises:
        ModelFileError: if it is damaged, or not a dense network; names the node.
    """
    file = OnnxFile(path)
    with np.errstate(all="ignore"):  # weights that are not finite are refused later
        chain = _Reader(file).chain()
    if file.halved:
        warn(f"{str(file.path)!r} has float16 weights; the model computes with them in float32.")
    return chain


class _Reader:
    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self._operations = Operations(file)
        self._constants = {tensor.name: tensor for tensor in file.graph.initializer}
        self._values: dict[str, Value] = {}

    def chain(self) -> Chain:
        output = self._output()
        nodes = self._needed(output)
        self._begin({output, *(name for node in nodes for name in node.input)})
        for node in nodes:
            value = self._run(node)
            for name in node.output[:1]:
                if name in self._values:
                    raise self._file.refuse(f"{label(node)}: {name!r} is written twice.")
                self._values[name] = value
        found = self._values.get(output)
        if not isinstance(found, Signal):
            raise self._file.refuse(f"its output {output!r} does not depend on its input.")
        return self._collected(found.stage, self._operations.settled(found))

    def _run(self, node: Any) -> Value:
        self._operations.node = node
        operation = OPERATIONS.get((domain_of(node), node.op_type))
        if operation is None:
            known = ", ".join(name for _, name in OPERATIONS)
            remedy = _REMEDIES.get(node.op_type, f"It supports {known}.")
            raise self._refuse(node, f"fastnet does not support this operator. {remedy}")
        inputs = [self._value(node, name) if name else None for name in node.input]
        if not operation.least <= len(inputs) <= operation.most:
            raise self._refuse(node, f"fastnet does not support it with {len(inputs)} inputs.")
        if any(value is None for value in inputs[: operation.least]):
            raise self._refuse(node, "it lacks an input.")
        try:
            return operation.do(self._operations, *inputs)
        except Unrecognized:
            reason = "it is not part of an activation of fastnet"
            raise self._refuse(node, f"{reason} ({', '.join(ACTIVATIONS)}).") from None

    def _refuse(self, node: Any, reason: str) -> ModelFileError:
        return self._file.refuse(f"{label(node)}: {reason}")

    # --- the part of the graph that is needed ----------------------------------------------

    def _output(self) -> str:
        """The output to read: for classifiers the probabilities, not the labels."""
        made = {name: node for node in self._file.graph.node for name in node.output}
        found, others = [], []
        for output in self._file.graph.output:
            maker = made.get(output.name)
            kind = output.type.WhichOneof("value")
            if maker is not None and maker.op_type == "ZipMap" and maker.input:
                found.append(maker.input[0])
            elif kind is None or (
                kind == "tensor_type" and output.type.tensor_type.elem_type in (0, *REALS)
            ):
                found.append(output.name)
            else:
                others.append(f"{output.name!r} ({_type_of(output, kind)})")
        if not found and others:
            raise self._file.refuse(
                f"its output is {', '.join(others)}; fastnet reads networks whose output is float "
                "or double: export the network in float32, and up to its numbers or probabilities "
                "(without ArgMax)."
            )
        if len(set(found)) != 1:
            raise self._file.refuse(
                f"it has {len(set(found))} outputs {sorted(set(found))}; fastnet supports one."
            )
        return str(found[0])

    def _needed(self, output: str) -> list[Any]:
        """The nodes that the output depends on, in order."""
        nodes = list(self._file.graph.node)
        made = {name: place for place, node in enumerate(nodes) for name in node.output}
        needed: set[int] = set()
        open_ends = [output]
        while open_ends:
            place = made.get(open_ends.pop())
            if place is not None and place not in needed:
                needed.add(place)
                open_ends += nodes[place].input
        return [nodes[place] for place in sorted(needed)]

    def _begin(self, read_names: set[str]) -> None:
        """Make the stage of the graph's input."""
        inputs = [
            entry
            for entry in self._file.graph.input
            if entry.name not in self._constants and entry.name in read_names
        ]
        if len(inputs) != 1:
            names = [entry.name for entry in inputs]
            raise self._file.refuse(
                f"its output depends on {len(inputs)} inputs {names}; fastnet reads one, and no "
                "embeddings of categories."
            )
        kind = inputs[0].type.tensor_type
        if kind.elem_type not in (*REALS, *WHOLE):
            raise self._file.refuse(
                f"its input {inputs[0].name!r} is {_type_of(inputs[0], 'tensor_type')}; fastnet "
                "reads networks whose input is of numbers: export it in float32."
            )
        shape = tuple(
            entry.dim_value if entry.WhichOneof("value") == "dim_value" else None
            for entry in kind.shape.dim
        )
        stage = Stage("the input", None)
        if len(shape) == 2 or not kind.HasField("shape"):
            stage.width = shape[1] if shape else None
        else:
            stage.shape = shape
        self._operations.rows = shape[0] if len(shape) > 1 else None
        whole = kind.elem_type in WHOLE
        self._values[inputs[0].name] = Signal(stage, Z, whole=whole)

    def _value(self, node: Any, name: str) -> Value:
        if name not in self._values:
            if name not in self._constants:
                raise self._refuse(
                    node,
                    f"its input {name!r} comes from no node before it; the file is damaged.",
                )
            self._values[name] = self._file.array(self._constants[name])
        return self._values[name]

    def _collected(self, stage: Stage, last: Recognized) -> Chain:
        """The layers, collected from the last to the first."""
        pairs = [(stage, last)]
        while pairs[-1][0].before is not None:
            pairs.append(pairs[-1][0].before)
        chain = Chain(repr(str(self._file.path)), ModelFileError)
        self._collect(chain, reversed(pairs))
        return chain

    def _collect(self, chain: Chain, pairs: Iterable[tuple[Stage, Recognized]]) -> None:
        for place, found in pairs:
            gain = np.asarray(place.gain * found.scale)
            bias = None if place.bias is None else np.asarray(place.bias * found.scale)
            if found.shift:
                bias = np.asarray(found.shift if bias is None else bias + found.shift)
            weight = place.weight
            if weight is None:
                if place.before is None:
                    shift = 0.0 if bias is None else bias
                    chain.standardize("its scaling of the input", gain, shift)
                else:
                    self._layer(chain, place, gain, bias)
                chain.activate(place.name, found.activation)
                continue
            self._file.spend(weight.nbytes)
            if np.any(gain != 1):
                weight = (weight * gain).astype(weight.dtype)
            if bias is not None:
                bias = np.broadcast_to(bias, weight.shape[1:]).astype(np.float64)
            chain.dense(place.name, weight, bias, found.activation)

    def _layer(self, chain: Chain, place: Stage, gain: Array, bias: Array | None) -> None:
        """Add the layer of a stage, and what its outputs are scaled and shifted with."""
        layer, arrays = place.layer, dict(place.arrays)
        scaled = bool(np.any(gain != 1))
        if isinstance(layer, LayerNorm | BatchNorm):
            if scaled:
                arrays["scale"], arrays["shift"] = (
                    (arrays[name] * gain).astype(arrays[name].dtype) for name in ("scale", "shift")
                )
            if bias is not None:
                arrays["shift"] = (arrays["shift"] + bias).astype(arrays["shift"].dtype)
            chain.layer(place.name, layer, **arrays)
            return
        if bias is not None:
            raise self._file.refuse(
                f"{place.name}: its result is shifted; fastnet supports that after a matrix "
                "product or a norm only."
            )
        if layer is None:
            inner = chain.inner()
            inner.activate(place.name, place.start)
            self._collect(inner, place.inside)
            chain.block(place.name, inner)
        elif isinstance(layer, Activate):
            chain.activate(place.name, layer.activation, arrays["alpha"])
        else:
            chain.layer(place.name, layer, **arrays)
        if scaled:
            width = place.width or gain.size
            kinds = [array.dtype for array in arrays.values()] or [np.dtype(np.float32)]
            scale = np.broadcast_to(gain, width).astype(kinds[0])
            chain.layer(place.name, Scale(), scale=scale)


def _type_of(value: Any, kind: str | None) -> str:
    """What a value of the graph holds, in words."""
    if kind != "tensor_type":
        return str(kind or "nothing").removesuffix("_type")
    return type_name(value.type.tensor_type.elem_type)
