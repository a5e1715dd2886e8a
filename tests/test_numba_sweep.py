"""Weights that are updated on the way back have the bits of those updated after it."""

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for

import fastnet as fn

pytest.importorskip("numba", reason="numba is not installed")

from fastnet_numba import tabulating
from fastnet_numba.ops.table import SWEPT

#: More weights than are packed with 32 rows where the first cache has up to 128 KB, and fewer; a
#: first layer, whose inputs need no derivative; layers that are not swept (of 37 units, of one
#: input) between others that are; activations and dropout between.
LAYERS = (
    fn.Dense(384, "relu"), fn.Dense(384, "tanh", bias=False), fn.Dropout(0.3),
    fn.Dense(37), fn.Dense(64, "gelu"), fn.LayerNorm(), fn.Dense(64), fn.Dense(1), fn.Dense(64),
    fn.Dense(1),
)  # fmt: skip
NETWORKS = {
    "plain": fn.Network(21, [layer for layer in LAYERS if not isinstance(layer, fn.LayerNorm)]),
    "graph": fn.Network(21, list(LAYERS)),
}

OPTIMIZERS = (
    fn.SGD(1e-4), fn.SGD(1e-4, momentum=0.9, nesterov=True), fn.Adam(1e-3), fn.AdamW(1e-3),
    fn.RMSprop(0.001), fn.Adagrad(0.001), fn.Rprop(0.001), fn.Lion(0.001),
)  # fmt: skip


def trained(monkeypatch, least, network, dtype, optimizer, batch_size, **options):
    """Parameters and losses, with layers of so many weights swept."""
    monkeypatch.setattr(tabulating, "WORTH_SWEEPING", least)
    x, y = rows_for(network, 33)
    model = fn.Model(network, backend="numba", dtype=dtype, seed=2, threads=1)
    history = model.fit(
        x.astype(dtype), y.astype(dtype), optimizer=optimizer, epochs=2, batch_size=batch_size,
        **options,
    )  # fmt: skip
    swept = model.program.for_rows(batch_size).layout.training[1:, SWEPT] == 1
    return model.parameters.flat, history.loss, swept.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("name", NETWORKS)
def test_swept_weights_have_the_bits_of_others(name, batch_size, dtype, monkeypatch):
    cases = [(OPTIMIZERS[0], options) for options in ({}, {"clip_norm": 1e3}, {"l2": 0.1})]
    cases += [(one, {}) for one in OPTIMIZERS[1:] if batch_size == 7]
    for optimizer, options in cases:
        given = NETWORKS[name], dtype, optimizer, batch_size
        *found, swept = trained(monkeypatch, 1, *given, **options)
        *wanted, none = trained(monkeypatch, 2**62, *given, **options)
        assert swept
        assert not none
        assert_same_bits(found[0], wanted[0])
        assert found[1] == wanted[1]


def test_a_step_whose_loss_is_not_finite_sweeps_nothing(monkeypatch):
    network = fn.Network(5, [fn.Dense(64, "relu"), fn.Dense(64, "relu"), fn.Dense(1)])
    x, y = rows_for(network, 8)
    x = x.astype(np.float32)

    def left(least):
        monkeypatch.setattr(tabulating, "WORTH_SWEEPING", least)
        model = fn.Model(network, backend="numba", seed=2, threads=1)
        with pytest.raises(fn.Diverged):
            model.fit(x, y, optimizer=fn.SGD(1e9), epochs=50, batch_size=8)
        return model.parameters.flat

    assert np.isfinite(left(1)).all()
    assert_same_bits(left(1), left(2**62))


def test_no_layer_is_swept_where_nothing_is_updated():
    from fastnet.contract.lowering import lower
    from fastnet_numba.layout import lay_out

    network = fn.Network(3, [fn.Dense(256), fn.Dense(256)])
    layout = lay_out(lower(network), np.dtype(np.float32), 8, 0)
    assert (layout.training[1:, SWEPT] == 1).any()
    assert not (layout.evaluation[1:, SWEPT] == 1).any()
