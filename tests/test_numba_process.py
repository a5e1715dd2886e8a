"""The Numba backend among processes and threads: caches, forks, busy machines."""

import _thread
import os
import shutil
import subprocess
import sys
import threading
import time

import child
import numpy as np
import pytest
from compare import assert_same_bits
from numba_cases import data, network

import fastnet as fn

pytest.importorskip("numba", reason="numba is not installed")

#: So small that few kernels are needed. Of all others test_numba_borders.py shows that none is
#: compiled for a network: its processes say nothing.
FIRST = """
import fastnet as fn
x, y = fn.datasets.synthetic(20, {inputs}, 1)
model = fn.Model(fn.Network({inputs}, [fn.Dense(5, "{activation}"), fn.Dense(1)]), backend="numba")
model.fit(x, y, epochs=1, optimizer="sgd", batch_size=None)
print(model.predict(x).shape)
"""


def process(code, **variables):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=child.environment(**variables), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_first_process_says_that_it_compiles_and_the_next_does_not_compile(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    first = process(FIRST.format(inputs=3, activation="relu"), **cache)
    assert first.returncode == 0
    assert first.stderr.count("compiles its float32 kernels") == 1
    kept = sorted(tmp_path.rglob("*.nbc"))
    assert kept
    second = process(FIRST.format(inputs=7, activation="relu"), **cache)
    assert (second.returncode, second.stderr) == (0, "")
    assert sorted(tmp_path.rglob("*.nbc")) == kept
    third = process(FIRST.format(inputs=7, activation="gelu"), **cache)  # what computes that alone
    assert third.stderr.count("compiles its float32 kernels") == 1
    (more,) = {*tmp_path.rglob("*.nbc")}.difference(kept)
    assert "activations.gelu" in more.name


#: The entry that takes the least time to compile stands for all: each is loaded in the same way.
ONE_ENTRY = """
import numpy as np
from fastnet_numba import kernels
print(kernels.load(np.dtype("float32")).tiles_for(np.zeros(1, np.float32)) != 0)
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder that has the entry."""
    folder = tmp_path_factory.mktemp("compiled")
    assert process(ONE_ENTRY, NUMBA_CACHE_DIR=str(folder)).stdout == "True\n"
    return folder


#: To a process that begins so, its cache folder is on a disk that can only be read, whoever it is.
READ_ONLY = """
import errno, os, sys
def refuse(event, given):
    writes = event in ("os.mkdir", "os.remove", "os.rename") or (
        event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if writes and str(given[0]).startswith(os.environ["NUMBA_CACHE_DIR"]):
        refused.append(given[0])
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
refused = []
sys.addaudithook(refuse)
"""


def test_kernels_are_read_from_a_folder_that_cannot_be_written_to(compiled, tmp_path):
    done = process(READ_ONLY + ONE_ENTRY, NUMBA_CACHE_DIR=str(compiled))
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    empty = process(
        READ_ONLY + ONE_ENTRY + "print(len(refused) > 0)", NUMBA_CACHE_DIR=str(tmp_path)
    )
    assert (empty.returncode, empty.stdout) == (0, "True\nTrue\n")
    assert empty.stderr.count("cannot keep its compiled kernels") == 1


def test_of_several_processes_one_compiles_even_after_one_was_killed(tmp_path):
    def begin():
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", ONE_ENTRY],
            env=child.environment(NUMBA_CACHE_DIR=str(tmp_path)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    killed = begin()
    child.wait_until(lambda: list(tmp_path.rglob("*.lock")), killed)
    killed.kill()
    killed.communicate()
    assert not list(tmp_path.rglob("*.nbc"))
    pair = [begin(), begin()]
    told = [one.communicate(timeout=100) for one in pair]
    assert [printed for printed, _ in told] == ["True\n", "True\n"]
    assert sum(error.count("compiles its float32 kernels") for _, error in told) == 1


def test_a_cache_that_cannot_be_written_is_told_once_and_does_no_harm(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    done = process(ONE_ENTRY, NUMBA_CACHE_DIR=str(in_the_way / "below"))
    assert (done.returncode, done.stdout) == (0, "True\n")
    assert done.stderr.count("cannot keep its compiled kernels") == 1


def test_a_damaged_cache_is_told_and_mended(compiled, tmp_path):
    def changed(whole):  # a process that loads such code would crash
        assert b"\x7fELF" in whole
        return whole.replace(b"\x7fELF", bytes(4))

    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    for ending, damaged in (
        ("nbi", lambda whole: whole[:100]),
        ("nbc", lambda whole: b""),
        ("nbc", changed),
    ):
        (file,) = tmp_path.rglob(f"*tiles_for*.{ending}")
        file.write_bytes(damaged(file.read_bytes()))
        again = process(ONE_ENTRY, **cache)
        assert (again.returncode, again.stdout) == (0, "True\n")
        assert "its compiled kernel fastnet_numba.ops.products.tiles_for in" in again.stderr
    assert process(ONE_ENTRY, **cache).stderr == ""


INTERRUPTED = """
import signal, time
from numba.core.dispatcher import Dispatcher
import fastnet as fn
Dispatcher._search_new_conversions = None  # which would make a KeyError of an interrupt
x, y = fn.datasets.synthetic(64, 8, 1)
model = fn.Model(fn.Network(8, [fn.Dense(20, "tanh"), fn.Dense(1)]), backend="numba", threads=3)
signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
seen = 0
for delay in range(40):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001 + delay * 1e-5)
        for _ in range(2_000):
            model.loss_and_gradient(x, y, [1.0] * 64)  # with weights it goes to the threads
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        seen += 1
time.sleep(0.2)  # for those under way
began = time.process_time()
time.sleep(0.5)
print(seen > 20, time.process_time() - began < 0.25)  # a waiting worker would spin
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no interval timers")
def test_an_interrupt_leaves_no_worker_waiting_and_no_kernel_half_loaded():
    # Python itself may note an interrupt in its own machinery on the error stream.
    done = process(INTERRUPTED)
    assert done.stdout == "True True\n", done.stderr


def test_another_source_and_other_codes_and_constants_have_another_folder(tmp_path, monkeypatch):
    from fastnet_numba import cache

    copied = tmp_path / "fastnet_numba"
    copied.mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "__file__", str(copied / "kernels.py"))
    source = copied / "kernels.py"
    more = {**cache.TABLES, "operation": {**cache.TABLES["operation"], "new": 99}}
    names = []
    for change in (
        lambda: source.write_text("a = 1"),
        lambda: source.write_text("a = 2"),
        lambda: monkeypatch.setattr(cache, "TABLES", more),
        lambda: monkeypatch.setattr(cache, "NORMAL_TAIL", {}),
        lambda: monkeypatch.setattr(cache, "negligible", lambda dtype: 0.0),
        lambda: monkeypatch.setattr(cache.random, "DROPOUT", 99),
    ):
        change()
        cache.folder.cache_clear()
        names.append(cache.folder().name)
    cache.folder.cache_clear()
    assert len(set(names)) == 6


FORK = """
import os, signal, numpy as np, fastnet as fn
x, y = fn.datasets.synthetic(300, 8, 1)
def trained():
    model = fn.Model(fn.Network(8, [fn.Dense(20, "tanh"), fn.Dense(1)]), backend="numba", seed=1,
                     threads=2)
    model.fit(x, y, epochs=3)
    return model.predict(x)
before = trained()
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if np.array_equal(trained(), before) else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_fork_after_a_fit_with_two_threads_can_fit_and_predict():
    assert child.run(FORK) == "0\n"


def fitted(case="one-less", threads=2, **options):
    x, y, _ = data(case, "float32")
    model = fn.Model(network(case), backend="numba", seed=2, threads=threads)
    model.fit(x, y, batch_size=8, epochs=30, **options)
    return model.parameters.flat


def test_two_models_in_two_threads_are_as_one_after_the_other():
    cases = ["one-less", "one-more"]
    wanted = [fitted(case) for case in cases]
    found = {}
    crew = [
        threading.Thread(target=lambda case=case: found.update({case: fitted(case)}))
        for case in cases
    ]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    for case, flat in zip(cases, wanted, strict=True):
        assert_same_bits(found[case], flat)


def test_beside_busy_processes_the_bits_are_the_same():
    wanted = fitted()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        assert_same_bits(fitted(), wanted)
    finally:
        for one in busy:
            one.kill()
            one.wait()


@pytest.mark.parametrize("speed", [1.1, 0.9])
def test_beside_other_load_one_worker_goes_on_alone_for_a_time_if_it_is_faster(speed):
    from fastnet_numba.threads import LoadMonitor

    now = 0.0
    monitor = LoadMonitor(clock=lambda: now)
    crew = 1 if speed > 1 else 2

    def short():
        assert monitor.workers(2) == 2
        monitor.note(2, 2, 100, 0.05, 0.05)  # one processor for two workers

    short()
    for held in (0.1, 0.1, 0.2):  # what was lost, once; then again after each trial, doubled
        short()
        assert monitor.workers(2) == 1
        monitor.note(1, 1, 1, 0.0, 0.05)  # a batch that cannot be divided tells nothing
        monitor.note(2, 1, 100, 0.0, 0.05 / speed)
        assert monitor.workers(2) == crew
        now += held * 0.99
        if crew == 2:
            short()  # as was to be expected: nothing is tried, and what was found holds no longer
        assert monitor.workers(2) == crew
        now += held * 0.02
    now += 1.0
    monitor.note(2, 2, 100, 0.1, 0.05)  # quiet again
    short()
    assert monitor.workers(2) == 2


def test_where_no_thread_can_be_started_one_does_all(monkeypatch):
    wanted = fitted(threads=3)
    start, begun = _thread.start_new_thread, []

    def refused(*given):
        begun.append(given)
        if len(begun) % 2 == 0:
            raise RuntimeError("can't start new thread")
        return start(*given)

    monkeypatch.setattr(_thread, "start_new_thread", refused)
    assert_same_bits(fitted(threads=3), wanted)
    assert len(begun) > 1


def test_as_many_workers_as_processors_begin_on_one_each(monkeypatch):
    from fastnet_numba import threads

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 9}, raising=False)
    monkeypatch.setattr(threads, "_current_processor", lambda: lambda: 5)
    moved = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, to: moved.append(to), raising=False)
    assert threads.processors_for(2) == threads.processors_for(4) == []
    assert threads.processors_for(3) == [3, 9]
    assert threads.in_threads(lambda worker: None, 3, np.zeros(1, np.int64))
    assert sorted(map(sorted, moved)) == [[3], [3, 5, 9], [3, 5, 9], [9]]


