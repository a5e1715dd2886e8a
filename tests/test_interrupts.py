"""Ctrl-C: KeyboardInterrupt comes out, after a whole step, with history and checkpoint."""

import signal
import threading

import child
import numpy as np
import pytest
from compare import assert_same_bits
from safetensors.numpy import load_file
from samples import rows_for

import fastnet as fn
from fastnet.interrupts import DeferredInterrupt, HeldSignals

NETWORK = fn.Network(6, [fn.Dense(16, "tanh"), fn.Dropout(0.1), fn.Dense(1)])
X, Y = rows_for(NETWORK, 100)
OPTIONS = {"optimizer": fn.Adam(0.01), "batch_size": 16}


def make(backend):
    return fn.Model(NETWORK, backend=backend, seed=3)


@pytest.fixture(autouse=True)
def _the_handler_is_put_back():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def interrupt(model, history):
    if len(history) == 4:
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_in_a_callback_ends_the_fit_after_that_epoch(backend, tmp_path):
    model, other = make(backend), make(backend)
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=50, callbacks=[interrupt], checkpoint=path, **OPTIONS)
    assert len(model.history) == 4
    wanted = other.fit(X, Y, epochs=4, **OPTIONS)
    assert_same_bits(model.parameters.flat, other.parameters.flat)
    assert model.history.loss == wanted.loss
    resumed = make(backend)
    history = resumed.fit(X, Y, epochs=7, checkpoint=path, resume=True, **OPTIONS)
    other.fit(X, Y, epochs=7, initial_epoch=4, **OPTIONS)
    assert_same_bits(resumed.parameters.flat, other.parameters.flat)
    assert history.epoch == list(range(1, 8))


def test_a_second_ctrl_c_ends_a_callback_at_once_and_loses_nothing(backend, tmp_path):
    def hangs(model, history):
        if len(history) == 4:
            signal.raise_signal(signal.SIGINT)
            history.loss[-1] += 0  # the first is noted, and the callback goes on
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second one did not come through")

    model, resumed, other = make(backend), make(backend), make(backend)
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=50, callbacks=[hangs], checkpoint=path, **OPTIONS)
    resumed.fit(X, Y, epochs=6, checkpoint=path, resume=True, **OPTIONS)
    other.fit(X, Y, epochs=6, **OPTIONS)
    assert_same_bits(resumed.parameters.flat, other.parameters.flat)
    assert resumed.history.loss == other.history.loss


class Wrapped:
    """A program that raises Ctrl-C in one of its methods: so often, and at which of its calls."""

    def __init__(self, program, method, signals, call=1):
        self.program, self.method, self.signals, self.left = program, method, signals, call

    def __getattr__(self, name):
        if name == self.method:
            self.left -= 1
            if self.left == 0:
                for _ in range(self.signals):
                    signal.raise_signal(signal.SIGINT)
        return getattr(self.program, name)


def test_many_ctrl_c_while_a_result_is_copied_wait_until_it_is(backend, tmp_path):
    model, resumed, other = make(backend), make(backend), make(backend)
    model._program = Wrapped(model._program, "to_host", signals=2)
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=10**6, checkpoint=path, **OPTIONS)
    assert load_file(path)["memory"].any()  # a run was done, and its result copied whole
    epochs = len(model.history) + 2
    resumed.fit(X, Y, epochs=epochs, checkpoint=path, resume=True, **OPTIONS)
    other.fit(X, Y, epochs=epochs, **OPTIONS)
    assert_same_bits(resumed.parameters.flat, other.parameters.flat)


@pytest.mark.parametrize("run", [1, 3])
def test_ctrl_c_in_any_run_leaves_a_checkpoint_to_resume_from(backend, tmp_path, run):
    model, resumed, other = make(backend), make(backend), make(backend)
    path = tmp_path / "checkpoint"
    program = model._program
    model._program = Wrapped(program, "train", signals=1, call=run)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=10**6, checkpoint=path, **OPTIONS)
    assert model._program.left == 0  # that run was finished, and none begun after it
    model._program = program
    assert_same_bits(load_file(path)["parameters"], model.parameters.flat)
    done = len(model.history)
    resumed.fit(X, Y, epochs=done + 3, checkpoint=path, resume=True, **OPTIONS)
    other.fit(X, Y, epochs=done + 3, **OPTIONS)
    assert_same_bits(resumed.parameters.flat, other.parameters.flat)
    assert resumed.history.loss == other.history.loss
    assert model.history.loss == other.history.loss[:done]
    model.fit(X, Y, epochs=1, **OPTIONS)  # and it trains on


