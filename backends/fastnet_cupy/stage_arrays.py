"""The arrays of a network's stages: values, what the way back reads besides, and derivatives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastnet.contract import plan
from fastnet_cupy.embedding import functions_of
from fastnet_cupy.layout import Layout

#: Makes an array of so many columns, a row for each row of a batch.
Make = Callable[[int], Any]


@dataclass
class Value:
    """A value in full, and as products read it; None where nobody reads it so."""

    full: Any = None
    store: Any = None

    @property
    def operand(self) -> Any:
        """What a product reads."""
        return self.full if self.store is None else self.store


@dataclass
class Kept:
    """What a stage keeps for the way back.

    Attributes:
        z: what its front made, where that is an array of its own.
        s: standard deviations, of rows or of columns.
        slope: the activation's, where it cannot be computed from what comes out.
        learned: the derivative by alpha.
        basis: the functions of numbers that become several.
    """

    z: Any = None
    s: Any = None
    slope: Any = None
    learned: Any = None
    basis: Any = None


@dataclass
class Arrays:
    """The arrays of a network's stages.

    Attributes:
        values: by their numbers.
        kept: by stage.
        lent: for derivatives, each as large as the widest.
    """

    values: dict[int, Value]
    kept: list[Kept]
    lent: list[Any]


def arrays_of(
    layout: Layout, is_16_bit: bool, training: bool, full: Make, store: Make, outputs: Any
) -> Arrays:
    """The arrays that stages need.

    Args:
        layout: the network.
        is_16_bit: whether products read numbers of 16 bits.
        training: whether gradients are computed.
        full: makes an array in full.
        store: makes one as products read it.
        outputs: that of the last value.
    """
    stages = layout.stages
    by_products = {stage.sources[0] for stage in stages if stage.is_product}
    others = {source for stage in stages if not stage.is_product for source in stage.sources}
    units = {0: layout.inputs, **{stage.target: stage.layer.units for stage in stages}}
    values = {}
    for number, columns in units.items():
        value = values[number] = Value()
        if number == stages[-1].target:
            value.full = outputs
        elif number in others:
            value.full = full(columns)
        if number in by_products and (is_16_bit or value.full is None):
            value.store = store(columns)
    kept = []
    for stage in stages:
        own, layer = Kept(), stage.layer
        if stage.keeps_z:
            own.z = full(layer.units)
        if isinstance(stage.front, plan.Periodic | plan.PiecewiseLinear):
            own.basis = full(stage.front.numbers * functions_of(stage.front))
        if training and stage.is_activated and (stage.alpha or not layer.slope_from_output):
            own.slope = full(layer.units)
        elif training and stage.is_activated and is_16_bit and values[stage.target].full is None:
            own.slope = full(layer.units)  # in 16 bits, what comes out is not exact enough
        if training and stage.alpha:
            own.learned = full(layer.units)
        if training and isinstance(stage.front, plan.Normalize):
            own.s = full(1)
        kept.append(own)
    lent = [full(layout.widest) for _ in range(_most_lent(layout) if training else 0)]
    return Arrays(values, kept, lent)


def _most_lent(layout: Layout) -> int:
    """Derivatives that there are at a time, at most.

    They are those by values that are made before a stage and read behind it, and three of the stage
    itself: by what it makes, by what goes in, and besides that either the one before its activation
    or the sum with what other stages have found.
    """
    last = {source: at for at, stage in enumerate(layout.stages) for source in stage.sources}
    made = {stage.target: at for at, stage in enumerate(layout.stages)}
    waiting = [
        sum(first < at < last.get(value, at) for value, first in made.items())
        for at in range(len(layout.stages))
    ]
    return max(waiting) + 3
