"""Which backends the suite runs on here, and why not on the others."""

import re
from pathlib import Path

import pytest
from roster import BACKENDS, absence


@pytest.mark.parametrize("entry", BACKENDS, ids=lambda entry: entry.name)
def test_a_backend_is_tested(entry):
    missing = absence(entry)
    if missing is not None:
        (pytest.fail if missing.fails else pytest.skip)(missing.reason)


def test_the_tests_that_a_backend_is_restricted_to_are_there():
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    there = {file.stem for file in files}
    there |= {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    for entry in BACKENDS:
        assert set(entry.only) <= there, entry.name
