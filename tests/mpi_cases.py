"""What several ranks owe, each case run by all of them: `python -m mpi_cases`, under mpiexec.

A case that fails ends all ranks. Rank 0 prints the name of each case that is done.
"""

import importlib.util
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import mpi_table_cases
import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from mpi_ranks import NETWORK, alone, dealt, everyone_has, make, raised, table, trained_alike

import fastnet as fn
from fastnet.training.distributed import memory, sums
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.distributed.shares import Shares


def case_even_shards_train_as_one_process(world):
    epochs = 250 if world.size == 2 else 10  # 1,000 steps, and a few where ranks share cores
    trained_alike(
        world, [40] * world.size, 10 * world.size, epochs=epochs, l1=1e-4, l2=1e-3, clip_norm=1.0,
        optimizer=fn.Adam(fn.Cosine(0.01)),
    )  # fmt: skip


def case_uneven_shards_train_as_one_process(world):
    counts = [101, 7, 64, 33][: world.size]
    generator = np.random.default_rng(1)
    weight = generator.integers(0, 4, sum(counts)) / 2
    rule = fn.SGD(0.005, momentum=0.9)
    trained_alike(world, counts, 25, epochs=20, optimizer=rule, weight=weight)
    if world.size == 2:  # it takes SciPy, which takes long to import
        trained_alike(world, counts, None, epochs=8, optimizer="lbfgs", tolerance=1e-9)
    # So small batches that a rank has no row in some: each row is still taken once an epoch.
    counts = [101, 7, 20, 33][: world.size]
    shares = Shares(Ranks.of(world), counts[world.rank], 3)
    assert shares.cuts[0] == 0
    assert shares.cuts[-1] == counts[world.rank]
    assert (np.diff(shares.cuts) >= 0).all()
    assert np.abs(shares.all_rows - 3).max() <= world.size
    if world.size == 2:
        trained_alike(world, counts, 3, epochs=10, optimizer=rule)


def case_a_team_in_compiled_code_trains_as_numpy_alone(world):
    """Numba's ranks on one machine, each of which updates a part of the parameters."""
    from fastnet_numba import gradients

    wide = fn.Network(6, [fn.Dense(40, "tanh"), fn.Dense(2)])
    program = make(network=wide, backend="numba").program
    assert program.in_team(world.size, 2).bytes > 2 * program.plan.size * 8
    asked = []
    kept, type(program).batch_gradient = type(program).batch_gradient, asked.append
    epochs = 250 if world.size == 2 else 3  # fewer where ranks share cores
    settings = {"backend": "numba", "optimizer": fn.AdamW(fn.Cosine(0.01))}
    trained_alike(
        world, [40] * world.size, 10 * world.size, epochs=epochs, network=wide, l1=1e-4, l2=1e-3,
        clip_norm=1.0, **settings,
    )  # fmt: skip
    counts = [101, 7, 64][: world.size]
    weight = np.random.default_rng(1).integers(0, 4, sum(counts)) / 2
    settings["optimizer"] = fn.SGD(0.005, momentum=0.9)
    trained_alike(world, counts, 25, epochs=3, weight=weight, network=wide, **settings)
    trained_alike(world, counts, None, epochs=3, clip_value=0.1, **settings)
    with pytest.MonkeyPatch.context() as patch:  # parameters that are too many for copies
        patch.setattr(gradients, "COPIED_BYTES", 0)
        trained_alike(world, counts, 25, epochs=3, weight=weight, network=wide, **settings)
    if world.size == 2:  # batches in which a rank has no row; and the rows in the lanes
        narrow = fn.Network(6, [fn.Dense(2, "softmax")], loss="crossentropy")
        balanced = {"class_weight": "balanced", **settings}
        trained_alike(world, counts, 3, epochs=10, network=narrow, **balanced)
    # Shuffles and masks come again; and a loss that is not finite ends the fit on all.
    x, y = (part[: counts[world.rank]] for part in table(101))
    masked = fn.Network(6, [fn.Dense(40, "tanh"), fn.Dropout(0.2), fn.Dense(2)])
    ends = []
    for _ in range(2):
        model = make(network=masked, dtype="float32", backend="numba")
        model.fit(x, y, epochs=3, batch_size=16, communicator=world)
        everyone_has(world, model.parameters.flat)
        ends.append(model.parameters.flat)
    assert_same_bits(*ends)
    settings = {"epochs": 3, "optimizer": fn.SGD(1e150), "communicator": world}
    assert "step" in raised(world, fn.Diverged, lambda: model.fit(x, y, **settings))
    assert not asked
    type(program).batch_gradient = kept


