"""Checkpoints: a fit that resumes from one ends as if it had not been cut."""

import os
import shutil

import numpy as np
import pytest
from compare import assert_same_bits
from forging import reforged
from safetensors.numpy import load as arrays_of
from samples import label, rows_for, weights_for

import fastnet as fn

NETWORK = fn.Network(5, [fn.Dense(16, "gelu"), fn.Dropout(0.2), fn.Dense(2)])
X, Y = rows_for(NETWORK, 70)


def make(backend="numpy", seed=8, network=NETWORK, dtype="float32"):
    return fn.Model(network, backend=backend, seed=seed, dtype=dtype)


def options(**more):
    return {
        "optimizer": fn.SGD(fn.ReduceOnPlateau(0.1, factor=0.5, patience=1), momentum=0.9),
        "batch_size": 16,
        "validation": 0.2,
        "early_stopping": fn.EarlyStopping(5),
        "sample_weight": weights_for(70),
        "l2": 1e-3,
        **more,
    }


def assert_same_end(found, wanted):
    assert_same_bits(found.parameters.flat, wanted.parameters.flat)
    for name in ("epoch", "loss", "validation_loss", "learning_rate"):
        assert getattr(found.history, name) == getattr(wanted.history, name), name


OPTIMIZERS = [
    fn.SGD(0.05), fn.SGD(0.05, momentum=0.9), fn.Adam(0.01), fn.AdamW(0.01), fn.RMSprop(0.01),
    fn.Adagrad(0.05), fn.Rprop(0.01), fn.Lion(0.001), fn.Adam(fn.Cosine(0.01)),
    fn.SGD(fn.WarmUp(3, fn.ReduceOnPlateau(0.1, 0.5, 1)), momentum=0.5),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=label)
def test_a_fit_that_is_cut_twice_resumes_bit_for_bit(backend, tmp_path, optimizer):
    path = tmp_path / "checkpoint"
    dtype = "float64" if isinstance(optimizer, fn.SGD) else "float32"
    whole, cut = make(backend, dtype=dtype), make(backend, dtype=dtype)
    settings = options(optimizer=optimizer)
    whole.fit(X, Y, epochs=14, **settings)

    class Stop(Exception):
        pass

    def stop(model, history):
        if len(history) in (3, 8) and len(history) not in seen:
            seen.append(len(history))
            raise Stop

    seen = []
    for _ in range(2):
        with pytest.raises(Stop):
            cut.fit(
                X, Y, epochs=14, callbacks=[stop], resume=True,
                checkpoint=fn.Checkpoint(path, seconds=None, epochs=2), **settings,
            )  # fmt: skip
        cut = make(backend, dtype=dtype)
        cut.parameters.flat[...] = 0  # all comes from the file
    cut.fit(X, Y, epochs=14, checkpoint=path, resume=True, **settings)
    assert_same_end(cut, whole)
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_fit_that_came_to_its_end_is_not_repeated(tmp_path):
    path = tmp_path / "checkpoint"
    first, second = make(), make()
    first.fit(X, Y, epochs=6, checkpoint=path, **options())
    calls = []
    second.fit(
        X, Y, epochs=6, checkpoint=path, resume=True, callbacks=[lambda *_: calls.append(1)],
        **options(),
    )  # fmt: skip
    assert calls == []
    assert_same_end(second, first)


def test_a_fit_that_came_to_its_end_may_be_given_more_epochs(tmp_path):
    path = tmp_path / "checkpoint"
    settings = options(early_stopping=None)
    first, second, whole = make(), make(), make()
    first.fit(X, Y, epochs=6, checkpoint=path, **settings)
    second.fit(X, Y, epochs=10, checkpoint=path, resume=True, **settings)
    whole.fit(X, Y, epochs=10, **settings)
    assert_same_end(second, whole)


