"""A small version of `python -m bench.intervals`."""

import numpy as np
import pytest

import fastnet as fn

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
intervals = pytest.importorskip("bench.intervals", reason="the benchmarks are not beside these")


def test_intervals_on_diabetes_cover():
    table = intervals.TABLES["diabetes"]
    x, y = table.read()
    with fn.using("numpy"):
        found = [
            intervals.ours(intervals.split(x, y, seed), table.batch, 100 * seed, epochs=40)
            for seed in range(6)
        ]
    coverage, nll = (np.mean([one[key] for one in found]) for key in ("coverage", "nll"))
    assert 0.87 <= coverage <= 0.93
    assert nll < np.log(2 * np.pi * np.e) / 2 - 0.2  # that of the mean and deviation of all rows
