"""The script for a machine with a GPU: what can be tried of it without one."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import child
import numpy as np
import pytest
from simulated.building import absence

pytest.importorskip("bench.gpu", reason="the benchmarks are not beside these tests")

from bench.gpu import __main__ as script
from bench.gpu import ceilings, machine, measuring, sanitizer, table
from bench.gpu.contests import Contest, Goal, contests, small
from bench.gpu.ours import Fastnet, Fit
from fastnet.contract.lowering import lower
from fastnet_cupy.program import CudaProgram
from fastnet_cupy.regimes import REGIMES

ROOT = Path(__file__).parent.parent

simulated = pytest.mark.skipif(absence() is not None, reason=absence() or "")

RATES = {"copy": 1e9, "float32": 1e9, "tf32": 2e9, "bf16": 4e9, "fp16": 4e9}


def ran(*command):
    environment = child.environment(
        FASTNET_BACKEND="cupy", PYTHON=sys.executable, CUDA_VISIBLE_DEVICES=""
    )
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("command", "status"),
    [(["bash", "bench/gpu.sh"], 1), ([sys.executable, "-m", "bench.gpu"], 2)],
    ids=["script", "benchmarks"],
)
def test_without_a_gpu_it_says_what_is_missing_and_fails(command, status, tmp_path):
    done = ran(*command, "first", tmp_path / "results")
    assert done.returncode == status, done.stderr
    assert "fastnet cannot run on a GPU here: CuPy is " in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@simulated
@pytest.mark.parametrize(
    ("call", "steps"),
    [
        ("first", ["PTX", "same bits", "contests", "ncu fp16", "memcheck"]),
        ("second", ["conformance", "racecheck", "synccheck", "contests"]),
    ],
)
def test_all_of_it_runs_on_a_simulated_gpu(call, steps, tmp_path):
    done = ran("bash", "bench/gpu.sh", "--dry", call, tmp_path)
    log = (tmp_path / f"{call}.log").read_text()
    assert done.returncode == 0, log
    assert log == done.stdout
    _, _, summary = log.partition("== summary")
    outcomes = summary.splitlines()[1:]
    assert len(outcomes) == len(steps) + 1
    for step, outcome in zip(["machine", *steps], outcomes, strict=True):
        assert outcome.startswith("ok "), outcome
        assert step in outcome
    stored = json.loads((tmp_path / f"{call}.json").read_text())
    assert stored["command"] == f"bash bench/gpu.sh {call}"
    assert stored["checked"][0].split()[:3] == ["ok", "this", "machine"]
    assert stored["versions"]["numpy"] == np.__version__
    assert set(stored["ceilings"]) == set(RATES)
    rows = {row["contest"]: row["contestants"] for row in stored["results"]}
    assert all(who["fastnet"]["microseconds"] > 0 for who in rows.values())
    if call == "first":
        assert list(rows) == [one.name for one in small()]
        assert rows["16-2-2^7"]["fastnet layered"]["microseconds"] > 0
        assert set(stored["weight_gradient_microseconds"]) == {"none", "sums"}
        assert stored["bytes_from_host_per_second"] > 0
        assert stored["rows_shuffled_per_second"] > 0
        assert rows["16-2-2^7"]["fastnet"]["narrow"] is True
        assert stored["layered_from"] in ([], [["fp16", 16, 128]])
    else:
        assert list(rows) == ["xor"]


@pytest.mark.parametrize("command", [["bash", "bench/gpu.sh"], [sys.executable, "-m", "bench.gpu"]])
def test_it_tells_how_it_is_called(command):
    done = ran(*command, "--help")
    assert done.returncode == 0
    assert "RESULTS.json" in done.stdout or "results" in done.stdout


def test_the_script_is_sound_bash_and_its_files_are_there():
    assert ran("bash", "-n", "bench/gpu.sh").returncode == 0
    for word in (ROOT / "bench" / "gpu.sh").read_text().split():
        if word.startswith("tests/"):
            assert (ROOT / word).exists(), word


def test_the_contests_are_those_that_are_asked_for():
    held = contests()
    assert [one.name for one in held[:2]] == ["xor", "mnist"]
    assert all(one.goals for one in held[:4])
    sizes = {(one.name, one.precision) for one in held}
    assert len(sizes) == len(held) == 3 + 2 * 2 * 3 * 4
    for one in held:
        assert one.network.inputs == one.units[0]
        assert one.sets == 1 if one.name == "xor" else one.sets >= 2


def test_a_floor_is_counted_by_hand():
    one = Contest("8-2", (3, 8, 8, 2), 10)
    assert one.flops == 2 * 10 * (3 * (24 + 64 + 16) - 24)
    assert one.parameters == 3 * 8 + 8 + 64 + 8 + 16 + 2
    assert one.bytes == 10 * 4 * 5 + 8 * one.parameters
    slow = {**RATES, "float32": 1.0}
    assert ceilings.floor(one, slow) == one.flops
    assert ceilings.floor(one, {**RATES, "copy": 1.0}) == one.bytes


@simulated
def test_small_contests_on_the_simulated_device_with_numpy_as_a_peer(tmp_path, capsys):
    def broken(contest):
        raise RuntimeError("out of memory")

    makers = {
        "fastnet": lambda contest: Fastnet(contest, "simulated"),
        "torch eager": lambda contest: Fastnet(contest, "numpy"),
        "torch compile": broken,
    }
    kept = []
    quick = {name: makers[name] for name in ("fastnet", "torch eager")}
    rounds = [lambda contest: quick, lambda contest: {"torch compile": broken}]
    found = script.all_results(small(), rounds, RATES, np.inf, 0.5, kept.append)
    assert [len(results) for results in kept] == [1, 2, 3, 3, 3, 3]
    shown = capsys.readouterr().out
    assert [row["contest"] for row in found] == [one.name for one in small()]
    for row in found:
        ours, theirs = (row["contestants"][name] for name in ("fastnet", "torch eager"))
        assert ours["microseconds"] > 0
        assert ours["fastest"] <= ours["microseconds"] <= ours["slowest"]
        assert ours["losses apart"] < 1e-2
        assert theirs["change apart"] < 1e-6
        assert row["contestants"]["torch compile"] == {"failed": "RuntimeError: out of memory"}
        assert row["over_floor"] > 0
    assert "xor float32, torch compile: failed - RuntimeError: out of memory" in shown
    assert found[0]["goals"][0]["reached"] is False
    json.dumps(found)


@simulated
def test_a_contestant_that_trains_otherwise_is_not_timed():
    class Other(Fastnet):
        def begin(self):
            super().begin()
            self.contest = replace(self.contest, rate=self.contest.rate * 1.1)

    one = small()[0]
    makers = {"fastnet": lambda contest: Other(contest, "simulated")}
    found = measuring.contest_of(one, makers, measuring.Reference(), np.inf, 0.5)
    assert "from NumPy's" in found["fastnet"]["failed"]


def test_large_batches_are_compared_with_numpy_in_fewer_rows(monkeypatch):
    from bench.gpu import contests as held

    monkeypatch.setattr(held, "CHECKED_ROWS", 32)
    made = []

    def make(contest):
        made.append(contest.batch)
        return Fastnet(contest, "numpy")

    one = small()[1]
    found = measuring.contest_of(one, {"fastnet": make}, measuring.Reference(), np.inf, 0.5)
    assert made == [32, 128]
    assert found["fastnet"]["microseconds"] > 0


def test_kernels_are_compiled_beforehand_for_every_contest(monkeypatch, tmp_path):
    from bench.gpu import kernels
    from fastnet_cupy import compiler

    asked = []

    def compile_file(file, defines, architecture):
        asked.append((file, dict(defines), architecture))
        return compiler.Compiled(b"", "")

    monkeypatch.setattr(compiler, "compile_file", compile_file)
    monkeypatch.setattr(compiler.Compiled, "spills", lambda self, name: False)
    monkeypatch.setenv("CUPY_CACHE_DIR", "")
    assert kernels.main([str(tmp_path), "sm_90", "sm_120"]) == 0
    for macro in ("FN_FLOAT32", "FN_TF32", "FN_BF16", "FN_FP16"):
        files = {(file, for_) for file, defines, for_ in asked if macro in defines}
        wanted = {("step.cu", "sm_90"), ("layered.cu", "sm_90"), ("narrow.cu", "sm_120")}
        assert wanted | {("staged.cu", "sm_90")} <= files
    widths = {defines.get("FN_WIDTHS") for _, defines, for_ in asked if for_ == "sm_90"}
    assert {"32,64,64,64,64,64,16", "64,128,128,16", None} <= widths
    assert ("tiny.cu", "sm_90") in {(file, for_) for file, _, for_ in asked}


def test_where_no_time_is_left_it_is_reported():
    found = measuring.contest_of(small()[0], {"jax": None}, measuring.Reference(), 0.0)
    assert found == {"jax": {"left out": "no time was left"}}


def test_goals_are_held_against_what_was_measured():
    one = replace(small()[0], batch=1000)
    who = {
        "fastnet": {"microseconds": 10.0},
        "torch eager": {"microseconds": 60.0},
        "torch graph": {"microseconds": 9.0},
    }
    for measure, value, wanted in [
        ("microseconds", 9.0, (10.0, False)),
        ("examples", 1e8, (1e8, True)),
        ("torch eager", 5.0, (6.0, True)),
        ("torch", 0.95, (0.9, False)),
        ("torch compile", 3.0, None),
    ]:
        assert table.reached(Goal("", measure, value), one, who) == wanted
    row = table.row(one, 1e-6, who)
    assert row["over_floor"] == pytest.approx(10)
    assert " 6.00 |" in table.line(row)


@simulated
def test_where_layers_one_by_one_are_faster_is_found_by_size_and_goes_into_the_regimes():
    def rows(hidden, batch, narrow, layered, fits=True):
        one = replace(small()[1], units=(64, *[128] * hidden, 16), batch=batch)
        ours = {"microseconds": narrow, **({"narrow": True} if fits else {})}
        return table.row(one, 1e-6, {"fastnet": ours, "fastnet layered": {"microseconds": layered}})

    slower = [rows(2, 2**7, 9.0, 8.0), rows(2, 2**14, 5.0, 6.0), rows(5, 2**17, 5.0, 4.0, False)]
    assert table.layered_from(slower) == {}
    some = [*slower, rows(2, 2**17, 5.0, 4.0), rows(2, 2**19, 5.0, 4.0), rows(5, 2**19, 5.0, 4.0)]
    assert table.layered_from(some) == {("fp16", 128): 2**17}
    assert table.layered_from([*some, rows(5, 2**17, 5.0, 6.0)]) == {("fp16", 128): 2**19}

    from simulated.device import HostDevice

    regimes = replace(REGIMES, layered_from={("fp16", 16): 100})
    lowered = lower(small()[1].network)
    program = CudaProgram(lowered, np.dtype("float32"), "fp16", HostDevice(), regimes)
    assert [program.buffers.shape_from(n, 64) is None for n in (63, 64, 99, 100)] == [
        True, False, False, True,
    ]  # fmt: skip


@simulated
def test_fit_is_timed_as_a_user_has_it(monkeypatch):
    from bench.gpu import contests as held

    monkeypatch.setattr(held, "MOST_SETS", 2)
    assert measuring.fitted(small()[2], "simulated", 2)["microseconds"] > 0
    assert Fit(small()[0], "simulated").milliseconds(3) > 0


def test_without_the_sanitizer_it_says_so(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert sanitizer.main("memcheck") == sanitizer.CANNOT_RUN
    assert "not installed" in capsys.readouterr().out


def test_the_machine_is_described():
    assert machine.versions()["numpy"] == np.__version__
    assert "system" in machine.facts()