def case_shuffles_differ_between_ranks_and_come_again(world):
    x, y = table(60 * world.size)
    mine = slice(60 * world.rank, 60 * world.rank + 60)
    network = fn.Network(6, [fn.Dense(16, "tanh"), fn.Dropout(0.2), fn.Dense(2)])

    def fit(rank_rows):
        model = make(network=network, dtype="float32")
        model.fit(x[rank_rows], y[rank_rows], epochs=3, batch_size=16, communicator=world)
        return model.parameters.flat

    first = fit(mine)
    assert_same_bits(fit(mine), first)
    # Ranks with the same rows would make the same batch twice, if their shuffles were the same.
    same = make(network=NETWORK)
    same.fit(x[:60], y[:60], epochs=1, batch_size=20 * world.size, communicator=world)
    alone = make(network=NETWORK)
    alone.fit(x[:60], y[:60], epochs=1, batch_size=20)
    assert np.abs(same.parameters.flat - alone.parameters.flat).max() > 1e-4


def case_sums_are_in_the_order_of_ranks(world):
    ranks = Ranks.of(world)
    for dtype, entries in (("float32", 1), ("float32", 1001), ("float64", 30_000)):
        everyone = [
            np.random.default_rng(rank).standard_normal(entries).astype(dtype)
            for rank in range(world.size)
        ]
        factors = [(rank + 1) / 10 for rank in range(world.size)]
        wanted, wanted_loss = np.multiply(everyone[0], factors[0]), factors[0] * 0.5
        for rank in range(1, world.size):
            wanted = wanted + np.multiply(everyone[rank], factors[rank])
            wanted_loss = wanted_loss + factors[rank] * (rank + 0.5)
        kinds = [sums.InSharedMemory, sums.InOrder, sums.InAnyOrder]
        for few in (1, 8):
            sums.FEW_RANKS = few
            for kind in kinds:
                add = kind(ranks, entries, np.dtype(dtype))
                for _ in range(3):  # both sets of slots, and again
                    found, loss = add(everyone[world.rank], factors[world.rank], world.rank + 0.5)
                    if kind is sums.InAnyOrder:
                        assert_near(found, wanted, 1e-6)
                        assert abs(loss - wanted_loss) < 1e-6
                    else:
                        assert_same_bits(found, wanted)
                        assert loss == wanted_loss
                add.free()


def case_every_way_to_sum_trains_alike(world):
    counts = [30] * world.size
    kept = memory._MOST_OF_IT, sums.WHOLE_BYTES
    memory._MOST_OF_IT = 0
    for whole in (kept[1], 0):  # by one message of all, and by two of parts
        sums.WHOLE_BYTES = whole
        trained_alike(world, counts, 10 * world.size, epochs=5)
        trained_alike(world, counts, 10 * world.size, epochs=5, options={"deterministic": False})
    memory._MOST_OF_IT, sums.WHOLE_BYTES = kept


def case_averaged_steps_are_those_of_ranks_by_themselves(world):
    """Against the same by hand: every rank's steps on a model of its own, and their means."""
    every, rows, size = 3, 40, 8
    x, y = table(rows * world.size)
    mine = slice(rows * world.rank, rows * (world.rank + 1))
    rule = fn.SGD(0.1, momentum=0.5)
    options = fn.Distributed(world, average_every=every)
    settings = {"epochs": 2, "batch_size": size * world.size, "shuffle": False, "optimizer": rule}
    model = make()
    history = model.fit(x[mine], y[mine], communicator=options, **settings)
    everyone_has(world, model.parameters.flat)
    flat, memory = make().parameters.flat.copy(), 0.0
    losses = []
    for _ in range(2):
        batches = []
        for first in range(0, rows, size * every):
            ends = []
            for rank in range(world.size):
                own, velocity = flat.copy(), memory
                for start in range(first, min(first + size * every, rows), size):
                    part = slice(rank * rows + start, rank * rows + start + size)
                    local = make()
                    local.parameters.flat[:] = own
                    loss, gradient = local.loss_and_gradient(x[part], y[part])
                    velocity = 0.5 * velocity + gradient
                    own -= 0.1 * velocity
                    batches.append(loss)
                ends.append((own, velocity))
            flat = np.mean([own for own, _ in ends], axis=0)
            memory = np.mean([velocity for _, velocity in ends], axis=0)
        losses.append(np.mean(batches))
    assert_near(model.parameters.flat, flat, 1e-12)
    assert_near(history.loss, losses, 1e-12)
    # Of uneven shards, where a rank has no rows in some step: the same on all, and again the same.
    uneven = slice(0, 5 + 30 * world.rank)
    ends = []
    for _ in range(2):
        model = make()
        settings |= {"batch_size": 9, "shuffle": True, "optimizer": "adam"}
        model.fit(x[uneven], y[uneven], communicator=options, **settings)
        everyone_has(world, model.parameters.flat)
        ends.append(model.parameters.flat)
    assert_same_bits(*ends)


