"""Tables in files: block by block the same as whole, and refused where they are none."""

import csv
import io
import math
import os
import random as plain_random
import sys
import threading
import time
from pathlib import Path

import child
import numpy as np
import polars as pl
import pytest
from frames import twenty_rows, voyage

import fastnet as fn
from fastnet import tables
from fastnet.errors import DataError, FileAccessError
from fastnet.tables import columns, csv_blocks, reading, writing
from fastnet.tables.columns import Place
from fastnet.tables.encoding import Number
from fastnet.tables.notation import Notation

QUICK = tables.Recipe(hidden=(4,), epochs=2)


def read(content, folder):
    """Read a CSV file of this content."""
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return reading.read(path)


def rows_of(text):
    """What Python's own reader finds: names, and rows of stripped text or None."""
    names, *rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    return [n.strip() for n in names], [tuple(f.strip() or None for f in row) for row in rows]


def csv_text(seed, columns, rows=60):
    """A CSV with everything that it may hold; some lines are blank."""
    draw = plain_random.Random(seed)
    fields = [
        "1",
        " x ",
        "",
        "  ",
        '"a, b"',
        '"line\nend"',
        '"say ""hi"""',
        '""',
        "é",
        "-2.5e3",
        '" "',
    ]
    end = draw.choice(["\n", "\r\n"])
    lines = [", ".join("abc"[:columns])]
    for _ in range(rows):
        if draw.random() < 0.2:
            lines.append("")
        lines.append(",".join(draw.choice(fields) for _ in range(columns)))
    return end.join(lines) + draw.choice(["", end, end + end])


@pytest.mark.parametrize("block", [1, 64, 2**20])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_csv_is_read_as_python_reads_it(tmp_path, monkeypatch, seed, columns, block):
    monkeypatch.setattr(reading, "BLOCK_BYTES", block)
    text = csv_text(seed, columns)
    names, rows = rows_of(text)
    found = read(text, tmp_path)
    assert found.columns == names
    assert found.rows() == rows


def test_quotes_byte_mark_and_line_ends(tmp_path):
    found = read('\ufeffa,"b, c",y\r\n1,2,"u, ""v"""\r\n\r\n3,4,w', tmp_path)
    assert found.columns == ["a", "b, c", "y"]
    assert found.rows() == [("1", "2", 'u, "v"'), ("3", "4", "w")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,y\n", "has no rows"),
        ("a,y\n\n\r\n", "has no rows"),
        ("a,a,y\n1,2,u\n", "more than one column 'a'"),
        ("a, a,y\n1,2,u\n", "more than one column 'a'"),
        ("a,,y\n1,2,u\n", "column 2 has no name"),
        ("a,y\r1,u\r2,v\r", "carriage return alone"),
        (
            "a,y\n1,u\n\n2,v,9\n",
            r"data row 2 \(it ends in line 4\) has 3 fields, the header names",
        ),
        ("a,b,y\n1,2,u\n3,v\n", r"data row 2 \(it ends in line 3\) has 2 fields"),
        # As many commas as three whole rows have.
        ("a,b,y\n1,2,u\n3\n4,5,v,,\n", r"data row 2 \(it ends in line 3\) has 1 fields"),
        ("a,b,y\n \n1,2,u\n\t\n3,4,v,\n", r"data row 2 \(it ends in line 5\) has 4 fields"),
        ('a,y\n1,"p\nq"\n3\n', r"data row 2 \(it ends in line 4\) has 1 fields"),
        ('a,y\n1,u\n1,"u\n2,v\n', r"look for an open quote \(perhaps in line 3\)"),
        ('a,y\n1,u\n5" pipe,w\n2,v\n', "open quote"),
        (
            "a,y\n0,u\n1,\u00e9\n".encode("latin-1"),
            "UTF-8 text: data row 2 holds the byte 0xe9",
        ),
        ("\u00e9,y\n0,u\n".encode("latin-1"), "is not UTF-8 text .*header"),
        ("a,y\n1,u\n".encode("utf-16"), "text must be UTF-8"),
        (b"PAR1\x00\x01\x02", "is not text"),
    ],
)
def test_files_that_are_not_csv(tmp_path, monkeypatch, text, message):
    for block in (5, 2**20):  # the place is that in the file, not in the block
        monkeypatch.setattr(reading, "BLOCK_BYTES", block)
        with pytest.raises(DataError, match=message) as error:
            read(text, tmp_path)
        assert "t.csv" in str(error.value)
        assert "\n" not in str(error.value)


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 100)
    monkeypatch.setattr(csv_blocks, "_LONGEST_ROW", 1000)
    with pytest.raises(DataError, match=r"longer than 1,000 bytes.*\(perhaps in line 3\)"):
        read('a,y\n1,u\n1,"u\n' + "2,v\n" * 1000, tmp_path)