def test_a_fit_that_stopped_early_stays_stopped(tmp_path):
    path = tmp_path / "checkpoint"
    settings = options(early_stopping=0, optimizer=fn.SGD(0.3, momentum=0.9))
    first, second = make(), make()
    first.fit(X, Y, epochs=50, checkpoint=path, **settings)
    assert len(first.history) < 50
    second.fit(X, Y, epochs=50, checkpoint=path, resume=True, **settings)
    assert_same_end(second, first)


def test_a_checkpoint_that_cannot_be_written_any_more_ends_no_fit(tmp_path):
    (tmp_path / "folder").mkdir()
    saver = fn.Checkpoint(tmp_path / "folder" / "c", seconds=None, epochs=1)

    def lose(model, history):
        if len(history) == 2:
            shutil.rmtree(tmp_path / "folder")

    model, wanted = make(), make()
    with pytest.warns(UserWarning, match="Make the folder .*The fit goes on") as caught:
        model.fit(X, Y, epochs=5, checkpoint=saver, callbacks=[lose], **options())
    assert len(caught) == 5  # one an epoch from the second on, and one at the end
    assert {one.filename for one in caught} == {__file__}
    wanted.fit(X, Y, epochs=5, **options())
    assert_same_end(model, wanted)


def test_a_fit_that_waited_out_its_patience_ends_when_it_is_resumed(tmp_path):
    """As one does that an earlier version would have let go on for one more epoch."""
    path = tmp_path / "checkpoint"
    new, old = (fn.EarlyStopping(patience, min_delta=1e6) for patience in (2, 3))
    running, wanted, resumed = make(), make(), make()
    wanted.fit(X, Y, epochs=50, **options(early_stopping=new))
    assert len(wanted.history) == 3
    running.fit(X, Y, epochs=3, checkpoint=path, **options(early_stopping=old))
    resumed.fit(X, Y, epochs=50, checkpoint=path, resume=True, **options(early_stopping=new))
    assert_same_end(resumed, wanted)


def test_resuming_without_a_file_begins(tmp_path):
    model, other = make(), make()
    model.fit(X, Y, epochs=3, checkpoint=tmp_path / "new", resume=True, **options())
    other.fit(X, Y, epochs=3, **options())
    assert_same_end(model, other)


def test_without_resume_a_checkpoint_that_is_there_is_never_lost(tmp_path):
    path = tmp_path / "checkpoint"
    make().fit(X, Y, epochs=3, checkpoint=path, **options())
    before, model = path.read_bytes(), make()
    start = model.parameters.flat.copy()
    with pytest.raises(fn.DefinitionError, match="already exists: add resume=True"):
        model.fit(X, Y, epochs=2, checkpoint=path, **options())
    assert path.read_bytes() == before
    np.testing.assert_array_equal(model.parameters.flat, start)


def test_a_callback_that_fails_leaves_a_checkpoint_to_go_on_from(tmp_path):
    path = tmp_path / "checkpoint"

    def fails(model, history):
        if len(history) == 2:
            raise OSError("no more room for my own log")

    failed, model, other = make(), make(), make()
    with pytest.raises(OSError, match="my own log"):
        failed.fit(X, Y, epochs=4, checkpoint=path, callbacks=[fails], **options())
    other.fit(X, Y, epochs=2, **options(early_stopping=None))
    assert_same_end(failed, other)  # the epoch counts
    other = make()
    model.fit(X, Y, epochs=4, checkpoint=path, resume=True, **options())
    other.fit(X, Y, epochs=4, **options())
    assert_same_end(model, other)


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "checkpoint"
    make().fit(X, Y, epochs=3, checkpoint=place, **options())
    return place


def other_network(**changes):
    layers = [fn.Dense(16, changes.get("activation", "gelu")), fn.Dropout(0.2), fn.Dense(2)]
    return fn.Network(5, layers, changes.get("loss", "mse"))