def case_what_is_decided_is_decided_alike(world):
    """Early stopping, the plateau, metrics and callbacks, as one process with all rows has them."""
    x, y = table(60 * world.size)
    held, held_y = table(31)
    part = np.array_split(np.arange(31), world.size)[world.rank]
    mine = dealt([60] * world.size, 20 * world.size)[world.rank]
    rule = fn.SGD(fn.ReduceOnPlateau(0.5, factor=0.5, patience=1))
    settings = {
        "epochs": 200, "batch_size": 20 * world.size, "shuffle": False, "optimizer": rule,
        "early_stopping": 4,
    }  # fmt: skip
    seen = []

    def stop_late(model, history):
        seen.append(len(history))
        return len(history) == 100

    wanted = make()
    one = wanted.fit(x, y, validation=(held, held_y), metrics=["r2", "mae"], **settings)
    found = make()
    several = found.fit(
        x[mine], y[mine], validation=(held[part], held_y[part]), metrics=["r2", "mae"],
        callbacks=[stop_late] if world.rank == world.size - 1 else [], communicator=world,
        **settings,
    )  # fmt: skip
    assert len(several) == min(len(one), 100)
    assert len(set(several.learning_rate)) > 1
    if world.rank == world.size - 1:
        assert seen == several.epoch
    for name, values in several.to_dict().items():
        everyone_has(world, values)
        if name != "seconds":
            assert_near(values, one.to_dict()[name][: len(several)], 1e-9)

    # Parameters that a callback of rank 0 changes are changed on all.
    def reset(model, history):
        if world.rank == 0:
            model.parameters.flat[:] = 0.0

    found.fit(x[mine], y[mine], epochs=1, callbacks=[reset], communicator=world)
    assert not found.parameters.flat.any()


def case_bad_shards_are_one_error_on_all(world):
    x, y = table(20)
    last = world.rank == world.size - 1
    place = f"rank {world.size - 1} of {world.size}: "

    def fit(x, y, kind=fn.DataError, **settings):
        model = make()
        return raised(world, kind, lambda: model.fit(x, y, communicator=world, **settings))

    assert fit(x[:0] if last else x, y[:0] if last else y).startswith(place)
    assert fit(x[:, :5] if last else x, y).startswith(place)
    assert "row 3" in fit(np.where(np.arange(20)[:, None] == 3, np.nan, x) if last else x, y)
    assert "the dtype of x is float64 on rank 0, and float32 on rank" in fit(
        x.astype("float32") if last else x, y
    )
    assert "sample_weight is given" in fit(x, y, sample_weight=None if last else np.ones(20))
    assert "validation is not given" in fit(x, y, validation=0.2 if last else None)
    assert "epochs is 3 on rank 0, and 4 on rank" in fit(x, y, epochs=4 if last else 3)
    bad = {"checkpoint": "/proc/no/folder"}
    assert "checkpoint" in fit(x, y, fn.FileAccessError, **bad)

    def fails(model, history):
        if last:
            raise ValueError("a callback's own")

    assert fit(x, y, ValueError, callbacks=[fails]) == f"{place}a callback's own"
    assert "step" in fit(x, y * 1e200, fn.Diverged, epochs=3, optimizer=fn.SGD(1e150))
    # Labels that one rank alone has seen are labels of all.
    classes = fn.Network(6, [fn.Dense(3, "softmax")], loss="crossentropy")
    labels = np.full(20, 2 if last else 0)
    model = make(network=classes)
    model.fit(x + 5 * last, labels, epochs=30, optimizer=fn.Adam(0.05), communicator=world)
    for there in (0, 1):
        assert set(np.argmax(model.predict(x + 5 * there), axis=1)) == {2 * there}


