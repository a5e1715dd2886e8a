"""The one way in which the tests compare arrays: shape, dtype, finiteness, then values."""

import numpy as np


def _alike(found, wanted):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape, f"shape {found.shape}, wanted {wanted.shape}"
    assert found.dtype == wanted.dtype, f"dtype {found.dtype}, wanted {wanted.dtype}"
    return found, wanted


def assert_near(found, wanted, tolerance, dtype=None):
    """`found` is within `tolerance` of `wanted`, relative to the norm of `wanted`.

    `dtype` is given where a float32 result is compared with a float64 reference.
    """
    found = np.asarray(found)
    if dtype is not None:
        assert found.dtype == np.dtype(dtype), f"dtype {found.dtype}, wanted {dtype}"
        found, wanted = found.astype(np.float64), np.asarray(wanted, np.float64)
    found, wanted = _alike(found, wanted)
    assert np.isfinite(wanted).all(), "the reference is not finite"
    assert np.isfinite(found).all(), f"{np.sum(~np.isfinite(found))} entries are not finite"
    scale = float(np.linalg.norm(wanted))
    distance = float(np.linalg.norm(found - wanted))
    assert distance <= tolerance * scale, (
        f"off by {distance / scale if scale else distance:.3g} of the norm {scale:.6g}, "
        f"allowed are {tolerance:g}; the worst entry is {np.abs(found - wanted).argmax()}"
    )


def assert_entries_near(found, wanted, relative, absolute=0.0):
    """Each entry is within `relative` of its own size; NaN and infinities stand where wanted."""
    found, wanted = _alike(found, wanted)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted), "NaN stands elsewhere")
    np.testing.assert_array_equal(np.isinf(found), np.isinf(wanted), "infinity stands elsewhere")
    where = np.isfinite(wanted)
    np.testing.assert_array_equal(found[np.isinf(wanted)], wanted[np.isinf(wanted)])
    off = np.zeros(found.shape)
    off[where] = np.abs(found[where].astype(np.float64) - wanted[where])
    excess = off - (relative * np.abs(np.where(where, wanted, 0)) + absolute)
    worst = np.unravel_index(excess.argmax(), excess.shape)
    assert excess[worst] <= 0, (
        f"entry {worst} is {found[worst]!r}, wanted {wanted[worst]!r}; allowed are a relative "
        f"{relative:.3g} and an absolute {np.max(absolute):.3g}"
    )


def assert_same_bits(found, wanted):
    """Every bit agrees, those of zeros' signs and of NaN too."""
    found, wanted = _alike(found, wanted)
    if found.tobytes() != wanted.tobytes():
        differ = np.argwhere(found != wanted)
        raise AssertionError(f"{len(differ)} entries differ, the first at {differ[:1].tolist()}")
