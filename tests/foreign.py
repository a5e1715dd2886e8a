"""Rows for models of other libraries, and how their outputs are compared with ours."""

import numpy as np

#: The largest difference in float32, relative to the largest output.
NEAR = 1e-5

ROWS = (3 * np.random.default_rng(5).standard_normal((40, 6))).astype(np.float32)


def agree(found, wanted, tolerance=NEAR):
    """Compare, with a tolerance relative to the largest output."""
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * max(1.0, float(np.abs(wanted).max()))
