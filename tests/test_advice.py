"""Errors and remarks name a setting as their reader gives it: in Python, or on the command line."""

import ast
import re
from pathlib import Path

import pytest
from commands import refuse

import fastnet as fn
from fastnet import advice, tables

ROOT = Path(fn.__file__).parent


@pytest.mark.parametrize(
    ("given", "in_python", "as_option"),
    [
        (("task", "regression"), "task='regression'", "--task regression"),
        (("drop", ["my a", "b"]), "drop=['my a', 'b']", "--drop 'my a,b'"),
        (("decimal", ","), "decimal=','", '--decimal ","'),
        (("allow_unknown", True), "allow_unknown=True", "--allow-unknown"),
        (("members", 8), "members=8", "--members 8"),
        (("memory",), "memory=...", "--memory"),
    ],
)
def test_a_setting_has_the_name_that_its_reader_knows(given, in_python, as_option):
    assert advice.setting(*given) == in_python
    with advice.as_options():
        assert advice.setting(*given) == as_option
    assert advice.setting(*given) == in_python


def texts(path):
    """The texts of a file, without docstrings."""
    tree = ast.parse(path.read_text())
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_only_the_command_line_names_options_itself():
    named = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in sorted(ROOT.rglob("*.py"))
        if path.parent != ROOT / "cli" and path != ROOT / "advice.py"
        for text in texts(path)
        if re.search(r"(^|[\s('`])--(\w|$)", text)
    ]
    assert not named


def test_the_same_mistake_is_explained_in_the_words_of_each_way_to_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = {"when": [f"2026-01-{day:02}" for day in range(1, 21)], "y": [0, 1] * 10}
    lines = [f"{when},{y}" for when, y in zip(rows["when"], rows["y"], strict=True)]
    Path("t.csv").write_text("\n".join(["when,y", *lines, ""]))
    with pytest.raises(fn.DataError, match=r"as dates \(date=\['when'\]\), leave it out \(drop=\["):
        tables.train("t.csv", "y")
    error = refuse("train", "t.csv", "--target", "y", "-o", "m.safetensors")
    assert "as dates (--date when), leave it out (--drop when)" in error
    sklearn = pytest.importorskip("fastnet.sklearn", reason="needs scikit-learn")
    with pytest.raises(fn.DataError, match=r"as dates \(date=\['when'\]\), leave it out \(drop=\["):
        sklearn.TableClassifier(random_state=0).fit({"when": rows["when"]}, rows["y"])
