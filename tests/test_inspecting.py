"""What is learned from a table, what is left out, and what is refused."""

import datetime
import math

import numpy as np
import polars as pl
import pytest
from frames import twenty_rows

from fastnet import tables
from fastnet.errors import DataError, DefinitionError, MissingExtra
from fastnet.tables.encoding import Categories, Number
from fastnet.tables.inspecting import inspect_table
from fastnet.tables.notation import Notation


def read(text, tmp_path, target="y", **options):
    """Inspect a CSV file of this text."""
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return inspect_table(path, target, **options)


def use(column, rows=range(20), max_categories=20, impute=True, **options):
    """How a column `a` of twenty rows, some of them to train on, is encoded; and its report."""
    inspected = inspect_table(twenty_rows(a=column), "y", **options)
    table, reports = inspected.fit_encoding(np.array(rows), max_categories, impute)
    return {c.name: c for c in table.columns}.get("a"), {r.name: r for r in reports}["a"]


# --- what is accepted ---------------------------------------------------------------------------


def test_the_target_decides_the_task():
    assert inspect_table(twenty_rows(), "y").task == "classification"
    numbers = twenty_rows(y=np.arange(20) % 2)
    assert inspect_table(numbers, "y").task == "classification"
    assert inspect_table(numbers, "y", "regression").task == "regression"
    assert inspect_table(twenty_rows(y=np.arange(20) / 2), "y").task == "regression"
    whole = twenty_rows(y=(np.arange(20) % 2).astype(float))
    assert inspect_table(whole, "y", "classification").classes == (0, 1)


@pytest.mark.parametrize(("values", "rows"), [(31, 400), (10, 49), (3, 14)])
def test_integers_that_look_like_a_quantity_are_not_made_classes_unasked(values, rows):
    table = pl.DataFrame({"a": np.arange(rows) / 2, "y": np.arange(rows) % values})
    remedies = "task='regression' to .*task='classification' to"
    with pytest.raises(DataError, match=f"{values} different whole numbers in {rows}.*{remedies}"):
        inspect_table(table, "y")
    assert len(inspect_table(table, "y", "classification").classes) == values
    assert inspect_table(table, "y", "regression").classes == ()
    text = table.with_columns(pl.col("y").cast(pl.String))  # as a CSV file holds it
    with pytest.raises(DataError, match="task='regression'"):
        inspect_table(text, "y")


def test_padded_and_signed_numbers_may_be_a_quantity_too():
    for form in ("05", "+"):
        table = pl.DataFrame({"y": [f"{r % 31:{form}}" for r in range(400)], "a": range(400)})
        with pytest.raises(DataError, match="31 different whole numbers in 400 rows"):
            inspect_table(table, "y")
        assert inspect_table(table, "y", "regression").y[:3].tolist() == [0, 1, 2]
        assert inspect_table(table, "y", "classification").classes[1] == f"{1:{form}}"
        kind = table.with_columns(pl.col("y").cast(pl.Categorical))
        assert len(inspect_table(kind, "y").classes) == 31


@pytest.mark.parametrize(("values", "rows"), [(30, 400), (10, 50), (2, 4)])
def test_few_integers_are_classes(values, rows):
    table = pl.DataFrame({"a": np.arange(rows) / 2, "y": np.arange(rows) % values})
    assert len(inspect_table(table, "y").classes) == values


