"""Arrays that stay in their files: fits as in memory, in bounded memory, and errors."""

import os
import tracemalloc

import numpy as np
import pytest

import fastnet as fn
from fastnet.arrays.stored import Stored, is_stored
from fastnet.contract.program import Data
from fastnet.errors import DataError, DefinitionError
from fastnet.training import blocks
from fastnet.training.blocks import BlockOrder, block_counts
from fastnet.training.stored_rows import StoredRows, rows_of
from fastnet.training.streaming import Feed

ROWS, INPUTS = 1_003, 5
RULE = fn.BlockShuffle(block_rows=np.int64(20), buffer_blocks=7)
NETWORK = fn.Network(
    INPUTS, [fn.Dense(8, "tanh"), fn.Dropout(0.3), fn.Dense(3, "softmax")], loss="crossentropy"
)


class Sliced:
    """What an HDF5 or Zarr dataset is to a reader: a shape, a dtype, chunks, slices."""

    def __init__(self, array, chunks=None):
        self._array, self.chunks = array, chunks
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key):
        return self._array[key].copy()


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((ROWS, INPUTS)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 1)
    return x, y, draw.random(ROWS)


@pytest.fixture
def mapped(rows, tmp_path):
    """x as a memory map behind a header, read-only."""
    path = tmp_path / "x.npy"
    np.save(path, rows[0])
    return np.load(path, mmap_mode="r")


def fitted(x, y, backend="numpy", **settings):
    model = fn.Model(NETWORK, seed=3, backend=backend)
    history = model.fit(x, y, epochs=2, **{"shuffle": RULE, **settings})
    return model, history


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_fit_from_files_is_bit_for_bit_that_from_memory(rows, mapped, backend, weighted):
    x, y, weight = rows
    given = {"sample_weight": weight, "class_weight": "balanced"} if weighted else {}
    found, history = fitted(mapped, Sliced(y), backend, **given)
    wanted, in_memory = fitted(x, y, backend, **given)
    assert history.loss == in_memory.loss
    np.testing.assert_array_equal(found.parameters.flat, wanted.parameters.flat)
    np.testing.assert_array_equal(found.predict(mapped), wanted.predict(x))
    assert found.evaluate(mapped, y) == wanted.evaluate(x, y)


@pytest.mark.parametrize("batch_size", [1, 19, 140, 32])
def test_batches_of_any_size_are_those_of_rows_in_memory(rows, mapped, batch_size):
    found, _ = fitted(mapped, rows[1], batch_size=batch_size)
    wanted, _ = fitted(rows[0], rows[1], batch_size=batch_size)
    np.testing.assert_array_equal(found.parameters.flat, wanted.parameters.flat)


def test_losses_with_several_outputs_for_a_target(rows, mapped):
    x, y, _ = rows
    network = fn.Network(INPUTS, [fn.Dense(2)], loss=fn.GaussianNLL())
    flats = []
    for given in ((x, y), (mapped, y), (mapped, Sliced(y[:, None]))):
        model = fn.Model(network, seed=3, backend="numpy")
        model.fit(*given, epochs=1, shuffle=RULE)
        flats.append(model.parameters.flat)
    for flat in flats[1:]:
        np.testing.assert_array_equal(flat, flats[0])


def test_rows_that_one_buffer_holds_are_shuffled_like_those_in_memory(rows, mapped):
    found, _ = fitted(mapped, rows[1], shuffle=True)
    wanted, _ = fitted(rows[0], rows[1], shuffle=True)
    np.testing.assert_array_equal(found.parameters.flat, wanted.parameters.flat)
    also, _ = fitted(rows[0], rows[1], shuffle=fn.BlockShuffle(20, 51))
    np.testing.assert_array_equal(also.parameters.flat, wanted.parameters.flat)


def test_unshuffled_rows_come_as_they_are(rows, mapped, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)  # of two rows: 64 blocks hold 128
    found, _ = fitted(mapped, rows[1], shuffle=False)
    wanted, _ = fitted(rows[0], rows[1], shuffle=False)
    np.testing.assert_array_equal(found.parameters.flat, wanted.parameters.flat)


