"""Which parts of kernels a network and a run need: the tables get their addresses."""

from collections.abc import Callable
from typing import Any

from fastnet.arrays.checks import Array
from fastnet.contract.kinds import TABLES
from fastnet_numba.ops.activations import (
    FUNCTIONS,
    activation,
    softmax_of_rows,
    softmax_of_rows_back,
)
from fastnet_numba.ops.declared import KINDS
from fastnet_numba.ops.dropout import masks
from fastnet_numba.ops.embedding import (
    codes_embedded,
    codes_embedded_back,
    numbers_embedded,
    numbers_embedded_back,
)
from fastnet_numba.ops.exchange import copies_updated, parts_added, synchronized
from fastnet_numba.ops.layers import units_forward
from fastnet_numba.ops.losses import loss_part
from fastnet_numba.ops.narrow import narrow_forward, softmax_of_units, softmax_of_units_back
from fastnet_numba.ops.normalizing import (
    rows_normalized,
    rows_normalized_back,
    units_scaled,
    units_scaled_back,
    values_added,
    values_added_back,
    values_joined,
    values_joined_back,
)
from fastnet_numba.ops.optimizers import UPDATES, segments_updated
from fastnet_numba.ops.penalties import entries_clipped, norm_clipped, penalties
from fastnet_numba.ops.products import large_multiplied
from fastnet_numba.ops.statistics import (
    statistics_moved,
    statistics_noted,
    units_normalized,
    units_normalized_back,
)
from fastnet_numba.ops.sums import wide_added, wide_taken
from fastnet_numba.ops.sweep import layer_swept, others_updated
from fastnet_numba.ops.table import (
    ADD,
    BATCH_NORMALIZE,
    BY_STATISTICS,
    CODE,
    COMPUTE,
    COMPUTE_BACK,
    DROPOUT,
    ELEMENTWISE,
    EMBED,
    FORK,
    FORWARD,
    KIND,
    LARGE,
    LOSS,
    MOVED,
    NORMALIZE,
    NOTED,
    OTHER,
    OTHERS,
    PARAMETRIC,
    PERIODIC,
    PIECEWISE_LINEAR,
    SCALE,
    SOFTMAX,
    STAY,
    SWEEP,
    SWEPT,
)
from fastnet_numba.prediction import columns_predicted, rows_predicted

#: What gives a part's address.
AddressOf = Callable[[Any], int]

#: The parts that compute rows of these kinds, there and back.
COMPUTED = {
    NORMALIZE: (rows_normalized, rows_normalized_back),
    SCALE: (units_scaled, units_scaled_back),
    ADD: (values_added, values_added_back),
    FORK: (values_added, values_added_back),
    PARAMETRIC: (values_joined, values_joined_back),
    BATCH_NORMALIZE: (units_normalized, units_normalized_back),
    BY_STATISTICS: (units_normalized, units_normalized_back),
    EMBED: (codes_embedded, codes_embedded_back),
    STAY: (codes_embedded, codes_embedded_back),
    PERIODIC: (numbers_embedded, numbers_embedded_back),
    PIECEWISE_LINEAR: (numbers_embedded, numbers_embedded_back),
}


def all_parts() -> list[Any]:
    """All parts that there are."""
    codes = [TABLES["loss"][kind] for kind in KINDS["loss"]]
    losses = {loss_part(code, narrow) for code in codes for narrow in (False, True)}
    return [
        *(units_forward, narrow_forward, masks),
        *{each for pair in COMPUTED.values() for each in pair},
        *(statistics_noted, statistics_moved),
        *(softmax_of_rows, softmax_of_rows_back, softmax_of_units, softmax_of_units_back),
        *map(activation, FUNCTIONS),
        *losses,
        *UPDATES.values(),
        *(segments_updated, penalties, entries_clipped, norm_clipped, wide_added, wide_taken),
        *(large_multiplied, layer_swept, others_updated),
        *(synchronized, parts_added, copies_updated, rows_predicted, columns_predicted),
    ]


def with_addresses(table: Array, narrow: bool, training: bool, address_of: AddressOf) -> Array:
    """One of a layout's tables, with addresses instead of codes.

    Args:
        table: the table.
        narrow: whether rows go in the lanes.
        training: whether the table leads to the loss, and back.
        address_of: compiles or loads a part.
    """
    found = table.copy()
    found[0, FORWARD] = address_of(narrow_forward if narrow else units_forward)
    if table[0, LARGE] == 1:
        found[0, LARGE] = address_of(large_multiplied)
    if training:
        found[0, LOSS] = address_of(loss_part(int(table[0, LOSS]), narrow))
        if (table[1:, SWEPT] == 1).any():
            found[0, SWEEP], found[0, OTHERS] = address_of(layer_swept), address_of(others_updated)
    if table[0, NOTED] == 1:
        found[0, NOTED] = address_of(statistics_noted)
        found[0, MOVED] = address_of(statistics_moved)
    for row in found[1:]:
        if int(row[KIND]) in COMPUTED:
            there, back = COMPUTED[int(row[KIND])]
            row[COMPUTE] = address_of(there)
            row[COMPUTE_BACK] = address_of(back) if training else -1
        if row[KIND] == ELEMENTWISE or row[KIND] == PARAMETRIC:
            row[CODE] = address_of(activation(int(row[CODE])))
        elif row[KIND] == SOFTMAX:
            row[CODE] = address_of(softmax_of_units if narrow else softmax_of_rows)
            if training:
                row[OTHER] = address_of(softmax_of_units_back if narrow else softmax_of_rows_back)
        elif row[KIND] == DROPOUT:
            row[CODE] = address_of(masks)
    return found
