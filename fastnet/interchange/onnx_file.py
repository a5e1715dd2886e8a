"""An ONNX file: its nodes, and its constants as arrays.

Nothing in the file is trusted: sizes are compared with the bytes that are there, and their sum is
limited, so that a small file cannot ask for much time or memory.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import files
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.errors import ModelFileError, message_of
from fastnet.extras import need

#: Element types (onnx.proto3, TensorProto.DataType).
FLOAT, INT32, INT64, STRING, BOOL, _HALF, DOUBLE = 1, 6, 7, 8, 9, 10, 11

#: Those of real numbers; half is widened to float.
REALS = (FLOAT, _HALF, DOUBLE)

#: Those of whole numbers and truth values that may go in, if the graph makes floats of them.
WHOLE = (2, 3, 4, 5, 6, 7, 9, 12, 13)

#: Those of constants: the field of numbers that are not raw bytes, and NumPy's dtype in the file's
#: byte order.
_TYPES = {
    FLOAT: ("float_data", "<f4"),
    DOUBLE: ("double_data", "<f8"),
    INT32: ("int32_data", "<i4"),
    INT64: ("int64_data", "<i8"),
    BOOL: ("int32_data", "|b1"),
    _HALF: ("int32_data", "<f2"),
}
#: What errors call the others.
_TYPE_NAMES = {
    2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 12: "uint32", 13: "uint64", 16: "bfloat16",
}  # fmt: skip

#: The names of the standard operators' domain.
_STANDARD = ("", "ai.onnx")

#: The oldest opset that is read: before it, Add and Gemm broadcast in another way.
_OLDEST_OPSET = 7

#: Weights have two, a standardization before a Flatten some more.
_MOST_DIMENSIONS = 8

#: A constant that several layers share counts each time; a network of more than this many times the
#: file's size is made to exhaust memory.
_SHARING = 8


class OnnxFile:
    """A parsed file.

    Args:
        path: the file.

    Attributes:
        graph: onnx's `GraphProto`.
        opset: the version of the standard operators.
        halved: whether constants are float16.

    Raises:
        ModelFileError: if it is damaged, or not an ONNX file.
        ModelFileMissing: if it does not exist.
        MissingExtra: without onnx.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        onnx = need("onnx", "onnx", "reading an ONNX file")
        self.path = checks.path(path)
        whole = files.contents(self.path)
        self._left = _SHARING * len(whole)
        self._places: set[Path] = set()
        self.halved = False
        try:
            proto = onnx.ModelProto.FromString(whole)
        except Exception as error:  # protobuf has several, none of them documented
            raise ModelFileError(
                f"{str(self.path)!r} is not an ONNX file, or is truncated."
            ) from error
        self.graph: Any = proto.graph
        versions = [entry.version for entry in proto.opset_import if entry.domain in _STANDARD]
        if not self.graph.node or len(versions) != 1:
            raise ModelFileError(f"{str(self.path)!r} is not an ONNX file, or has no graph.")
        self.opset: int = versions[0]
        if self.opset < _OLDEST_OPSET:
            raise self.refuse(
                f"it was written for opset {self.opset}; fastnet reads {_OLDEST_OPSET} and later."
            )

    def refuse(self, reason: str) -> ModelFileError:
        """Make the error that says what is wrong with the file."""
        return ModelFileError(f"{str(self.path)!r}: {reason}")

    def spend(self, size: int) -> None:
        """Count bytes that the network needs.

        Raises:
            ModelFileError: if they are many times the file's.
        """
        self._left -= size
        if self._left < 0:
            raise self.refuse("its network needs many times the weights in the file.")

    def array(self, tensor: Any) -> Array:
        """A constant of the file.

        Raises:
            ModelFileError: if its bytes are missing, or its type is not supported.
        """
        name, shape = tensor.name, tuple(tensor.dims)
        if tensor.data_type not in _TYPES:
            raise self.refuse(
                f"constant {name!r} is {type_name(tensor.data_type)}; fastnet reads float, "
                "float16, double and integers: export the network in float32."
            )
        field, dtype = _TYPES[tensor.data_type]
        size = math.prod(shape)
        wrong = f"constant {name!r} does not have as many numbers as its shape {shape} needs."
        if min(shape, default=1) < 0 or size > 2**40 or len(shape) > _MOST_DIMENSIONS:
            raise self.refuse(wrong)
        half = tensor.data_type == _HALF
        self.halved = self.halved or half
        if tensor.data_location == 1:
            found = self._raw(self._beside(tensor, size * np.dtype(dtype).itemsize), dtype)
        elif tensor.HasField("raw_data"):
            if len(tensor.raw_data) != size * np.dtype(dtype).itemsize:
                raise self.refuse(wrong)
            found = self._raw(tensor.raw_data, dtype)
        else:
            numbers = getattr(tensor, field)
            if len(numbers) != size:
                raise self.refuse(wrong)
            if half:  # their bits, as integers
                found = np.array(numbers, np.int32).astype("<u2").view("<f2")
            else:
                found = np.array(numbers, np.dtype(dtype).newbyteorder("="))
        return (found.astype(np.float32) if half else found).reshape(shape)

    def attributes(self, node: Any, defaults: dict[str, Any]) -> list[Any]:
        """The values of a node's attributes, in the order of `defaults`.

        Args:
            node: the node.
            defaults: by name the default, of the type that the value must have; a type itself: the
                value must be of it, and is None where the node has no such attribute. Floats and
                tensors are arrays, integers a list.

        Raises:
            ModelFileError: for an attribute not in `defaults`, of another type, or not finite.
        """
        found = {
            name: None if isinstance(default, type) else default
            for name, default in defaults.items()
        }
        for entry in node.attribute:
            if entry.name not in defaults or entry.ref_attr_name:
                raise self.refuse(
                    f"{label(node)}: fastnet does not support its attribute {entry.name!r}."
                )
            value, default = self._attribute(entry), defaults[entry.name]
            kind = default if isinstance(default, type) else type(default)
            if not isinstance(value, kind) or not _finite(value):
                raise self.refuse(f"{label(node)}: its attribute {entry.name!r} is invalid.")
            found[entry.name] = value
        return list(found.values())

    def _attribute(self, entry: Any) -> Any:
        """The value by its type (onnx.proto3, AttributeProto.AttributeType); None: another type."""
        if entry.type == 1:
            # The shortest decimal of the same float32: 0.2, and not 0.20000000298.
            return float(str(np.float32(entry.f)))
        if entry.type == 3:
            return entry.s.decode(errors="replace")
        if entry.type == 4:
            return self.array(entry.t)
        if entry.type == 6:
            return np.array(entry.floats, np.float32)
        return {2: entry.i, 7: list(entry.ints)}.get(entry.type)

    def _raw(self, data: bytes, dtype: str) -> Array:
        self.spend(len(data))
        native = np.dtype(dtype).newbyteorder("=")
        return np.frombuffer(data, dtype).astype(native, copy=False)

    def _beside(self, tensor: Any, size: int) -> bytes:
        """The bytes of a constant that is stored in another file of the same folder."""
        facts = {entry.key: entry.value for entry in tensor.external_data}
        name, where = f"constant {tensor.name!r}", facts.get("location", "")
        folder = self.path.resolve().parent
        try:
            place = (folder / where).resolve()
            start, length = int(facts.get("offset", 0)), int(facts.get("length", size))
            if not where or Path(where).is_absolute() or not place.is_relative_to(folder):
                raise self.refuse(f"{name} is in {where!r}, outside the file's folder.")
            if not place.is_file():
                raise self.refuse(f"{name} is in {where!r}, which is missing: copy it too.")
            if length != size or start < 0 or start + size > place.stat().st_size:
                raise self.refuse(f"{name}: {where!r} does not have its {size} bytes.")
            if place not in self._places:
                self._places.add(place)
                self._left += _SHARING * place.stat().st_size
            with open(place, "rb") as file:
                file.seek(start)
                found = file.read(size)
        except (OSError, ValueError, OverflowError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise self.refuse(
                f"{name} cannot be read from {where!r}: {message_of(error)}."
            ) from error
        if len(found) != size:
            raise self.refuse(f"{name}: {where!r} does not have its {size} bytes.")
        return found


def type_name(code: int) -> str:
    """An element type in words."""
    return _TYPE_NAMES.get(code, f"of element type {code}")


def domain_of(node: Any) -> str:
    """The domain of a node's operator: "" for the standard ones."""
    return "" if node.domain in _STANDARD else str(node.domain)


def label(node: Any) -> str:
    """How errors name a node: by its name, or by its output."""
    name = node.name or next(iter(node.output), "")
    return f"node {name!r} ({node.op_type})"


def _finite(value: Any) -> bool:
    return isinstance(value, str) or bool(np.isfinite(value).all())