def test_sources_that_are_not_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        reading.read(tmp_path / "no.csv")
    (tmp_path / "d.csv").mkdir()
    for folder in (tmp_path / "d.csv", tmp_path):
        with pytest.raises(DataError, match="is a folder"):
            reading.read(folder)
    with pytest.raises(FileAccessError, match="cannot read"):
        reading.read("x" * 300 + ".csv")
    (tmp_path / "t.txt").write_text("a,y\n1,2\n")
    with pytest.raises(DataError, match=r"must end in \.csv or \.parquet"):
        reading.read(tmp_path / "t.txt")
    for other in (3, [[1, 2]], np.zeros((2, 2))):
        with pytest.raises(DataError, match="it must be a path, a Polars frame"):
            reading.read(other)
    with pytest.raises(DataError, match="do not make a table"):
        reading.read({"a": [1, 2], "b": [1, 2, 3]})


def test_csv_may_come_through_a_pipe(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    whole = twenty_rows().write_csv().encode()
    writer = threading.Thread(target=pipe.write_bytes, args=(whole,))
    writer.start()
    found = reading.read(pipe)
    writer.join()
    assert found.height == 20


def test_a_damaged_parquet_file_is_refused_or_read_as_it_was(tmp_path):
    path = tmp_path / "t.parquet"
    frame = twenty_rows()
    frame.write_parquet(path)
    whole = path.read_bytes()
    refused = 0
    draw = plain_random.Random(3)
    for cut in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut] if cut else b"a,y\n1,2\n" * 9)
        with pytest.raises(DataError, match=r"cannot be read as a Parquet file .*write it"):
            reading.read(path)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            reading.read(path)  # Parquet has no digest: what is changed may still be read
        except DataError:
            refused += 1
    assert refused > 20


def test_a_name_with_a_star_is_one_file(tmp_path):
    twenty_rows().write_parquet(tmp_path / "a.parquet")
    path = tmp_path / "[a]*.parquet"
    twenty_rows().head(3).write_parquet(path)
    assert reading.read(path).height == 3


