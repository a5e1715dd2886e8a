"""The command line in this process, and in one of its own."""

import os
import subprocess
import sys

from typer.testing import CliRunner

from fastnet.cli import app


def run(*arguments, **environment):
    """A command in this process: exit code, standard output, standard error."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def refuse(*arguments, code=1, **environment):
    """A command that fails: its one error line."""
    ended, out, err = run(*arguments, **environment)
    assert ended == code, err
    assert out == ""
    last = err.strip().splitlines()[-1]
    if code == 1:
        assert last.startswith("error: ")
    return err


def start(*arguments, **environment):
    """A command in a process of its own, which Ctrl-C can reach."""
    return subprocess.Popen(
        [sys.executable, "-m", "fastnet", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
