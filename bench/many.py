"""Many networks at once, beside one after the other and beside JAX's `vmap`.

All of a workload is timed in turns in one process, in rounds; ratios are of the least times, which
a busy machine disturbs least. Beside the clock's stands the processor's time, of all threads
together: where other processes have the processors too, only that can be compared. "fit" is a whole
call of `Population.fit`. "a step" is what a step more costs, by the times of a short run and of a
longer one (`Program.train_many`, JAX's loop), so that what a run begins and ends with does not
count. JAX's function is compiled beforehand. "search" is scikit-learn's `RandomizedSearchCV` over
its MLP in processes, and `PopulationSearchCV` over ours in threads: the same candidates, folds and
rows, float32, each searched once; "products" is how often the fits multiply and add.

    python -m bench.many --output bench/results/many-DATE.json
"""

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastnet as fn
from bench import contestants, processor
from bench.workloads import NAMED, TAB
from fastnet.benchmark import Workload
from fastnet.contract.program import Data, Inputs, Run, State

XOR = NAMED["xor"]

#: How many networks, how long they are trained, and on how much: as long as takes a moment.
TINY, TINY_STEPS, TINY_EPOCHS = 1_024, (500, 5_500), 20_000
SMALL, SMALL_BATCHES, SMALL_EPOCHS = 64, 8, 4
SHORT, SHORT_ROWS, SHORT_BATCH = 200, 1_024, 32


def population(work: Workload, members: int, threads: int) -> fn.Population:
    """Networks of a workload, each with another start."""
    dense = [layer for layer in work.network.layers if isinstance(layer, fn.Dense)]
    layers = [fn.Dense(layer.units, layer.activation) for layer in dense]
    network = fn.Network(work.network.inputs, layers, work.network.loss)
    return fn.Population(network, members=members, seed=1, threads=threads, dtype=work.dtype)


