"""Learning rates by step: formulas at known points, durations in epochs."""

import math

import numpy as np
import pytest
from compare import assert_entries_near, assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import label, rows_for

import fastnet as fn
from fastnet.definition.schedules import as_schedule

SCHEDULES = [
    fn.Constant(0.3), fn.Step(0.4, 3, 0.5), fn.Exponential(0.2, 0.9), fn.InverseScaling(0.1, 0.7),
    fn.Cosine(0.1, 0.01), fn.Cosine(0.1, epochs=4), fn.OneCycle(0.5), fn.OneCycle(0.5, epochs=6),
    fn.FlatCosine(0.2), fn.FlatCosine(0.2, 0.25, 0.1, 8), fn.CosLog(0.3), fn.CosLog(0.3, 2, 7),
    fn.WarmUp(2, 0.3), fn.WarmUp(3, fn.Cosine(0.2), start_factor=0.1),
    fn.WarmUp(1.5, fn.ReduceOnPlateau(0.2)), fn.WarmUp(2, fn.WarmUp(2, fn.Step(0.1, 2))),
]  # fmt: skip


def at(schedule, *epochs, total=10):
    return schedule.rates(np.array(epochs, np.float64), float(total)).tolist()


def test_a_constant_rate_stays():
    assert at(fn.Constant(0.3), 0, 5, 10) == [0.3] * 3


def test_a_step_falls_after_every_so_many_epochs():
    found = at(fn.Step(0.4, 3, 0.5), 0, 2.99, 3, 5.99, 6, 9)
    assert found == pytest.approx([0.4, 0.4, 0.2, 0.2, 0.1, 0.05])


def test_exponential_decay_is_a_power_of_the_epoch():
    assert at(fn.Exponential(0.2, 0.9), 0, 1, 2.5) == pytest.approx([0.2, 0.18, 0.2 * 0.9**2.5])


def test_inverse_scaling_divides_by_a_power_of_the_epoch():
    found = at(fn.InverseScaling(0.1, 0.7), 0, 1, 3)
    assert found == pytest.approx([0.1, 0.1 / 2**0.7, 0.1 / 4**0.7])


def test_cosine_goes_from_rate_to_end_over_the_whole_fit_or_its_epochs():
    found = at(fn.Cosine(0.1, 0.02), 0, 2.5, 5, 10, total=10)
    assert found == pytest.approx([0.1, 0.02 + 0.08 * (1 + math.sqrt(0.5)) / 2, 0.06, 0.02])
    assert at(fn.Cosine(0.1, epochs=4), 2, 4, 9) == pytest.approx([0.05, 0, 0])


def test_flat_cosine_stays_for_half_the_fit_and_then_falls_along_half_a_cosine():
    # flat_cos(t) = 1 to t = 1/2, then (1 + cos(pi (2 t - 1))) / 2
    falling = [0.1 * (1 + math.cos(math.pi * (2 * t - 1))) / 2 for t in (0.6, 0.75, 0.9)]
    found = at(fn.FlatCosine(0.1), 0, 3, 5, 6, 7.5, 9, 10)
    assert found == pytest.approx([0.1, 0.1, 0.1, *falling, 0])
    assert at(fn.FlatCosine(0.1, 0.5, 0.02, 4), 2, 3, 8) == pytest.approx([0.1, 0.06, 0.02])


def test_coslog_is_waves_each_twice_as_long_as_the_one_before():
    # coslog4(t) = (1 - cos(2 pi log2(1 + 15 t))) / 2: 0 at the ends of waves, 1 in their middles
    ends = [10 * (2**k - 1) / 15 for k in range(5)]
    tops = [10 * (2 ** (k + 0.5) - 1) / 15 for k in range(4)]
    assert at(fn.CosLog(0.2), *ends, *tops) == pytest.approx([0] * 5 + [0.2] * 4, abs=1e-12)
    t = 0.37
    wanted = 0.1 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * t)))
    assert at(fn.CosLog(0.2), 10 * t) == pytest.approx([wanted])


def test_weight_decay_and_dropout_follow_schedules():
    network = fn.Network(4, [fn.Dense(6, "tanh"), fn.Dropout(0.5), fn.Dense(2)])
    x, y = rows_for(network, 20)
    halved = fn.Step(0.4, 1, 0.5)  # in every epoch half of that in the one before
    for rule in (fn.AdamW, fn.Lion):
        ends = []
        for whole in (True, False):
            model = fn.Model(network, seed=1, dtype="float64")
            for epochs in [3] if whole else [1, 2, 3]:
                value = halved if whole else 0.4 * 0.5 ** (epochs - 1)
                model.fit(
                    x, y, epochs=epochs, initial_epoch=0 if whole else epochs - 1, batch_size=8,
                    optimizer=rule(0.1, weight_decay=value), dropout_factor=value,
                )  # fmt: skip
            ends.append(model.parameters.flat)
        assert_same_bits(*ends)


