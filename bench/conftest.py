"""The options of `pytest bench`, and which contestants run which workloads.

    pytest bench                          fastnet's backends, and the loop by hand
    pytest bench --peers                  also the other libraries that are installed
    pytest bench --peer jax --workload tab --workload width --backend numba
    pytest bench --threads 1              one processor for every contestant
    pytest bench --processor avx2         as a processor with AVX2, and no more than that

A note names what is unknown or missing, and the rest runs.
"""

import shlex
from typing import TYPE_CHECKING, Any

import pytest

from bench import processor

if TYPE_CHECKING:
    from bench.contest import Contest, Task

#: Notes on names that are unknown, and on limits of this system.
_notes = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options beside pytest's and pytest-benchmark's own."""
    group = parser.getgroup("fastnet")
    group.addoption(
        "--peers", action="store_true", help="Compare with all other libraries that are installed."
    )
    for option, help_ in (
        ("--peer", "Compare with this library; can be repeated."),
        ("--backend", "Only this backend; can be repeated."),
        (
            "--workload",
            "Only this workload (tab) or group (named, depth, width, batch, map, "
            "calls); can be repeated.",
        ),
    ):
        group.addoption(option, action="append", default=[], metavar="NAME", help=help_)
    group.addoption(
        "--threads",
        type=int,
        default=None,
        metavar="N",
        help="Processors that each contestant may use (default: all).",
    )
    group.addoption(
        "--processor",
        choices=list(processor.OTHERS),
        help="Let all libraries take this machine's processor for this one.",
    )
    group.addoption(
        "--rounds",
        type=int,
        default=7,
        metavar="N",
        help="Rounds of each contest (default: %(default)s; of the map, 3 at most).",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Limit the processors before a library counts them, and check the names."""
    config.stash[_notes] = []
    wanted = config.getoption("--threads")
    if wanted is not None and (note := processor.limit(wanted)):
        config.stash[_notes].append(note)
    if config.getoption("--processor"):
        processor.become(config.getoption("--processor"))
    _contestants(config)
    _tasks(config)


def _chosen(config: pytest.Config, option: str, known: list[str], default: list[str]) -> list[str]:
    """The known ones of an option's names; a note names the others.

    Raises:
        pytest.UsageError: if none is known.
    """
    from fastnet.errors import unknown

    requested = list(dict.fromkeys(config.getoption(option)))
    if not requested:
        return default
    notes = config.stash[_notes]
    for name in requested:
        if name not in known:
            note = unknown(option.removeprefix("--"), name, known)
            if note not in notes:
                notes.append(note)
    found = [name for name in requested if name in known]
    if not found and option != "--peer":  # without peers there are still our backends
        raise pytest.UsageError("\n".join(notes))
    return found


def _contestants(config: pytest.Config) -> list[str]:
    """The chosen contestants, whether they can run here or not."""
    from bench.contestants import BY_HAND, PEERS
    from fastnet.contract import loading

    known = loading.known()
    # The array-API backend shows how one is written, and only runs where it is asked for.
    chosen = _chosen(config, "--backend", known, [name for name in known if name != "array_api"])
    peers = _chosen(
        config, "--peer", list(PEERS), list(PEERS) if config.getoption("--peers") else []
    )
    return [BY_HAND, *chosen, *peers]


def _tasks(config: pytest.Config) -> list["Task"]:
    """The chosen tasks, in order."""
    from bench.contest import Task
    from bench.workloads import PREDICTED, TAB, TRAINED

    every = [Task("training", work) for work in TRAINED.values()]
    every.append(Task("gradient", TAB))
    every += [Task("prediction", work, rows) for work, rows in PREDICTED]
    names = [task.name for task in every]
    groups = list(dict.fromkeys(task.group for task in every))
    chosen = _chosen(config, "--workload", [*names, *groups], names)
    return [task for task in every if task.name in chosen or task.group in chosen]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each chosen contestant and task."""
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
            for task in _tasks(config)
            for name in _contestants(config)
            if supports(name, task.kind, task.work)
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
    """With `--workload`, run only workloads and ceilings."""
    if not config.getoption("--workload"):
        return

    def wanted(item: pytest.Item) -> bool:
        return "task" in getattr(item, "fixturenames", ()) or item.path.stem == "test_ceilings"

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = [item for item in items if wanted(item)]


@pytest.fixture(scope="session")
def threads(pytestconfig: pytest.Config) -> int:
    """The number of threads of each contestant."""
    return int(pytestconfig.getoption("--threads") or processor.available())


@pytest.fixture(scope="session")
def contests() -> dict[str, "Contest"]:
    """Contests that have run already, by the task's name."""
    return {}


def participants(request: pytest.FixtureRequest, task: "Task") -> list[str]:
    """The contestants of a task in this session that can run it."""
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
    """Show the number of threads."""
    threads = config.getoption("--threads") or processor.available()
    told = config.getoption("--processor")
    return [
        f"benchmarks: {threads} {'thread' if threads == 1 else 'threads'} per contestant"
        + (f", told that the processor has {told} only" if told else "")
    ]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Repeat the notes at the end."""
    for note in config.stash[_notes]:
        terminalreporter.write_line(note, yellow=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the reasons of skipped and failed tests for the JSON file."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _not_timed.append(report.longrepr[2].removeprefix("Skipped: "))
    crash = getattr(report.longrepr, "reprcrash", None)
    if report.failed and crash is not None:
        _not_timed.append(crash.message.removeprefix("Failed: "))


_not_timed: list[str] = []


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    """Record whether the code was changed since the commit; results and reports do not count."""
    from bench.records import changed

    commit_info["dirty"] = changed(config.rootpath)


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]
) -> None:
    """Store the command of the run, and what was left out."""
    arguments, kept = iter(map(str, config.invocation_params.args)), []
    for one in arguments:
        if one == "--benchmark-json":
            next(arguments)
        elif not one.startswith("--benchmark-json="):
            kept.append(one)
    command = ["python", "-m", "pytest", *kept, "--benchmark-json=RESULTS.json"]
    # Not in `machine_info`, which must be equal in runs that are compared.
    output_json["fastnet"] = {
        "command": shlex.join(command),
        "processor": config.getoption("--processor"),
        "left_out": list(dict.fromkeys([*config.stash[_notes], *_not_timed])),
    }
