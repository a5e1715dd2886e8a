"""The progress bar, and the plot of a history."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

import fastnet as fn
from fastnet import plots
from fastnet.training import progress
from fastnet.training.progress import Bar, losses, numbered


def terminal(width=80):
    """A console that takes itself for a terminal, and what is written to it."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=width, _environ={"TERM": "xterm"})
    return console, written


def plain(written):
    """The pictures of the bar one after the other, without control sequences."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", written.getvalue())
    return " ".join(text.split())


@pytest.fixture
def fit():
    """Fit a small model with a bar."""

    def call(bar, epochs=6, **more):
        x, y = fn.datasets.synthetic(64, 3)
        model = fn.Model(fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(1)]), seed=0)
        return model.fit(x, y, epochs=epochs, progress=bar, **more)

    return call


def test_the_bar_shows_epochs_and_losses(fit):
    console, written = terminal()
    history = fit(Bar(console=console), validation=0.25)
    text = plain(written)
    assert "6/6" in text
    assert "left" in text
    validation, training = history.validation_loss[-1], history.loss[-1]
    assert f"loss {training:#.3g}/{validation:#.3g}" in text
    assert written.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


@pytest.mark.parametrize("patience", [1, 4])
def test_the_bar_ends_at_the_epoch_where_the_fit_stopped(fit, monkeypatch, patience):
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 1e6)  # nothing in between is drawn
    console, written = terminal()
    stopping = fn.EarlyStopping(patience, min_delta=1e6)
    history = fit(Bar(console=console), epochs=60, validation=0.25, early_stopping=stopping)
    assert len(history) == 1 + patience
    assert plain(written).rpartition("epoch ")[2].startswith(f"{len(history)}/60")


def test_a_bar_can_be_shown_for_one_fit_after_the_other(fit):
    console, written = terminal()
    bar = Bar(console=console)
    fit(bar)
    before = len(written.getvalue())
    fit(bar)
    assert "6/6" in written.getvalue()[before:]


def test_the_bar_fits_narrow_terminals(fit):
    console, written = terminal(width=50)
    fit(Bar(console=console), validation=0.25)
    for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.getvalue())):
        assert len(line) <= 50
    assert "6/6" in plain(written)  # what tells how far it is comes before the losses


@pytest.mark.parametrize(("takes", "wanted"), [(0, [0, 0.5, 1, 1.5]), (0.125, [0, 2.5, 5])])
def test_measurements_are_shown_and_take_little_of_the_time(monkeypatch, takes, wanted):
    console, written = terminal()
    now, measured = 0.0, []

    def measure():
        nonlocal now
        measured.append(now)
        now += takes
        return "accuracy 0.5"

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    losses_so_far = fn.History(epoch=[1], loss=[1.0])
    with Bar(measure, console=console) as bar:
        while now <= wanted[-1]:
            bar.update(1, 10, losses_so_far)
            now += 0.125
    assert "accuracy 0.5" in plain(written)
    assert measured[:-1] == wanted  # and once more at the end


def test_fits_that_follow_each_other_are_named_and_end_full_as_measured_last(monkeypatch):
    console, written = terminal()
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    given = Bar(lambda: f"R2 {measured}", console=console)
    for bar in numbered(given, ["folds", "training"]):
        measured = 0.125
        with bar:
            bar.update(1, 10, fn.History(epoch=[1], loss=[1.0]))
            bar.update(4, 10, fn.History(epoch=[1], loss=[0.5]))  # nothing is drawn so soon
            measured, now = 0.75, now + 9
    assert given.label == ""
    for label in ("[1/2] folds", "[2/2] training"):
        last = re.search(
            rf"{re.escape(label)}: epoch 4/10 (━+) (\S+) loss 0.500, R2 0.75 ", plain(written)
        )
        assert last is not None
    with given.replace(total=40) as part:  # of which other fits have the rest
        part.update(10, 10, fn.History())
    assert re.search(r"epoch 10/40 [━╸╺ ]+ \S+ left $", plain(written) + " ")
    assert list(numbered(given, ["training"])) == [given]
    assert list(numbered(None, ["folds", "training"])) == [None, None]


def test_nothing_is_drawn_where_there_is_no_terminal(fit, capfd):
    written = io.StringIO()
    console = Console(file=written, force_terminal=False)

    def measure():
        raise AssertionError("nobody sees it")

    fit(Bar(measure, console=console))
    fit(True)
    assert written.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_a_fit_that_fails_leaves_the_terminal_as_it_was(fit):
    console, written = terminal()
    with pytest.raises(fn.Diverged):
        fit(Bar(console=console), optimizer=fn.SGD(1e30))
    assert written.getvalue().endswith("\x1b[?25h")


def test_searches_show_their_best_scores_and_leave_the_given_bar_as_it_was(monkeypatch):
    for name, always in (("REFRESH_SECONDS", 0), ("MEASURE_SECONDS", 0), ("MEASURE_SHARE", 1e9)):
        monkeypatch.setattr(progress, name, always)
    console, written = terminal(120)
    bar = Bar(console=console)
    before = dict(vars(bar))
    x, y = fn.datasets.synthetic(64, 3)
    network = fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(1)])
    for metric in ("rmse", "r2"):
        options = {"folds": 2, "epochs": 6, "metric": metric, "backend": "numpy"}
        fn.search(network, {"l2": [0.0, 0.1, 0.2, 0.3]}, x, y, progress=bar, **options)
        assert f"best {metric} " in plain(written)
        assert vars(bar) == before


def test_the_same_training_with_and_without_a_bar(fit):
    console, _ = terminal()
    assert fit(Bar(console=console)).loss == fit(False).loss


def test_losses_before_the_first_epoch():
    assert losses(fn.History()) == ""
    assert losses(fn.History(epoch=[1], loss=[0.25])) == "loss 0.250"


# --- pictures ----------------------------------------------------------------------------------


def history(epochs, fall):
    """Losses that fall by a factor of `fall`."""
    values = np.geomspace(1, 1 / fall, epochs)
    return fn.History(
        epoch=list(range(1, epochs + 1)), loss=values.tolist(), validation_loss=values.tolist()
    )


def test_losses_are_drawn_to_the_last_value():
    axes = history(30, 1000).plot()
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "loss"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]
    # The training loss is a mean over the epoch, so it stands at the middle of it.
    for line, back in zip(axes.get_lines(), (0.5, 0), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 31) - back)
        assert line.get_ydata()[-1] == pytest.approx(0.001)


def test_small_ranges_and_losses_of_zero_are_drawn_linearly():
    assert history(30, 3).plot().get_yscale() == "linear"
    zero = fn.History(epoch=[1, 2, 3], loss=[100.0, 1.0, 0.0])
    axes = zero.plot()
    assert axes.get_yscale() == "linear"
    assert all(tick == int(tick) for tick in axes.get_xticks())  # there is no half an epoch
    assert axes.get_legend() is None


def test_long_histories_are_thinned_but_keep_their_ends():
    line = history(100_000, 1000).plot().get_lines()[1]
    steps = line.get_xdata()
    assert len(steps) <= 2_000
    assert (steps[0], steps[-1]) == (1, 100_000)
    assert (np.diff(steps) > 0).all()


def test_an_axes_that_is_given_is_drawn_into(tmp_path):
    axes = plots.figure().add_subplot()
    assert history(30, 1000).plot(axes) is axes
    plots.save(axes.figure, tmp_path / "losses.png")
    picture = imread(tmp_path / "losses.png")[..., :3]
    blue = (picture[..., 2] - picture[..., 0] > 0.4).sum()
    orange = (picture[..., 0] - picture[..., 2] > 0.4).sum()
    assert blue + orange > 500


def test_a_picture_that_cannot_be_written_is_our_error(tmp_path):
    with pytest.raises(fn.FileAccessError, match="cannot write"):
        plots.save(plots.figure(), tmp_path / "missing" / "x.png")


def test_an_empty_history_is_an_empty_picture():
    assert len(fn.History().plot().get_lines()[0].get_xdata()) == 0
