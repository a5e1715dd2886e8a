"""Columns of dates: how they are read, what they become, and the same answers from every source."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fastnet as fn
from fastnet import tables
from fastnet.tables import dates
from fastnet.tables.columns import Place

WHEN = Place("t", "when")


def read(values, form=""):
    column = pl.Series("when", values)
    days, found = dates.parse(column, WHEN, form)
    return [None if np.isnan(day) else dates.written(day) for day in days], found


@pytest.mark.parametrize(
    ("values", "expected", "form"),
    [
        (["2020-01-05", "2020-1-6", ""], ["2020-01-05", "2020-01-06", None], "%Y-%m-%d"),
        (["2020-02-29T10:00:00Z", "2020-02-29 10:00:00.5+02:00"],
         ["2020-02-29 10:00:00", "2020-02-29 10:00:00"], "%Y-%m-%d %H:%M:%S%.f"),
        (["1/2/2020", "13/2/2020"], ["2020-02-01", "2020-02-13"], "%d/%m/%Y"),
        (["1/2/98", "2/13/98"], ["1998-01-02", "1998-02-13"], "%m/%d/%y"),
        (["31.12.1999 23:59", "N/A"], ["1999-12-31 23:59:00", None], "%d.%m.%Y %H:%M"),
        (["3 Jan 2020", "4 March 2021"], ["2020-01-03", "2021-03-04"], "%d %B %Y"),
        (["9:15 pm", "1:00 am"], ["1970-01-01 21:15:00", "1970-01-01 01:00:00"], "%I:%M %p"),
        (["2020-01", "1999-12"], ["2020-01-01", "1999-12-01"], "%Y-%m"),
        ([20261128, None], ["2026-11-28", None], "%Y%m%d"),
        ([20261128.0, np.nan], ["2026-11-28", None], "%Y%m%d"),
        ([dt.date(1969, 12, 31)], ["1969-12-31"], ""),
        ([dt.time(12, 30)], ["1970-01-01 12:30:00"], ""),
    ],
)  # fmt: skip
def test_dates_are_read_in_the_form_they_are_written(values, expected, form):
    assert read(values) == (expected, form)


def test_a_zone_does_not_move_the_clock():
    utc = pl.Series([dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)])
    assert read(utc.dt.convert_time_zone("Asia/Tokyo"))[0] == ["2020-01-01 21:00:00"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1/2/2020", "3/4/2020"], "could be written as %m/%d/%Y or as %d/%m/%Y; write them with"),
        (
            ["2020-01-01", "soon"],
            "'soon' in data row 2, which is no date written as %Y-%m-%d",
        ),
        (["now", "soon"], "holds 'now' in data row 1, which is no date; write all"),
        (["1.2.20", "2020-02-01", "2020-02-02"], "holds '1.2.20' in data row 1"),
        ([1.5], "holds Float64, which is no date"),
        ([dt.timedelta(1)], "holds Duration"),
    ],
)
def test_what_is_no_date_is_refused(values, message):
    with pytest.raises(fn.DataError, match=message):
        read(values)


@pytest.mark.parametrize("column", ["span", "y"])
def test_lengths_of_time_are_not_taken_for_dates(column):
    given = {"x": range(40), "y": range(40), "span": [dt.timedelta(hours=i) for i in range(40)]}
    given[column] = given["span"]
    with pytest.raises(fn.DataError, match=r"holds lengths of time .*such as seconds") as e:
        tables.train(given, "y", tables.Recipe(task="regression"))
    assert "date" not in str(e.value)


def test_parts_are_those_of_the_calendar():
    random = np.random.default_rng(0)
    days = random.uniform(-80_000, 80_000, 500)  # 1750 to 2189
    found = dict(zip(dates.PARTS, dates.parts(days, dates.PARTS).T, strict=True))
    moments = [dt.datetime(1970, 1, 1) + dt.timedelta(days=day) for day in days]
    assert np.array_equal(found["days"], days)
    assert found["year"].tolist() == [m.year for m in moments]
    for part, turn in (
        ("month", [(m.month - 1) / 12 for m in moments]),
        ("weekday", [m.weekday() / 7 for m in moments]),
        ("time", days - np.floor(days)),
    ):
        angle = 2 * np.pi * np.array(turn)
        assert np.allclose(found[f"{part} sin"], np.sin(angle), atol=1e-12)
        assert np.allclose(found[f"{part} cos"], np.cos(angle), atol=1e-12)


def sales(rows=300):
    """Days with a season, a weekend and a trend; some are missing."""
    day = [dt.date(2019, 3, 1) + dt.timedelta(days=3 * row) for row in range(rows)]
    y = [d.toordinal() / 500 + 2 * (d.weekday() > 4) + np.sin(d.month / 2) for d in day]
    known = [None if row % 20 == 7 else d for row, d in enumerate(day)]
    return pl.DataFrame({"day": known, "y": np.array(y) - 1470.5})


RECIPE = tables.Recipe(
    date=("day",), hidden=(16,), epochs=60, learning_rate=0.02, backend="numpy", refit=False
)


def test_every_source_of_the_same_dates_gives_the_same_answers(tmp_path):
    frame = sales()
    trained = tables.train(frame, "y", RECIPE)
    assert trained.table.features == (
        "day: days since 2019-03-04", "day: year", "day: month sin", "day: month cos",
        "day: weekday sin", "day: weekday cos", "day=missing",
    )  # fmt: skip
    assert trained.columns[0].kind == "dates"
    assert trained.remarks == ()
    assert trained.training.score > 0.8
    expected = tables.predict(trained.model, frame)
    trained.model.save(tmp_path / "m.safetensors")
    model = fn.load(tmp_path / "m.safetensors", backend="numpy")
    frame.write_csv(tmp_path / "sales.csv")
    text = frame["day"].to_list()
    sources = {
        "a file": tmp_path / "sales.csv",
        "pandas": pd.DataFrame({"day": pd.to_datetime(pd.Series(text))}),
        "another form": {"day": [d and f"{d.day}.{d.month}.{d.year}" for d in text]},
        "integers": {"day": [d and int(f"{d:%Y%m%d}") for d in text]},
    }
    for name, source in sources.items():
        assert tables.predict(model, source).equals(expected), name
    from_text = tables.train(tmp_path / "sales.csv", "y", RECIPE)
    assert tables.predict(from_text.model, frame).equals(expected)
    with pytest.raises(fn.DataError, match=r"'28.11.2026' in data row 1, which is no date; write"):
        tables.predict(from_text.model, {"day": ["28.11.2026"]})


def test_parts_that_do_not_vary_are_left_out_and_one_date_is_no_input():
    frame = sales(40).with_columns(
        hour=pl.Series([f"2026-11-28 {row % 24}:00" for row in range(40)]),
        same=pl.Series(["2026-11-28"] * 40),
    )
    recipe = tables.Recipe(date=("hour", "same"), drop=("day",), epochs=1, backend="numpy")
    trained = tables.train(frame, "y", recipe)
    assert trained.table.features == (
        "hour: days since 2026-11-28", "hour: time sin", "hour: time cos",
    )  # fmt: skip
    assert trained.columns[2].remark == "2026-11-28 in every training row"


def test_a_damaged_column_of_dates_is_refused():
    model = tables.train(sales(40), "y", RECIPE).model
    for key, wrong in (
        ("parts", ["day"]), ("part_means", [0.0]), ("part_scales", [0.0] * 6), ("first", 1e300),
        ("fill", None), ("form", 3), ("parts", None), ("parts", [[]] * 6),
    ):  # fmt: skip
        plain = tables.Table.of(model).to_dict()
        plain["columns"][0][key] = wrong
        with pytest.raises(fn.ModelFileError, match="a column is"):
            tables.Table.from_dict(plain)


def test_missing_dates_can_be_refused_and_names_are_checked():
    with pytest.raises(fn.DataError, match="column 'day' has no value in data row 8"):
        tables.train(sales(), "y", tables.Recipe(date=("day",), missing="error"))
    with pytest.raises(fn.DefinitionError, match="categorical and date both name 'day'"):
        tables.Recipe(date=("day",), categorical=("day",))
    with pytest.raises(fn.DefinitionError, match="date names the target 'y'"):
        tables.train(sales(), "y", tables.Recipe(date=("day", "y")))
    with pytest.raises(fn.DataError, match="no column 'dya' to treat as dates; did you mean 'day'"):
        tables.train(sales(), "y", tables.Recipe(date=("dya",)))