def case_checkpoints_go_on_with_other_ranks(world):
    """Halfway by all ranks, the rest by one: what one process alone comes to."""
    folder = world.bcast(tempfile.mkdtemp() if world.rank == 0 else None)
    path = Path(folder) / "checkpoint"
    x, y = table(40 * world.size)
    mine = dealt([40] * world.size, 8 * world.size)[world.rank]
    settings = {"batch_size": 8 * world.size, "shuffle": False}
    wanted = make()
    wanted.fit(x, y, epochs=20, **settings)
    half = make()
    half.fit(x[mine], y[mine], epochs=10, checkpoint=path, communicator=world, **settings)
    assert_same_bits(half.fit(
        x[mine], y[mine], epochs=10, checkpoint=path, resume=True, communicator=world, **settings
    ).loss, half.history.loss)  # fmt: skip
    if world.rank == 0:
        rest = make(seed=5)
        with_one = {"checkpoint": path, "resume": True, "communicator": alone()}
        rest.fit(x, y, epochs=20, **with_one, **settings)
        assert len(rest.history) == 20
        assert_near(rest.parameters.flat, wanted.parameters.flat, 1e-12)
    # And the other way round, from its end; but not with other rows.
    world.Barrier()
    back = make()
    on = {"checkpoint": path, "resume": True, "communicator": world, **settings}
    back.fit(x[mine], y[mine], epochs=20, **on)
    assert_near(back.parameters.flat, wanted.parameters.flat, 1e-12)
    assert "training rows" in raised(
        world, fn.ModelFileError, lambda: back.fit(x[mine] + 1, y[mine], epochs=20, **on)
    )


def case_rows_in_files_train_as_rows_in_memory(world):
    """Each rank its part of one file, bit for bit as from memory, with every way to train."""
    folder = Path(world.bcast(tempfile.mkdtemp() if world.rank == 0 else None))
    counts = [77, 38, 51][: world.size]
    x, y = table(sum(counts))
    weight = np.random.default_rng(1).integers(0, 4, len(x)) / 2
    if world.rank == 0:
        np.save(folder / "x.npy", x)
    world.Barrier()
    first = sum(counts[: world.rank])
    mine = slice(first, first + counts[world.rank])
    mapped = np.load(folder / "x.npy", mmap_mode="r")[mine]
    rule = fn.BlockShuffle(block_rows=5, buffer_blocks=5)
    masked = fn.Network(6, [fn.Dense(16, "tanh"), fn.Dropout(0.2), fn.Dense(2)])

    def ends(rows, backend, weights=None, every=1, more=()):
        model = make(network=masked, backend=backend)
        joined = fn.Distributed(world, average_every=every)
        history = model.fit(
            rows, y[mine], sample_weight=weights, epochs=2, shuffle=rule, communicator=joined,
            validation=(rows[:20], y[mine][:20]), metrics=["r2"], **dict(more),
        )  # fmt: skip
        everyone_has(world, model.parameters.flat)
        return model.parameters.flat, history.loss, history.validation_loss, history.metrics["r2"]

    # With Numba a team takes the steps; by themselves ranks take them as in test_stored.py.
    ways = [
        ("numpy", {}), ("numba", {"weights": weight[mine], "more": {"batch_size": 3}}),
        ("numpy", {"weights": weight[mine]}), ("numpy", {"every": 3}),
        ("numpy", {"more": {"batch_size": 3}, "every": 4}), ("numba", {}),
    ]  # fmt: skip
    for backend, options in ways if world.size == 2 else ways[:2]:
        wanted = ends(np.array(mapped), backend, **options)
        found = ends(mapped, backend, **options)
        assert_same_bits(found[0], wanted[0])
        assert_near(found[1:], wanted[1:], 1e-12)
    if world.size > 2:  # a part in the middle; what follows is the same for any number of ranks
        return
    # From a checkpoint on; and with a file that one rank writes to.
    settings = {
        "batch_size": 16, "shuffle": rule, "communicator": world, "resume": True,
        "checkpoint": folder / "checkpoint",
    }  # fmt: skip
    for epochs in (1, 2):
        model = make(network=masked)
        model.fit(mapped, y[mine], epochs=epochs, **settings)
    whole = make(network=masked)
    whole.fit(mapped, y[mine], epochs=2, **settings | {"checkpoint": None, "resume": False})
    assert_same_bits(model.parameters.flat, whole.parameters.flat)

    def write(model, history):
        if world.rank == 1 and len(history) == 3:
            with open(folder / "x.npy", "r+b") as file:
                file.write(b"\x93")

    assert "x changed while" in raised(
        world, fn.DataError,
        lambda: model.fit(mapped, y[mine], epochs=9, callbacks=[write], **settings),
    )  # fmt: skip
    # The rows of some ranks in memory, those of others in files.
    mixed = ends(mapped if world.rank else np.array(mapped), "numpy")
    assert_same_bits(mixed[0], ends(np.array(mapped), "numpy")[0])


