"""Where tables come from: mappings, frames of pandas, CSV in its kinds, and the labels of rows."""

import gzip
import io
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from frames import twenty_rows

from fastnet import tables
from fastnet.errors import DataError, DefinitionError, MissingExtra
from fastnet.tables import reading
from fastnet.tables.inspecting import inspect_table

QUICK = tables.Recipe(hidden=(4,), epochs=2)


def values_of(column):
    """What a column `a` of a mapping is taken for."""
    y = (["u", "v"] * len(column))[: len(column)]
    found = inspect_table({"a": column, "y": y}, "y", missing="impute").values["a"]
    return found if found is None else list(found)


# --- mappings ----------------------------------------------------------------------------------

NAN = float("nan")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1, 2.5], [1, 2.5]),
        ([1, None, 2.5], [1, NAN, 2.5]),
        ([0, "?"], [0, NAN]),
        ([True, 2.5], [1, 2.5]),
        ([True, 7], [1, 7]),
        ([1, "x", 2.5, True], ["1", "x", "2.5", "true"]),
        (["x", None, NAN], ["x", None, None]),
        ([Decimal("1.5"), 2], [1.5, 2]),
        ([np.float32(0.5), 2, np.int8(3)], [0.5, 2, 3]),
        (np.array([1, "a"], dtype=object), ["1", "a"]),
        (np.array([1, 2], dtype=">f8"), [1, 2]),
        (np.array([1, 2], dtype=np.float16), [1, 2]),
        (np.ma.array([1, 2], mask=[0, 1]), [1, NAN]),
        (pd.Series([1, None, 3], dtype="Int64"), [1, NAN, 3]),
        (pd.Series(["a", None]), ["a", None]),
        (range(2), [0, 1]),
    ],
)
def test_a_column_of_a_mapping_does_not_depend_on_its_order(column, expected):
    def shown(values):  # NaN is like NaN in text
        return [v if v is None or isinstance(v, str) else str(float(v)) for v in values]

    assert shown(values_of(column)) == shown(expected)
    if isinstance(column, list):
        assert shown(values_of(column[::-1])) == shown(expected)[::-1]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, 10**400], "column 'a' holds 1000.*beyond 64 bits"),
        ([1.5, 10**400], "column 'a' holds inf in data row 2"),
        ([1, 10**5000], "column 'a' holds what cannot be read .*digits"),
        ([1 + 2j, 3], "column 'a' holds complex and int values"),
        ([b"1", "2"], "column 'a' holds bytes and str values"),
        ([object()] * 2, "column 'a' holds Object"),
        ([[1], [2, 3]], "column 'a' holds List"),
        ([b"1", b"2"], "column 'a' holds Binary"),
        (np.zeros((2, 2)), r"column 'a' has the shape \(2, 2\)"),
        ({"k": 1, "l": 2}, "column 'a' holds what cannot be read"),
    ],
)
def test_columns_of_a_mapping_that_are_refused_are_named(column, message):
    for given in (column, column[::-1] if isinstance(column, list) else column):
        with pytest.raises(DataError, match=message.replace(" in data row 2", "")):
            values_of(given)


def test_columns_of_a_mapping_have_one_length():
    with pytest.raises(DataError, match="'a' has 2 values and 'b' 3"):
        reading.read({"a": [1, 2], "b": [1, 2, 3]})
    assert reading.read({"a": [1, 2], "b": "x", "c": None}).rows() == [(1, "x", None)] * 1 + [
        (2, "x", None)
    ]
    with pytest.raises(DataError, match="two columns of one name"):
        reading.read({"1": [1], 1: [1]})


# --- frames of pandas --------------------------------------------------------------------------


def pandas_frame():
    """Every kind of column that pandas has for numbers and text, and an index that tells all."""
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None, 3, 4] * 5, dtype="Int64"),
            "real": [0.5, None, 1.5, 2.5] * 5,
            "flag": pd.array([True, None, False, True] * 5, dtype="boolean"),
            "text": ["p", None, "q", "p"] * 5,
            "kind": pd.Categorical([3, 1, None, 1] * 5),
            "mixed": pd.Series([1, "?", 2.5, None] * 5, dtype=object),
            "y": ["u", "v"] * 10,
        }
    )
    return frame.set_axis([f"row {i}" for i in range(20)])


