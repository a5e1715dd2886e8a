"""A residual network on a table of numbers and categories, beside JAX and PyTorch.

20 numbers and 8 categories of 50 codes, embeddings of 8; three residual blocks of 128 units with
LayerNorm and dropout of 0.1; batches of 256 rows, AdamW. All train in turns in one process, on one
processor; ratios are of the least times, which a busy machine disturbs least. JAX's steps are one
compiled scan with donated state, its dropout comes from its fast generator ("rbg"); PyTorch is a
loop of calls with a fused optimizer. Before the timing all are trained without dropout, and must
end at the same parameters.

    python -m bench.mixed_table --output bench/results/mixed-table-DATE.json
"""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from bench import processor

ROWS, BATCH, UNITS, BLOCKS = 5_120, 256, 128, 3
NUMBERS, CATEGORIES = 20, (50,) * 8
RATE, DECAY, DROPOUT = 1e-3, 0.01, 0.1


def network(dropout: float) -> Any:
    """The network in fastnet."""
    import fastnet as fn

    def block() -> Any:
        layers: Any = [
            fn.LayerNorm(),
            fn.Dense(UNITS, "relu"),
            fn.Dropout(dropout),
            fn.Dense(UNITS),
        ]
        return fn.Residual(layers)

    blocks = [block() for _ in range(BLOCKS)]
    layers = [fn.Embed(8), fn.Dense(UNITS), *blocks, fn.LayerNorm(), fn.ReLU(), fn.Dense(1)]
    return fn.Network(fn.Inputs(NUMBERS, CATEGORIES), layers)


def data() -> tuple[Any, Any, Any]:
    """Numbers, codes and targets of all rows; an epoch takes them in this order."""
    import numpy as np

    generator = np.random.default_rng(0)
    numbers = generator.standard_normal((ROWS, NUMBERS), np.float32)
    codes = generator.integers(50, size=(ROWS, len(CATEGORIES)))
    y = np.sin(numbers[:, :1]) + (codes[:, :1] % 3) + 0.1 * numbers[:, 1:2] * (codes[:, 1:2] % 2)
    return numbers, codes, y.astype(np.float32)


def ours(dropout: float) -> tuple[Callable[[], None], Callable[[], dict[str, Any]]]:
    """An epoch of fastnet's, and its parameters by name."""
    import fastnet as fn

    numbers, codes, y = data()
    model = fn.Model(network(dropout), backend="numba", seed=1, threads=1)
    rule = fn.AdamW(RATE, weight_decay=DECAY)

    def epoch() -> None:
        model.fit((numbers, codes), y, optimizer=rule, epochs=1, batch_size=BATCH, shuffle=False)

    return epoch, lambda: dict(model.parameters)


def start() -> dict[str, Any]:
    """The parameters that all start from."""
    import fastnet as fn

    return dict(fn.Model(network(DROPOUT), backend="numpy", seed=1).parameters)


def in_jax(dropout: float) -> tuple[Callable[[], None], Callable[[], dict[str, Any]]]:
    """The same of JAX's."""
    import jax
    import jax.numpy as jnp

    numbers, codes, y = (jnp.asarray(part) for part in data())
    codes = codes.astype(jnp.int32)
    parameters = {name: jnp.array(value) for name, value in start().items()}
    state = [
        parameters,
        jax.tree.map(jnp.zeros_like, parameters),
        jax.tree.map(jnp.zeros_like, parameters),
        jnp.zeros(()),
        jax.random.key(0, impl="rbg"),
    ]

    def normalized(p: Any, name: str, x: Any) -> Any:
        centered = x - x.mean(axis=1, keepdims=True)
        scaled = centered / jnp.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * p[f"{name}.scale"] + p[f"{name}.shift"]

    def dense(p: Any, name: str, x: Any) -> Any:
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def loss(p: Any, numbers: Any, codes: Any, y: Any, key: Any) -> Any:
        tables = [p[f"0.embedding_{n}"][codes[:, n]] for n in range(len(CATEGORIES))]
        x = dense(p, "1", jnp.concatenate([numbers, *tables], axis=1))
        for block, one in enumerate(jax.random.split(key, BLOCKS), 2):
            h = jax.nn.relu(dense(p, f"{block}.1", normalized(p, f"{block}.0", x)))
            if dropout:
                h = jnp.where(jax.random.bernoulli(one, 1 - dropout, h.shape), h, 0)
                h = h / (1 - dropout)
            x = x + dense(p, f"{block}.3", h)
        last = 2 + BLOCKS
        x = jax.nn.relu(normalized(p, f"{last}", x))
        return ((dense(p, f"{last + 2}", x) - y) ** 2).mean()

    def step(state: Any, rows: Any) -> tuple[Any, None]:
        p, m, v, t, key = state
        key, one = jax.random.split(key)
        g = jax.grad(loss)(p, *rows, one)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        length, widen = RATE / (1 - 0.9**t), 1 / jnp.sqrt(1 - 0.999**t)
        p = jax.tree.map(
            lambda p, m, v: (
                p * (1 - RATE * DECAY) - length * m / (jnp.sqrt(v) * widen + 1e-8)
            ),
            p, m, v,
        )  # fmt: skip
        return (p, m, v, t, key), None

    batches = [jnp.reshape(part, (-1, BATCH, part.shape[1])) for part in (numbers, codes, y)]
    train = jax.jit(lambda state, rows: jax.lax.scan(step, state, rows)[0], donate_argnums=0)

    def epoch() -> None:
        state[:] = jax.block_until_ready(train(tuple(state), batches))

    return epoch, lambda: state[0]


