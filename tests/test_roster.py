"""Which backends the suite runs on here, and why not on the others."""

import pytest
from roster import BACKENDS, absence


@pytest.mark.parametrize("entry", BACKENDS, ids=lambda entry: entry.name)
def test_a_backend_is_tested(entry):
    missing = absence(entry)
    if missing is not None:
        (pytest.fail if missing.fails else pytest.skip)(missing.reason)