def test_few_whole_floats_are_remarked_and_decimals_of_scale_0_are_integers():
    floats = (np.arange(20) % 2).astype(float)
    for target in (floats, ["0.0", "1.0"] * 10):
        found = inspect_table(twenty_rows(y=target), "y")
        assert found.task == "regression"
        assert "add task='classification'" in found.remarks[0]
    assert inspect_table(twenty_rows(y=floats + 0.5), "y").remarks == ()
    assert inspect_table(twenty_rows(y=np.arange(20.0)), "y").remarks == ()
    for scale, classes in ((0, (0, 1)), (1, ())):
        decimals = pl.Series(floats).cast(pl.Decimal(10, scale))
        assert inspect_table(twenty_rows(y=decimals), "y").classes == classes


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["02", "01"], ("01", "02")),
        (["01", "1"], ("01", "1")),
        (["+1", "-1"], ("+1", "-1")),
        (["0", "-0"], ("-0", "0")),
        (["TRUE", "FALSE"], ("FALSE", "TRUE")),
        (["True", "False"], ("False", "True")),
        (["true", "false"], (False, True)),
        (["True", "TRUE", "false"], (False, True)),  # one class, however it is written
        (["1", "-2"], (-2, 1)),
    ],
)
def test_labels_keep_their_spelling(labels, classes):
    target = (labels * 20)[:20]
    for task in (None, "classification"):
        assert inspect_table(twenty_rows(y=target), "y", task).classes == classes
    text = inspect_table(twenty_rows(y=target), "y", categorical=["y"])
    assert text.classes == tuple(sorted(set(labels)))


@pytest.mark.parametrize("labels", [["00", "01"], ["1.0", "1.10"], ["1", "2"], ["true", "false"]])
def test_categories_of_a_target_are_text(labels):
    for kind in (pl.Categorical, pl.Enum(labels)):
        found = inspect_table(twenty_rows(y=pl.Series(labels * 10).cast(kind)), "y")
        assert found.classes == tuple(sorted(labels))


def test_numbers_are_classes_as_they_are_spelled_on_request(tmp_path):
    kinds = ["250.00", "1.10"], ["1:10", "02:01"], ["2020-01", "2020-02"], ["$5", "26%"]
    for labels in (*kinds, [f"{10**20}", f"{10**21}"]):
        found = inspect_table(twenty_rows(y=labels * 10), "y", "classification")
        assert found.classes == tuple(sorted(labels))
    done = tables.train(
        twenty_rows(y=["1.10", "01"] * 10), "y", tables.Recipe(epochs=1, categorical=("y",))
    )
    assert set(tables.predict(done.model, twenty_rows())["prediction"]) <= {"1.10", "01"}
    assert inspect_table(twenty_rows(y=["01", "02"] * 10), "y", "regression").y[:2].tolist() == [
        1,
        2,
    ]
    with pytest.raises(DefinitionError, match="leave out task='regression'"):
        inspect_table(twenty_rows(), "y", "regression", categorical=["y"])


def test_kinds_of_text_that_are_classes():
    labels = twenty_rows()["y"]
    for kind in (pl.Categorical, pl.Enum(["yes", "no"])):
        found = inspect_table(twenty_rows(y=labels.cast(kind)), "y")
        assert found.classes == ("no", "yes")
        assert found.y.tolist() == [0, 1] * 10


def test_columns_that_are_numbers(tmp_path):
    text = "flag, n ,x,y\ntrue,1,1e3,u\nFalse, 2,-.5,v\nTRUE,+3,7,u\n\n\n"
    found = read(text, tmp_path)
    assert list(found.values) == ["flag", "n", "x"]
    values = np.stack(list(found.values.values()), axis=1)
    np.testing.assert_array_equal(values, [[1, 1, 1000], [0, 2, -0.5], [1, 3, 7]])
    np.testing.assert_array_equal(found.y, [0, 1, 0])


def test_words_for_a_missing_number(tmp_path):
    words = ["", "NA", "n/a", "#N/A", "NULL", "None", "nan", "?", "-", ".", "  "]
    rows = "".join(f"{word},3,v\n" for word in words)
    among_numbers = read(f"a,b,y\n1,2,u\n{rows}", tmp_path).values["a"]
    np.testing.assert_array_equal(among_numbers, [1, *[math.nan] * len(words)])
    among_text = read(f"a,b,y\nred,2,u\n{rows}", tmp_path).values["a"].to_list()
    assert among_text == ["red", *(word.strip() or None for word in words)]


