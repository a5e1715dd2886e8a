"""Messages name the requirements of pyproject.toml's extras, and never tell to install `fastnet`:
on the package index that is another project.
"""

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import fastnet as fn
from fastnet import extras

WHOLE = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
PROJECT, HATCH = WHOLE["project"], WHOLE["tool"]["hatch"]["build"]["targets"]["wheel"]


def sources():
    """The name and text of every module that is installed."""
    for package in HATCH["packages"]:
        for file in Path(find_spec(Path(package).name).origin).parent.rglob("*.py"):
            yield file.name, file.read_text("utf-8")


@pytest.mark.parametrize("extra", extras.REQUIREMENTS)
def test_remedies_name_the_requirements_of_the_extra(extra):
    assert list(extras.REQUIREMENTS[extra]) == PROJECT["optional-dependencies"][extra]


def test_extras_that_include_others_call_the_distribution_by_its_name():
    name = PROJECT["name"]
    assert name != "fastnet"
    for requirements in PROJECT["optional-dependencies"].values():
        for requirement in requirements:
            assert "fastnet" not in requirement or requirement.startswith(f"{name}[")


def test_the_command_is_quoted_and_complete():
    with pytest.raises(fn.MissingExtra) as caught:
        extras.need("fastnet_absent.inner", "numba", "a test")
    assert str(caught.value) == (
        "a test needs fastnet_absent, which is not installed: "
        'python -m pip install "numba>=0.66" "platformdirs>=4"'
    )


def test_only_one_place_writes_pip_commands():
    assert [name for name, text in sources() if "pip install" in text] == ["extras.py"]


def test_every_extra_that_the_code_asks_for_has_its_requirements():
    asked = {
        extra
        for _, text in sources()
        for extra in re.findall(r'(?:\bneed\(\s*"[\w.]+",\s*|REQUIREMENTS\[)["\']([\w-]+)', text)
    }
    assert {"numba", "onnx", "plot"} <= asked <= set(extras.REQUIREMENTS)
