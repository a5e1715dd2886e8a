"""The command line by itself: help, versions, backends, and how messages are printed."""

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from commands import refuse, run, start
from rich.console import Console

import fastnet as fn
from fastnet.cli import app, terminal
from fastnet.contract import loading

COMMANDS = [command.name for command in app.registered_commands]

# --- fastnet by itself -------------------------------------------------------------------------


def test_alone_it_shows_what_there_is():
    code, out, err = run()
    assert (code, err) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", out)


def test_version():
    assert run("--version") == (0, f"fastnet {fn.__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_page(command):
    code, out, err = run(command, "--help", COLUMNS="80", TERMINAL_WIDTH="80")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "--json" in out


def test_unknown_command_is_a_usage_error():
    assert "trian" in refuse("trian", code=2)


@pytest.mark.parametrize(
    ("words", "offered"), [(("tr",), "train"), (("train", "--learn"), "--learning-rate")]
)
def test_shells_complete_commands_and_options(words, offered):
    code = "import sys; sys.argv = ['fastnet']; from fastnet.cli import main; main()"
    variables = {
        "_FASTNET_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("fastnet", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, offered, "")


def test_a_terminal_wraps_messages_at_words(monkeypatch):
    written = io.StringIO()
    console = Console(file=written, width=30, force_terminal=True, color_system=None)
    monkeypatch.setattr(terminal, "Console", lambda **_: console)
    message = "a message that is longer than a line of the terminal has room for"
    terminal.note(message)
    lines = written.getvalue().splitlines()
    assert len(lines) == 3
    assert " ".join(line.strip() for line in lines) == message


def test_module_and_command_are_the_same():
    process = start("--version")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, f"fastnet {fn.__version__}\n", "")


# --- fastnet backends --------------------------------------------------------------------------


def test_backends_lists_every_known_one():
    code, out, err = run("backends", FASTNET_BACKEND="numpy", COLUMNS="80")
    assert (code, err) == (0, "")
    for name in loading.known():
        assert re.search(rf"^\*? +{name} +(yes|no) ", out, re.MULTILINE)
    assert re.search(r"^\* +numpy +yes +", out, re.MULTILINE)
    assert np.__version__ in out
    assert "threads" in out
    assert max(map(len, out.splitlines())) <= 80


def test_backends_with_an_unknown_choice_lists_them_and_fails():
    code, out, err = run("backends", FASTNET_BACKEND="nunpy")
    assert code == 1
    assert "numpy" in out
    assert err.startswith("error: unknown backend 'nunpy'; did you mean 'numpy'?")
