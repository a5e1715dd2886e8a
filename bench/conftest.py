"""The options of `pytest bench`, and who takes part in what.

    pytest bench                          fastnet's backends, and the loop by hand
    pytest bench --peers                  and the libraries that are installed
    pytest bench --peer jax --workload tab --workload width --backend numba
    pytest bench --threads 1              one processor for everyone

What is unknown or missing is said, and the rest runs.
"""

import os
import shlex
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.contest import Contest, Task

#: What each name that was asked for and is unknown, missing or left out was said of.
_remarks = pytest.StashKey[list[str]]()


#: What tells a library its threads, where the system cannot; the last is JAX's.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NPROC",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options beside pytest's and pytest-benchmark's own."""
    group = parser.getgroup("fastnet")
    group.addoption(
        "--peers", action="store_true", help="Compare with the other libraries that are installed."
    )
    group.addoption(
        "--peer", action="append", default=[], metavar="NAME", help="Compare with this one."
    )
    group.addoption(
        "--backend", action="append", default=[], metavar="NAME", help="Only this backend."
    )
    group.addoption(
        "--workload",
        action="append",
        default=[],
        metavar="NAME",
        help="Only this workload (tab) or series (width).",
    )
    group.addoption(
        "--threads",
        type=int,
        default=None,
        metavar="N",
        help="Processors that everyone may use (default all of them).",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give everyone the same processors, before a library counts them; look at the names."""
    config.stash[_remarks] = []
    wanted = config.getoption("--threads")
    if wanted is not None:
        _hold_to(wanted, config)
    _contestants(config)
    _matches(config)


def _hold_to(wanted: int, config: pytest.Config) -> None:
    """Let this process, and all that it starts, have so many processors.

    Raises:
        pytest.UsageError: if there are fewer.
    """
    there = processors()
    if not 1 <= wanted <= there:
        raise pytest.UsageError(f"--threads is {wanted}; this machine has {there} for this process")
    for name in _VARIABLES:
        os.environ[name] = str(wanted)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:wanted])
    else:
        config.stash[_remarks].append(
            "this system cannot hold a process to some processors: JAX may take more"
        )


def processors() -> int:
    """How many this process may use (the hardware's threads, where a core has two)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _named(config: pytest.Config, option: str, known: list[str], default: list[str]) -> list[str]:
    """The known ones of the names that an option gives; of the others it is said.

    Raises:
        pytest.UsageError: if nothing is left to run.
    """
    from fastnet.errors import unknown

    asked = list(dict.fromkeys(config.getoption(option)))
    if not asked:
        return default
    remarks = config.stash[_remarks]
    for name in asked:
        if name not in known:
            remark = unknown(option.removeprefix("--"), name, known)
            if remark not in remarks:
                remarks.append(remark)
    found = [name for name in asked if name in known]
    if not found and option != "--peer":  # without peers there are still our backends
        raise pytest.UsageError("\n".join(remarks))
    return found


def _contestants(config: pytest.Config) -> list[str]:
    """Who was chosen, whether they can take part or not."""
    from bench.contestants import BY_HAND, PEERS
    from fastnet.contract import loading

    known = loading.known()
    chosen = _named(config, "--backend", known, known)
    peers = _named(
        config, "--peer", list(PEERS), list(PEERS) if config.getoption("--peers") else []
    )
    return [BY_HAND, *chosen, *peers]


def _matches(config: pytest.Config) -> list["Task"]:
    """The contests that were chosen, in order."""
    from bench.contest import Task
    from bench.workloads import PREDICTED, TAB, TRAINED

    every = [Task("training", work) for work in TRAINED.values()]
    every.append(Task("gradient", TAB))
    every += [Task("prediction", TAB, rows) for rows in PREDICTED]
    names = [task.name for task in every]
    series = list(dict.fromkeys(task.axis for task in every if task.axis))
    chosen = _named(config, "--workload", [*names, *series], names)
    return [task for task in every if task.name in chosen or task.axis in chosen]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Everyone who was chosen at everything that was chosen."""
    from bench.contestants import program, supports

    config = metafunc.config
    if "task" in metafunc.fixturenames:
        cases = [
            pytest.param(
                task,
                name,
                id=f"{task.name}-{name}".replace(" ", "_"),
                marks=[pytest.mark.slow] if task.work.slow else [],
            )
            for task in _matches(config)
            for name in _contestants(config)
            if supports(name, task.kind)
        ]
        metafunc.parametrize(("task", "contestant"), cases)
    elif "measure" in metafunc.fixturenames:
        measures = metafunc.module.MEASURES.values()
        cases = [
            pytest.param(
                measure.name,
                name,
                id=f"{measure.name}-{name}".replace(" ", "_"),
                marks=[pytest.mark.slow] if measure.cold else [],
            )
            for measure in measures
            for name in _contestants(config)
            if program(name, measure.program)
        ]
        metafunc.parametrize(("measure", "contestant"), cases)
    elif "installed" in metafunc.fixturenames:
        known = metafunc.module.INSTALLED
        metafunc.parametrize("installed", [name for name in _contestants(config) if name in known])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--workload`, what is no workload is left out, but for the ceilings."""
    if not config.getoption("--workload"):
        return

    def wanted(item: pytest.Item) -> bool:
        return "task" in getattr(item, "fixturenames", ()) or item.path.stem == "test_ceilings"

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = [item for item in items if wanted(item)]


@pytest.fixture(scope="session")
def threads(pytestconfig: pytest.Config) -> int:
    """How many everyone may use."""
    return int(pytestconfig.getoption("--threads") or processors())


@pytest.fixture(scope="session")
def contests() -> dict[str, "Contest"]:
    """Those that were held already, by the task's name."""
    return {}


def chosen_for(request: pytest.FixtureRequest, task: "Task") -> list[str]:
    """Who of those that this session runs is in a task, and can be."""
    from bench.contestants import missing, unsupported

    names = [
        str(item.callspec.params["contestant"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("task") == task
    ]
    return [name for name in names if not (missing(name) or unsupported(name, task.work))]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """State the threads."""
    threads = config.getoption("--threads") or processors()
    return [f"benchmarks: {threads} {'thread' if threads == 1 else 'threads'} for everyone"]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say at the end, too, what was asked for and is unknown."""
    for remark in config.stash[_remarks]:
        terminalreporter.write_line(remark, yellow=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the reasons of what was skipped, for the JSON file."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped.append(report.longrepr[2].removeprefix("Skipped: "))


_skipped: list[str] = []


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]
) -> None:
    """How to repeat the run, and what was not in it."""
    given, inside = iter(map(str, config.invocation_params.args)), []
    for one in given:
        if one == "--benchmark-json":
            next(given)
        elif not one.startswith("--benchmark-json="):
            inside.append(one)
    command = ["python", "-m", "pytest", *inside, "--benchmark-json=RESULTS.json"]
    # Not in `machine_info`: it would differ from that of every run to compare with.
    output_json["fastnet"] = {
        "command": shlex.join(command),
        "left_out": list(dict.fromkeys([*config.stash[_remarks], *_skipped])),
    }
