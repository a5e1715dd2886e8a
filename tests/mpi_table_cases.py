"""What several ranks owe that train on one table, as in `mpi_cases.py`."""

import gzip
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from compare import assert_near, assert_same_bits
from mpi_ranks import everyone_has, raised

import fastnet as fn
from fastnet import tables
from fastnet.tables import folding, large, sharing
from fastnet.tables.kept import fit_of


def fit_on_disk(path, recipe, folder, world):
    """A training within so little memory that the table is read into scratch folders."""
    beside = folder / str(world.rank) / "model"
    beside.parent.mkdir()
    kept, large._GROWTH[".csv"] = large._GROWTH[".csv"], 10**9
    shared = {"among": sharing.shared_by(world), "beside": beside}
    with fit_of(path, "y", recipe, memory="100MB", **shared) as fit:
        assert isinstance(fit, large.LargeTableFit)
        found = fit.run()
    large._GROWTH[".csv"] = kept
    return found


def case_a_table_is_read_in_parts_and_encoded_as_by_one_process(world):
    """Each rank reads its part; the encoding, the rows and the errors are those of one process."""
    draw, rows = np.random.default_rng(3), 203
    words = ["up", 'down, "far"', "two\nlines", "", "rare"]
    kinds = draw.choice(len(words), rows, p=[0.4, 0.3, 0.2, 0.08, 0.02])
    numbers = np.round(draw.standard_normal(rows), 3)
    frame = pl.DataFrame({
        "number": [None if draw.random() < 0.05 else float(one) for one in numbers],
        "word": [words[one] for one in kinds],
        "day": [f"2026-{1 + one % 12:02}-{1 + one % 28:02}" for one in range(rows)],
        "weight": draw.integers(0, 3, rows),
        "y": [None if draw.random() < 0.05 else one for one in numbers + kinds],
    })  # fmt: skip
    folder = Path(world.bcast(tempfile.mkdtemp() if world.rank == 0 else None))
    text = frame.write_csv().replace("\n2", "\n\n2").encode()
    paths = [folder / name for name in ("t.csv", "t.csv.gz", "t.parquet")]
    if world.rank == 0:
        paths[0].write_bytes(text)
        paths[1].write_bytes(gzip.compress(text))
        frame.write_parquet(paths[2], row_group_size=40)
    world.Barrier()
    recipe = tables.Recipe(
        hidden=(8,), epochs=2, date=("day",), weights="weight", test=0.1, backend="numpy",
        dtype="float64", batch_size=64, refit=False,
    )  # fmt: skip
    wanted = tables.train(frame, "y", recipe)
    # More than two ranks show that parts in the middle are read right.
    for source in (*paths, frame) if world.size == 2 else paths[:1]:
        joined = world if source is not frame else fn.Distributed(world, average_every=2)
        found = tables.train(source, "y", recipe, communicator=joined)
        everyone_has(world, found.model.parameters.flat)
        schema = [replace(one.table, training=None) for one in (found, wanted)]
        assert schema[0] == schema[1], source
        assert found.columns == wanted.columns
        assert found.without_target == wanted.without_target
        for part, one in wanted.evaluations.items():
            assert found.evaluations[part].rows == one.rows
            assert_near(sorted(found.evaluations[part].targets), sorted(one.targets), 0)
        # The rows that it was judged on are those: by the same model, they give the same numbers.
        judged = tables.evaluate(found.model, frame)
        parts = found.evaluations.values()
        mass = [part.weight.sum() for part in parts]
        mean = np.average([part.metrics["mae"] for part in parts], weights=mass)
        assert_near(mean, judged.metrics["mae"], 1e-12)
        everyone_has(world, list(found.test.metrics.values()))
    # Of the file each rank has read a part, in whole rows, and none has read another's.
    shared = sharing.shared_by(world)
    for source in paths:
        part = shared.read(source, None, lambda reader: reader.whole())
        heights = world.allgather(part.height)
        assert sum(heights) == rows
        if source != paths[1]:  # which is one block
            assert max(heights) < 1.5 * min(heights)
        assert pl.concat(world.allgather(part))["word"].to_list() == [
            one or (None if source != paths[2] else "") for one in frame["word"]
        ]
    short = folder / "short.csv"
    for content, message in (
        (
            b"a,y\n" + b"1,2\n" * 90 + b"1\n" + b"3,4\n" * 9,
            "data row 91 .it ends in line 92. has 1",
        ),
        (b"a,y\n" + b"1,2\n" * 90 + b"\xff,1\n", "not UTF-8 text: data row 91"),
        (b"a,y\n" + b"1,2\n" * 90 + b'"1,1\n', "open quote"),
        (b"a,y\n", "has no rows"),
        (b"", "is empty"),
    ):
        world.Barrier()
        if world.rank == 0:
            short.write_bytes(content)
        world.Barrier()
        told = raised(
            world, fn.DataError, lambda: tables.train(short, "y", recipe, communicator=world)
        )
        assert re.search(message, told), told
    # Fewer rows than ranks, of which one has no target: an error, and not a hang.
    few = {"a": [1.0, 2.0], "y": [1.0, 2.0]}
    raised(world, fn.DataError, lambda: tables.train(few, "y", recipe, communicator=world))
    if world.size > 2:
        return
    # The same from scratch folders, where each rank has the rows that it has read encoded.
    from_disk = fit_on_disk(paths[0], recipe, folder, world)
    assert_same_bits(
        from_disk.model.parameters.flat,
        tables.train(paths[0], "y", recipe, communicator=world).model.parameters.flat,
    )
    assert os.listdir(folder / str(world.rank)) == []
    recipe = replace(recipe, refit=True)
    wanted = tables.train(frame, "y", recipe)
    losses, folded = folding._losses, []
    folding._losses = lambda *given: folded.append(given) or losses(*given)
    found = tables.train(paths[0], "y", recipe, communicator=world)
    folding._losses = losses
    assert bool(folded) == (world.rank == 0)  # what it finds all choose by
    everyone_has(world, found.model.parameters.flat)
    assert found.columns == wanted.columns
    assert found.table.columns == wanted.table.columns  # learned from all rows but those for tests
    everyone_has(world, list(found.test.metrics.values()))
