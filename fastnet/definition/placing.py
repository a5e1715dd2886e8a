"""Where the layers of a network stand: their names, and what goes in."""

import math
from typing import NamedTuple

from fastnet.definition.layers import Layer, Residual


class Placed(NamedTuple):
    """A layer in its network.

    Attributes:
        name: the places that lead to it, such as "2", or "2.0" for the first layer in the residual
            block at place 2.
        number: of its random streams: its place in the network's list; those of layers in residual
            blocks follow, in order.
        layer: itself.
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


def placed(layers: tuple[Layer, ...], inputs: int) -> list[Placed]:
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
            found.append(Placed(name, number, layer, width))
            after = layer.outputs(width, f"layer {name}")
            if isinstance(layer, Residual):
                add(layer.layers, width, f"{name}.")
            width = after

    add(layers, inputs, "")
    return found