def test_a_pandas_frame_is_a_table_as_it_is():
    given = pandas_frame()
    plain = {
        name: [None if pd.isna(value) else value for value in given[name].tolist()]
        for name in given.columns
    }
    plain["kind"] = [None if value is None else str(int(value)) for value in plain["kind"]]
    alike = pl.DataFrame({k: v for k, v in plain.items() if k != "mixed"}).with_columns(
        mixed=pl.Series(["1", "?", "2.5", None] * 5),
        kind=pl.Series(plain["kind"], dtype=pl.Categorical),
    )
    done = tables.train(given, "y", QUICK)
    same = tables.train(alike.select(given.columns), "y", QUICK)
    assert done.table == same.table
    assert done.table.names == ("whole", "real", "flag", "text", "kind", "mixed")
    expected = tables.predict(same.model, alike)
    assert tables.predict(done.model, given).equals(expected)
    assert (
        tables.predict(done.model, given.sample(frac=1, random_state=1).sort_index()).height == 20
    )
    x = done.table.inputs(given)
    np.testing.assert_array_equal(x, done.table.inputs(alike.select(given.columns)))


def test_pandas_frames_with_other_names_and_types():
    numbered = pd.DataFrame(np.arange(40.0).reshape(20, 2) / 3).assign(y=["u", "v"] * 10)
    assert tables.train(numbered, "y", QUICK).table.names == ("0", "1")
    assert inspect_table(numbered, 0).y.tolist() == inspect_table(numbered, "0").y.tolist()
    twice = pd.concat([pandas_frame(), pandas_frame()[["real"]]], axis=1)
    with pytest.raises(DataError, match="'real'"):
        reading.read(twice)
    with pytest.raises(DataError, match="'real' holds dates or times"):
        inspect_table(pandas_frame().assign(real=pd.Timestamp("2020-01-01")), "y")


def test_without_narwhals_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(MissingExtra, match='"narwhals>='):
        reading.read(pandas_frame())
    assert reading.read({"a": [1, 2.5]}).height == 2


# --- row labels --------------------------------------------------------------------------------


def labelled(folder):
    """Sources whose first column labels the rows, and the name that it has."""
    frame = twenty_rows()
    labels = pl.Series("", [f"{(r * 7) % 20}" for r in range(20)])
    frame.insert_column(0, labels).write_csv(folder / "unnamed.csv")
    frame = frame.rename({"": "Unnamed: 0"})
    frame.write_csv(folder / "pandas.csv")
    frame.rename({"Unnamed: 0": "__index_level_0__"}).write_parquet(folder / "index.parquet")
    facts = '{"index_columns": ["key", {"kind": "range"}]}'
    frame.rename({"Unnamed: 0": "key"}).write_parquet(
        folder / "key.parquet", metadata={"pandas": facts}
    )
    twice = twenty_rows().insert_column(0, labels.alias("Unnamed: 0")).insert_column(0, labels)
    twice.write_csv(folder / "twice.csv")
    return {
        "unnamed.csv": ["Unnamed: 0"],
        "pandas.csv": ["Unnamed: 0"],
        "index.parquet": ["__index_level_0__"],
        "key.parquet": ["key"],
        "twice.csv": ["Unnamed: 0.1", "Unnamed: 0"],
    }


def test_row_labels_are_left_out_and_ignored_in_predictions(tmp_path):
    sources = labelled(tmp_path)
    bare = tables.train(twenty_rows(), "y", QUICK)
    expected = tables.predict(bare.model, twenty_rows())
    for name, columns in sources.items():
        done = tables.train(tmp_path / name, "y", QUICK)
        assert list(done.table.left_out) == columns
        assert all("row labels" in report.remark for report in done.columns[: len(columns)])
        for one in (tmp_path / name, twenty_rows()):
            assert tables.predict(done.model, one).equals(expected)
        assert tables.predict(bare.model, tmp_path / name).equals(expected)


def test_an_index_without_a_name_is_left_out_however_the_csv_was_read(tmp_path):
    labelled(tmp_path)
    read = pl.read_csv(tmp_path / "unnamed.csv")
    for given in (read, read.to_dict(as_series=False)):
        done = tables.train(given, "y", QUICK)
        assert done.table.left_out == ("",)
        assert tables.predict(done.model, twenty_rows()).height == 20
        assert tables.predict(done.model, tmp_path / "unnamed.csv").height == 20


def test_row_labels_may_be_the_target_or_categories(tmp_path):
    labelled(tmp_path)
    for name, column in (("pandas.csv", "Unnamed: 0"), ("key.parquet", "key")):
        path = tmp_path / name
        assert inspect_table(path, column, "regression").y.tolist()[:3] == [0, 7, 14]
        used = inspect_table(path, "y", categorical=[column]).values[column]
        assert used.to_list()[:3] == ["0", "7", "14"]


@pytest.mark.parametrize("facts", ["{", "[]", '{"index_columns": 3}', '{"index_columns": [[]]}'])
def test_metadata_that_make_no_sense_label_nothing(tmp_path, facts):
    twenty_rows().write_parquet(tmp_path / "t.parquet", metadata={"pandas": facts})
    reader = reading.Reader(tmp_path / "t.parquet")
    assert reader.whole().equals(twenty_rows())
    assert reader.labels == {}