def test_rows_without_a_target_are_left_out_and_counted(tmp_path):
    for text, classes, y in (
        ("a,y\n1,u\n2,\n3,v\n4,\n", ("u", "v"), [0, 1]),
        ("a,y\n1,7\n2,NA\n3,5\n4,?\n", (5, 7), [1, 0]),
        ("a,y\n1,2.5\n2,nan\n3,0\n4,\n", (), [2.5, 0]),
        ("a,y\n1,true\n2,\n3,false\n4,\n", (False, True), [1, 0]),
    ):
        found = read(text, tmp_path)
        assert (found.classes, found.without_target) == (classes, 2)
        assert found.y.tolist() == y
        assert found.values["a"].tolist() == [1, 3]
    # Of text an empty field alone is missing: none is a class like any other.
    assert read("a,y\n1,none\n2,\n3,mild\n", tmp_path).classes == ("mild", "none")
    floats = twenty_rows(y=[math.nan, None, *range(18)])
    assert inspect_table(floats, "y").without_target == 2


def test_parquet_and_csv_are_the_same_table(tmp_path):
    frame = twenty_rows(c=["x", None] * 10, d=[None, 1.5, 2.5, math.nan] * 5)
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    quick = tables.Recipe(hidden=(4,), epochs=2)
    one = tables.train(tmp_path / "t.csv", "y", quick).model
    two = tables.train(tmp_path / "t.parquet", "y", quick).model
    np.testing.assert_array_equal(one.parameters.flat, two.parameters.flat)
    assert one.table == two.table


# --- how columns are used ----------------------------------------------------------------------


def test_the_encoding_is_learned_from_the_training_rows_only():
    values = [1.0, 2.0, 4.0, math.nan, *[1e6] * 16]
    number, _ = use(values, rows=range(4))
    assert number == Number("a", 2.25, number.scale, fill=2.0, indicator=True)
    assert number.scale == pytest.approx(np.std([1, 2, 4, 2]))
    texts = ["x", "x", "w", "x", *["z"] * 16]
    assert use(texts, rows=range(4))[0] == Categories("a", ("x", "w"))


def test_the_most_frequent_texts_are_categories():
    texts = ["c"] * 5 + ["b"] * 5 + ["d"] * 7 + ["a"] * 2 + [None]
    found, message = use(texts, max_categories=3)
    assert found == Categories("a", ("d", "b", "c"), other=True, missing="category")
    assert message.inputs == ("a=d", "a=b", "a=c", "a=other", "a=missing")
    assert message.missing == 1
    assert "rest as other" in message.remark
    assert not use(texts, max_categories=4)[0].other


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ([7.0] * 20, "7 in every training row"),
        (["k"] * 20, "'k' in every training row"),
        ([None] * 20, "no values"),
        ([math.nan] * 20, "no values"),
        (["", " "] * 10, "no values"),
        ([None] * 19 + [1.0], "no values in the training rows"),
        ([f"name {i}" for i in range(20)], "text, 16 different in 16 rows"),
        (["k"] * 16 + ["m"] * 4, "'k' in every training row"),
    ],
)
def test_columns_without_information_are_left_out(column, why):
    found, message = use(column, rows=range(16))
    assert found is None
    assert message.kind == "left out"
    assert why in message.remark


def test_identifiers_are_left_out_unless_they_are_asked_for():
    half = [f"k{i % 10}" for i in range(20)]
    assert use(half)[0].kind == "categories"
    more = [f"k{i % 11}" for i in range(20)]
    assert use(more)[0] is None
    assert len(use(more, categorical=["a"])[0].values) == 11


def test_columns_are_left_out_on_request():
    found, message = use(list(range(20)), drop=["a"])
    assert (found, message.remark, message.missing) == (None, "on request", None)
    dates = [datetime.date(2020, 1, 1)] * 20
    assert use(dates, drop=["a"])[0] is None


def test_numbers_are_treated_as_categories_on_request(tmp_path):
    assert use([3, 1, 3, 2] * 5, categorical=["a"])[0].values == ("3", "1", "2")
    assert use([3.0, None] * 10, categorical=["a"])[0].values == ("3",)
    text = "zip,y\n01,u\n1,v\n01,u\n1,v\n"
    found, _ = read(text, tmp_path, categorical=["zip"]).fit_encoding(np.arange(4), 20, True)
    assert found.columns[0].values == ("01", "1")


