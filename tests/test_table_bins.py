"""Bins of numbers: what they are, when they are the default, and what they are good for."""

import numpy as np
import polars as pl
import pytest
from compare import assert_same_bits

from fastnet import tables
from fastnet.errors import DefinitionError
from fastnet.tables import folding, searching
from fastnet.tables.encoding import Number, from_plain, to_plain
from fastnet.tables.splitting import RowFacts
from fastnet.training.progress import Bar


def test_bins_say_how_far_a_number_has_come():
    table = tables.Table((Number("n", 1.0, 2.0, 5.0, True, (0.0, 2.0, 6.0)),), "y", "regression")
    assert table.features == ("n", "n: 0 to 2", "n: 2 to 6", "n=missing")
    assert (table.mean, table.scale) == ((1, 0, 0, 0), (2, 1, 1, 1))
    given = pl.DataFrame({"n": ["3", "-1", "NA", "1", "9"]})
    expected = [[1, 1, 0.25, 0], [-1, 0, 0, 0], [2, 1, 0.75, 1], [0, 0.5, 0, 0], [4, 1, 1, 0]]
    np.testing.assert_array_equal(table.inputs(given), expected)


def test_edges_are_all_values_if_they_are_few_and_else_quantiles():
    gaps = np.array([3.0, 1.0, np.nan, 8.0, 1.0, 8.0])
    assert Number.fit("n", gaps, True, 2).edges == (1, 3, 8)
    many = np.arange(101.0) ** 2
    assert Number.fit("n", many, True, 4).edges == (0, 25**2, 50**2, 75**2, 100**2)
    often = np.repeat([0.0, 1.0, 2.0, 3.0], [97, 1, 1, 1])
    assert Number.fit("n", often, True, 2).edges == ()  # two of three quantiles are 0
    assert Number.fit("n", np.array([0.0, 1.0, 1.0]), True, 9).edges == ()
    assert Number.fit("n", many, True).edges == ()


def test_folds_of_small_tables_choose_unless_the_recipe_does():
    recipe, facts = tables.Recipe(), RowFacts(10_000)
    usual = {"in_memory": True, "held_out": True, "own_table": False}
    assert folding.wanted(recipe, facts, 1_677, **usual)
    assert not folding.wanted(recipe, facts, 1_678, **usual)  # too many numbers
    assert folding.wanted(recipe, RowFacts(50, groups=np.arange(50) % 5), 9, **usual)
    for other in (RowFacts(10_001), RowFacts(49), RowFacts(50, groups=np.arange(50) % 4),
                  RowFacts(50, times=np.arange(50))):  # fmt: skip
        assert not folding.wanted(recipe, other, 9, **usual)
    for name, value in usual.items():
        assert not folding.wanted(recipe, facts, 9, **{**usual, name: not value})
    assert not folding.wanted(tables.Recipe(refit=False), facts, 9, **usual)
    assert folding.wanted(tables.Recipe(hidden=(2047, 2039)), facts, 9, **usual)
    assert not folding.wanted(tables.Recipe(hidden=(2047, 2041)), facts, 9, **usual)  # too large
    large = [{"type": "dense", "units": 2047}, {"type": "dense", "units": 2041}]
    assert not folding.wanted(tables.Recipe(layers=large), facts, 9, **usual)
    assert folding.bins_to_try(recipe, "regression", 20) == (0, 32)
    assert folding.bins_to_try(recipe, "regression", 21) == (0,)
    assert folding.bins_to_try(recipe, "classification", 20) == (0,)
    assert folding.bins_to_try(tables.Recipe(bins=3), "classification", 999) == (3,)
    with pytest.raises(DefinitionError, match="bins is -1"):
        tables.Recipe(bins=-1)