def case_a_simulated_gpu_trains_as_numpy_alone(world):
    """The CUDA backend, of which gradients go through the host: a device each."""
    sys.path.append(str(Path(__file__).parent / "simulated"))
    if importlib.util.find_spec("fastnet_simulated") is None or shutil.which("g++") is None:
        return  # no tool that compiles for it: tests of the device itself are skipped, too
    counts = [21, 7, 12][: world.size]
    settings = {"backend": "simulated", "epochs": 2, "optimizer": fn.Adam(0.01)}
    trained_alike(world, counts, 10, weight=np.arange(sum(counts)) % 3 / 2, **settings)
    trained_alike(world, [20] * world.size, 10 * world.size, l2=1e-3, clip_norm=1.0, **settings)


def case_members_are_divided_and_end_as_in_one_process(world):
    """Of a population, and of a search: the same bits, wherever a member was trained."""
    x, y = table(60)
    members = 5
    settings = {
        "optimizer": [fn.SGD(0.01 * (1 + n)) for n in range(members - 1)] + [fn.SGD(1e150)],
        "epochs": [3, 4, 5, 6, 7], "validation": 0.2, "early_stopping": 2, "metrics": ["r2"],
        "rows": [np.arange(n, 60) for n in range(members)],
    }  # fmt: skip

    def population(seed):
        return fn.Population(NETWORK, members=members, seed=seed, backend="numpy", dtype="float64")

    def fit(one, **more):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            one.fit(x, y, **settings, **more)
        assert any("1 of 5 members diverged (4)" in str(one.message) for one in caught)

    wanted, found = population(5), population(5 + world.rank)
    fit(wanted)
    called = []
    fit(found, communicator=world, callbacks=[lambda model, _: called.append(model.seed)])
    assert found.seeds == wanted.seeds
    assert_same_bits(found.parameters, wanted.parameters)
    assert [one.to_dict()["loss"] for one in found.histories] == [
        one.to_dict()["loss"] for one in wanted.histories
    ]
    assert set(found.diverged) == {4}
    # Each member was trained by one of the ranks, and goes on from what it has come to.
    assert set(called) - {9} == set(range(5 + world.rank, 9, world.size))
    ends = []
    for one, more in ((wanted, {}), (found, {"communicator": world})):
        part = one.take([3, 1, 0])
        part.fit(x, y, optimizer=fn.SGD([0.04, 0.02, 0.01]), epochs=9, initial_epoch=2, **more)
        ends.append(part.parameters)
    assert_same_bits(*ends)
    assert "x, y or the rows" in raised(
        world, fn.DataError, lambda: found.fit(x + world.rank, y, communicator=world)
    )
    assert "network" in raised(
        world, fn.DataError, lambda: fn.Population(
            fn.Network(6, [fn.Dense(2 + world.rank)]), members=2, backend="numpy"
        ).fit(x, y[:, 0], communicator=world)
    )  # fmt: skip
    assert "checkpoint" in raised(
        world, fn.DefinitionError, lambda: found.fit(x, y, communicator=world, checkpoint="c")
    )
    space = {"units": [4, 8], "learning_rate": [0.01, 0.1, 0.3]}
    searches = [
        fn.search(
            lambda units: fn.Network(6, [fn.Dense(units, "tanh"), fn.Dense(2)]), space, x, y,
            candidates=4, folds=3, epochs=6, backend="numpy", communicator=communicator,
        )
        for communicator in (None, world)
    ]  # fmt: skip
    assert searches[1].rows() == searches[0].rows()


def cases():
    """All cases by their names, in order."""
    found = {**globals(), **vars(mpi_table_cases)}
    return {
        name.removeprefix("case_"): case for name, case in found.items() if name.startswith("case_")
    }


def main():
    world = fn.world()
    assert world.size == int(sys.argv[1])
    for name, case in cases().items():
        case(world)
        world.Barrier()
        if world.rank == 0:
            print(name, flush=True)


if __name__ == "__main__":
    main()