def test_a_row_number_is_remarked():
    assert "a row number?" in use(list(range(5, 25)))[1].remark
    assert "a row number?" in use([*range(19), 30])[1].remark
    shuffled = [int(r * 7 % 20) for r in range(20)]
    assert "a row number?" in use(shuffled)[1].remark
    assert "a row number?" in use([None, *shuffled[1:]])[1].remark
    assert use([*range(19), 18])[1].remark == ""
    assert use([r + 0.5 for r in range(20)])[1].remark == ""
    found = inspect_table(twenty_rows(a=shuffled), "y")
    assert "'a': whole numbers, all different" in found.remarks[0]


def test_codes_that_look_like_numbers_are_remarked(tmp_path):
    """A 0 in front says that it is none, but not that of 0.5."""
    text = "zip,share,y\n01234,0.5,u\n8001,0,v\n10001,0.7,u\n8002,-0.1,v\n"
    told = read(text, tmp_path).fit_encoding(np.arange(4), 20, True)[1]
    assert [one.remark for one in told] == ["codes such as 01? if so, categorical=['zip']", ""]


def test_a_table_with_another_separator_is_recognized_in_files_alone(tmp_path):
    hint = r"it has one column: .*\(separator=\.\.\.\)\.$"
    with pytest.raises(DataError, match=rf"'a~y'; {hint}"):
        read("a~y\n1~2\n3~4\n", tmp_path)
    model = tables.train(twenty_rows(y=[0.5, 1.0] * 10), "y", tables.Recipe(epochs=1)).model
    text, stored = tmp_path / "t.csv", tmp_path / "t.parquet"
    twenty_rows().select(pl.lit("1").alias("a~b")).write_csv(text)
    with pytest.raises(DataError, match=rf"leave it out; {hint}"):
        tables.predict(model, text)
    pl.read_csv(text).write_parquet(stored)
    with pytest.raises(DataError, match=r"'a~b': leave it out\.$"):
        tables.predict(model, stored)


def test_requests_that_cannot_be_met():
    with pytest.raises(DataError, match=r"no column 'nmae' to leave out; did you mean 'name'\?"):
        inspect_table(twenty_rows(name=1), "y", drop=["nmae"])
    with pytest.raises(DataError, match=r"no column 'y' to be the target.*Its columns: 'a:y'\.$"):
        inspect_table({"a:y": ["1:2", "3:4"]}, "y")
    with pytest.raises(DataError, match="no column 'c' to treat as categories"):
        inspect_table(twenty_rows(), "y", categorical=["c"])
    with pytest.raises(DefinitionError, match="drop names the target 'y'"):
        inspect_table(twenty_rows(), "y", drop=["y"])
    with pytest.raises(DataError, match="no column but the target"):
        inspect_table(twenty_rows(), "y", drop=["a", "b"])
    with pytest.raises(DataError, match=r"no usable column.*'a' is left out: 1 in every"):
        inspect_table(twenty_rows(a=1, b=2), "y").fit_encoding(np.arange(20), 20, True)


@pytest.mark.parametrize(
    ("key", "names"), [("drop", "id"), ("drop", 3), ("categorical", (1,)), ("categorical", None)]
)
def test_columns_are_named_in_a_tuple(key, names):
    with pytest.raises(DefinitionError, match=f"{key} is "):
        tables.Recipe(**{key: names})


