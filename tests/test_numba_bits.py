"""The Numba backend's bits: the same for a row alone, for the same run again, for fewer workers."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from compare import assert_same_bits
from numba_cases import CASES, NEAR, apart, data, network

import fastnet as fn

pytest.importorskip("numba", reason="numba is not installed")

DTYPES = ["float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_alone_has_the_bits_that_it_has_among_others(dtype):
    for case in CASES:
        model = fn.Model(network(case), backend="numba", dtype=dtype, seed=1)
        x = np.resize(data(case, dtype)[0], (40, CASES[case][0]))
        if case != "large":  # packed products sum in blocks
            together = model.predict(x)
            assert_same_bits(model.predict(x[3:4]), together[3:4])
            assert_same_bits(model.predict(x[3:20]), together[3:20])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_stay_packed_give_the_same_bits(dtype, threads, monkeypatch):
    from fastnet_numba import layout
    from fastnet_numba.ops.panels import PANEL
    from fastnet_numba.ops.table import PANELS
    from fastnet_numba.simd.host import LANES

    monkeypatch.setattr(layout, "MOST_ROWS", 256)  # so that there are several chunks in float64 too
    # Units that fill no panel, layers too small to pack, and a last chunk of a few rows.
    layers = [fn.Dense(397, "relu"), fn.Dense(517, "tanh", bias=False), fn.Dense(480), fn.Dense(3)]
    x = np.random.default_rng(1).standard_normal((1_029, 301)).astype(dtype)
    x[700, 5] = np.nan

    def outcomes():
        net = fn.Network(301, layers)
        model = fn.Model(net, backend="numba", dtype=dtype, seed=1, threads=threads)
        first = model.predict(x)
        model.parameters["0.weight"] *= 2
        loss = model.evaluate(x[:700], np.zeros((700, 3)))
        assert "evaluation_of_many" in vars(model.program.for_rows(-(-700 // threads)))  # was used
        found = first, model.predict(x), np.array(loss)
        layout = model.program.for_rows(512).layout
        tables = layout.packed_prediction, layout.packed_evaluation
        return found, [(table[1:, PANELS] >= 0).sum() for table in tables]

    def in_small_blocks(itemsize, caches):
        entries = 2 * 128 * PANEL * LANES[itemsize]
        return replace(blocks_for(itemsize, caches), depth=128, entries=entries)

    blocks_for = layout.blocks_for
    found, kept = outcomes()
    assert kept == [3, 3]
    np.testing.assert_array_equal(np.isnan(found[1]).all(1), np.arange(len(x)) == 700)
    monkeypatch.setattr(layout, "blocks_for", in_small_blocks)
    blockwise, kept = outcomes()
    assert kept == [3, 3]
    monkeypatch.setattr(layout, "PANEL_BYTES", 0)
    wanted, kept = outcomes()
    assert kept == [0, 0]
    for each, other, plain in zip(found, blockwise, wanted, strict=True):
        assert_same_bits(each, plain)
        assert_same_bits(other, plain)


@pytest.mark.parametrize("case", CASES)
def test_the_same_run_has_the_same_bits(case):
    x, y, _ = data(case, "float32")

    def trained():
        model = fn.Model(network(case, 0.2), backend="numba", seed=4, threads=3)
        model.fit(x, y, optimizer="adam", epochs=5, batch_size=7, l2=0.01, clip_norm=0.5)
        return model.parameters.flat

    assert_same_bits(trained(), trained())


FACTORS = fn.Network(40, [fn.Dense(1000, "relu", learning_rate_factor=0.5), fn.Dense(2)])


@pytest.mark.parametrize(
    ("case", "net", "threads", "settings"),
    [
        ("one-less", network("one-less", 0.2), 2, {"l1": 0.01, "clip_norm": 0.5}),
        ("many", network("many"), 2, {"optimizer": "adam"}),
        ("many", FACTORS, 2, {"optimizer": "adam"}),
        ("many", network("many"), 3, {"optimizer": "adam"}),  # without copies
    ],
    ids=["penalties", "plain", "factors", "three"],
)
def test_one_worker_has_the_bits_of_several_with_and_without_copies(
    case, net, threads, settings, monkeypatch
):
    from fastnet_numba import gradients
    from fastnet_numba.threads import LoadMonitor

    x, y, weight = data(case, "float32")

    def trained():
        model = fn.Model(net, backend="numba", seed=4, threads=threads)
        model.fit(x, y, sample_weight=weight, epochs=4, batch_size=9, **settings)
        return model.parameters.flat

    together = trained()
    monkeypatch.setattr(LoadMonitor, "workers", lambda self, parts: min(parts, 2))
    assert_same_bits(trained(), together)  # three parts by two workers, with copies
    monkeypatch.undo()
    monkeypatch.setattr(gradients, "COPIED_BYTES", 0)
    assert_same_bits(trained(), together)
    monkeypatch.setattr(LoadMonitor, "workers", lambda self, parts: 1)
    assert_same_bits(trained(), together)


def test_a_run_takes_no_more_workers_than_other_runs_leave_processors(monkeypatch):
    from fastnet.contract.choosing import processors
    from fastnet_numba import program, threads

    x, y = fn.datasets.synthetic(4_096, 64, 1)  # wide enough for all processors
    network, taken = fn.Network(64, [fn.Dense(128, "relu"), fn.Dense(1)]), []

    def in_threads(work, workers, *given, **settings):
        taken.append(workers)
        return threads.in_threads(work, workers, *given, **settings)

    monkeypatch.setattr(program, "in_threads", in_threads)

    def trained():
        taken.clear()
        model = fn.Model(network, backend="numba", seed=4)
        model.fit(x, y, epochs=2, batch_size=None)
        return model.parameters.flat

    alone = trained()
    assert taken[0] == processors()
    with threads.OCCUPIED.by(processors() - 1):
        assert_same_bits(trained(), alone)
    assert set(taken) == {1}
    assert threads.OCCUPIED.threads == 0


@pytest.mark.parametrize(("moment", "left"), [(60.0, 2), (0.0, 3)])
def test_a_thread_counts_for_a_moment_after_its_run(moment, left, monkeypatch):
    from fastnet_numba import threads

    monkeypatch.setattr(threads, "processors", lambda: 3)
    monkeypatch.setattr(threads.Occupied, "MOMENT", moment)
    occupied = threads.Occupied()

    def run():
        with occupied.by(1):
            pass

    run()
    assert occupied.left() == 3  # but not for its own next run
    other = threading.Thread(target=run)
    other.start()
    other.join()
    assert occupied.left() == left


def test_threads_that_count_no_longer_are_forgotten(monkeypatch):
    from fastnet_numba import threads

    monkeypatch.setattr(threads.Occupied, "MOMENT", 0.0)
    occupied = threads.Occupied()

    def run():
        with occupied.by(1):
            pass

    others = [threading.Thread(target=run) for _ in range(9)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    with occupied.by(1):
        assert list(occupied.until) == [threading.get_ident()]


@pytest.mark.parametrize(("seed", "step"), [(2**64 - 1, 0), (2**63, 2**32 + 5), (7, 2**40)])
def test_dropouts_masks_are_numpys_for_any_seed_and_step(seed, step):
    net = fn.Network(6, [fn.Dense(33), fn.Dropout(0.4), fn.Dense(2)])
    x, y = fn.datasets.synthetic(11, 6, 2)
    found, wanted = (
        fn.Model(net, backend=b, dtype="float64", seed=seed).loss_and_gradient(
            x, y, dropout_step=step
        )[1]
        for b in ("numba", "numpy")
    )
    np.testing.assert_array_equal(found == 0, wanted == 0)
    assert apart(found, wanted) < NEAR["float64"]
