"""Training by several processes, which `mpiexec` starts: what they owe, and how they end."""

import functools
import importlib.util
import json
import os
import signal
import time

import child
import mpi
import numpy as np
import pytest

import fastnet as fn
from fastnet import tables

if importlib.util.find_spec("mpi4py") is None:
    pytest.skip("mpi4py is not installed; the extra [mpi] brings it", allow_module_level=True)

CASES = "import sys; sys.argv = sys.argv[1:]; import mpi_cases; mpi_cases.main()"


@functools.cache
def cases_done(ranks):
    # Cases name their backends; this one's kernels are compiled beforehand.
    return mpi.run(ranks, CASES, "mpi_cases", str(ranks), FASTNET_BACKEND="numba").split()


@pytest.mark.parametrize("ranks", [2, 3])
def test_what_several_ranks_owe(ranks):
    import mpi_cases

    assert cases_done(ranks) == list(mpi_cases.cases())
    assert len(mpi_cases.cases()) > 8


#: A fit of two ranks with a checkpoint after every few steps; rank 0 prints its end as JSON.
FIT = """
import json, os, sys, time
import numpy as np
import fastnet as fn

path, epochs, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
world = fn.world()
if world.rank == 1 and "PID_FILE" in os.environ:
    with open(os.environ["PID_FILE"], "w") as file:
        file.write(str(os.getpid()))
generator = np.random.default_rng(world.rank)
x = generator.standard_normal((130, 6))
y = np.sin(x @ np.ones((6, 2)))
layers = [fn.Dense(24, "tanh"), fn.Dropout(0.2), fn.Dense(2)]
model = fn.Model(fn.Network(6, layers), backend="numpy", dtype="float64", seed=5)

def each_epoch(model, history):
    time.sleep(pause)

history = model.fit(
    x, y, epochs=epochs, batch_size=16, validation=0.2, communicator=world, callbacks=[each_epoch],
    checkpoint=fn.Checkpoint(path, seconds=None, epochs=1) if path else None, resume=bool(path),
)
if world.rank == 0:
    print(json.dumps({
        "parameters": model.parameters.flat.tobytes().hex(), "loss": history.loss,
        "validation_loss": history.validation_loss,
    }))
"""


def test_a_rank_killed_again_and_again_ends_all_and_the_fit_goes_on(tmp_path):
    """SIGKILL of rank 1 at ten moments, each somewhere in the epochs after the last checkpoint."""
    wanted = json.loads(mpi.run(2, FIT, "", "60", "0"))
    path, pid = tmp_path / "folder" / "checkpoint", tmp_path / "pid"
    path.parent.mkdir()

    def written():
        return path.stat().st_mtime_ns if path.exists() else 0

    for moment in np.random.default_rng(7).uniform(0, 0.03, 10):
        before = written()
        with mpi.start(2, FIT, str(path), "60", "0.02", PID_FILE=str(pid)) as process:
            child.wait_until(lambda before=before: written() > before, process)
            time.sleep(moment)
            os.kill(int(pid.read_text()), signal.SIGKILL)
            printed, _ = mpi.finish(process)  # which fails if it does not end
        assert process.returncode != 0
        assert "(signal 9)" in printed
    found = json.loads(mpi.run(2, FIT, str(path), "60", "0"))
    assert found == wanted
    assert os.listdir(path.parent) == ["checkpoint"]


def test_an_error_of_one_rank_ends_all():
    """Outside of what the ranks do together, so that the others wait for it in vain."""
    code = """
import fastnet as fn
world = fn.world()
if world.rank == 1:
    raise ValueError("rank 1 has lost its rows")
world.Barrier()
"""
    with mpi.start(2, code) as process:
        printed, errors = mpi.finish(process)
    assert process.returncode == 1
    assert printed == ""
    assert errors.count("Traceback") == 1
    assert "ValueError: rank 1 has lost its rows" in errors