def in_torch(dropout: float) -> tuple[Callable[[], None], Callable[[], dict[str, Any]]]:
    """The same of PyTorch's."""
    import torch

    torch.set_num_threads(1)
    nn = torch.nn

    tables = [nn.Embedding(size, 8) for size in CATEGORIES]
    first = nn.Linear(NUMBERS + 8 * len(CATEGORIES), UNITS)
    blocks = [
        nn.Sequential(
            nn.LayerNorm(UNITS), nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(UNITS, UNITS),
        )
        for _ in range(BLOCKS)
    ]  # fmt: skip
    last = nn.Sequential(nn.LayerNorm(UNITS), nn.ReLU(), nn.Linear(UNITS, 1))
    model = nn.ModuleList([*tables, first, *blocks, last])

    def predicted(numbers: Any, codes: Any) -> Any:
        made = [table(codes[:, n]) for n, table in enumerate(tables)]
        x = first(torch.cat([numbers, *made], dim=1))
        for block in blocks:
            x = x + block(x)
        return last(x)

    # Both list the same parameters in the same order; Linear has its weights the other way round.
    with torch.no_grad():
        for (name, value), piece in zip(start().items(), model.parameters(), strict=True):
            turned = value.T if name.endswith("weight") else value
            piece.copy_(torch.tensor(turned.copy()))
    numbers, codes, y = (torch.from_numpy(part) for part in data())
    rule = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)

    def epoch() -> None:
        for first in range(0, ROWS, BATCH):
            rows = slice(first, first + BATCH)
            rule.zero_grad(set_to_none=True)
            nn.functional.mse_loss(predicted(numbers[rows], codes[rows]), y[rows]).backward()
            rule.step()

    def parameters() -> dict[str, Any]:
        pairs = zip(start(), model.parameters(), strict=True)
        found = {name: piece.detach().numpy() for name, piece in pairs}
        return {n: value.T if n.endswith("weight") else value for n, value in found.items()}

    return epoch, parameters


def check(contestants: dict[str, Any]) -> None:
    """Make sure that all end at the same parameters after an epoch without dropout."""
    import numpy as np

    ends = {}
    for name, make in contestants.items():
        epoch, parameters = make(0.0)
        epoch()
        found = parameters()
        ends[name] = np.concatenate([np.asarray(found[piece]).ravel() for piece in start()])
    moved = ends["fastnet"] - np.concatenate([value.ravel() for value in start().values()])
    for name, end in ends.items():
        apart = np.linalg.norm(end - ends["fastnet"]) / np.linalg.norm(moved)
        assert apart < 1e-2, f"{name} ends {apart:.2g} of the way away from fastnet"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.mixed_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=10, help="of each contestant (default 10)")
    parser.add_argument("--output", help="the JSON file to write")
    given = parser.parse_args(arguments)
    processor.limit(1)
    from bench.contestants import missing
    from bench.many import least

    made = {"fastnet": ours, "jax": in_jax, "torch": in_torch}
    made = {name: one for name, one in made.items() if name == "fastnet" or not missing(name)}
    check(made)
    times = least({name: make(DROPOUT)[0] for name, make in made.items()}, given.rounds)
    each = {name: 1e6 * took * BATCH / ROWS for name, took in times["clock"].items()}
    for name, took in each.items():
        print(f"{name:8s} {took:9.1f} us a step {took / each['fastnet']:6.2f} times fastnet's")
    if given.output:
        libraries = ["numpy", "numba", *(name for name in each if name != "fastnet")]
        facts = {"machine": platform.platform(), "rounds": given.rounds, "us a step": each}
        facts["versions"] = {name: version(name) for name in libraries}
        with open(given.output, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=1)


if __name__ == "__main__":
    main()