@pytest.mark.parametrize(
    ("model", "more", "says"),
    [
        ({}, {"optimizer": fn.Adam()}, "its optimizer was .*sgd.*now it is .*adam"),
        (
            {},
            {"optimizer": fn.SGD(0.1, momentum=0.9)},
            "its optimizer learning_rate was",
        ),
        ({}, {"batch_size": 8}, "its batch_size was 16, now it is 8"),
        ({}, {"shuffle": False}, "its shuffle was True, now it is False"),
        ({}, {"l1": 0.1}, r"its l1 was 0\.0, now it is 0\.1"),
        ({}, {"l2": 0.1}, r"its l2 was 0\.001, now it is 0\.1"),
        ({}, {"clip_norm": 1.0}, "its clip_norm was None, now it is 1"),
        ({}, {"clip_value": 1.0}, "its clip_value was None, now it is 1"),
        ({}, {"dropout_factor": 0.5}, "its dropout_factor was 1.0, now it is 0.5"),
        ({"seed": 9}, {}, "seed|training rows"),
        ({"dtype": "float64"}, {}, "its dtype was 'float32', now it is 'float64'"),
        (
            {"network": other_network(activation="relu")},
            {},
            r"layers\[0\] activation was",
        ),
        ({"network": other_network(loss="mae")}, {}, "its network loss was '.*', now it is 'mae'"),
        ({}, {"sample_weight": None}, "its training rows"),
        ({}, {"validation": 0.3}, "its training rows"),
    ],
)
def test_another_fit_is_refused_and_what_differs_is_named(path, model, more, says):
    resumed = make(**model)
    start = resumed.parameters.flat.copy()
    with pytest.raises(fn.ModelFileError, match=rf"of another fit.*({says})"):
        resumed.fit(X, Y, epochs=9, checkpoint=path, resume=True, **options(**more))
    assert_same_bits(resumed.parameters.flat, start)


@pytest.mark.parametrize("what", ["x", "y", "weight", "order", "validation"])
def test_other_rows_are_refused(path, what):
    x, y, weight = X.copy(), Y.copy(), weights_for(70)
    held = 0.2
    if what == "x":
        x[:, 1] += 1e-3
    elif what == "y":
        y[:, 0] += 1e-3
    elif what == "weight":
        weight *= 1.5
    elif what == "order":
        x, y = x[::-1], y[::-1]
    else:
        held = (x, y)
    with pytest.raises(fn.ModelFileError, match="its training rows"):
        make().fit(
            x, y, epochs=9, checkpoint=path, resume=True,
            **options(sample_weight=weight, validation=held),
        )  # fmt: skip


@pytest.mark.parametrize("validation", [None, (X[:9], Y[:9] + 1), (X[:8], Y[:8])])
def test_other_validation_rows_are_refused(tmp_path, validation):
    path = tmp_path / "checkpoint"
    settings = options(early_stopping=None, validation=(X[:9], Y[:9]))
    make().fit(X, Y, epochs=3, checkpoint=path, **settings)
    with pytest.raises(fn.ModelFileError, match="its validation rows"):
        make().fit(
            X, Y, epochs=9, checkpoint=path, resume=True,
            **options(early_stopping=None, validation=validation),
        )  # fmt: skip


def resume_from(path, content):
    path.write_bytes(content)
    model = make()
    start = model.parameters.flat.copy()
    try:
        model.fit(X, Y, epochs=5, checkpoint=path, resume=True, **options())
    except fn.ModelFileError:
        assert_same_bits(model.parameters.flat, start)
        return False
    return True


