"""`pytest bench` as its users call it, in a process of its own; and what it measures by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import child
import pytest

pytest.importorskip("bench.contest", reason="the benchmarks are not beside these tests")

from bench import contestants, sizes
from bench.records import Record
from fastnet.benchmark import QUICK, ROUND_SECONDS

ROOT = Path(__file__).parents[1]


def bench(*arguments):
    """The suite with some options: exit status, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=child.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A small run with all that can go wrong in its options, and its JSON."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    code, out = bench(
        "bench/test_contests.py", "bench/test_ceilings.py", "--threads=1", "--workload=xor",
        "--workload=nix", "--backend=numpy", "--backend=numba", "--backend=cupi",
        "--peer=scikit-learn", "--peer=tensorflow", "--workload=predict 1",
        f"--benchmark-json={file}",
    )  # fmt: skip
    assert code == 0, out
    return out, json.loads(file.read_text())


def test_what_is_unknown_is_said_and_the_rest_runs(results):
    out, stored = results
    for remark in (
        "unknown workload 'nix'",
        "unknown backend 'cupi'; did you mean 'cupy'?",
        "unknown peer 'tensorflow'. Known: ",
    ):
        assert remark in out
        assert any(remark in said for said in stored["fastnet"]["left_out"])
    assert "scikit-learn, xor: its regression has no sigmoid" in out
    assert "1 thread for everyone" in out


def test_records_say_what_was_timed(results):
    _, stored = results
    records = [Record.from_dict(one["extra_info"]["record"]) for one in stored["benchmarks"]]
    timed = {(one.workload, one.contestant): one for one in records}
    assert {("xor", who) for who in ("by hand", "numpy", "numba")} <= set(timed)
    assert ("predict 1", "scikit-learn") in timed
    assert ("xor", "scikit-learn") not in timed
    assert {one.threads for one in records} == {1}
    xor = timed["xor", "numba"]
    assert xor.flops == QUICK["xor"].flops
    assert 0 < xor.difference < 1e-3
    assert xor.warm_up > 0
    assert "numba" in xor.versions
    rates = {one.workload: one.rate for one in records if one.kind == "ceiling"}
    assert set(rates) == {"matrix product", "copy"}
    assert min(rates.values()) > 0


def test_times_are_those_of_one_step(results):
    """The clock of these benchmarks shows the seconds of a step, of several turns."""
    _, stored = results
    for one in stored["benchmarks"]:
        record = one["extra_info"]["record"]
        if record["kind"] in ("training", "prediction"):
            assert one["stats"]["rounds"] == 7
            # A turn is as long as it was calibrate to be, within what a busy machine does to it.
            turn = one["stats"]["min"] * record["units_per_round"]
            assert ROUND_SECONDS / 10 < turn < ROUND_SECONDS * 10


def test_the_command_can_be_repeated(results):
    _, stored = results
    said = stored["fastnet"]["command"]
    assert said.startswith("python -m pytest ")
    assert "'--workload=predict 1'" in said
    assert said.endswith("--benchmark-json=RESULTS.json")


def test_nothing_known_is_an_error():
    code, out = bench("bench/test_contests.py", "--workload=nix")
    assert code == 4
    assert out.startswith("ERROR: unknown workload 'nix'. Known: ")


def test_too_many_threads_are_refused():
    code, out = bench("bench/test_contests.py", "--threads=4096")
    assert code == 4
    assert "--threads is 4096; this machine has " in out


def test_a_wrong_peer_fails_and_the_others_are_timed(tmp_path):
    """scikit-learn with twice the learning rate does not come to the same parameters."""
    plugin = tmp_path / "cheating.py"
    plugin.write_text(
        "from bench.peers import scikit_learn\n"
        "right = scikit_learn.rate\n"
        "scikit_learn.rate = lambda optimizer: 2 * right(optimizer)\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "cheating", "-p", "no:cacheprovider",
            "bench/test_contests.py", "--workload=tab", "--backend=numpy", "--peer=scikit-learn",
            "--benchmark-disable",
        ],
        cwd=ROOT,
        env=child.environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{child.environment()['PYTHONPATH']}"),
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert "scikit-learn at tab: the result is off by" in done.stdout
    assert "1 failed, 2 passed" in done.stdout


@pytest.mark.parametrize("fails", ["the first run", "a later run"])
def test_a_peer_that_fails_takes_nobody_with_it(fails, tmp_path):
    plugin = tmp_path / "failing.py"
    plugin.write_text(
        "from bench.peers import scikit_learn\n"
        "go, runs = scikit_learn.Trainer.run, []\n"
        "def fails(self):\n"
        "    runs.append(self)\n"
        f"    if {fails == 'the first run'} or len(runs) > 4:\n"
        "        raise MemoryError('it fell over')\n"
        "    go(self)\n"
        "scikit_learn.Trainer.run = fails\n"
    )
    file = tmp_path / "results.json"
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "failing", "-p", "no:cacheprovider",
            "bench/test_contests.py", "--workload=tab", "--backend=numpy", "--peer=scikit-learn",
            f"--benchmark-json={file}",
        ],
        cwd=ROOT,
        env=child.environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{os.pathsep.join(sys.path)}"),
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert "scikit-learn at tab: MemoryError: it fell over" in done.stdout
    assert "1 failed, 2 passed" in done.stdout
    stored = json.loads(file.read_text())["benchmarks"]
    assert [one["stats"]["rounds"] for one in stored] == [7, 7]


def test_a_run_can_be_compared_with_an_earlier_one(tmp_path):
    how = (
        "bench/test_contests.py", "--workload=xor", "--backend=numpy",
        f"--benchmark-storage={tmp_path}",
    )  # fmt: skip
    assert bench(*how, "--benchmark-save=before")[0] == 0
    code, out = bench(*how, "--benchmark-compare", f"--benchmark-histogram={tmp_path}/times")
    assert code == 0, out
    assert "xor-numpy] (0001_before)" in out
    assert list(tmp_path.glob("times*.svg"))


def test_a_process_that_fails_takes_nobody_with_it(tmp_path):
    plugin = tmp_path / "failing.py"
    plugin.write_text(
        "from bench.peers import scikit_learn\n"
        "scikit_learn.IMPORT = 'raise MemoryError(\"it fell over\")'\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "failing", "-p", "no:cacheprovider",
            "bench/test_process.py", "-k", "import and not memory", "--backend=numpy",
            "--peer=scikit-learn", "--benchmark-disable",
        ],
        cwd=ROOT,
        env=child.environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{os.pathsep.join(sys.path)}"),
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert "scikit-learn, import: MemoryError: it fell over" in done.stdout
    assert "1 failed, 2 passed" in done.stdout


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(contestants, "find_spec", lambda name: None)
    for name in contestants.PEERS:
        said = contestants.missing(name)
        assert said.startswith(f"{name}: ")
        assert "python -m pip install '.[peers]'" in said


def test_sizes_count_what_is_required_and_no_more():
    names = sizes.closure("fastnet-dense")
    assert {"fastnet-dense", "numpy", "rich", "safetensors", "typer"} <= names
    assert "numba" not in names
    assert {"numba", "llvmlite"} <= sizes.closure("fastnet-dense[numba]")
    small, large = map(sizes.installed_bytes, ("fastnet-dense", "fastnet-dense[numba]"))
    numpy, alone = sizes.installed_bytes("numpy"), sizes._bytes("numpy")
    assert numpy == alone > 10 * 2**20
    assert numpy < small < large
