"""Parts of kernels: compiled for the networks and runs that need them, and for no others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastnet as fn

numba = pytest.importorskip("numba", reason="numba is not installed")

LAYERS = {
    "relu": [fn.Dense(99, "relu")],
    "large": [fn.Dense(1024), fn.Dense(1024)],
    "narrow": [fn.Dense(8, "tanh")],
    "norm": [fn.Dense(99, learning_rate_factor=2.0), fn.LayerNorm(), fn.Dropout(0.5)],
    "batch": [fn.Dense(99), fn.BatchNorm()],
    "sum": [fn.Scale(), fn.Residual([fn.Dense(3, fn.PReLU())])],
}


def parts_of(network, rows, training, workers, copied, wide, options):
    """The names of the parts that a network and a run of it need."""
    from fastnet.contract.lowering import lower
    from fastnet.contract.program import Run
    from fastnet_numba.layout import lay_out
    from fastnet_numba.run_tables import segments_of, tables_of
    from fastnet_numba.training import COPIED, PARTS, PREDICT, TASK, TRAIN, WORKERS
    from fastnet_numba.workspace import Workspace

    names = set()

    def address_of(part):
        names.add(part.__name__)
        return 1

    plan = lower(network)
    layout = lay_out(plan, np.dtype(np.float32), rows, 0)
    workspace = Workspace(layout, np.dtype(np.float32), address_of)
    assert (workspace.training if training else workspace.prediction) is not None
    run = replace(Run.whole_batch(rows), optimizer=fn.Adam(0.1), **options)
    numbers = {
        TASK: TRAIN if training else PREDICT,
        WORKERS: workers,
        PARTS: workers,
        COPIED: int(copied),
    }
    tables_of(run, numbers, segments_of(plan), wide, layout.narrow, address_of)
    return names


@pytest.mark.parametrize(
    ("layers", "rows", "training", "workers", "copied", "wide", "options", "parts"),
    [
        ("relu", 9, True, 1, False, False, {}, "units_forward crossentropy adam"),
        ("relu", 9, False, 1, False, False, {}, "units_forward softmax_of_rows rows_predicted"),
        ("relu", 9, False, 2, False, False, {}, "units_forward softmax_of_rows rows_predicted"),
        (
            "large", 9, False, 1, False, False, {},
            "units_forward large_multiplied softmax_of_rows rows_predicted",
        ),
        (
            "large", 8, True, 1, False, False, {},
            "units_forward large_multiplied layer_swept others_updated crossentropy adam",
        ),
        # The weights are small, but their gradient is a product of many rows.
        (
            "relu", 2**18, True, 1, False, False, {},
            "units_forward large_multiplied crossentropy adam",
        ),
        # Copies are updated by what adds up the parts too, but for norms and penalties.
        (
            "relu", 9, True, 2, True, False, {},
            "units_forward crossentropy adam synchronized copies_updated",
        ),
        (
            "relu", 9, True, 2, True, False, {"clip_norm": 1.0},
            "units_forward crossentropy adam norm_clipped parts_added synchronized "
            "copies_updated",
        ),
        (
            "relu", 9, True, 2, False, False, {},
            "units_forward crossentropy adam parts_added synchronized",
        ),
        (
            "narrow", 99, True, 1, False, True, {"l2": 1.0},
            "narrow_forward hyperbolic narrow_crossentropy adam penalties wide_added wide_taken",
        ),
        (
            "norm", 9, True, 1, False, False, {"clip_norm": 1.0},
            "units_forward rows_normalized rows_normalized_back masks crossentropy adam "
            "segments_updated norm_clipped",
        ),
        (
            "batch", 9, True, 1, False, False, {},
            "units_forward units_normalized units_normalized_back statistics_noted "
            "statistics_moved units_scaled units_scaled_back crossentropy adam",
        ),
        (
            "batch", 9, False, 1, False, False, {},
            "units_forward units_normalized units_scaled softmax_of_rows rows_predicted",
        ),
        (
            "sum", 9, True, 1, False, False, {},
            "units_forward units_scaled units_scaled_back values_added values_added_back "
            "values_joined values_joined_back relu crossentropy adam",
        ),
    ],
)  # fmt: skip
def test_what_is_compiled_is_what_a_run_needs(
    layers, rows, training, workers, copied, wide, options, parts
):
    network = fn.Network(3, [*LAYERS[layers], fn.Dense(2, "softmax")], "crossentropy")
    found = parts_of(network, rows, training, workers, copied, wide, options)
    assert found == set(parts.split())


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT: nothing is compiled")
@pytest.mark.parametrize(
    ("name", "folders"), [("synchronized", {"any"}), ("parts_added", {"float32", "float64"})]
)
def test_what_takes_no_numbers_is_kept_once_for_both_dtypes(name, folders):
    from fastnet_numba import kernels
    from fastnet_numba.ops import exchange

    part, found = getattr(exchange, name), set()
    for dtype in ("float32", "float64"):
        kernels.Kernels(np.dtype(dtype)).address_of(part)
        found.add(Path(part._cache.cache_path).parent.name)
    assert found == folders


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT: nothing is compiled")
def test_all_parts_are_kept_apart():
    from fastnet_numba.addresses import all_parts

    files = [(part.py_func.__module__, part.py_func.__qualname__) for part in all_parts()]
    assert len(set(files)) == len(files)
