"""Runs are about as long as wanted, whatever their last batch is."""

import pytest

import fastnet as fn
from fastnet.training.pacing import (
    BYTE_SECONDS,
    COMMIT_TIMES,
    FIRST_RUN_SECONDS,
    LONGEST_RUN_SECONDS,
    PRODUCT_SECONDS,
    ROW_SECONDS,
    RUN_SECONDS,
    STEP_SECONDS,
    WITH_THE_REST,
    Pacing,
)


def test_the_first_run_is_as_long_as_its_multiply_adds_should_take():
    found, many = Pacing(256, 6_208), Pacing(1_024, 6_000_000)
    seconds = STEP_SECONDS + 256 * (ROW_SECONDS + 6_208 * PRODUCT_SECONDS)
    assert found.steps * seconds <= RUN_SECONDS < (found.steps + 1) * seconds
    assert many.steps == 1


def test_the_first_run_of_many_parameters_is_longer_up_to_a_limit():
    few, many, most = (Pacing(16, 10_000, committed) for committed in (0, 10**7, 10**12))
    times = COMMIT_TIMES * 10**7 * BYTE_SECONDS / RUN_SECONDS
    assert many.steps == pytest.approx(times * few.steps, abs=4)
    assert most.steps == pytest.approx(few.steps * FIRST_RUN_SECONDS / RUN_SECONDS, abs=4)


@pytest.fixture
def recorded(monkeypatch):
    """The steps of each run, recorded in a list, and the model for XOR that makes them."""
    model = fn.Model(fn.datasets.xor_network(True), backend="numpy")
    found = []
    train = model.program.train
    monkeypatch.setattr(
        model.program, "train", lambda *run: found.append(run[-1].steps) or train(*run)
    )
    return found, model


def test_a_fit_begins_with_what_the_last_one_measured(recorded):
    x, y = fn.datasets.xor()
    lengths, model = recorded
    counted = Pacing(4, model.program.plan.products).steps
    model.fit(x, y, epochs=WITH_THE_REST * counted + 1)
    assert lengths[0] == counted
    wanted = model._fits.pacing.steps
    assert wanted != counted, "a machine of exactly the speed that is counted on"
    lengths.clear()
    model.fit(x, y, epochs=WITH_THE_REST * wanted + 1)
    assert lengths[0] == wanted
    lengths.clear()
    model.fit(x, y, epochs=counted, batch_size=1)
    assert lengths[0] != wanted, "other batches take another time"


def test_a_run_takes_a_few_steps_that_are_left_along(recorded):
    x, y = fn.datasets.xor()
    lengths, model = recorded
    counted = Pacing(4, model.program.plan.products).steps
    model.fit(x, y, epochs=WITH_THE_REST * counted)
    assert lengths == [WITH_THE_REST * counted]


def test_a_long_step_is_a_run_of_its_own(recorded):
    x, y = fn.datasets.xor()
    lengths, model = recorded
    model._fits.pacing = Pacing(4, 10**12)
    model.fit(x, y, epochs=2)
    assert lengths[0] == 1


def test_a_run_is_as_long_as_it_should_take():
    pacing = Pacing(32, 0)
    pacing.measured(32, RUN_SECONDS / 1000, 0.0)
    assert pacing.steps == 1000
    pacing.measured(32_000, RUN_SECONDS * 2, 0.0)
    assert pacing.steps == 500
    pacing.measured(32, RUN_SECONDS * 9, 0.0)
    assert pacing.steps == 1


def test_a_short_tail_does_not_stand_for_whole_batches():
    pacing = Pacing(4_000, 10**9)
    pacing.measured(1, RUN_SECONDS / 1000, 0.0)
    assert pacing.steps == 1


def test_where_the_result_is_slow_to_copy_runs_are_longer_up_to_a_limit():
    pacing = Pacing(10, 0)
    pacing.measured(1_000, 1.0, 0.01)
    assert pacing.steps == 100 * COMMIT_TIMES * 0.01
    pacing.measured(1_000, 1.0, 60.0)
    assert pacing.steps == 100 * LONGEST_RUN_SECONDS
