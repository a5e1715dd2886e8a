"""The command line and files: none is overwritten by mistake, nothing computed is lost."""

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from child import environment
from commands import refuse, run

import fastnet as fn
from fastnet import plots, startup
from fastnet.cli import app, configuration
from fastnet.tables.kept import FIXED
from fastnet.tables.recipe import SETTINGS

TRAIN = ("train", "d.csv", "--target", "kind", "--epochs", 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a table, and links to it."""
    monkeypatch.chdir(tmp_path)
    kind = np.arange(60) % 2
    frame = pl.DataFrame({"a": np.sin(np.arange(60)) + kind, "kind": [("x", "y")[k] for k in kind]})
    frame.write_csv("d.csv")
    Path("link.st").symlink_to("d.csv")
    os.link("d.csv", "hard.st")
    Path("loop.st").symlink_to("loop.st")
    Path("dangling.st").symlink_to("missing/m.st")
    Path("elsewhere").mkdir()
    Path("new.st").symlink_to("elsewhere/new.st")
    Path("c.toml").write_text('output = "c.toml"\n')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("-o", "link.st"), "output 'link.st' and table 'd.csv' are the same file", 2),
        (("-o", "hard.st"), "output 'hard.st' and table 'd.csv' are the same file", 2),
        (("-o", "m.st", "--checkpoint", "link.st"), "checkpoint 'link.st' and table", 2),
        (("-o", "m.st", "--checkpoint", "./m.st"), "output 'm.st' and checkpoint", 2),
        (("-o", "m.png", "--plot", "m.png"), "output 'm.png' and plot 'm.png' are the same", 2),
        (("-o", "new.st", "--plot", "elsewhere/new.st"), "'elsewhere/new.st' are the same", 2),
        (("--config", "c.toml"), "output 'c.toml' and configuration 'c.toml' are the same", 2),
        (("-o", "loop.st"), "a link that leads back to itself", 1),
        (("-o", "dangling.st"), "cannot be written: No such file or directory", 1),
    ],
)
def test_a_training_overwrites_none_of_its_files(folder, arguments, message, code):
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert message in refuse(*TRAIN, *arguments, code=code)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_no_command_overwrites_what_it_reads(folder):
    assert run(*TRAIN, "-o", "m.st")[0] == 0
    Path("m.onnx").symlink_to("m.st")
    Path("p.csv").symlink_to("m.st")
    whole = Path("m.st").read_bytes()
    error = refuse("export", "m.st", "m.onnx", code=2)
    assert "output 'm.onnx' and model 'm.st' are the same file" in error
    error = refuse("predict", "m.st", "d.csv", "-o", "p.csv", code=2)
    assert "output 'p.csv' and model 'm.st' are the same file" in error
    assert Path("m.st").read_bytes() == whole


def test_a_link_to_a_new_file_is_followed(folder):
    assert run(*TRAIN, "-o", "new.st")[0] == 0
    assert Path("new.st").is_symlink()
    assert fn.load("elsewhere/new.st").network.inputs == 1


def test_a_loop_of_links_stays(folder):
    with pytest.raises(fn.FileAccessError, match="leads back to itself"):
        fn.Model(fn.datasets.xor_network()).save("loop.st")
    assert Path("loop.st").is_symlink()


def command(*arguments, limit=None, **options):
    """A command in a process of its own, which may write files of `limit` bytes."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "fastnet", *map(str, arguments)],
        text=True,
        preexec_fn=limited,
        timeout=60,
        **{
            "capture_output": not {"stdout", "stderr"} & set(options),
            "env": environment(FASTNET_BACKEND="numpy"),
            **options,
        },
    )


def test_a_training_whose_checkpoint_does_not_fit_writes_its_model(folder):
    # The checkpoint is some three times the model: parameters, the best, the optimizer's memory.
    done = command(*TRAIN, "-o", "m.st", limit=40_000)
    assert done.returncode == 0, done.stderr
    assert "warning: cannot write 'm.st.checkpoint': File too large" in done.stderr
    assert command(*TRAIN, "-o", "other.st").returncode == 0
    assert Path("m.st").read_bytes() == Path("other.st").read_bytes()


def test_a_model_that_cannot_be_written_is_in_the_checkpoint(folder, monkeypatch):
    save = fn.Model.save

    def full(model, path):
        Path(path).with_name("in the way").mkdir()
        save(model, Path(path).with_name("in the way"))

    with monkeypatch.context() as patch:
        patch.setattr(fn.Model, "save", full)
        error = refuse(*TRAIN, "-o", "m.st")
    again = re.search(r"repeat the command with (.*), and another -o", error)[1]
    assert again == "--resume --checkpoint m.st.checkpoint"
    assert run(*TRAIN, *again.split(), "-o", "kept.st")[0] == 0
    assert run(*TRAIN, "-o", "straight.st")[0] == 0
    assert Path("kept.st").read_bytes() == Path("straight.st").read_bytes()


def test_a_chart_that_cannot_be_written_does_not_hide_the_model(folder, monkeypatch):
    def full(axes, path):
        raise fn.FileAccessError(28, f"cannot write {str(path)!r}: No space left on device")

    monkeypatch.setattr(plots, "save", full)
    error = refuse(*TRAIN, "-o", "m.st", "--plot", "loss.png")
    assert "'loss.png': No space left on device. The model is written to 'm.st'" in error
    fn.load("m.st")


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_predictions_that_do_not_fit_are_one_error(folder, name):
    assert run(*TRAIN, "-o", "m.st")[0] == 0
    Path(name).write_text("what was there")
    done = command("predict", "m.st", "d.csv", "-o", name, limit=100)
    assert done.returncode == 1
    assert re.fullmatch(rf"error: cannot write '{name}': .*too large.*\n", done.stderr, re.I)
    assert Path(name).read_text() == "what was there"
    assert not list(folder.glob(".*"))