# --- one spelling ------------------------------------------------------------------------------


def test_a_category_has_one_spelling_in_every_source(tmp_path):
    codes, flags = [1.0, 2.0, 2.5, 1.0] * 5, [True, False] * 10
    frame = twenty_rows(code=codes, flag=flags)
    sources = {
        "floats.parquet": frame,
        "single.parquet": frame.with_columns(pl.col("code").cast(pl.Float32)),
        "decimal.parquet": frame.with_columns(pl.col("code").cast(pl.Decimal(9, 3))),
        "point.csv": frame.with_columns(pl.col("code").cast(pl.Decimal(9, 2))),
        "python.csv": frame.with_columns(pl.Series("flag", ["True", "False"] * 10)),
        "excel.csv": frame.with_columns(pl.Series("flag", ["TRUE", "FALSE"] * 10)),
        "exponent.csv": frame.with_columns(pl.Series("code", ["1e0", "2", "2.5", "10e-1"] * 5)),
        "bare.csv": frame.with_columns(pl.Series("code", ["1.", "2.", "2.5", ".1e1"] * 5)),
    }
    settings = tables.Recipe(hidden=(4,), epochs=2, categorical=("code", "flag"))
    done = []
    for name, table in sources.items():
        getattr(table, f"write_{name.partition('.')[2]}")(tmp_path / name)
        done.append(tables.train(tmp_path / name, "y", settings))
    expected = tables.predict(done[0].model, frame)
    assert done[0].table.columns[2].values == ("1", "2", "2.5")
    for name in sources:
        assert tables.predict(done[0].model, tmp_path / name).equals(expected)
    assert all(one.table == done[0].table for one in done)
    whole = frame.with_columns(pl.Series("code", [1, 2, 2, 1] * 5))
    found = tables.stream(done[0].model, whole)
    assert sum(block.height for block in found) == 20
    assert not found.unseen


def test_a_comma_in_codes_is_read_as_in_numbers(tmp_path):
    settings = tables.Recipe(hidden=(4,), epochs=2, categorical=("c",), decimal=",")
    done = tables.train(twenty_rows(c=["1,0", "2,50"] * 10), "y", settings)
    assert done.table.columns[2].values == ("1", "2.5")
    tables.predict(done.model, twenty_rows(c=[1, 2] * 10))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["1.10", "1.1"], ("1.1", "1.10")),  # versions
        (["01", "1"], ("01", "1")),
        (["1.0", "1"], ("1",)),
        (["+1", "1"], ("+1", "1")),
        (["99999999999999999999", "99999999999999999998.0"], None),
    ],
)
def test_what_may_be_a_code_keeps_its_spelling(words, values):
    table = twenty_rows(a=[*words, "x", "x"] * 5)
    inspected = inspect_table(table, "y", categorical=["a"])
    found = inspected.fit_encoding(np.arange(20), 20, True)[0].columns[0]
    assert len(found.values) == (3 if values is None else len(values) + 1)
    if values is not None:
        assert set(found.values) == {*values, "x"}
    assert not found.unseen(found.convert(table["a"], None)).any()


def test_a_schema_without_a_spelling_matches_the_text_as_it_is_written():
    plain = {"kind": "categories", "name": "a", "values": ["1.0", "True"], "other": False,
             "missing": "unseen"}  # fmt: skip
    column = tables.schema.encoding.from_plain(plain)
    found = column.convert(pl.Series(["1.0", "1", "True", "true"]), None)
    assert column.unseen(found).tolist() == [False, True, False, True]


def test_a_column_without_one_known_category_is_refused_unless_it_is_allowed():
    done = tables.train(twenty_rows(c=["p", "q"] * 10), "y", QUICK)
    unknown = twenty_rows(c=[None, "r"] * 10)
    with pytest.raises(DataError, match=r"'c' holds no category .*'r', say.*allow_unknown=True"):
        tables.predict(done.model, unknown)
    found = tables.stream(done.model, unknown, allow_unknown=True)
    assert sum(block.height for block in found) == 20
    assert found.unseen == {"c": 10}
    for some in (["p", *["r"] * 19], [None] * 20):
        assert tables.predict(done.model, twenty_rows(c=some)).height == 20
    assert tables.predict(done.model, unknown.slice(1, 1)).height == 1  # one row may be new


# --- names of inputs ---------------------------------------------------------------------------