# --- block by block ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """A model of passengers."""
    return tables.train(voyage(), "survived", QUICK).model


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_blocks_predict_what_the_whole_table_predicts(tmp_path, monkeypatch, trained, kind):
    table = voyage(500)
    path = tmp_path / f"t.{kind}"
    getattr(table, f"write_{kind}")(path)
    expected = tables.predict(trained, path)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 999)
    monkeypatch.setattr(reading, "BLOCK_CELLS", 99)
    parts = list(tables.stream(trained, path))
    assert len(parts) > 10
    found = pl.concat(parts)
    assert found.columns == expected.columns
    assert (found["prediction"] == expected["prediction"]).all()
    # A product of fewer rows may sum in another order.
    rows = found["probability"].to_numpy(), expected["probability"].to_numpy()
    np.testing.assert_allclose(*rows, rtol=1e-6)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_errors_in_later_blocks_name_the_row_and_leave_no_file(
    tmp_path, monkeypatch, trained, ending
):
    table = voyage(500).with_columns(pl.col("age").cast(pl.String))
    table[400, "age"] = "forty"
    table.write_csv(tmp_path / "t.csv")
    monkeypatch.setattr(reading, "BLOCK_BYTES", 999)
    out = tmp_path / f"out.{ending}"
    out.write_bytes(b"what was there")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DataError, match="column 'age' holds 'forty' in data row 401"):
        writing.write(tables.stream(trained, tmp_path / "t.csv"), out)
    assert out.read_bytes() == b"what was there"
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_interrupted_writing_leaves_nothing(tmp_path, ending):
    def frames():
        yield twenty_rows()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writing.write(frames(), tmp_path / f"out.{ending}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_is_written_block_by_block_is_read_again(tmp_path, monkeypatch, trained, ending):
    monkeypatch.setattr(reading, "BLOCK_CELLS", 99)
    out = tmp_path / f"out.{ending}"
    writing.write(tables.stream(trained, voyage()), out)
    found = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    expected = tables.predict(trained, voyage())
    assert found.cast({pl.Float64: pl.Float32}).equals(expected)  # CSV has no width
    assert os.listdir(tmp_path) == [out.name]


PEAK = """
import sys
from pathlib import Path
import fastnet as fn
from fastnet import tables
from fastnet.tables import writing
model = fn.load(sys.argv[1], backend="numpy")
writing.write(tables.stream(model, sys.argv[2]), sys.argv[3])
# Not `ru_maxrss`, which begins with what the tests' own process has had.
lines = Path("/proc/self/status").read_text().splitlines()
print(1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1]))
"""


# The readers' own buffers are full after some 30 MB, so that both sizes are beyond.
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak in /proc")
@pytest.mark.parametrize(("kind", "numbers"), [("csv", (4, 16)), ("parquet", (8, 24))])
def test_memory_does_not_grow_with_the_file(tmp_path, kind, numbers):
    width = 20
    noise = fn.random.normal(3, fn.random.DATA, 0, 30_000 * width).reshape(-1, width)
    frame = pl.DataFrame(noise, schema=[f"c{i}" for i in range(width)])
    few = frame.head(200).with_columns(y=pl.Series(["u", "v"] * 100))
    tables.train(few, "y", QUICK).model.save(tmp_path / "m.safetensors")
    sizes, peaks = [], []
    for times in numbers:
        path = tmp_path / f"{times}.{kind}"
        options = {"compression": "uncompressed"} if kind == "parquet" else {}
        getattr(pl.concat([frame] * times), f"write_{kind}")(path, **options)
        sizes.append(path.stat().st_size)
        peak = child.run(
            PEAK, *map(str, (tmp_path / "m.safetensors", path, tmp_path / f"o.{kind}"))
        )
        peaks.append(int(peak))
        path.unlink()
    # Read whole, the process would grow by more than the file does.
    assert peaks[1] - peaks[0] < 0.5 * (sizes[1] - sizes[0])


def test_a_file_of_a_million_columns_is_refused_by_its_header(tmp_path):
    """Before anything is made of its fields."""
    path = tmp_path / "wide.csv"
    line = ",".join(map(str, range(1_000_000)))
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(DataError, match="1,000,000 columns, and a table may have 100,000"):
        reading.read(path)


def test_a_type_that_polars_does_not_have_is_no_damage():
    path = Path(__file__).parent / "files" / "decimal256.parquet"  # written by pyarrow 26
    with pytest.raises(DataError, match=r"precision .* got 60\).*such as decimal256"):
        reading.read(path)


# --- wide tables -------------------------------------------------------------------------------


def test_wide_tables_have_blocks_of_many_rows(tmp_path):
    wide = pl.DataFrame(np.zeros((600, 5000)), schema=[f"c{i}" for i in range(5000)])
    wide.write_parquet(tmp_path / "t.parquet")
    wide.write_csv(tmp_path / "t.csv")
    for name in ("t.parquet", "t.csv"):
        heights = [block.height for block in reading.Reader(tmp_path / name)]
        assert sum(heights) == 600
        assert heights[0] >= 250


def test_the_time_for_a_table_grows_with_its_columns_and_not_with_their_square():
    def seconds(count):
        columns = tuple(Number(f"c{i}", 0.0, 1.0, 0.0) for i in range(count))
        table = tables.Table(columns, "y", "regression")
        frame = pl.DataFrame(np.zeros((2, count)), schema=list(table.names)[::-1])
        times = []
        for _ in range(3):
            start = time.perf_counter()
            table.inputs(frame)
            tables.Table.from_dict(table.to_dict())
            times.append(time.perf_counter() - start)
        return min(times)

    assert seconds(8_000) < 30 * seconds(1_000)  # as their square: 64


def test_columns_are_converted_together_as_they_are_one_by_one():
    words = pl.Series(["1", " 2.5", "NA", None, "true", "1e3"])
    frame = pl.DataFrame(
        {
            "words": words,
            "plain": ["1", "2", None, "4", "-5e-1", "6"],
            "floats": [0.1, math.nan, None, 1e300, -0.0, 5.0],
            "integers": pl.Series([1, None, 3, 2**62, -5, 6]),
            "flags": [True, False, None, True, True, False],
            "decimals": pl.Series([1, 2, None, 4, 5, 6]).cast(pl.Decimal(9, 2)),
            "infinite": [1.0, math.inf, 3.0, 4.0, 5.0, 6.0],
        }
    )
    together = columns.numbers_together(frame)
    assert set(together) == set(frame.columns) - {"words", "infinite"}
    for name, values in together.items():
        np.testing.assert_array_equal(values, columns.numbers(frame[name], Place("t", name)))
    assert columns.numbers_together(frame, Notation(",")).keys() == together.keys() - {"plain"}
