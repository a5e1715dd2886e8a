"""What all tests share: the backend under test, a clean environment, an untouched np.random."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import child
import numpy as np
import pytest
from roster import BACKENDS, Entry, absence

# The CUDA backend on a simulated device joins as somebody else's would, by its entry point.
sys.path.append(str(Path(__file__).parent / "simulated"))


# A shell that starts the tests in the background lets them ignore Ctrl-C; some test what it does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


ABSENT = {entry.name: absence(entry) for entry in BACKENDS}


def testable(entry: Entry) -> bool:
    """Whether a backend is here, or has to be. test_roster.py skips the others, with the reason."""
    missing = ABSENT[entry.name]
    return missing is None or missing.fails


@pytest.fixture(params=filter(testable, BACKENDS), ids=lambda entry: entry.name, scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    entry: Entry = request.param
    missing = ABSENT[entry.name]
    if missing is not None:
        pytest.fail(missing.reason)
    return entry.name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are not for a backend, by its line in the roster."""

    def is_for_its_backend(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        entry = None if callspec is None else callspec.params.get("backend")
        function = getattr(item, "originalname", item.name)
        return not isinstance(entry, Entry) or entry.has(item.path.stem, function)

    kept = [item for item in items if is_for_its_backend(item)]
    config.hook.pytest_deselected(items=[item for item in items if not is_for_its_backend(item)])
    items[:] = sorted(kept, key=lambda item: item.path.stem not in LONG)


#: Files that take longest. Several workers begin with them, and so end at about the same time.
LONG = (
    "test_distributed", "test_bench_suite", "test_cupy_sanitized", "test_numba_hosts",
    "test_numba_process", "test_gpu_script", "test_numba_borders",
)  # fmt: skip

#: Tests of a run that needs all kernels of the Numba backend.
MANY = 1_000


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist take files in the order that they stand in."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let two workers compile the kernels of a dtype each: later, one would wait for the other."""
    dtype = {"gw0": "float32", "gw1": "float64"}.get(os.environ.get("PYTEST_XDIST_WORKER", ""))
    if dtype is not None and len(session.items) > MANY:
        child.compile_kernels(dtype)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    monkeypatch.delenv("FASTNET_BACKEND", raising=False)
    monkeypatch.delenv("FASTNET_NUM_THREADS", raising=False)
    monkeypatch.delenv("FASTNET_DEVICE", raising=False)


@pytest.fixture
def on_numpy(monkeypatch, _no_settings_from_outside):
    """For tests whose outcome the backend does not decide: NumPy has nothing to compile."""
    monkeypatch.setenv("FASTNET_BACKEND", "numpy")


@pytest.fixture(autouse=True, scope="module")
def _global_random_state_stays():
    """Nothing that a module of tests does may draw from NumPy's global generator."""
    before = np.random.get_state()
    yield
    after = np.random.get_state()
    assert before[0] == after[0]
    assert before[2:] == after[2:]
    np.testing.assert_array_equal(before[1], after[1])


if importlib.util.find_spec("hypothesis") is not None:
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "suite",
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("suite")