def test_dtypes_layouts_and_chunks_of_files_do_not_matter(rows, tmp_path):
    x, y, _ = rows
    wanted, _ = fitted(x, y)
    wide = np.memmap(tmp_path / "wide", np.dtype(">f8"), "w+", shape=(ROWS + 4, 2 * INPUTS))
    wide[4:, :INPUTS] = x
    part = np.memmap(tmp_path / "part", np.float32, "w+", shape=(ROWS + 4, INPUTS))
    part[4:] = x
    private = np.memmap(tmp_path / "part", np.float32, "c", shape=(ROWS + 4, INPUTS))[4:]
    removed = np.memmap(tmp_path / "gone", np.float32, "w+", shape=(ROWS, INPUTS))
    removed[:] = x
    os.remove(tmp_path / "gone")
    for stored in (wide[4:, :INPUTS], part[4:], private, removed, Sliced(x.astype(np.float64))):
        assert is_stored(stored)
        found, _ = fitted(stored, y)
        np.testing.assert_array_equal(found.parameters.flat, wanted.parameters.flat)
    chunked = rows_of(NETWORK, np.dtype(np.float32), Sliced(x, (300, 2)), y, None)
    assert isinstance(chunked, Data)  # one buffer holds it


def test_a_block_is_whole_chunks_of_the_file():
    assert fn.BlockShuffle().rows_of_block(2**10, 300) == 900
    assert fn.BlockShuffle().rows_of_block(2**21, 300) == 300
    assert fn.BlockShuffle(7).rows_of_block(2**10, 300) == 7


