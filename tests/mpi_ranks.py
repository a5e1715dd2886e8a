"""What cases on several ranks share: rows, models, and what all ranks must have alike."""

import numpy as np
from compare import assert_near, assert_same_bits
from tolerances import TRAJECTORY

import fastnet as fn

NETWORK = fn.Network(6, [fn.Dense(16, "tanh"), fn.Dense(2)])


def table(rows, outputs=2):
    """Rows of numbers, and targets that can be learned from them."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((rows, 6))
    y = np.sin(x @ generator.standard_normal((6, outputs)))
    return x, y + 0.1 * generator.standard_normal((rows, outputs))


def make(seed=5, network=NETWORK, dtype="float64", backend="numpy"):
    return fn.Model(network, backend=backend, dtype=dtype, seed=seed)


def dealt(counts, batch_size):
    """For each rank the numbers of its rows, so that batches are those of one process.

    Of the rows of a batch, in their order, each rank has its part in one piece.
    """
    total = sum(counts)
    ends = np.append(np.arange(0, total, batch_size), total)
    # How many of the rows up to each end the ranks before each have: (ends, ranks + 1).
    before = ends[:, None] * np.concatenate(([0], np.cumsum(counts))) // total
    parts = np.diff(np.diff(before, axis=1), axis=0)  # (batches, ranks)
    starts = np.cumsum(parts).reshape(parts.shape) - parts
    return [
        np.concatenate(
            [np.arange(a, a + n) for a, n in zip(starts[:, r], parts[:, r], strict=True)]
        )
        for r in range(len(counts))
    ]


def everyone_has(world, array):
    """All ranks hold the same bits."""
    for other in world.allgather(np.array(array)):
        assert_same_bits(np.array(array), other)


def trained_alike(
    world, counts, batch_size, tolerance=TRAJECTORY, weight=None, options=None, network=NETWORK,
    backend="numpy", **settings,
):  # fmt: skip
    """Ranks with so many rows each come to the parameters of one process; return its model."""
    x, y = table(sum(counts))
    if network.loss.name == "crossentropy":
        y = np.argmax(y, axis=1)
    mine = dealt(counts, batch_size or sum(counts))[world.rank]
    alone, together = make(network=network), make(5 + world.rank, network, backend=backend)
    settings = {"batch_size": batch_size, "shuffle": False, **settings}
    weights = (None, None) if weight is None else (weight, weight[mine])
    wanted = alone.fit(x, y, sample_weight=weights[0], **settings)
    joined = fn.Distributed(world, **(options or {}))
    found = together.fit(
        x[mine], y[mine], sample_weight=weights[1], communicator=joined, **settings
    )
    assert together.seed == 5
    assert_near(together.parameters.flat, alone.parameters.flat, tolerance)
    assert_near(found.loss, wanted.loss, 1e-12)
    everyone_has(world, together.parameters.flat)
    everyone_has(world, found.loss)
    everyone_has(world, found.seconds)
    return together


def raised(world, kind, action):
    """The error that all ranks get, the same on all."""
    try:
        action()
    except kind as error:
        texts = world.allgather(str(error))
        assert len(set(texts)) == 1, texts
        return str(error)
    raise AssertionError(f"rank {world.rank} did not raise")


def alone():
    """The communicator of this rank by itself."""
    from mpi4py import MPI

    return MPI.COMM_SELF