STEPS = """
import sys
import numpy as np
import fastnet as fn
network = fn.Network(6, [fn.Dense(16, "tanh"), fn.Dense(1)])
generator = np.random.default_rng(0)
x = generator.standard_normal((64, 6)); y = x[:, :1] * 2
model = fn.Model(network, backend="numpy", seed=3)
try:
    model.fit(x, y, epochs=10**7, batch_size=None, optimizer=fn.SGD(1e-3, momentum=0.5),
              checkpoint=fn.Checkpoint(sys.argv[1], seconds=0.01))
except KeyboardInterrupt:
    steps = len(model.history)
    other = fn.Model(network, backend="numpy", seed=3)
    history = other.fit(x, y, epochs=steps, batch_size=None,
                        optimizer=fn.SGD(1e-3, momentum=0.5))
    assert steps > 0
    assert model.parameters.flat.tobytes() == other.parameters.flat.tobytes()
    assert model.history.loss == history.loss
    resumed = fn.Model(network, backend="numpy", seed=3)
    resumed.fit(x, y, epochs=10**7, batch_size=None, optimizer=fn.SGD(1e-3, momentum=0.5),
                checkpoint=sys.argv[1], resume=True, callbacks=[lambda m, h: True])
    print(len(resumed.history) - steps)
"""


def test_sigint_to_a_process_leaves_what_that_many_steps_give_and_a_checkpoint(tmp_path):
    path = tmp_path / "checkpoint"
    with child.start(STEPS, str(path)) as process:
        child.wait_until(path.exists, process)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert errors == ""
    assert said == "1\n"


def test_ctrl_c_with_lbfgs_ends_after_an_iteration(backend):
    model = fn.Model(fn.Network(6, [fn.Dense(16, "tanh"), fn.Dense(1)]), backend=backend, seed=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=50, optimizer=fn.LBFGS(), callbacks=[interrupt])
    assert len(model.history) == 4
    assert np.isfinite(model.parameters.flat).all()
    found = model.evaluate(X, Y)
    assert found == pytest.approx(model.history.loss[-1], rel=1e-5)


def test_a_program_that_handles_the_signal_itself_is_left_alone(backend):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        history = make(backend).fit(X, Y, epochs=6, callbacks=[interrupt], **OPTIONS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]
    assert len(history) == 6


def test_a_fit_started_by_its_own_callback_or_another_thread_is_refused(backend):
    model, other = make(backend), make(backend)
    found = []

    def again(model, history):
        for start in (lambda: model.fit(X, Y, epochs=1), in_a_thread):
            try:
                start()
            except fn.FastnetError as error:
                found.append(str(error))

    def in_a_thread():
        caught = []

        def work():
            try:
                model.fit(X, Y, epochs=1)
            except fn.FastnetError as error:
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        raise caught[0]

    model.fit(X, Y, epochs=2, callbacks=[again], **OPTIONS)
    assert len(found) == 4
    assert all("already being trained" in text for text in found)
    other.fit(X, Y, epochs=2, **OPTIONS)
    assert_same_bits(model.parameters.flat, other.parameters.flat)


def test_a_model_in_training_may_be_asked_from_its_callbacks(backend):
    model, other = make(backend), make(backend)
    model.fit(X, Y, epochs=3, callbacks=[lambda m, h: (m.predict(X), m.evaluate(X, Y))], **OPTIONS)
    other.fit(X, Y, epochs=3, **OPTIONS)
    assert_same_bits(model.parameters.flat, other.parameters.flat)


def test_held_signals_reach_their_handler_at_the_end_or_where_the_work_may_stop():
    def works(*steps):
        with HeldSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            for step in steps:
                done.append(step)
                if step == "may stop":
                    signals.deliver()

    for steps, wanted in [
        (["first", "second"], ["first", "second"]),
        (["first", "may stop", "never"], ["first", "may stop"]),
    ]:
        done = []
        with pytest.raises(KeyboardInterrupt):
            works(*steps)
        assert done == wanted

    with DeferredInterrupt() as interrupt:  # a fit that loads its kernels
        works("all")
        assert interrupt.seen
        interrupt.seen = False
