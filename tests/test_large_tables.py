"""Tables larger than memory: models as from memory, kept folders, what is left behind."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import commands
import numpy as np
import polars as pl
import pytest

from fastnet import files, load, tables
from fastnet.errors import DataError, DefinitionError, FileAccessError
from fastnet.tables import evaluating, kept
from fastnet.tables.kept import KeptTableFit, convert
from fastnet.tables.large import LargeTableFit, fits, memory_bytes

RECIPE = tables.Recipe(epochs=2, backend="numpy", test=0.1, seed=3, refit=False)


@pytest.fixture(scope="module")
def frame():
    """Numbers with gaps, text, an identifier, a constant, and rows without a target."""
    draw, rows = np.random.default_rng(0), 600
    a, b = draw.standard_normal(rows), draw.integers(0, 50, rows).astype(float)
    city = draw.choice(["Rome", "Paris", "Oslo", "Bern", "Graz"], rows)
    likes = np.where(a + (city == "Rome") + 0.02 * b > 1, "yes", "no")
    gaps = draw.random((3, rows)) < 0.05
    return pl.DataFrame(
        {
            "id": [f"u{row}" for row in range(rows)],
            "a": a,
            "b": pl.Series(b).set(pl.Series(gaps[0]), None),
            "city": pl.Series(city).set(pl.Series(gaps[1]), None),
            "same": [1] * rows,
            "likes": pl.Series(likes).set(pl.Series(gaps[2]), None),
            "price": 3 * a + b,
        }
    )


@pytest.fixture(params=["csv", "parquet"])
def table(request, frame, tmp_path):
    path = tmp_path / f"table.{request.param}"
    frame.write_csv(path) if request.param == "csv" else frame.write_parquet(path)
    return path


def same(found, wanted):
    np.testing.assert_array_equal(found.model.parameters.flat, wanted.model.parameters.flat)
    assert found.table == wanted.table
    assert found.columns == wanted.columns
    assert found.evaluations == wanted.evaluations
    assert (found.without_target, found.remarks) == (wanted.without_target, wanted.remarks)


@pytest.mark.parametrize(
    ("target", "changes"),
    [
        ("likes", {}),
        ("price", {"dtype": "float64", "categories": 2}),
        ("likes", {"categorical": ("b", "id"), "drop": ("price",), "test": 0.0, "validation": 0}),
    ],
)
def test_a_model_from_the_disk_is_bit_for_bit_that_from_memory(table, tmp_path, target, changes):
    recipe = tables.Recipe(
        **{"epochs": 2, "backend": "numpy", "test": 0.1, "refit": False, **changes}
    )
    wanted = tables.train(table, target, recipe)
    phases = []
    with files.scratch_folder(tmp_path / "model") as folder:
        fit = LargeTableFit(
            table, target, recipe, 10**8, folder, lambda phase, done, rows: phases.append(phase)
        )
        same(fit.run(), wanted)
        x, whole = fit.training.x, tables.TableFit(table, target, recipe).training.x
        np.testing.assert_array_equal(x[3:50], whole[3:50])
        np.testing.assert_array_equal(x[5::7], whole[5::7])
    assert list(dict.fromkeys(phases)) == ["reading", "looking at columns", "encoding"]
    assert [one.name for one in tmp_path.iterdir()] == [table.name]


def test_weights_dates_and_groups_come_through_the_disk(frame, tmp_path):
    path, rows = tmp_path / "table.csv", np.arange(frame.height)
    more = {"w": rows % 3, "who": rows // 4, "day": [f"2026-{1 + r % 12:02}-11" for r in rows]}
    frame.with_columns(**{name: pl.Series(given) for name, given in more.items()}).write_csv(path)
    recipe = tables.Recipe(
        epochs=2,
        backend="numpy",
        weights="w",
        group="who",
        date=("day",),
        class_weight="balanced",
        refit=False,
    )
    wanted = tables.train(path, "likes", recipe)
    convert(path, tmp_path / "kept", "likes", recipe)
    same(tables.train(tmp_path / "kept", "likes", recipe), wanted)


def test_a_converted_table_is_trained_on_many_times(table, tmp_path):
    folder = tmp_path / "kept"
    parts = convert(table, folder, "likes", RECIPE)
    assert parts.keys() == {"training", "validation", "test"}
    plain = tables.Recipe(epochs=2, backend="numpy", seed=3, refit=False)
    same(tables.train(folder, "likes", plain), tables.train(table, "likes", RECIPE))
    other = tables.train(folder, "likes", tables.Recipe(epochs=1, hidden=(5,)), memory="200MB")
    assert other.model.network.layers[0].units == 5
    with pytest.raises(DefinitionError, match=r"test is 0\.3, and .* converted with 0\.1"):
        tables.train(folder, "likes", tables.Recipe(test=0.3))
    with pytest.raises(DefinitionError, match="converted for 'likes'"):
        tables.train(folder, "price", plain)
    with pytest.raises(DefinitionError, match="exists already"):
        convert(table, folder, "likes", RECIPE)
    with pytest.raises(DefinitionError, match="its own validation and test rows"):
        tables.train(folder, "likes", plain, test=table)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda folder: os.truncate(folder / "rows-0.floats", 100), DataError),
        (lambda folder: os.remove(folder / "training.y.npy"), DataError),
        (lambda folder: (folder / "table.json").write_text("{"), DataError),
        (lambda folder: (folder / "table.json").write_text("{}"), DataError),
    ],
)
def test_a_damaged_folder_is_one_clear_error(frame, tmp_path, spoil, error):
    convert_from = tmp_path / "table.parquet"
    frame.write_parquet(convert_from)
    folder = tmp_path / "kept"
    convert(convert_from, folder, "likes", RECIPE)
    spoil(folder)
    with pytest.raises(error, match="convert the table again"):
        tables.train(folder, "likes", tables.Recipe(epochs=1))


def test_facts_of_a_folder_that_are_none_or_of_a_newer_format_are_refused(frame, tmp_path):
    path = tmp_path / "table.parquet"
    frame.write_parquet(path)
    convert(path, tmp_path / "kept", "likes", RECIPE)
    facts = json.loads((tmp_path / "kept" / "table.json").read_text())
    for wrong in (
        {"columns": None}, {"columns": [3]}, {"columns": [{}]}, {"columns": [{"inputs": 3}]},
        {"parts": []}, {"parts": {"training": {}}}, {"parts": {"training": [3]}}, {"parts": {}},
        {"parts": {"training": {"file": "rows-0", "rows": None}}}, {"remarks": 3},
        {"settings": 3}, {"settings": {"surprise": 1}},
    ):  # fmt: skip
        (tmp_path / "kept" / "table.json").write_text(json.dumps({**facts, **wrong}))
        with pytest.raises(DataError, match="is incomplete or damaged; convert the table again"):
            KeptTableFit(tmp_path / "kept", None, RECIPE)
    (tmp_path / "kept" / "table.json").unlink()
    with pytest.raises(
        DataError, match=r"none that `fastnet convert` wrote: it has no table\.json"
    ):
        tables.train(tmp_path / "kept", None)
    (tmp_path / "kept" / "table.json").write_text(json.dumps({**facts, "format": 9}))
    with pytest.raises(DataError, match="has format 9"):
        KeptTableFit(tmp_path / "kept", None, RECIPE)


def test_the_command_line_trains_within_memory_and_converts(frame, tmp_path):
    path, model = tmp_path / "table.csv", tmp_path / "m.safetensors"
    frame.write_csv(path)
    common = ["--target", "likes", "--test", "0.1", "--seed", "3"]
    training = ["--epochs", "2", "--backend", "numpy"]
    wanted = tables.train(path, "likes", RECIPE).model.parameters.flat
    arguments = ["train", "-", *common, *training, "-o", model, "--memory", "100MB"]
    command = [sys.executable, "-m", "fastnet", *map(str, arguments)]
    with open(path) as text:  # of which nobody knows the size, so it goes through the folder
        done = subprocess.run(command, stdin=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for phase in ("reading", "looking at columns", "encoding"):
        assert f"{phase} ..." in done.stderr
    np.testing.assert_array_equal(load(model).parameters.flat, wanted)
    code, _, err = commands.run("convert", path, tmp_path / "kept", *common)
    assert code == 0
    assert "validation rows" in err
    again = ["train", tmp_path / "kept", *training, "-o", model]
    said = commands.refuse(*again, "--test", "0", code=2)  # the default, but given
    assert "test is 0.0, and" in said
    assert "was converted with 0.1; leave it out" in said
    code, _, _ = commands.run(*again, "--seed", "3")
    assert code == 0
    np.testing.assert_array_equal(load(model).parameters.flat, wanted)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "kept",
        "m.safetensors",
        "table.csv",
    ]


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom fastnet import files\n"
        "with files.scratch_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'rows').write_bytes(b'1')\n    print(folder, flush=True)\n    time.sleep(99)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "m")], stdout=subprocess.PIPE, text=True
    )
    left = child.stdout.readline().strip()
    with files.scratch_folder(tmp_path / "m"):
        assert os.path.exists(left)  # it is in use
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert os.path.exists(left)
    files.sweep_scratch(tmp_path / "another")
    assert os.path.exists(left)
    with files.scratch_folder(tmp_path / "m") as folder:
        assert [tmp_path / one for one in os.listdir(tmp_path)] == [folder]
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("full", ["reading", "looking at columns", "encoding"])
def test_a_full_disk_leaves_nothing_behind(frame, tmp_path, full):
    path = tmp_path / "table.parquet"
    pl.concat([frame] * 3).write_parquet(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(phase, done, rows):  # from then on no file can be longer
        if phase == full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))

    if full == "reading":
        fill("reading", 0, 0)
    try:
        with pytest.raises(FileAccessError, match=r"cannot write .*File too large.*Make room"):
            convert(path, tmp_path / "kept", "likes", RECIPE, report=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["table.parquet"]


def test_a_table_that_changes_while_it_is_read_is_refused(table, tmp_path):
    def meddle(phase, done, rows):
        os.utime(table, ns=(time.time_ns(), 1))

    with pytest.raises(DataError, match="changed while it was being read"):
        convert(table, tmp_path / "kept", "likes", RECIPE, report=meddle)
    assert os.listdir(tmp_path) == [table.name]


def test_errors_of_a_table_are_those_of_one_in_memory(tmp_path):
    path = tmp_path / "table.csv"
    rows = [f"{row},{row % 2}" for row in range(99)]
    path.write_text("\n".join(["a,y", *rows[:40], "oops,1", *rows[40:]]) + "\n")
    for attempt in (
        lambda: tables.train(path, "y", RECIPE),
        lambda: convert(path, tmp_path / "kept", "y", RECIPE),
    ):
        with pytest.raises(DataError, match="column 'a' holds 'oops' in data row 41"):
            attempt()


def test_more_rows_than_the_memory_allows_are_refused(table, tmp_path):
    with (
        files.scratch_folder(tmp_path / "m") as folder,
        pytest.raises(DataError, match=r"more than 78 rows.*memory="),
    ):
        LargeTableFit(table, "likes", RECIPE, 10_000, folder)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 1.5 * 2**30), (10**8, 10**8)],
)
def test_memory_is_read(given, wanted):
    assert memory_bytes(given) == wanted


@pytest.mark.parametrize("given", ["2", "lots", "-2GB", "99MB", 5, True, "2 G B"])
def test_memory_that_is_none_is_refused(given):
    with pytest.raises(DefinitionError, match="memory is"):
        memory_bytes(given)


def test_rows_on_the_disk_are_judged_block_by_block(table, tmp_path, monkeypatch):
    wanted = tables.train(table, "likes", RECIPE)
    monkeypatch.setattr(evaluating, "_ROWS_FROM_DISK", 64)
    with files.scratch_folder(tmp_path / "model") as folder:
        found = LargeTableFit(table, "likes", RECIPE, 10**8, folder).run()
    assert found.training.metrics == wanted.training.metrics
    assert found.training.loss == pytest.approx(wanted.training.loss, rel=1e-6)
    np.testing.assert_array_equal(found.training.confusion, wanted.training.confusion)
    assert found.importances() == pytest.approx(wanted.importances())


def test_a_table_that_fits_is_trained_on_in_memory(table):
    assert fits(table, 10**8)
    assert not fits(table, table.stat().st_size)
    assert fits({"a": [1]}, 1)
    with kept.fit_of(table, "likes", RECIPE, memory="100MB") as fit:
        assert type(fit) is tables.TableFit