def test_schedules_of_decay_and_dropout_do_not_follow_the_losses():
    model = fn.Model(fn.Network(2, [fn.Dense(1)]))
    says = "ReduceOnPlateau.*, which follows the losses; only a learning rate may"
    with pytest.raises(fn.DefinitionError, match=f"adamw weight_decay is {says}"):
        fn.AdamW(weight_decay=fn.ReduceOnPlateau(0.1))
    with pytest.raises(fn.DefinitionError, match=r"dropout_factor is WarmUp.*follows the losses"):
        model.fit([[1, 2]], [1], dropout_factor=fn.WarmUp(2, fn.ReduceOnPlateau(0.1)))
    with pytest.raises(fn.DefinitionError, match="dropout_factor is -1; it must be at least 0"):
        model.fit([[1, 2]], [1], dropout_factor=-1)


def test_one_cycle_rises_to_the_rate_and_falls_far_below_the_first():
    found = at(fn.OneCycle(0.5, pct_start=0.4, div_factor=10, final_div_factor=100), 0, 2, 4, 7, 10)
    last = 0.05 / 100
    assert found == pytest.approx([0.05, 0.275, 0.5, (0.5 + last) / 2, last])


def test_warm_up_is_a_line_to_the_first_rate_of_what_follows_whose_time_begins_then():
    assert at(fn.WarmUp(4, 0.2, start_factor=0), 0, 1, 4, 9) == pytest.approx([0, 0.05, 0.2, 0.2])
    assert at(fn.WarmUp(4, 0.2, start_factor=0.5), 0, 2) == pytest.approx([0.1, 0.15])
    followed = fn.WarmUp(4, fn.Step(0.2, 2, 0.1), start_factor=0)
    assert at(followed, 2, 4, 5.9, 6, 8) == pytest.approx([0.1, 0.2, 0.2, 0.02, 0.002])
    assert at(fn.WarmUp(2, fn.Cosine(0.2)), 2, 6, 10) == pytest.approx([0.2, 0.1, 0])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=label)
def test_rates_taken_together_are_those_taken_one_by_one(schedule):
    moments = np.arange(97) / 9
    together = schedule.rates(moments, 11.0)
    alone = [schedule.rates(moments[i : i + 1], 11.0) for i in range(len(moments))]
    assert_same_bits(together, np.concatenate(alone))
    assert together.dtype == np.float64
    assert (together >= 0).all()


@settings(max_examples=30)
@given(
    schedule=st.sampled_from(SCHEDULES),
    epochs=st.floats(0.5, 20),
    start=st.floats(0, 0.99),
    moment=st.floats(0, 1),
)
def test_warm_up_goes_before_any_schedule(schedule, epochs, start, moment):
    warm = fn.WarmUp(epochs, schedule, start)
    first = schedule.rates(np.zeros(1), 40.0 - epochs)
    during = warm.rates(np.array([moment * epochs]), 40.0)
    line = start + (1 - start) * moment * epochs / epochs
    assert_entries_near(during, first * line, 1e-12, 1e-300)
    later = np.array([epochs + 3.0])  # which less epochs may be just below 3, where a step falls
    after = warm.rates(later, 40.0)
    assert_entries_near(after, schedule.rates(later - epochs, 40.0 - epochs), 1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=label)
def test_the_history_has_the_rate_of_each_epochs_last_step(schedule):
    network = fn.Network(2, [fn.Dense(1)])
    x, y = rows_for(network, 20)
    model = fn.Model(network, backend="numpy", seed=0)
    history = model.fit(x, y, optimizer=fn.SGD(schedule), epochs=8, batch_size=6)
    last_steps = (np.arange(1, 9) * 4 - 1) / 4
    assert history.learning_rate == schedule.rates(last_steps, 8.0).tolist()


def test_each_step_uses_its_own_rate():
    network = fn.Network(1, [fn.Dense(1, bias=False, init=[[0.0]])])
    model = fn.Model(network, backend="numpy", dtype="float64")
    x, y = np.ones((3, 1)), np.full((3, 1), 1e6)  # far away: the gradient is nearly constant
    schedule = fn.Exponential(1e-9, 0.5)
    model.fit(x, y, optimizer=fn.SGD(schedule), epochs=2, batch_size=1)
    rates = 1e-9 * 0.5 ** (np.arange(6) / 3)
    w = 0.0
    for rate in rates:
        w -= rate * 2 * (w - 1e6)
    assert model.parameters.flat[0] == pytest.approx(w, rel=1e-13)


def flat_fit(schedule, epochs, **options):
    """A fit whose loss cannot fall: nothing is left to learn."""
    network = fn.Network(1, [fn.Dense(1, bias=False, init=[[0.0]])])
    model = fn.Model(network, backend="numpy", seed=0)
    x, y = np.array([[1.0], [-1.0]]), np.array([[1.0], [1.0]])
    return model.fit(x, y, optimizer=fn.SGD(schedule), epochs=epochs, batch_size=None, **options)


