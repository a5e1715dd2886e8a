"""`pytest bench` in a process of its own, as its users call it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import child
import pytest

pytest.importorskip("bench.contest", reason="the benchmarks are not beside these tests")

from bench import conftest, contestants, processor, sizes
from bench.__main__ import FILES, TOGETHER
from bench.records import Record
from fastnet.benchmark import QUICK, ROUND_SECONDS


def bench(*arguments, **variables):
    """The suite with these arguments: exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=Path(__file__).parents[1],
        env=child.environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


#: Of each contest: the suite's own number takes several times as long.
ROUNDS = 2

CEILINGS = [f"bench/test_ceilings.py::{name}" for name in
            ("test_matrix_product[float32-512]", "test_copy")]  # fmt: skip


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """Where runs are saved to be compared with."""
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def results(tmp_path_factory, storage):
    """The output and JSON of a small run, with unknown names among its options; saved, too."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    code, out = bench(
        "bench/test_contests.py", *CEILINGS, "--threads=1", f"--rounds={ROUNDS}",
        "--workload=xor", "--workload=nix", "--backend=numpy", "--backend=numba",
        "--backend=cupi", "--peer=scikit-learn", "--peer=tensorflow", "--workload=predict 1",
        f"--benchmark-json={file}", f"--benchmark-storage={storage}", "--benchmark-save=before",
    )  # fmt: skip
    assert code == 0, out
    return out, json.loads(file.read_text())


def test_results_and_reports_are_no_change_of_what_is_measured(tmp_path):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def changed():
        info = {"dirty": None}
        conftest.pytest_benchmark_update_commit_info(SimpleNamespace(rootpath=tmp_path), info)
        return info["dirty"]

    assert changed() is False  # no repository
    written = ["results/one.json", "REPORT.md", "avx2/TABLES.md", "avx2/charts/map.svg"]
    files = [tmp_path / "bench" / name for name in (*written, "contest.py")]
    git("init")
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("before")
    git("add", ".")
    git("commit", "-m", "all")
    for file in files[:-1]:
        file.write_text("after")
    (tmp_path / "untracked.py").write_text("")
    assert changed() is False
    files[-1].write_text("after")
    assert changed() is True


def test_notes_name_what_is_unknown_and_the_rest_runs(results):
    out, stored = results
    for note in (
        "unknown workload 'nix'",
        "unknown backend 'cupi'; did you mean 'cupy'?",
        "unknown peer 'tensorflow'. Known: ",
        "scikit-learn, xor: MLPRegressor has no sigmoid",
    ):
        assert note in out
        assert any(note in line for line in stored["fastnet"]["left_out"])
    assert "1 thread per contestant" in out
    command = stored["fastnet"]["command"]
    assert command.startswith("python -m pytest ")
    assert "'--workload=predict 1'" in command
    assert command.endswith("--benchmark-json=RESULTS.json")


def test_records_describe_what_was_timed(results):
    _, stored = results
    timed = {}
    for one in stored["benchmarks"]:
        record = Record.from_dict(one["extra_info"]["record"])
        timed.setdefault((record.workload, record.contestant), (record, one["stats"]))
    assert {who for workload, who in timed if workload == "xor"} == {"by hand", "numpy", "numba"}
    assert ("predict 1", "scikit-learn") in timed
    assert {record.threads for record, _ in timed.values()} == {1}
    xor, stats = timed["xor", "numba"]
    assert xor.flops == QUICK["xor"].flops
    assert 0 < xor.difference < 1e-3
    assert xor.warm_up > 0
    assert "numba" in xor.versions
    assert timed["matrix product", "numpy"][0].rate > timed["copy", "numpy"][0].rate > 0
    # Seconds of one step: a round takes as long as intended, within what a busy machine adds.
    assert stats["rounds"] == ROUNDS
    assert ROUND_SECONDS / 10 < stats["min"] * xor.units_per_round < ROUND_SECONDS * 10


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--workload=nix", "ERROR: unknown workload 'nix'. Known: "),
        ("--threads=4096", "--threads is 4096; this process may use 1 to "),
    ],
)
def test_invalid_options_are_refused(option, message):
    code, out = bench("bench/test_contests.py", option)
    assert code == 4
    assert message in out


def test_libraries_can_be_told_of_another_processor(tmp_path):
    file = tmp_path / "results.json"
    code, out = bench(
        "bench/test_ceilings.py", "-k", "512", "--processor=avx2", f"--benchmark-json={file}",
    )  # fmt: skip
    assert code == 0, out
    assert "told that the processor has avx2 only" in out
    assert json.loads(file.read_text())["fastnet"]["processor"] == "avx2"


def test_two_threads_have_the_named_workloads_and_the_calls():
    code, out = bench(*FILES, *TOGETHER, "--backend=numba", "--threads=1", "--collect-only", "-q")
    assert code == 0, out
    found = set(re.findall(r"test_contest\[(.*)-numba\]", out))
    assert {"xor", "wide", "real512-f64", "gradient", "predict_512-512"} <= found
    assert not any(name.startswith(("map", "width")) for name in found)
    assert "test_process" not in out


def test_a_processor_that_libraries_have_asked_for_already_is_refused():
    with pytest.raises(pytest.UsageError, match="too late"):
        processor.become("avx2")


CONTESTS = ("bench/test_contests.py", "--workload=narrow", "--workload=predict 1", "--rounds=1")
IMPORT = ("bench/test_process.py", "-k", "import and not memory", "--benchmark-disable")

#: One result is wrong; a prediction fails after its first run.
WRONG_OR_LATE = """
right = peer.rate
peer.rate = lambda optimizer: 2 * right(optimizer)
run, runs = peer.Predictor.run, []
def fails(self):
    runs.append(self)
    if len(runs) > 4:
        raise MemoryError("no room")
    run(self)