def test_a_chart_is_written_whole_or_not_at_all(folder):
    Path("x.png").write_text("what was there")
    done = command("xor", "--steps", 3000, "--plot", "x.png", limit=2_000)
    assert done.returncode == 1
    assert "cannot write 'x.png': File too large" in done.stderr
    assert Path("x.png").read_text() == "what was there"


# --- standard output and error -----------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("--version",), ()])
def test_help_that_cannot_be_written_is_one_error(arguments):
    with open("/dev/full", "w") as full:
        done = command(*arguments, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the results: No space left on device\n"


def test_output_in_ascii(folder):
    ascii_only = environment(PYTHONIOENCODING="ascii", FASTNET_BACKEND="numpy")
    done = command("xor", "--steps", 3000, env=ascii_only)
    assert done.returncode == 0, done.stderr
    assert "s per step" in done.stdout


def test_closed_output_loses_no_training(folder):
    shell = f"exec {sys.executable} -m fastnet {' '.join(map(str, TRAIN))} -o m.st >&- 2>&-"
    done = subprocess.run(["sh", "-c", shell], env=environment(FASTNET_BACKEND="numpy"))
    assert done.returncode == 0
    assert fn.load("m.st").table is not None


def test_a_pipe_is_no_model(folder):
    os.mkfifo("pipe")
    assert "it is a device" in refuse("show", "pipe")
    with pytest.raises(fn.FileAccessError, match="it is a device"):
        fn.load("pipe")


def test_a_configuration_may_begin_with_a_byte_order_mark(folder):
    Path("c.toml").write_text('target = "kind"\nepochs = 1\noutput = "m.st"\n', "utf-8-sig")
    assert run("train", "d.csv", "--config", "c.toml")[0] == 0


# --- signals -----------------------------------------------------------------------------------


def test_sigterm_does_what_ctrl_c_does(folder):
    """Also in the background of a script, where Ctrl-C is ignored."""
    arguments = [*TRAIN[:-1], 10**7, "--patience", 10**8, "-o", "m.st", "--checkpoint", "c.st"]
    code = f"""
import os, signal, sys
from fastnet.training.progress import Bar
signal.signal(signal.SIGINT, signal.SIG_IGN)
update = Bar.update
def terminate(bar, done, *more):
    update(bar, done, *more)
    if done >= 3:
        os.kill(os.getpid(), signal.SIGTERM)
Bar.update = terminate
sys.argv = {["fastnet", *map(str, arguments)]}
from fastnet.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(FASTNET_BACKEND="numpy"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 130, done.stderr
    assert "checkpoint in 'c.st': to continue, repeat the command with --resume" in done.stderr
    assert Path("c.st").exists()


@pytest.mark.parametrize(
    ("arguments", "original", "expected"),
    [
        (["-m"], ["python", "-m", "fastnet", "xor"], True),
        (["/usr/bin/fastnet", "xor"], ["python", "/usr/bin/fastnet", "xor"], True),
        (["-m"], ["python", "-m", "pytest"], False),
        (["train.py", "fastnet"], ["python", "train.py", "fastnet"], False),
        ([""], ["python"], False),
    ],
)
def test_the_command_is_told_from_other_programs(arguments, original, expected):
    assert startup.is_command(arguments, original) is expected


def test_ctrl_c_while_the_command_starts_is_no_traceback():
    code = """
import os, signal, sys
sys.argv, sys.orig_argv = ["-m"], ["python", "-m", "fastnet"]
import fastnet.startup
os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


# --- the chart ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "title"),
    [
        ("kind", r"validation rows: accuracy \d+\.\d\d%"),
        ("a", r"validation rows: R² -?\d+\.\d{4}"),
    ],
)
def test_the_chart_says_how_good_the_model_is(folder, monkeypatch, target, title):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda chart, path: drawn.append(chart))
    options = ("--epochs", 3, "-o", "m.st", "--plot", "loss.png")
    assert run("train", "d.csv", "--target", target, *options)[0] == 0
    above, below = drawn[0].axes
    assert re.fullmatch(title, below.get_title())
    # Training losses are means of the epoch so far: drawn half an epoch before its end.
    training, validation = above.lines[:2]
    assert (validation.get_xdata() - training.get_xdata()).tolist() == [0.5] * 3


def test_settings_are_options_and_keys_of_a_configuration():
    commands = typer.main.get_command(app).commands
    training, converting = (
        {one.name for one in commands[name].params} - {"data", "folder", "config", "as_json"}
        for name in ("train", "convert")
    )
    assert configuration.KEYS - training == {"layers"}  # which are tables of a configuration
    assert training - configuration.KEYS == set()
    assert set(SETTINGS) < configuration.KEYS
    assert converting == {*FIXED, "target", "memory", "seed"}  # which holds rows out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("test = true", "test is True; it must be a fraction of the rows, such as 0.2, or a table"),
        ("validation = [1]", "validation is [1]; it must be a fraction of the rows"),
        ("refit = 1", "refit is 1; it must be true or false"),
        ('log_target = "no"', "log_target is 'no'; it must be true or false"),
    ],
)
def test_a_value_of_another_kind_in_a_configuration_is_named(tmp_path, line, said):
    (tmp_path / "c.toml").write_text(line + "\n")
    command = ("train", "none.csv", "--target", "y", "-o", "m", "--config", tmp_path / "c.toml")
    assert said in refuse(*command, code=2)
