"""Which parts of kernels a network and a run need: the tables get their addresses."""

from collections.abc import Callable
from typing import Any

from fastnet.arrays.checks import Array
from fastnet.contract.kinds import TABLES
from fastnet_numba.layout import Layout
from fastnet_numba.ops.activations import (
    FUNCTIONS,
    activation,
    softmax_of_rows,
    softmax_of_rows_back,
)
from fastnet_numba.ops.declared import KINDS
from fastnet_numba.ops.dropout import masks
from fastnet_numba.ops.exchange import all_met, exchanged, parts_added
from fastnet_numba.ops.layers import graph_forward, plain_forward
from fastnet_numba.ops.losses import loss_part
from fastnet_numba.ops.narrow import narrow_forward, softmax_of_units, softmax_of_units_back
from fastnet_numba.ops.optimizers import UPDATES, segments_updated
from fastnet_numba.ops.penalties import entries_clipped, norm_clipped, penalties
from fastnet_numba.ops.products import large_multiplied
from fastnet_numba.ops.sums import wide_added, wide_taken
from fastnet_numba.ops.sweep import layer_swept
from fastnet_numba.ops.table import (
    CODE,
    DROPOUT,
    ELEMENTWISE,
    FORWARD,
    KIND,
    LARGE,
    LOSS,
    OTHER,
    PARAMETRIC,
    SOFTMAX,
    SWEEP,
    SWEPT,
)
from fastnet_numba.prediction import columns_predicted, rows_predicted

#: What gives a part's address.
AddressOf = Callable[[Any], int]


def all_parts() -> list[Any]:
    """All parts that there are."""
    codes = [TABLES["loss"][kind] for kind in KINDS["loss"]]
    losses = {loss_part(code, narrow) for code in codes for narrow in (False, True)}
    return [
        *(plain_forward, graph_forward, narrow_forward, masks),
        *(softmax_of_rows, softmax_of_rows_back, softmax_of_units, softmax_of_units_back),
        *map(activation, FUNCTIONS),
        *losses,
        *UPDATES.values(),
        *(segments_updated, penalties, entries_clipped, norm_clipped, wide_added, wide_taken),
        *(large_multiplied, layer_swept),
        *(all_met, parts_added, exchanged, rows_predicted, columns_predicted),
    ]


def with_addresses(
    layout: Layout, table: Array, narrow: bool, training: bool, address_of: AddressOf
) -> Array:
    """One of a layout's tables, with addresses instead of codes.

    Args:
        layout: whose table it is.
        table: one of its tables.
        narrow: whether rows go in the lanes.
        training: whether the table leads to the loss, and back.
        address_of: compiles or loads a part.
    """
    found = table.copy()
    forward = narrow_forward if narrow else graph_forward if layout.graph else plain_forward
    found[0, FORWARD] = address_of(forward)
    if table[0, LARGE] == 1:
        found[0, LARGE] = address_of(large_multiplied)
    if training:
        found[0, LOSS] = address_of(loss_part(int(table[0, LOSS]), narrow))
        if (table[1:, SWEPT] == 1).any():
            found[0, SWEEP] = address_of(layer_swept)
    for row in found[1:]:
        if row[KIND] == ELEMENTWISE or row[KIND] == PARAMETRIC:
            row[CODE] = address_of(activation(int(row[CODE])))
        elif row[KIND] == SOFTMAX:
            row[CODE] = address_of(softmax_of_units if narrow else softmax_of_rows)
            if training:
                row[OTHER] = address_of(softmax_of_units_back if narrow else softmax_of_rows_back)
        elif row[KIND] == DROPOUT:
            row[CODE] = address_of(masks)
    return found