peer.Predictor.run = fails
"""


@pytest.mark.parametrize(
    ("arguments", "change", "messages"),
    [
        (CONTESTS, WRONG_OR_LATE,
         ["scikit-learn at narrow: the result is off by",
          "scikit-learn at predict 1: MemoryError: no room"]),
        (IMPORT, "peer.IMPORT = 'raise MemoryError(\"no room\")'",
         ["scikit-learn, import: MemoryError: no room"]),
    ],
    ids=["contests", "processes"],
)  # fmt: skip
def test_a_peer_that_fails_does_not_stop_the_others(arguments, change, messages, tmp_path):
    (tmp_path / "failing.py").write_text(
        f"from bench.peers import scikit_learn as peer\n{change}\n"
    )
    path = os.pathsep.join([str(tmp_path), child.environment()["PYTHONPATH"]])
    peers = ("-p", "failing", "--backend=numpy", "--peer=scikit-learn")
    file = tmp_path / "results.json"
    code, out = bench(*arguments, *peers, f"--benchmark-json={file}", PYTHONPATH=path)
    assert code == 1
    for message in messages:
        assert message in out
        if "--benchmark-disable" not in arguments:
            left_out = json.loads(file.read_text())["fastnet"]["left_out"]
            assert any(one.startswith(message) for one in left_out)
    assert f"{len(messages)} failed, {2 * len(messages)} passed" in out


@pytest.mark.usefixtures("results")  # the earlier run
def test_a_run_can_be_compared_with_an_earlier_one(storage, tmp_path):
    code, out = bench(
        "bench/test_contests.py", "--workload=xor", "--backend=numpy", "--rounds=1",
        f"--benchmark-storage={storage}", "--benchmark-compare",
        f"--benchmark-histogram={tmp_path}/times",
    )  # fmt: skip
    assert code == 0, out
    assert "xor-numpy] (0001_before)" in out
    assert list(tmp_path.glob("times*.svg"))


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(contestants, "find_spec", lambda name: None)
    missing = contestants.missing("scikit-learn")
    assert missing == "scikit-learn: sklearn is not installed: python -m pip install scikit-learn"


def test_sizes_count_dependencies():
    names = sizes.closure("fastnet-dense")
    assert {"fastnet-dense", "numpy", "rich", "safetensors", "typer"} <= names
    assert "numba" not in names
    assert {"numba", "llvmlite"} <= sizes.closure("fastnet-dense[numba]")
    numpy, small, large = map(
        sizes.installed_bytes, ("numpy", "fastnet-dense", "fastnet-dense[numba]")
    )
    assert 10 * 2**20 < numpy < small < large