def test_workers_do_without_processors_that_a_sandbox_keeps(monkeypatch):
    def refused(pid, to):
        raise PermissionError

    wanted = fitted(threads=2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", refused, raising=False)
    assert_same_bits(fitted(threads=2), wanted)


def test_a_prediction_does_without_threads_that_cannot_be_started(monkeypatch):
    def refused(*given):
        raise RuntimeError("can't start new thread")

    net = fn.Network(600, [fn.Dense(5, "relu"), fn.Dense(3)])
    x = np.resize(np.random.default_rng(1).standard_normal(4_001), (2_011, 600))
    model = fn.Model(net, backend="numba", seed=1, threads=3)
    wanted = model.predict(x)
    monkeypatch.setattr(_thread, "start_new_thread", refused)
    assert_same_bits(model.predict(x), wanted)


def test_no_thread_is_listed_that_has_ended():
    before = threading.enumerate()
    x, y = fn.datasets.synthetic(3_000, 20, 1)
    net = fn.Network(20, [fn.Dense(33, "relu"), fn.Dense(1)])
    for some in (
        fn.Population(net, members=6, backend="numba", seed=1, threads=3),
        fn.Model(net, backend="numba", seed=1, threads=3),
    ):
        some.fit(x, y, epochs=1, batch_size=300)
        some.predict(x)
        some.evaluate(x, y)
    until = time.monotonic() + 10
    while threading.enumerate() != before and time.monotonic() < until:
        time.sleep(0.01)  # the last one may be about to end
    assert threading.enumerate() == before


def test_no_number_is_claimed_twice():
    import numba

    from fastnet_numba.simd.vectors import claim

    @numba.njit(nogil=True)
    def claimed(counter, found):
        for n in range(len(found)):
            found[n] = claim(counter, 1)

    counter, found = np.zeros(2, np.int64), np.zeros((3, 50_000), np.int64)
    crew = [threading.Thread(target=claimed, args=(counter, own)) for own in found]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    np.testing.assert_array_equal(np.sort(found, axis=None), np.arange(found.size))
    assert counter.tolist() == [0, found.size]


@pytest.mark.parametrize(("units", "rows"), [(600, 1_029), (5, 20_011)], ids=["packed", "narrow"])
def test_a_prediction_waits_for_no_thread_that_has_not_begun(units, rows, monkeypatch):
    net = fn.Network(600, [fn.Dense(units, "relu"), fn.Dense(3)])
    x = np.resize(np.random.default_rng(1).standard_normal(4_001), (rows, 600))
    x[700, 5] = np.nan
    x.flags.writeable = False
    model = fn.Model(net, backend="numba", seed=1, threads=3)
    wanted, late = model.predict(x), []
    monkeypatch.setattr(_thread, "start_new_thread", lambda *given: late.append(given))
    found = model.predict(x)
    assert_same_bits(found, wanted)
    found[:] = 7
    for work, given in late:  # begins when all is done
        work(*given)
    assert (len(late), (found == 7).all()) == (2, True)


@pytest.mark.parametrize("threads", [1, 2])
def test_divergence_is_noticed_on_every_path(threads):
    x, y = fn.datasets.xor()
    for net, batch in ((fn.datasets.xor_network(True), None), (fn.Network(3, [fn.Dense(1)]), 2)):
        model = fn.Model(net, backend="numba", seed=1, threads=threads)
        big = np.float32(1e18) * y + 1
        with pytest.raises(fn.Diverged):
            model.fit(x * 1e10, big, optimizer=fn.SGD(1e30), epochs=50, batch_size=batch)
        assert np.isfinite(model.parameters.flat).all()


ABSENT = """
import sys
sys.modules["numba"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else find(name, *rest)
import fastnet as fn
net = fn.Network(2, [fn.Dense(1)])
print(fn.Model(net).backend)
try:
    fn.Model(net, backend="numba")
except fn.BackendUnavailable as error:
    print(error)
"""


def test_without_numba_the_line_to_install_it_is_given():
    backend, error = child.run(ABSENT).splitlines()
    assert backend == "numpy"
    assert 'pip install "numba>=' in error