def test_files_keep_bins_and_older_ones_have_none():
    column = Number("n", 1.0, 2.0, edges=(0.0, 2.0, 6.0))
    plain = to_plain(column)
    assert from_plain(plain) == column
    for wrong in (
        [2.0, 0.0],
        [0.0, 0.0],
        [float("nan"), 1.0],
        [-1.7e308, 1.7e308],
        3.0,
        ["a", "b"],
    ):
        with pytest.raises(ValueError, match="invalid"):
            from_plain({**plain, "edges": wrong})
    del plain["edges"]
    assert from_plain(plain) == Number("n", 1.0, 2.0)


def houses(rows=300):
    """Prices that jump in two years, and others that are a straight line."""
    random = np.random.default_rng(0)
    year = random.integers(1920, 2011, rows)
    noise = 20 * random.standard_normal(rows)
    jumps = 600.0 * ((year < 1935) | (year > 1995)) + noise
    return pl.DataFrame({"year": year, "jumps": jumps, "line": 3.0 * year + noise})


class Ended(Bar):
    """Ctrl-C in an epoch of a training; and the names of all fits so far."""

    def __init__(self, at):
        super().__init__()
        self.at, self.names = at, []

    def __enter__(self):
        self.names.append(self.label)
        return self

    def update(self, done, epochs, history):
        if "training" in self.label and done >= self.at:
            raise KeyboardInterrupt


def test_folds_choose_bins_where_a_target_jumps(tmp_path):
    settings = {"test": 0.25, "epochs": 40, "backend": "numpy"}
    found = {
        target: tables.train(houses(), target, tables.Recipe(**settings, drop=(other,)))
        for target, other in (("jumps", "line"), ("line", "jumps"))
    }
    assert [one.columns[0].inputs[:2] for one in found.values()] == [
        ("year", "year: 1920 to 1922"),
        ("year",),
    ]
    assert [one.columns[0].remark for one in found.values()] == ["also in 32 bins", ""]
    plain = tables.Recipe(**settings, drop=("line",), bins=0)
    without = tables.train(houses(), "jumps", plain)
    assert found["jumps"].test.score > without.test.score + 0.1
    # The same as asking for them.
    chosen = tables.Recipe(**settings, drop=("line",), bins=32)
    usual = tables.Recipe(**settings, drop=("line",))
    asked = tables.train(houses(), "jumps", chosen)
    assert_same_bits(asked.model.parameters.flat, found["jumps"].model.parameters.flat)
    # A training goes on with what it was begun with, whatever folds would choose today.
    for begun, wanted in ((plain, without), (chosen, asked)):
        path, bar = tmp_path / f"{begun.bins}", Ended(at=np.inf)
        with pytest.raises(KeyboardInterrupt):
            tables.train(houses(), "jumps", begun, checkpoint=path, progress=Ended(at=3))
        found = tables.train(houses(), "jumps", usual, checkpoint=path, resume=True, progress=bar)
        assert found.table == wanted.table
        assert_same_bits(found.model.parameters.flat, wanted.model.parameters.flat)
        assert bar.names == ["[1/3] training", "[2/3] folds", "[3/3] training on all rows"]


@pytest.mark.parametrize(("target", "other"), [("line", "jumps"), ("jumps", "line")])
def test_a_training_after_a_search_goes_on_with_the_bins_of_the_search(
    target, other, tmp_path, monkeypatch
):
    monkeypatch.setattr(searching, "CANDIDATES", 2)
    recipe = tables.Recipe(test=0.25, epochs=40, backend="numpy", search=300.0, drop=(other,))
    wanted = tables.train(houses(), target, recipe)
    assert wanted.columns[0].remark == ("also in 32 bins" if target == "jumps" else "")
    path, bar = tmp_path / "checkpoint", Ended(at=np.inf)
    with pytest.raises(KeyboardInterrupt):
        tables.train(houses(), target, recipe, checkpoint=path, progress=Ended(at=3))
    found = tables.train(houses(), target, recipe, checkpoint=path, resume=True, progress=bar)
    assert found.table == wanted.table
    assert_same_bits(found.model.parameters.flat, wanted.model.parameters.flat)
    # The search is done; folds of its settings say how long the training on all rows is.
    assert bar.names == ["[2/4] training", "[3/4] folds", "[4/4] training on all rows"]