def least(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """The least seconds of each, run in turns: by the clock, and of the processor."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # compiles
    for _ in range(rounds):
        for name, call in calls.items():
            began, worked = time.perf_counter(), time.process_time()
            call()
            worked = time.process_time() - worked
            found[name].append((time.perf_counter() - began, worked))
    return {
        measure: {name: min(one[place] for one in times) for name, times in found.items()}
        for place, measure in enumerate(("clock", "processor"))
    }


def run_alone(some: fn.Population, x: Any, y: Any, steps: int, batch: int, rate: float) -> Any:
    """A function that does the steps alone, without all that a fit is beside them."""
    program, rule = some.program, fn.SGD(rate)
    data = program.upload(Data(Inputs(x), y))
    memory = np.zeros((0, some.parameters.shape[1]), some.dtype)
    states = [State(flat.copy(), memory) for flat in some.parameters]
    runs = [Run(0, steps, batch, None, rule, rate)] * len(some)
    return lambda: program.train_many(states, [data] * len(some), runs)


def check(work: Workload, some: fn.Population, x: Any, y: Any, steps: int) -> None:
    """Make sure that JAX's networks end where ours do, after so many steps."""
    rule = work.optimizer
    wanted = np.concatenate(
        [np.asarray(a).reshape(len(some), -1) for a in jax_leaves(work, some, x, y, steps)], axis=1
    )
    other = some.take(range(len(some)))
    data = other.program.upload(Data(Inputs(x), y))
    states = [State(flat, rule.memory(flat.size, flat.dtype)) for flat in other.parameters]
    runs = [Run(0, steps, work.batch, None, rule, float(rule.learning_rate))] * len(some)
    other.program.train_many(states, [data] * len(some), runs)
    apart = np.linalg.norm(other.parameters - wanted) / np.linalg.norm(wanted)
    assert apart < 1e-4, f"JAX's networks are {apart:.2g} of their norm away from ours"


def jax_leaves(work: Workload, some: fn.Population, x: Any, y: Any, steps: int) -> list[Any]:
    """JAX's parameters after so many steps, each weight before its bias."""
    return [part for layer in vmapped(work, some, x, y, steps)() for part in layer]


def vmapped(work: Workload, some: fn.Population, x: Any, y: Any, steps: int) -> Any:
    """JAX: `vmap` of a step, all steps in one compiled loop, on the batches in their order."""
    import jax
    import jax.numpy as jnp

    activations = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "identity": lambda z: z}
    names = work.activations
    layers = []
    model = some[0].parameters
    for n in range(len(names)):
        pieces = []
        for part in ("weight", "bias"):
            shape = model[f"{n}.{part}"].shape
            stacked = [member.parameters[f"{n}.{part}"].reshape(shape) for member in some]
            pieces.append(jnp.asarray(np.stack(stacked)))
        layers.append(tuple(pieces))
    batches = -(-len(x) // work.batch)
    xs = jnp.asarray(x.reshape(batches, -1, x.shape[1]))
    ys = jnp.asarray(y.reshape(batches, -1, y.shape[1]))
    rate = float(work.optimizer.learning_rate)

    def loss(layers: Any, x: Any, y: Any) -> Any:
        for (w, b), name in zip(layers, names, strict=True):
            x = activations[name](x @ w + b)
        return ((x - y) ** 2).mean()

    def step(layers: Any, x: Any, y: Any) -> Any:
        gradient = jax.grad(loss)(layers, x, y)
        return jax.tree.map(lambda p, g: p - rate * g, layers, gradient)

    def train(layers: Any, xs: Any, ys: Any) -> Any:
        def one(n: Any, layers: Any) -> Any:
            return jax.vmap(step, (0, None, None))(layers, xs[n % batches], ys[n % batches])

        return jax.lax.fori_loop(0, steps, one, layers)

    compiled = jax.jit(train)
    return lambda: jax.block_until_ready(compiled(layers, xs, ys))


def tiny(threads: int, rounds: int) -> dict[str, Any]:
    """Many networks of XOR, all rows in a batch."""
    x, y = XOR.data()
    some = population(XOR, TINY, threads)
    rate = float(XOR.optimizer.learning_rate)
    options: dict[str, Any] = {"optimizer": fn.SGD(rate), "batch_size": None}
    calls = {f"{steps}": run_alone(some, x, y, steps, 4, rate) for steps in TINY_STEPS}
    calls["fit"] = lambda: some.fit(x, y, epochs=TINY_EPOCHS, **options)
    if contestants.missing("jax") is None:
        check(XOR, some, x, y, 100)
        calls |= {f"jax {steps}": vmapped(XOR, some, x, y, steps) for steps in TINY_STEPS}
    few, many = TINY_STEPS

    def each(seconds: dict[str, float]) -> dict[str, float]:
        found = {"a step": (seconds[f"{many}"] - seconds[f"{few}"]) / (many - few)}
        found[f"fit of {TINY_EPOCHS:,} epochs"] = seconds["fit"] / TINY_EPOCHS
        if f"jax {few}" in seconds:
            more = seconds[f"jax {many}"] - seconds[f"jax {few}"]
            found["a step of jax vmap"] = more / (many - few)
        return {name: 1e9 * took / TINY for name, took in found.items()}

    found = {measure: each(times) for measure, times in least(calls, rounds).items()}
    return _result(f"{TINY:,} networks of XOR: ns a network-step", found, "a step")


def small(threads: int, rounds: int) -> dict[str, Any]:
    """Networks 32-64-64-1, 256 rows a batch."""
    x, y = (array[: SMALL_BATCHES * TAB.batch] for array in TAB.data())
    steps = SMALL_BATCHES * SMALL_EPOCHS
    some, alone = population(TAB, SMALL, threads), population(TAB, SMALL, 1)
    rate = float(TAB.optimizer.learning_rate)
    options: dict[str, Any] = {"optimizer": fn.SGD(rate), "batch_size": TAB.batch}
    options["epochs"] = SMALL_EPOCHS
    models = list(alone)

    def one_after_another() -> None:
        for model in models:
            model.fit(x, y, shuffle=False, **options)

    calls = {
        "run": run_alone(some, x, y, steps, TAB.batch, rate),
        "fit": lambda: some.fit(x, y, shuffle=False, **options),
        "one after another, 1 thread": one_after_another,
    }
    if contestants.missing("jax") is None:
        check(TAB, some, x, y, steps)
        calls["jax vmap"] = vmapped(TAB, some, x, y, steps)
    each = _scaled(least(calls, rounds), 1e6 / SMALL / steps)
    steps_of = f"{SMALL_EPOCHS} epochs of {SMALL_BATCHES} steps"
    what = f"{SMALL} networks 32-64-64-1, {TAB.batch} rows, {steps_of}: us a network-step"
    return _result(what, each, "fit")


def short(threads: int, rounds: int) -> dict[str, Any]:
    """Fits of one epoch, beside as many epochs in fewer and longer fits."""
    x, y = (array[:SHORT_ROWS] for array in TAB.data())
    many, few = population(TAB, SHORT, threads), population(TAB, 8, threads)
    options: dict[str, Any] = {"optimizer": fn.SGD(0.01), "batch_size": SHORT_BATCH}
    calls = {
        "one epoch": lambda: many.fit(x, y, epochs=1, **options),
        "many epochs": lambda: few.fit(x, y, epochs=SHORT // 8, **options),
    }
    each = _scaled(least(calls, rounds), 1e6 / SHORT)
    what = f"fits of one epoch of {SHORT_ROWS:,} rows by {SHORT_BATCH}: us an epoch"
    return _result(what, each, "one epoch")


#: What is searched: networks like (64, 64), on digits.
SPACE: dict[str, Any] = {
    "hidden_layer_sizes": [(32,), (64,), (64, 64), (128, 64)],
    "batch_size": [32, 64, 128],
    "alpha": np.geomspace(1e-5, 1e-1, 9).tolist(),
    "learning_rate_init": np.geomspace(3e-4, 1e-2, 7).tolist(),
}
FOLDS, MOST_EPOCHS = 5, 60


def search(threads: int, candidates: int) -> dict[str, Any]:
    """A random search over digits, beside scikit-learn's."""
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import RandomizedSearchCV
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    from fastnet import sklearn as ours

    x, y = load_digits(return_X_y=True)
    x = StandardScaler().fit_transform(x).astype(np.float32)
    products: list[int] = []

    def accuracy(estimator: Any, x: Any, y: Any) -> float:
        sizes = [coefficients.shape for coefficients in estimator.coefs_]
        forward = sum(rows * columns for rows, columns in sizes)
        first = sizes[0][0] * sizes[0][1]  # whose rows need no derivative
        rows = round(x.shape[0] * (FOLDS - 1))
        products.append(estimator.n_iter_ * rows * (3 * forward - first))
        return float(estimator.score(x, y))

    def run(searching: Any, network: Any, count: int, **options: Any) -> tuple[float, Any]:
        """The seconds of a search, and what it has found."""
        some = network(max_iter=MOST_EPOCHS, random_state=0)
        options |= {"n_iter": count, "cv": FOLDS, "random_state": 0, "n_jobs": threads}
        began = time.perf_counter()
        found = searching(some, SPACE, **options).fit(x, y)
        return time.perf_counter() - began, found

    contest = {
        "PopulationSearchCV": (ours.PopulationSearchCV, ours.MLPClassifier, {"scoring": accuracy}),
        "RandomizedSearchCV": (RandomizedSearchCV, MLPClassifier, {}),
    }
    seconds, scores = {}, {}
    with warnings.catch_warnings():  # not all converge in so few epochs, with either
        warnings.simplefilter("ignore", ConvergenceWarning)
        for sizes in SPACE["hidden_layer_sizes"]:  # compiles
            ours.MLPClassifier(sizes, max_iter=1).fit(x, y)
        os.environ["PYTHONWARNINGS"] = "ignore"  # of the processes
        for name, (searching, network, options) in contest.items():
            run(searching, network, 1, **options)  # starts threads or processes
            products.clear()
            seconds[name], found = run(searching, network, candidates, **options)
            scores[name] = float(found.cv_results_["mean_test_score"].mean())
            if products:
                done = sum(products)
    fits = candidates * FOLDS
    each = {"clock": {name: 1e3 * took / fits for name, took in seconds.items()}}
    what = f"a search of {candidates} candidates x {FOLDS} folds on digits: ms a fit"
    result = _result(what, each, "PopulationSearchCV")
    print(f"  {2e-9 * done / seconds['PopulationSearchCV']:.1f} GFLOP/s; mean scores {scores}")
    return {**result, "mean score": scores, "products": done}


def _scaled(seconds: dict[str, dict[str, float]], by: float) -> dict[str, dict[str, float]]:
    return {
        measure: {name: by * took for name, took in times.items()}
        for measure, times in seconds.items()
    }


def _result(what: str, each: dict[str, dict[str, float]], ours: str) -> dict[str, Any]:
    """Print the times of a workload, and return them for the file."""
    print(what)
    for measure, times in each.items():
        for name, value in times.items():
            ratio = value / times[ours]
            print(
                f"  {measure:10s} {name:28s} {value:10.2f} {ratio:8.2f} times {ours!r}", flush=True
            )
    return {"what": what, "ours": ours, **each}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.many",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=10, help="of each contest (default 10)")
    parser.add_argument(
        "--threads", type=int, default=processor.available(), help="of all networks (default: all)"
    )
    parser.add_argument("--candidates", type=int, default=50, help="of the search (default 50)")
    parser.add_argument("--only", choices=["tiny", "small", "short", "search"], action="append")
    parser.add_argument("--output", help="the JSON file to write")
    given = parser.parse_args(arguments)
    found = {}
    for workload in (tiny, small, short):
        if not given.only or workload.__name__ in given.only:
            found[workload.__name__] = workload(given.threads, given.rounds)
    if not given.only or "search" in given.only:
        found["search"] = search(given.threads, given.candidates)
    if given.output:
        from llvmlite import binding

        kind = binding.get_host_cpu_name()
        machine = f"{platform.platform()}, {processor.available()} processors of {kind}"
        facts = {"machine": machine, "threads": given.threads, "rounds": given.rounds}
        facts["versions"] = _versions()
        with open(given.output, "w", encoding="utf-8") as file:
            json.dump({**facts, "workloads": found}, file, indent=1)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ["numpy", "numba", *(["jax"] if contestants.missing("jax") is None else [])]
    return {"fastnet": fn.__version__, **{name: version(name) for name in names}}


if __name__ == "__main__":
    main()