def test_plateau_reduces_when_patience_is_used_up_and_stops_at_min_lr():
    history = flat_fit(fn.ReduceOnPlateau(0.8, factor=0.5, patience=2, min_lr=0.15), 15)
    # The first epoch is the best; epochs 2, 3 and 4 are not better, so epoch 5 goes slower.
    assert history.learning_rate == pytest.approx([0.8] * 4 + [0.4] * 3 + [0.2] * 3 + [0.15] * 5)


def test_plateau_does_not_reduce_while_the_loss_falls():
    network = fn.Network(1, [fn.Dense(1, init=[[0.0]])])
    model = fn.Model(network, backend="numpy", dtype="float64")
    x = np.array([[1.0], [2.0], [3.0]])
    rate = fn.ReduceOnPlateau(0.01, patience=0)
    history = model.fit(x, 2 * x, optimizer=fn.SGD(rate), epochs=20, batch_size=None)
    assert all(b < a for a, b in zip(history.loss, history.loss[1:], strict=False))
    assert history.learning_rate == [0.01] * 20


def test_plateau_watches_the_validation_loss_where_there_is_one():
    network = fn.Network(1, [fn.Dense(1, bias=False, init=[[0.0]])])
    model = fn.Model(network, backend="numpy", dtype="float64")
    x = np.array([[1.0], [2.0], [3.0]])
    rate = fn.ReduceOnPlateau(0.01, factor=0.1, patience=0)
    history = model.fit(
        x, 2 * x, validation=(x, -2 * x), optimizer=fn.SGD(rate), epochs=3, batch_size=None
    )
    assert history.loss[1] < history.loss[0]
    assert history.validation_loss[1] > history.validation_loss[0]
    assert history.learning_rate == pytest.approx([0.01, 0.01, 0.001])


def test_min_delta_says_what_counts_as_better():
    history = flat_fit(fn.ReduceOnPlateau(0.8, factor=0.5, patience=1, min_delta=0.1), 6)
    assert history.learning_rate == pytest.approx([0.8] * 3 + [0.4] * 2 + [0.2])


def test_a_number_is_a_constant_schedule_and_tables_are_read():
    assert as_schedule(0.2) == fn.Constant(0.2)
    table = {"name": "warm_up", "epochs": 2, "then": {"name": "cosine", "rate": 0.1}}
    assert fn.SGD(table).learning_rate == fn.WarmUp(2, fn.Cosine(0.1))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fn.SGD(0), r"learning rate is 0.*greater than 0"),
        (lambda: fn.SGD(-0.1), r"learning rate is -0\.1"),
        (lambda: fn.Adam(math.nan), "learning rate is nan"),
        (lambda: fn.Adam(math.inf), "learning rate is inf"),
        (lambda: fn.SGD("fast"), "unknown schedule 'fast'"),
        (lambda: fn.SGD("cosin"), "did you mean 'cosine'"),
        (lambda: fn.SGD(None), "learning rate is None.*must be a number"),
        (lambda: fn.Cosine(0.1, epochs=0), "cosine epochs is 0"),
        (lambda: fn.OneCycle(0.1, pct_start=1.0), "one_cycle pct_start is 1"),
        (lambda: fn.Step(0.1, 0), "step step_size"),
        (lambda: fn.WarmUp(0, 0.1), "warm_up epochs is 0"),
        (lambda: fn.WarmUp(1, "linear"), "unknown schedule 'linear'"),
        (lambda: fn.ReduceOnPlateau(0.1, factor=1.5), "factor is 1.5.*less than 1"),
        (lambda: fn.ReduceOnPlateau(0.1, patience=1.5), "patience is 1.5.*whole number"),
        (lambda: fn.SGD({"name": "cosine", "speed": 2}), "no constant 'speed'.*it takes rate"),
        (lambda: fn.SGD({"name": "cosine"}), "schedule 'cosine'.*rate"),
    ],
)
def test_an_invalid_schedule_is_refused_by_name(make, says):
    with pytest.raises(fn.DefinitionError, match=says):
        make()


def test_a_step_is_not_late_by_a_rounding():
    rates = fn.Step(1.0, 0.1, 0.5).rates(np.arange(4) / 10, 1.0)
    assert rates.tolist() == [1, 0.5, 0.25, 0.125]
    for batches in (3, 7, 10, 49, 1000):
        steps = np.arange(20 * batches)
        found = fn.Step(1.0, 1 / batches, 0.5).rates(steps / batches, 20.0)
        np.testing.assert_array_equal(found, 0.5**steps)
    below = np.nextafter(2 - 1e-6, 0)  # a step that is early is so
    assert fn.Step(1.0, 1.0, 0.5).rates(np.array([below]), 3.0) == 0.5