def test_every_row_comes_once_an_epoch_and_every_buffer_holds_rows_from_everywhere():
    program = fn.Model(NETWORK, backend="numpy").program
    for rows, block, buffer in ((1_000, 10, 8), (1_003, 20, 7), (95, 10, 9), (20, 1, 3)):
        order = BlockOrder(program, 5, block_counts(rows, block), buffer, True)
        seen = [np.concatenate(list(order.rows(epoch))) for epoch in range(3)]
        for one in seen:
            np.testing.assert_array_equal(np.sort(one), np.arange(rows))
        assert not np.array_equal(seen[0], seen[1])
        parts = order.blocks(0)
        assert max(map(len, parts)) <= buffer
        for part in parts:  # the k-th block is one of the k-th neighbors
            np.testing.assert_array_equal(part // order.buffers, np.arange(len(part)))


def test_a_fit_can_begin_with_any_step(rows, mapped):
    program = fn.Model(NETWORK, backend="numpy").program
    stored = rows_of(NETWORK, np.dtype(np.float32), mapped, rows[1], None, RULE)
    assert isinstance(stored, StoredRows)

    def batches(first, size):
        order = BlockOrder(program, 5, stored.counts, RULE.buffer_blocks, True)
        for pieces in Feed.of_size(stored, order, size).pieces(first, 2):
            for piece in pieces:
                for step in range(max(piece.first_step, first), piece.end):
                    place = slice(step % piece.steps * size, (step % piece.steps + 1) * size)
                    here = place if piece.order is None else piece.order[0, place]
                    yield step, piece.data.x.numbers[here].copy()

    for size in (16, 130):
        whole = dict(batches(0, size))
        steps = 2 * -(-ROWS // size)
        assert list(whole) == list(range(steps))
        for first in range(steps):
            found = dict(batches(first, size))
            assert list(found) == list(range(first, steps))
            for step, x in found.items():
                np.testing.assert_array_equal(x, whole[step])


def test_an_interrupted_fit_resumes_bit_for_bit(rows, mapped, tmp_path, monkeypatch):
    wanted, _ = fitted(mapped, rows[1])
    fill, filled = StoredRows.fill, []

    def interrupted(self, block, out):  # in the second epoch, in the middle of it
        filled.append(block)
        if len(filled) == 51 + 51 + 30:
            raise OSError("the disk is gone")
        fill(self, block, out)

    path = fn.Checkpoint(tmp_path / "c", seconds=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(StoredRows, "fill", interrupted)
        with pytest.raises(OSError, match="gone"):
            fitted(mapped, rows[1], checkpoint=path)
    found, _ = fitted(mapped, rows[1], checkpoint=path, resume=True)
    np.testing.assert_array_equal(found.parameters.flat, wanted.parameters.flat)
    with pytest.raises(fn.ModelFileError, match="training rows were different"):
        fitted(Sliced(rows[0] + 1), rows[1], checkpoint=path, resume=True)


def test_memory_is_two_buffers_whatever_the_size_of_the_file(tmp_path):
    rows, inputs = 200_000, 16
    path = tmp_path / "zeros"
    with open(path, "wb") as file:
        file.truncate(rows * (inputs + 1) * 4)  # a hole, which takes no room on the disk
    both = np.memmap(path, np.float32, "r", shape=(rows * (inputs + 1),))
    x, y = both[: rows * inputs].reshape(rows, inputs), both[rows * inputs :].reshape(rows, 1)
    network = fn.Network(inputs, [fn.Dense(4, "tanh"), fn.Dense(1)])
    model = fn.Model(network, backend="numpy", seed=0)
    rule = fn.BlockShuffle(block_rows=500, buffer_blocks=8)
    bytes_of_buffer = 4_000 * (inputs + 1) * 4
    settings = {"shuffle": rule, "batch_size": 500, "epochs": 1}
    model.fit(x[:50_000], y[:50_000], **settings)
    tracemalloc.start()
    try:
        model.fit(x, y, **settings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 2 * bytes_of_buffer < peak < 5 * bytes_of_buffer  # orders and blocks among them
    assert peak < x.nbytes / 8


@pytest.mark.parametrize("labels", ["sorted", "shuffled"])
def test_the_default_number_of_blocks_learns_like_a_full_shuffle(labels):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((32_000, 10)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int) + 2 * (x[:, 2] + x[:, 3] * x[:, 4] > 0.5)
    if labels == "sorted":
        order = np.argsort(y, kind="stable")
        x, y = x[order], y[order]
    network = fn.Network(10, [fn.Dense(32, "relu"), fn.Dense(4, "softmax")], loss="crossentropy")

    def loss(shuffle):
        model = fn.Model(network, seed=1)
        model.fit(x, y, epochs=1, shuffle=shuffle)
        return model.evaluate(x, y)

    full = loss(True)
    assert loss(fn.BlockShuffle(block_rows=50)) < 1.02 * full  # a buffer is a tenth of the rows
    if labels == "sorted":  # the worst case: a block is a batch of one class, more or less
        assert loss(fn.BlockShuffle(block_rows=50, buffer_blocks=1)) > 1.2 * full
        assert loss(False) > 3 * full


def test_a_part_of_the_rows_is_held_out_at_random(rows, mapped):
    x, y, weight = rows
    stored = rows_of(NETWORK, np.dtype(np.float32), mapped, y, weight, RULE)
    training, held_out = stored.split(3, 0.25)
    assert len(training) + len(held_out) == ROWS
    assert abs(len(held_out) / ROWS - 0.25) < 0.05
    both = np.concatenate([training.load().x.numbers, held_out.load().x.numbers])
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(x, axis=0))
    for part in (training, held_out):
        whole = part.load()
        place = [np.flatnonzero((x == row).all(axis=1))[0] for row in whole.x.numbers]
        np.testing.assert_array_equal(whole.y, y[place])
        np.testing.assert_array_equal(part.y, whole.y)
        np.testing.assert_array_equal(part.weight, weight[place].astype(np.float32))
    model, history = fitted(mapped, y, validation=0.25, metrics=["accuracy"], early_stopping=5)
    part = rows_of(NETWORK, np.dtype(np.float32), mapped, y, None, RULE).split(3, 0.25)[1].load()
    right = model.predict(part.x.numbers).argmax(axis=1) == part.y
    assert history.metrics["accuracy"][-1] == pytest.approx(right.mean())
    loss = model.evaluate(part.x.numbers, part.y)
    assert history.validation_loss[-1] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: x.__setitem__((777, 2), np.nan), "x holds nan in row 777, column 2"),
        (lambda x, y: x.__setitem__((778, 0), 1e300), "row 778, column 0, which overflows float32"),
        (lambda x, y: y.__setitem__(779, 3), "y is class 3 in row 779"),
        (lambda x, y: y.__setitem__(780, 0.5), "y is 0.5 in row 780"),
    ],
)
def test_a_bad_value_is_named_by_its_row_before_any_step(rows, spoil, message):
    x, y = rows[0].astype(np.float64), rows[1].astype(np.float64)
    spoil(x, y)
    model = fn.Model(NETWORK, seed=3, backend="numpy")
    before = model.parameters.flat.copy()
    with pytest.raises(DataError, match=message):
        model.fit(Sliced(x), Sliced(y), shuffle=RULE)
    np.testing.assert_array_equal(model.parameters.flat, before)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((9, 4)), np.zeros(9, int), "x has 4 columns"),
        (np.zeros(9), np.zeros(9, int), "x has shape"),
        (np.zeros((0, INPUTS)), np.zeros(0, int), "x has no rows"),
        (np.zeros((9, INPUTS)), np.zeros(8, int), "x has 9 rows and y has 8 rows"),
        (np.zeros((9, INPUTS)), np.zeros((9, 2)), r"y has shape \(9, 2\)"),
        (np.full((9, INPUTS), "a"), np.zeros(9, int), "x has dtype"),
    ],
)
def test_shapes_and_dtypes_are_checked(x, y, message):
    model = fn.Model(NETWORK, seed=3, backend="numpy")
    with pytest.raises(DataError, match=message):
        model.fit(Sliced(x), Sliced(y))


