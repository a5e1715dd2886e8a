"""Where the layers of a network stand: their names, and what goes in."""

import math
from typing import NamedTuple

from fastnet.definition.embedding import Embed, Embedding, Inputs
from fastnet.definition.layers import Layer, Residual, check_depth


class Placed(NamedTuple):
    """A layer in its network.

    Attributes:
        name: the places that lead to it, such as "2", or "2.0" for the first layer in the residual
            block at place 2.
        number: of its random streams: its place in the network's list; those of layers in residual
            blocks follow, in order.
        layer: itself; `Embedding` for an `Embed`.
        inputs: columns of what goes in.
    """

    name: str
    number: int
    layer: Layer
    inputs: int

    @property
    def size(self) -> int:
        """How many numbers its own parameters are."""
        return sum(map(math.prod, self.layer.parameters(self.inputs).values()))

    @property
    def trained(self) -> int:
        """How many of them are trained."""
        shapes = self.layer.parameters(self.inputs)
        return sum(math.prod(shapes[name]) for name in shapes if name not in self.layer.untrained)


def placed(layers: tuple[Layer, ...], inputs: Inputs) -> list[Placed]:
    """All layers with those in residual blocks, each block before its own layers.

    Raises:
        DefinitionError: if one does not fit; names it.
    """
    found: list[Placed] = []
    inner = len(layers)

    def add(these: tuple[Layer, ...], width: int, before: str) -> None:
        nonlocal inner
        for index, layer in enumerate(these):
            number = index
            if before:
                number, inner = inner, inner + 1
            name = f"{before}{index}"
            check_depth(name)
            if isinstance(layer, Embed) and name == "0":
                layer, width = Embedding(layer, inputs), inputs.columns
            found.append(Placed(name, number, layer, width))
            after = layer.outputs(width, f"layer {name}")
            if isinstance(layer, Residual):
                add(layer.layers, width, f"{name}.")
            width = after

    width = inputs.numbers
    if inputs.categories:  # one-hot without an Embed
        width = Embedding(Embed("one_hot"), inputs).outputs(inputs.columns, "")
    add(layers, width, "")
    return found