def test_an_exit_of_one_rank_ends_all():
    code = """
import sys
import fastnet as fn
world = fn.world()
try:
    sys.exit(2)
except SystemExit as caught:
    assert caught.code == 2
if world.rank == 1:
    sys.exit("rank 1 gives up")
world.Barrier()
"""
    with mpi.start(2, code) as process:
        printed, errors = mpi.finish(process)
    assert process.returncode == 1
    assert printed == ""
    assert errors.count("rank 1 gives up") == 1
    assert "Traceback" not in errors


def test_an_error_that_all_have_is_reported_once():
    with mpi.start(2, FIT, "/proc/no/folder", "3", "0") as process:
        _, errors = mpi.finish(process)
    assert process.returncode == 1
    assert errors.count("FileAccessError: checkpoint '/proc/no/folder' cannot be written") == 1
    assert "MPI_Abort" not in errors


def test_ctrl_c_ends_all_with_a_checkpoint(tmp_path):
    path = tmp_path / "checkpoint"
    with mpi.start(2, FIT, str(path), "2000", "0.01") as process:
        child.wait_until(path.exists, process)
        process.send_signal(signal.SIGINT)
        _, errors = mpi.finish(process)
    assert process.returncode != 0
    assert errors.count("Traceback") == 1
    assert errors.endswith("KeyboardInterrupt\n")
    assert os.listdir(tmp_path) == ["checkpoint"]
    found = json.loads(mpi.run(2, FIT, str(path), "3", "0"))
    assert len(found["loss"]) >= 3  # those that were done before, and the rest


TRAIN = "import sys; sys.argv[0] = 'fastnet'; from fastnet.cli import main; main()"


def test_the_command_trains_a_table_by_several_processes(tmp_path):
    x = np.random.default_rng(0).standard_normal((101, 3))
    table, model = tmp_path / "table.csv", tmp_path / "model.safetensors"
    rows = [f"{a},{b},{c},{'up' if a > b else 'down'}" for a, b, c in x]
    table.write_text("\n".join(["a,b,c,y", *rows]))
    given = [str(table), "--target", "y", "-o", str(model), "--epochs", "60", "--backend", "numpy"]
    with mpi.start(2, TRAIN, "train", *given, "--batch-size", "16") as process:
        printed, errors = mpi.finish(process)
    assert process.returncode == 0, errors
    assert printed.count("model written to") == 1
    assert errors.count("2 processes, each with a share of the rows") == 1
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "table.csv"]
    frame = dict(zip("abc", x.T, strict=True))
    found = tables.predict(fn.load(model, backend="numpy"), frame)
    assert np.mean((np.asarray(found["prediction"]) == "up") == (x[:, 0] > x[:, 1])) > 0.9


def test_the_command_reports_an_error_of_all_once(tmp_path):
    given = [str(tmp_path / "absent.csv"), "--target", "y", "-o", str(tmp_path / "model")]
    with mpi.start(2, TRAIN, "train", *given) as process:
        _, errors = mpi.finish(process)
    assert process.returncode == 1
    assert errors.count("error: there is no file") == 1
    assert os.listdir(tmp_path) == []


WORLD = "import fastnet as fn; world = fn.world(); print(world.rank, world.size, world.bcast(3))"


def test_without_mpiexec_the_world_is_one_process():
    code = f"import sys; {WORLD}; assert 'mpi4py' not in sys.modules"
    assert child.run(code, FASTNET_BACKEND="numpy") == "0 1 3\n"


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ("import sys; sys.modules['mpi4py'] = None", "needs mpi4py, which is not installed"),
        ("import os; os.environ['MPI4PY_LIBMPI'] = '/no/library'", "mpi4py found none"),
        ("", "the MPI library of mpi4py (MPICH"),
    ],
    ids=["no mpi4py", "no library", "another mpiexec"],
)
def test_a_missing_runtime_is_one_clear_error(before, named):
    code = f"""
import os
os.environ |= {{"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}}
{before}
import fastnet as fn
try:
    fn.world()
except fn.MissingExtra as error:
    print(error)
"""
    found = child.run(code, FASTNET_BACKEND="numpy")
    assert named in found
    assert "python -m pip install" in found