def test_a_damaged_checkpoint_is_refused(path):
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.choice(len(whole), 150, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        assert not resume_from(path, bytes(damaged)), f"byte {place}"
    for length in generator.choice(len(whole), 50, replace=False).tolist():
        assert not resume_from(path, whole[:length]), f"{length} bytes"


HOSTILE_FACTS = {
    "same_missing": lambda facts: facts.pop("same"),
    "same_null": lambda facts: facts.update(same=None),
    "same_empty": lambda facts: facts.update(same={}),
    "step_missing": lambda facts: facts.pop("step"),
    "step_text": lambda facts: facts.update(step="5"),
    "step_negative": lambda facts: facts.update(step=-5),
    "step_fraction": lambda facts: facts.update(step=1.5),
    "step_of_another_epoch": lambda facts: facts.update(step=1_000),
    "updates_text": lambda facts: facts.update(updates="many"),
    "updates_negative": lambda facts: facts.update(updates=-1),
    "stopping_missing": lambda facts: facts.pop("stopping"),
    "stopping_text": lambda facts: facts.update(stopping="soon"),
    "stopping_text_inside": lambda facts: facts.update(stopping=["x", 1]),
    "stopping_count_text": lambda facts: facts.update(stopping=[1.0, "x"]),
    "plateau_empty": lambda facts: facts.update(plateau=[]),
    "plateau_null": lambda facts: facts.update(plateau=None),
    "scale_text": lambda facts: facts.update(scale="half"),
    "scale_null": lambda facts: facts.update(scale=None),
    "scale_nan": lambda facts: facts.update(scale=float("nan")),
    "scale_negative": lambda facts: facts.update(scale=-1.0),
}


@pytest.mark.parametrize("name", HOSTILE_FACTS)
def test_a_checkpoint_with_a_right_digest_and_nonsense_inside_is_refused(path, name):
    content = reforged(path.read_bytes(), lambda head: HOSTILE_FACTS[name](head["facts"]))
    assert not resume_from(path, content)


HOSTILE_ARRAYS = {
    "parameters_missing": ("parameters", None),
    "parameters_shorter": ("parameters", lambda a: a[1:]),
    "parameters_float64": ("parameters", lambda a: a.astype(np.float64)),
    "parameters_nan": ("parameters", lambda a: a * np.float32("nan")),
    "memory_missing": ("memory", None),
    "memory_shorter": ("memory", lambda a: a[:, 1:]),
    "memory_flat": ("memory", lambda a: a[0]),
    "memory_float64": ("memory", lambda a: a.astype(np.float64)),
    "pending_missing": ("pending", None),
    "pending_longer": ("pending", lambda a: np.zeros(3)),
    "pending_matrix": ("pending", lambda a: np.zeros((3, 3))),
    "best_shorter": ("best", lambda a: a[1:]),
    "best_integers": ("best", lambda a: a.astype(np.int32)),
    "loss_missing": ("history.loss", None),
    "loss_shorter": ("history.loss", lambda a: a[1:]),
    "loss_matrix": ("history.loss", lambda a: a[None]),
    "epoch_fractions": ("history.epoch", lambda a: a + 0.5),
}


@pytest.mark.parametrize("name", HOSTILE_ARRAYS)
def test_a_checkpoint_with_a_right_digest_and_other_arrays_is_refused(path, name):
    whole = path.read_bytes()
    arrays = arrays_of(whole)
    array, change = HOSTILE_ARRAYS[name]
    if change is None:
        del arrays[array]
    else:
        arrays[array] = np.ascontiguousarray(change(arrays[array]))
    assert not resume_from(path, reforged(whole, lambda head: None, arrays))


def test_a_checkpoint_forged_without_change_is_resumed(path):
    assert resume_from(path, reforged(path.read_bytes(), lambda head: None))


@pytest.mark.parametrize(
    ("make_it", "says"),
    [
        (lambda: fn.Checkpoint("a", seconds=0), "checkpoint seconds is 0"),
        (lambda: fn.Checkpoint("a", seconds="1"), "checkpoint seconds is '1'"),
        (lambda: fn.Checkpoint("a", epochs=0), "checkpoint epochs is 0"),
        (lambda: fn.Checkpoint("a", epochs=1.5), "checkpoint epochs is 1.5"),
    ],
)
def test_an_invalid_checkpoint_is_refused(make_it, says):
    with pytest.raises(fn.DefinitionError, match=says):
        make_it()


def test_a_missing_folder_is_an_error_before_training(tmp_path):
    model = make()
    start = model.parameters.flat.copy()
    with pytest.raises(fn.FileAccessError, match="absent"):
        model.fit(X, Y, epochs=2, checkpoint=tmp_path / "absent" / "checkpoint")
    assert_same_bits(model.parameters.flat, start)
