"""Rows for models of other libraries, and the one way in which they are held against ours."""

import numpy as np

#: As far as two libraries may be apart in float32, of the largest output.
NEAR = 1e-5

ROWS = (3 * np.random.default_rng(5).standard_normal((40, 6))).astype(np.float32)


def agree(found, wanted, tolerance=NEAR):
    """`found` is `wanted`, but for `tolerance` of the largest output."""
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * max(1.0, float(np.abs(wanted).max()))