def test_missing_values_are_refused_on_request():
    for column in ([1.0, None] * 10, ["x", None] * 10, [1.0, math.nan] * 10):
        with pytest.raises(
            DataError, match=r"'a' has no value in data row 2 \(10 rows have none\)"
        ):
            use(column, impute=False)
    whole = use([1.0, 2.0] * 10, impute=False)[0]
    assert (whole.fill, whole.indicator) == (None, False)
    assert use(["u", "v"] * 10, impute=False)[0].missing == "error"
    with pytest.raises(DataError, match="the target 'y' has no value in data row 3"):
        inspect_table(twenty_rows(y=["u", "v", None, *["w"] * 17]), "y", missing="error")
    # What is not used may have gaps.
    assert use([None] * 20, impute=False)[0] is None


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y\n1\n2\n", "no column but the target"),
        ("a,z\n1,2\n", "has no column 'y'"),
        ("a,y\n1,\n2,\n", "the target 'y' has no values at all"),
        (
            "a,y\n" + "1,u\n" * 9 + "foo,v\n",
            "'foo' in data row 10, and numbers in 9 others.*drop=\\['a'\\]",
        ),
        (
            "my a,y\n" + "1,u\n" * 18 + "foo,v\nbar,v\n",
            "'foo' in data row 19 and no number in 1 more, and.*drop=\\['my a'\\]",
        ),
        ("a,y\n" + "1,1.5\n" * 9 + "1,foo\n", "target 'y' holds 'foo' in data row 10, and numbers"),
        ("a,y\n2020-01-01,u\n2020-01-02,v\n", r"dates or times \('2020-01-01' in data row 1\)"),
        ("a,y\n1/2/20,u\n,v\n31.12.1999 23:59,u\n", "dates or times"),
        ("a,y\n2020-01-01T10:00:00Z,u\n2020-01-01 10:00:00.5+02:00,v\n", "dates or times"),
        ("a,y\n3 Jan 2020,u\nMarch 4 2021,v\n", "dates or times"),
        ("a,y\n12:30,u\n9:15 pm,v\n", "dates or times"),
        ("a,y\n2020-01,u\n1999-12,v\n", "dates or times"),
        ("a,y\n1,2020-01-01\n2,2020-01-02\n", "target 'y' holds dates"),
        ("a,y\n1:10,u\n2:10,v\n", "codes or ratios, add categorical=\\['a'\\]"),
        ("a,y\n1,02:01\n2,03:01\n", "codes or ratios, add task='classification'"),
        ("a,y\n1,u\n-inf,v\n", "column 'a' holds -inf in data row 2"),
        ("a,y\n1,u\n1e999,v\n", "column 'a' holds inf in data row 2"),
        ("a,y\n1,1.5\n2,inf\n", "target 'y' holds inf in data row 2"),
        ("a,y\n1,u\n99999999999999999999,v\n", "99999999999999999999 in data row 2, an integer"),
        ("a,y\n1,u\n2,u\n", "the target 'y' is 'u' in every row"),
        ("a,y\n1,2.5\n2,2.5\n", "the target 'y' is 2.5 in every row"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        read(text, tmp_path)
    assert "t.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["3-4", "1.2.3", "12-345", "10:1", "2020", "1999-13", "A1/B2", "may", "5 marches"]
)
def test_text_that_is_not_a_date(tmp_path, text):
    found = read(f"a,y\n{text},u\nx,v\nx,u\n{text},v\n", tmp_path)
    assert found.values["a"].to_list() == [text, "x", "x", text]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([datetime.date(2020, 1, 1)] * 20, r"dates or times \(Date\).*drop=\['a'\]"),
        ([datetime.timedelta(1)] * 20, "lengths of time"),
        ([[1, 2]] * 20, "it must hold numbers or text"),
        ([{"k": 1}] * 20, "it must hold numbers or text"),
        ([b"1"] * 20, "it must hold numbers or text"),
        ([1e300, -1e300] * 10, "too large for a standard deviation"),
        ([math.inf] * 20, "holds inf in data row 1"),
    ],
)
def test_columns_that_are_refused(column, message):
    with pytest.raises(DataError, match=message) as error:
        use(column)
    assert "'a'" in str(error.value)


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        ([datetime.date(2020, 1, d + 1) for d in range(20)], None, "dates or times.*convert it"),
        ([[1]] * 20, None, "it must hold numbers or text"),
        (["u", "v"] * 10, "regression", "holds text"),
        (np.arange(20) + 0.5, "classification", "is 0.5 in data row 1"),
        ([None, *(np.arange(19) + 0.5)], "classification", "is 0.5 in data row 2"),
        (pl.Series([2**64, 1] * 10, dtype=pl.Int128), None, "beyond 64 bits"),
        ([None] * 20, None, "no values at all"),
    ],
)
def test_targets_that_are_refused(target, task, message):
    with pytest.raises(DataError, match=message):
        inspect_table(twenty_rows(y=target), "y", task)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["12.5", "1,234.50"], "'1,234.50' in data row 2.*add thousands=','"),
        (["1,234", "5,678"], "add thousands=',' .or decimal=','"),
        (["2,50", "3,75"], "add decimal=','"),
        (["1.234,5", "7"], "add decimal=',' thousands='.'"),
        (["1.234.567", "7"], "add decimal=',' thousands='.'"),
        (["1 234,5", "1\u00a0000"], "add decimal=',' thousands=' '"),
        (["1'234", "2'000.5"], 'add thousands="\'"'),
        (["26%", "5%"], "strip '%'"),
        (["$6.41", "US$1,200.00"], "strip '\\$' and add thousands="),
        (["1", "<1.0"], "'<1.0' in data row 2.*strip '<'"),
        (["(5.5)", "1"], r"write -1 for \(1\)"),
        (["\u22125", "1"], "write - for \u2212"),
    ],
)
def test_numbers_as_people_write_them_are_recognized(words, remedy):
    """And the two remedies of a target do not point at each other."""
    with pytest.raises(DataError, match=f"column 'a' holds .*{remedy}.*categorical=\\['a'\\]"):
        inspect_table(twenty_rows(a=words * 10), "y")
    for task in (None, "regression"):
        with pytest.raises(DataError, match=f"target 'y' holds .*{remedy}"):
            inspect_table(twenty_rows(y=words * 10), "y", task)
    assert inspect_table(twenty_rows(y=words * 10), "y", "classification").classes
    assert inspect_table(twenty_rows(a=words * 10), "y", categorical=["a"]).values["a"].len() == 20


