"""Parts of kernels: compiled for the networks that need them, and for no others."""

from dataclasses import replace

import numpy as np
import pytest

import fastnet as fn

numba = pytest.importorskip("numba", reason="numba is not installed")


def parts_of(network, rows, training, options=None):
    """The names of the parts that a network and a run of it need."""
    from fastnet.contract.plan import lower
    from fastnet.contract.program import Run
    from fastnet_numba.layout import lay_out
    from fastnet_numba.run_tables import tables_of
    from fastnet_numba.training import LOSS_ONLY, TASK, TRAIN
    from fastnet_numba.workspace import Workspace

    names = set()

    def address_of(part):
        names.add(part.__name__)
        return 1

    layout = lay_out(lower(network), np.dtype(np.float32), rows, 0)
    workspace = Workspace(layout, np.dtype(np.float32), address_of)
    assert (workspace.training if training else workspace.prediction) is not None
    run = replace(Run.whole_batch(rows), optimizer=fn.Adam(0.1), **(options or {}))
    tables_of(run, {TASK: TRAIN if training else LOSS_ONLY}, (), address_of)
    return names


@pytest.mark.parametrize(
    ("layers", "rows", "training", "options", "parts"),
    [
        ([fn.Dense(99, "relu")], 9, True, {}, "plain_forward crossentropy adam"),
        (
            [fn.Dense(256), fn.Dense(256)],
            9,
            True,
            {},
            "plain_forward layer_swept crossentropy adam",
        ),
        ([fn.Dense(99, "relu")], 9, False, {}, "plain_forward softmax_of_rows"),
        (
            [fn.Dense(8, "tanh")],
            99,
            True,
            {"l2": 1.0},
            "narrow_forward hyperbolic narrow_crossentropy adam penalties",
        ),
        (
            [fn.Dense(99), fn.LayerNorm(), fn.Dropout(0.5)],
            9,
            True,
            {"clip_norm": 1.0},
            "graph_forward masks crossentropy adam norm_clipped",
        ),
    ],
)
def test_what_is_compiled_for_a_network_is_what_it_needs(layers, rows, training, options, parts):
    network = fn.Network(3, [*layers, fn.Dense(2, "softmax")], "crossentropy")
    assert parts_of(network, rows, training, options) == set(parts.split())


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT: nothing is compiled")
def test_all_parts_are_kept_apart():
    from fastnet_numba.addresses import all_parts

    files = [(part.py_func.__module__, part.py_func.__qualname__) for part in all_parts()]
    assert len(set(files)) == len(files)