def test_nan_stays_in_its_row_of_predictions(rows, mapped):
    model = fn.Model(NETWORK, seed=3, backend="numpy")
    x = rows[0].copy()
    x[500, 1] = np.nan
    found = model.predict(Sliced(x))
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [500]


@pytest.mark.parametrize("change", ["written", "cut short"])
def test_a_file_that_changes_during_a_fit_is_one_error(rows, tmp_path, change):
    path = tmp_path / "x"
    rows[0].tofile(path)
    x = np.memmap(path, np.float32, "r", shape=rows[0].shape)
    model = fn.Model(NETWORK, seed=3, backend="numpy")

    def meddle(model, history):
        if change == "written":
            rows[0][:100].tofile(path)
            rows[0].tofile(path)
        else:
            os.truncate(path, 5_000)

    with pytest.raises(DataError, match="x changed while it was being read"):
        model.fit(x, rows[1], epochs=50, shuffle=RULE, callbacks=[meddle])
    assert len(model.history) >= 1
    assert np.isfinite(model.parameters.flat).all()
    if change == "cut short":
        with pytest.raises(DataError, match="cut short"):
            model.fit(x, rows[1])


@pytest.mark.parametrize("settings", [{"batch_size": None}, {"optimizer": "lbfgs"}])
def test_a_batch_of_more_rows_than_a_buffer_is_refused(rows, mapped, settings):
    network = fn.Network(INPUTS, [fn.Dense(3, "softmax")], loss="crossentropy")
    model = fn.Model(network, backend="numpy")
    with pytest.raises(DefinitionError, match=r"1,003 rows at once.*a buffer holds 140"):
        model.fit(mapped, rows[1], shuffle=RULE, **settings)


def test_block_shuffles_are_checked():
    with pytest.raises(DefinitionError, match="block_rows is 0"):
        fn.BlockShuffle(block_rows=0)
    with pytest.raises(DefinitionError, match=r"buffer_blocks is 1\.5"):
        fn.BlockShuffle(buffer_blocks=1.5)
    with pytest.raises(DefinitionError, match="shuffle is 'blocks'"):
        fitted(np.zeros((9, INPUTS)), np.zeros(9, int), shuffle="blocks")


def test_what_lies_in_memory_is_no_stored_array():
    pandas = pytest.importorskip("pandas", reason="pandas is not here")
    for value in (np.zeros(3), np.float64(1), [1.0], pandas.Series([1.0]), pandas.DataFrame()):
        assert not is_stored(value)


def test_rows_are_read_into_given_memory(mapped, rows):
    out = np.full((10, INPUTS), -1, np.float64)
    assert Stored(mapped, "x").read(5, 15, out) is out
    np.testing.assert_array_equal(out, rows[0][5:15])