@pytest.mark.parametrize(
    "words", [["<5", ">5"], ["3+", "2"], ["S", "5%"], ["1.2.3.4", "5.6.7.8"], ["12-34", "5"]]
)
def test_text_that_is_no_number(words):
    assert inspect_table(twenty_rows(a=words * 10), "y").values["a"].to_list() == words * 10


@pytest.mark.parametrize(
    ("decimal", "thousands", "words"),
    [
        (",", ".", ["1.234,5", "-2.000", "12", ",5", " 1e3 "]),
        (",", "", ["1234,5", "-2000", "12", "0,5", "1000"]),
        (".", ",", ["1,234.5", "-2,000", "12", ".5", "1,000"]),
        (",", " ", ["1 234,5", "-2\u202f000", "12", "0,5", "1\u00a0000"]),
        (".", "'", ["1'234.5", "-2'000", "12", "0.5", "1'000"]),
    ],
)
def test_numbers_in_another_notation(decimal, thousands, words):
    expected = [1234.5, -2000, 12, 0.5, 1000] * 4
    notation = Notation(decimal, thousands)
    found = inspect_table(twenty_rows(a=words * 4), "y", notation=notation)
    assert found.values["a"].tolist() == expected
    goal = inspect_table(twenty_rows(y=words * 4), "y", notation=notation)
    assert goal.y.tolist() == expected


@pytest.mark.parametrize(
    ("decimal", "thousands", "word"),
    [(",", "", "2.5"), (",", ".", "2.5"), (".", ",", "2,5"), (".", ",", "1,2345"), (",", ".", ".")],
)
def test_a_number_in_the_other_notation_is_not_guessed(decimal, thousands, word):
    column = pl.Series([word])
    assert Notation(decimal, thousands).to_usual(column).cast(pl.Float64, strict=False)[0] is None


@pytest.mark.parametrize(
    ("decimal", "thousands"), [("", ""), ("1", ""), (",", ","), (".", "e"), ("..", ""), (" ", "")]
)
def test_notations_that_are_none(decimal, thousands):
    with pytest.raises(DefinitionError, match=r"decimal|thousands"):
        tables.Recipe(decimal=decimal, thousands=thousands)


def test_an_unknown_task_is_refused():
    with pytest.raises(DefinitionError, match="did you mean 'regression'"):
        inspect_table(twenty_rows(), "y", "regresion")


def test_without_polars_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(MissingExtra, match='pip install "polars>='):
        inspect_table("t.csv", "y")