def test_no_input_has_the_name_of_another():
    """Categories called as the inputs that fastnet adds, and columns called as categories."""
    words = ["other", "missing", None, "y=z", "other", "missing", "y=z", "x", "w", "other"] * 2
    table = twenty_rows(a=words).with_columns(
        pl.Series("b", [1.5, None] * 10),
        pl.Series("b=missing", np.arange(20) / 3),
        pl.Series("a=y", ["z", "w"] * 10),
    )
    settings = tables.Recipe(hidden=(4,), epochs=1, categories=3, categorical=("a",))
    done = tables.train(table, "y", settings)
    assert len(set(done.table.features)) == len(done.table.features)
    pairs = {"a=other", "a=missing", "b=missing", "a=y=z"}
    assert pairs | {f"{name} (2)" for name in pairs} <= set(done.table.features)
    assert [name for one in done.columns for name in one.inputs] == list(done.table.features)


# --- CSV in its kinds --------------------------------------------------------------------------

COMMAS = "a,b c,y\n1,2,u\n3,4,v\n"


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("packed", [False, True])
def test_separators_are_found_and_gzip_is_unpacked(tmp_path, separator, packed):
    content = COMMAS.replace(",", separator).encode()
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert reading.read(path).rows() == [("1", "2", "u"), ("3", "4", "v")]
    assert reading.read(path, separator).columns == ["a", "b c", "y"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a;b\n1,5;2,5\n", ["a", "b"]),
        ("name;price, EUR;n\nx;2,50;3\n", ["name", "price, EUR", "n"]),
        ("a,b|c|d\n1,2\n", ["a", "b|c|d"]),
        ('a;b\n\n\n"1;2";3\n', ["a", "b"]),
        ('"a,b";c\n"1,2";3\n', ["a,b", "c"]),
        ("a,b\n", ["a", "b"]),
        ("a b\n1 2\n", ["a b"]),
    ],
)
def test_the_separator_splits_header_and_rows_alike(tmp_path, monkeypatch, text, columns):
    for block in (1, 2**20):
        monkeypatch.setattr(reading, "BLOCK_BYTES", block)
        (tmp_path / "t.csv").write_text(text + "\n".join([text.split("\n")[-2]] * 3))
        found = reading.read(tmp_path / "t.csv")
        assert found.columns == columns


def test_tabs_between_empty_fields_are_no_blank_line(tmp_path):
    (tmp_path / "t.tsv").write_text("a\tb\ty\n1\t2\tu\n\t\t\n \n3\t\tv\n")
    rows = [("1", "2", "u"), (None, None, None), ("3", None, "v")]
    assert reading.read(tmp_path / "t.tsv").rows() == rows


def test_a_separator_that_is_told(tmp_path):
    (tmp_path / "t.csv").write_text("a:b\n1:2\n")
    assert reading.read(tmp_path / "t.csv", ":").rows() == [("1", "2")]
    (tmp_path / "t.csv").write_text("a\tb\n1\t2\n")
    assert reading.read(tmp_path / "t.csv", "tab").rows() == [("1", "2")]
    (tmp_path / "t.csv").write_text("a;b\n1;2\n3\n")
    with pytest.raises(DataError, match="look for a missing or spare semicolon"):
        reading.read(tmp_path / "t.csv")
    for wrong in ("", "::", "a", '"', "é", "\n", 3):
        with pytest.raises(DefinitionError, match="separator is"):
            tables.Recipe(separator=wrong)


def test_a_damaged_gzip_file_is_refused(tmp_path):
    whole = gzip.compress(twenty_rows().write_csv().encode())
    for damaged in (whole[:-20], whole[:40] + b"\0\0" + whole[42:]):
        (tmp_path / "t.csv.gz").write_bytes(damaged)
        with pytest.raises(DataError, match="not a complete gzip file"):
            reading.read(tmp_path / "t.csv.gz")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_holds_csv(monkeypatch, pack):
    stdin = io.TextIOWrapper(io.BytesIO(pack(COMMAS.encode())))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert reading.read("-").rows() == [("1", "2", "u"), ("3", "4", "v")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match="standard input is empty"):
        reading.read("-")


def test_a_model_keeps_the_notation_of_its_table(tmp_path):
    """Else 1.234 would silently be another number in a prediction."""
    settings = tables.Recipe(hidden=(4,), epochs=1, decimal=",", thousands=".")
    words = [f"{r + 1}.{r * 37 % 1000:03}" for r in range(20)]
    done = tables.train(twenty_rows(a=words), "y", settings)
    numbers = twenty_rows(a=[int(word.replace(".", "")) for word in words])
    expected = tables.predict(done.model, numbers)
    assert tables.predict(done.model, twenty_rows(a=words)).equals(expected)
    usual = twenty_rows(a=[f"{n}.0" for n in numbers["a"]])
    assert tables.predict(done.model, usual, decimal=".", thousands="").equals(expected)
    with pytest.raises(DataError, match="which is not a number"):
        tables.predict(done.model, usual)
    with pytest.raises(DefinitionError, match="both ','"):
        tables.stream(done.model, usual, thousands=",")
