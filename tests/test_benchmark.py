"""Fair timing: wrong results are not timed, rounds, counted work; and `fastnet bench`."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

import fastnet as fn
from fastnet import benchmark
from fastnet.benchmark import (
    QUICK,
    FitWorkload,
    PredictWorkload,
    Workload,
    calibrate,
    check_agreement,
    contest,
    relu_network,
    time_rounds,
)
from fastnet.cli import app
from fastnet.cli import bench as command
from fastnet.contract.choosing import probe

SMALL = Workload("small", relu_network(3, 5, 2), 64, 16, fn.SGD(0.1))


def exact(work=SMALL):
    return partial(FitWorkload, work, "numpy", dtype="float64")


class Off(FitWorkload):
    """Trains correctly, but returns another result."""

    by = 0.01

    def result(self):
        return super().result() + np.float32(self.by)


class Idle(FitWorkload):
    """Does not train."""

    def run(self):
        pass


class Broken(FitWorkload):
    def run(self):
        raise RuntimeError("the library fell over")


def test_wrong_results_are_not_timed_and_the_others_are():
    def made(kind):
        return lambda epochs: kind(SMALL, "numpy", epochs)

    makers = {
        "right": made(FitWorkload),
        "off": made(Off),
        "idle": made(Idle),
        "broken": made(Broken),
    }
    found, problems = contest(makers, exact(), 1, trains=True, rounds=2)
    assert list(found) == ["right"]
    assert len(found["right"].seconds) == 2
    assert found["right"].units % SMALL.steps == 0
    assert 0 < found["right"].difference < benchmark.TRAINING_TOLERANCE["float32"]
    assert "off by" in problems["off"]
    assert "nothing was learned" in problems["idle"]
    assert problems["broken"] == "RuntimeError: the library fell over"


def test_float64_must_be_nearer(monkeypatch):
    class Single(FitWorkload):
        """Computes in float32 and says float64."""

        def result(self):
            return super().result().astype(np.float64)

    work = replace(SMALL, dtype="float64")
    makers = {
        "double": partial(FitWorkload, work, "numpy"),
        "single": partial(Single, work, "numpy", dtype="float32"),
    }
    found, problems = contest(makers, exact(work), 1, trains=True, rounds=1, dtype=work.dtype)
    assert list(found) == ["double"]
    assert "1e-09 is allowed" in problems["single"]


@pytest.mark.parametrize("by", [math.nan, math.inf, 2e-3])
def test_a_result_that_is_not_a_number_or_too_far_disagrees(by):
    class Wrong(Off):
        pass

    Wrong.by = by
    reference = exact()(1)
    start = reference.result().copy()
    reference.run()
    with pytest.raises(benchmark.Disagreement, match="is off by"):
        check_agreement(lambda epochs: Wrong(SMALL, "numpy", epochs), 1, reference.result(), start)


def test_a_result_of_another_shape_disagrees():
    reference = exact()(1)
    with pytest.raises(benchmark.Disagreement, match=r"shape \(32,\), not \(31,\)"):
        check_agreement(partial(FitWorkload, SMALL, "numpy"), 1, reference.result()[1:], None)


def test_a_prediction_may_be_less_far_off_than_a_training():
    class Near(PredictWorkload):
        def result(self):
            return super().result() + np.float32(1e-4)

    work, rows = SMALL, 7
    wanted = PredictWorkload(work, "numpy", 1, rows, dtype="float64").result()
    with pytest.raises(benchmark.Disagreement, match="1e-05"):
        check_agreement(lambda calls: Near(work, "numpy", calls, rows), 1, wanted, None)


def test_each_round_begins_with_another_contestant():
    order = []

    class Recorded(FitWorkload):
        def run(self):
            order.append(self.options["backend"])
            super().run()

    pair = {name: Recorded(SMALL, name, 1) for name in ("numpy", "numba")}
    order.clear()
    found, problems = time_rounds(pair, 3)
    assert order == ["numpy", "numba", "numba", "numpy", "numpy", "numba"]
    assert not problems
    assert all(len(seconds) == 3 and min(seconds) > 0 for seconds in found.values())


def test_a_round_takes_about_as_long_as_requested():
    """Only within a factor, as the machine may be busy."""
    short, long = (
        calibrate(partial(FitWorkload, SMALL, "numpy"), 1, turn) for turn in (0.005, 0.08)
    )
    assert long.units > 3 * short.units


def test_reset_restores_the_initial_parameters():
    one = FitWorkload(SMALL, "numpy", 2)
    one.run()
    first = one.result().copy()
    one.reset()
    assert not np.array_equal(one.result(), first)
    one.run()
    np.testing.assert_array_equal(one.result(), first)


@pytest.mark.parametrize("work", QUICK.values(), ids=QUICK)
def test_flops_count_the_products_of_a_step(work):
    """Three products per layer; the first layer needs no gradient of its inputs."""
    sizes, counted = work.sizes, 0
    for layer in range(len(sizes) - 1):
        inputs, units = sizes[layer], sizes[layer + 1]
        counted += 2 * work.batch * inputs * units * (3 if layer else 2)
    assert work.flops == counted
    assert work.parameters == len(fn.Model(work.network, backend="numpy").parameters.flat)
    assert work.rows % work.batch == 0
    assert (work.bytes == 0) == (work.name == "xor")


def test_bytes_include_the_optimizers_state():
    wide = Workload("w", relu_network(64, 1024, 1024, 8), 64, 64, fn.SGD(0.1))
    state = 4 * wide.parameters
    assert wide.bytes == 2 * state  # the few rows fit in the cache
    assert replace(wide, optimizer=fn.Adam()).bytes == 2 * 3 * state
    assert replace(wide, optimizer=fn.SGD(0.1, momentum=0.9)).bytes == 2 * 2 * state


def test_orders_are_those_of_fit():
    """A plain loop over them gives the same parameters as `fit`."""
    work = replace(SMALL, network=relu_network(3, 2))  # linear
    (weights, bias), x, y = work.initial_layers()[0], *work.data()
    weights, bias = weights.astype(np.float64), bias.astype(np.float64)
    for rows in work.orders(3):
        d = (x[rows] @ weights + bias - y[rows]) * (2 / y[rows].size)
        weights -= 0.1 * (x[rows].T @ d)
        bias -= 0.1 * d.sum(axis=0)
    fitted = FitWorkload(work, "numpy", 3, dtype="float64")
    fitted.run()
    np.testing.assert_allclose(fitted.result(), [*weights.ravel(), *bias], rtol=0, atol=1e-12)


# --- fastnet bench -----------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch):
    """The command with few rounds: its output is tested, not the speed of the machine."""
    monkeypatch.setattr(command, "ROUNDS", 2)

    def invoke(*arguments, **environment):
        done = CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "80", **environment})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    return invoke


def test_bench_names_the_fastest_and_gives_advice(run):
    code, out, err = run("xor", "predict-1", "--backend", "numpy", "--backend", "numba")
    assert code == 0, err
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if line.startswith("size"))
    assert header.split() == ["size", "network", "numpy", "numba", "fastest"]
    xor = next(line for line in lines if line.startswith("xor"))
    assert "3-4-1, batch 4" in xor
    assert "numba, " in xor
    assert "By default fastnet uses numba: keep it, it is the fastest." in out


def test_bench_as_json(run):
    code, out, _ = run("xor", "predict-1", "--json", "--backend", "numpy", "--backend", "cupy")
    assert code == 0
    found = json.loads(out)
    assert [row["name"] for row in found["rows"]] == ["xor", "predict-1"]
    for row in found["rows"]:
        assert row["unit"] == ("step" if row["name"] == "xor" else "call")
        assert row["seconds"]["numpy"] > 0
        assert row["warm_up"]["numpy"] > 0
        assert row["problems"] == {}
    assert found["machine"]["numpy"] == np.__version__
    assert "numpy" in found["machine"]["backends"]


def test_bench_names_what_is_unknown_and_runs_the_rest(run):
    code, out, err = run("xor", "tabb", "--backend", "numpy", "--backend", "nunba")
    assert code == 0
    assert "unknown size 'tabb'; did you mean 'tab'? Known: " in err
    assert "unknown backend 'nunba'; did you mean 'numba'? Known: " in err
    assert "xor" in out


@pytest.mark.parametrize("arguments", [["tabb"], ["xor", "--backend", "nunba"]])
def test_bench_with_nothing_left_fails(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: unknown ")


def test_bench_with_an_unusable_backend_says_why(run):
    if probe("cupy").usable:
        pytest.skip("a GPU is here")
    code, out, err = run("xor", "--backend", "cupy")
    assert (code, out) == (1, "")
    assert "error: cupy: " in err
    assert "GPU" in err


def test_bench_reports_a_wrong_result(run, monkeypatch):
    class Wrong(Off):
        """The reference, in float64, is right."""

        @property
        def by(self):
            return 0.01 if self.options["dtype"] == "float32" else 0.0

    monkeypatch.setattr(command, "FitWorkload", Wrong)
    code, out, err = run("xor", "--backend", "numba")
    assert code == 1
    assert "wrong" in out
    assert "numba at xor: the result is off by" in err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5e-9, "2.50 ns"),
        (8.94e-8, "89.4 ns"),
        (1.5e-5, "15.0 µs"),
        (0.1234, "123 ms"),
        (7, "7.00 s"),
    ],
)
def test_times_have_three_digits(seconds, text):
    assert command._time(seconds) == text
