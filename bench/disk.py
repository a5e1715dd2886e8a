"""Training on rows that are larger than memory may hold: speed and peak memory, from files.

    python -m bench.disk --folder /tmp --output bench/results/disk-DATE.json

makes 6 GB of rows in a folder of its own below `--folder`, trains one epoch on them, and removes
them. Each measurement is a process of its own, so that its peak memory is its own:

- `memory`: rows in memory, as many as `--in-memory` says, fully shuffled;
- `cached`: the whole file, which is in the page cache;
- `cold`: the whole file, which is not: the system was told to forget it;
- `disk`: the file read from beginning to end, without training, and not in the page cache either.

`--processes` repeats them in turns and keeps the fastest of each.
"""

import argparse
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastnet as fn
from fastnet.arrays.checks import Array

#: Columns of the rows, and rows that are made at a time.
INPUTS, AT_ONCE = 100, 100_000

#: The networks, by the units of their hidden layers: the smaller one needs rows faster.
NETWORKS = {"100-64-1": (64,), "100-16-1": (16,)}

BATCH = 256


def make(folder: Path, rows: int) -> None:
    """Write inputs and targets; there must be room for them and as much again."""
    needed, free = 2 * rows * (INPUTS + 1) * 4, shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(f"{folder} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} are needed.")
    draw = np.random.default_rng(0)
    weights = draw.standard_normal(INPUTS).astype(np.float32)
    with open(folder / "x", "wb") as x_file, open(folder / "y", "wb") as y_file:
        for start in range(0, rows, AT_ONCE):
            x = draw.standard_normal((min(AT_ONCE, rows - start), INPUTS), np.float32)
            x.tofile(x_file)
            np.tanh(x @ weights / 10).tofile(y_file)
        for file in (x_file, y_file):
            file.flush()
            os.fsync(file.fileno())


def opened(folder: Path) -> tuple[Array, Array]:
    """The files as memory maps."""
    y = np.memmap(folder / "y", np.float32, "r")
    return np.memmap(folder / "x", np.float32, "r", shape=(len(y), INPUTS)), y


def forget(folder: Path) -> None:
    """Tell the system that the files need not stay in the page cache."""
    for name in ("x", "y"):
        file = os.open(folder / name, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def read(folder: Path) -> tuple[int, float]:
    """Read the files from beginning to end; returns bytes and seconds."""
    room, size = memoryview(bytearray(2**22)), 0
    began = time.perf_counter()
    for name in ("x", "y"):
        with open(folder / name, "rb", buffering=0) as file:
            while count := file.readinto(room):
                size += count
    return size, time.perf_counter() - began


def train(folder: Path, network: str, rows: int | None, threads: int, cold: bool) -> dict[str, Any]:
    """One epoch, on the first so many rows in memory, or on all in their files."""
    x, y = opened(folder)
    if rows is not None:
        x, y = np.array(x[:rows]), np.array(y[:rows])
    layers = [fn.Dense(units, "relu") for units in NETWORKS[network]]
    model = fn.Model(fn.Network(INPUTS, [*layers, fn.Dense(1)]), seed=0, threads=threads)
    model.fit(np.array(x[: 4 * BATCH]), np.array(y[: 4 * BATCH]), epochs=1, batch_size=BATCH)
    began = time.perf_counter()
    # The first pass, which checks all rows, brings the file into the page cache: for a cold epoch
    # it is forgotten once more.
    epochs, callbacks = (2, [lambda *_: forget(folder)]) if cold else (1, [])
    history = model.fit(x, y, epochs=epochs, batch_size=BATCH, callbacks=callbacks)
    seconds, epoch = time.perf_counter() - began, history.seconds[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": len(x),
        "steps_per_second": len(x) / BATCH / epoch,
        "bytes_per_second": len(x) * (INPUTS + 1) * 4 / epoch,
        "seconds_before_the_first_step": seconds - sum(history.seconds),
        "seconds_of_the_epoch": epoch,
        "peak_bytes": peak * (1 if sys.platform == "darwin" else 1024),
        "loss": history.loss[-1],
    }


def measure(folder: Path, what: str, options: argparse.Namespace, network: str) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    if what in ("cold", "disk"):
        forget(folder)
    if what == "cached":
        read(folder)
    rows = ["--in-memory", str(options.in_memory)] if what == "memory" else []
    done = subprocess.run(
        [
            *shlex.split(options.under), sys.executable, "-m", "bench.disk", "--part", what,
            "--folder", str(folder), "--network", network, "--threads", str(options.threads), *rows,
        ],
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(network, what, json.dumps(found), file=sys.stderr)
    return found


def part(options: argparse.Namespace) -> None:
    """What a process of its own does."""
    if options.part == "disk":
        size, seconds = read(options.folder)
        print(json.dumps({"bytes": size, "bytes_per_second": size / seconds}))
        return
    rows = options.in_memory if options.part == "memory" else None
    print(
        json.dumps(
            train(options.folder, options.network, rows, options.threads, options.part == "cold")
        )
    )


def main() -> None:
    """Make the rows, measure, remove them."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.disk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    add("--gigabytes", type=float, default=6.0, help="of rows (default 6)")
    add("--in-memory", type=int, default=2_500_000, metavar="ROWS", help="(default 2,500,000)")
    add("--threads", type=int, default=1, help="of each training (default 1)")
    add("--processes", type=int, default=2, help="of each measurement (default 2)")
    add("--under", default="", metavar="COMMAND", help="as in 'taskset -c 0,1'")
    add("--network", choices=NETWORKS, help="only this one")
    add("--output", type=Path, help="the JSON file to write")
    part_of = "do one measurement in this process, as each of them is started"
    add("--part", choices=["memory", "cached", "cold", "disk"], help=part_of)
    options = parser.parse_args()
    if options.part is not None:
        part(options)
        return
    rows = int(options.gigabytes * 1e9 / ((INPUTS + 1) * 4))
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="fastnet-bench-") as name:
        folder = Path(name)
        make(folder, rows)
        found: dict[str, Any] = {}
        for network in [options.network] if options.network else NETWORKS:
            best: dict[str, Any] = {}
            rounds: list[dict[str, float]] = [{} for _ in range(options.processes)]
            for in_turn in rounds:
                for what in ("memory", "cached", "cold", "disk"):
                    one = measure(folder, what, options, network)
                    in_turn[what] = one["bytes_per_second"]
                    if what not in best or one["bytes_per_second"] > best[what]["bytes_per_second"]:
                        best[what] = one
            cached, memory = best["cached"], best["memory"]
            best["cached_to_memory"] = cached["steps_per_second"] / memory["steps_per_second"]
            disk = best["disk"]["bytes_per_second"]
            best["bytes_per_second_by_round"] = rounds
            best["cold_to_disk"] = best["cold"]["bytes_per_second"] / disk
            found[network] = best
    facts = {
        "command": " ".join(["python", "-m", "bench.disk", *sys.argv[1:]]),
        "machine": platform.platform(),
        "versions": {"fastnet": fn.__version__, "numpy": np.__version__},
        "threads": options.threads,
        "batch": BATCH,
        "gigabytes": options.gigabytes,
    }
    text = json.dumps({**facts, **found}, indent=1) + "\n"
    if options.output is not None:
        options.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
