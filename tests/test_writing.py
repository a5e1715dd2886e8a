"""Writing files: whole or not at all, and nothing is left lying about."""

import errno
import fcntl
import os
import signal
import stat
from concurrent.futures import ThreadPoolExecutor

import child
import numpy as np
import pytest
from compare import assert_same_bits

import fastnet as fn

NETWORK = fn.Network(50, [fn.Dense(100, "tanh"), fn.Dense(1)])


@pytest.fixture
def saved(tmp_path):
    """A model, and the file it was saved in."""
    model = fn.Model(NETWORK, backend="numpy", seed=1)
    return model, model.save(tmp_path / "model")


@pytest.mark.parametrize("place", ["absent/model", "file/model", "folder"])
def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(saved, tmp_path, place):
    model, _ = saved
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(fn.FileAccessError, match=rf"cannot write.*{place}.*unchanged") as caught:
        model.save(tmp_path / place)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("place", [".", "/", "a\0b", "x" * 250, "x" * 300])
def test_a_path_that_is_no_path_is_an_error_of_ours(saved, monkeypatch, tmp_path, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fn.FileAccessError):
        saved[0].save(place)
    with pytest.raises(fn.FileAccessError, match="checkpoint"):  # before anything is trained
        saved[0].fit(np.ones((2, 50)), [0, 1], epochs=1, checkpoint=place)
    assert saved[0].history is None
    assert os.listdir(tmp_path) == ["model"]


def test_a_device_is_never_replaced_by_a_file(saved, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(fn.FileAccessError, match="device, not a file"):
        saved[0].save(tmp_path / "pipe")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_a_link_stays_a_link_and_a_mode_is_kept(saved, tmp_path):
    model, path = saved
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert_same_bits(fn.load(path, backend="numpy").parameters.flat, model.parameters.flat)


def test_threads_that_save_to_one_path_do_not_disturb_each_other(saved):
    model, path = saved
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(model.save, path) for _ in range(80)]:
            done.result()
    assert_same_bits(fn.load(path, backend="numpy").parameters.flat, model.parameters.flat)
    assert os.listdir(path.parent) == [path.name]


FULL_DISK = """
import resource, sys
import fastnet as fn
model = fn.load(sys.argv[1], backend="numpy")
model.parameters.flat[...] = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    model.save(sys.argv[1])
except fn.FileAccessError as error:
    print(type(error).__name__, error.errno, "unchanged" in str(error))
"""


def test_a_disk_that_is_full_is_an_error_and_the_old_file_stays(saved, tmp_path):
    model, path = saved
    before = path.read_bytes()
    said = child.run(FULL_DISK, str(path)).split()
    assert said == ["FileAccessError", str(errno.EFBIG), "True"]
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]
    assert_same_bits(fn.load(path).parameters.flat, model.parameters.flat)


FULL_DISK_FIT = """
import resource, sys, warnings
import numpy as np
import fastnet as fn
model = fn.Model(fn.Network(50, [fn.Dense(100, "tanh"), fn.Dense(1)]), backend="numpy", seed=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    model.fit(np.ones((4, 50)), np.ones(4), epochs=5,
              checkpoint=fn.Checkpoint(sys.argv[1], epochs=2))
print(len(model.history), "cannot write" in str(said[0].message))
"""


def test_a_checkpoint_that_cannot_be_written_is_a_warning_and_the_fit_goes_on(tmp_path):
    assert child.run(FULL_DISK_FIT, str(tmp_path / "checkpoint")).split() == ["5", "True"]
    assert os.listdir(tmp_path) == []


def test_the_leftover_of_a_killed_writer_goes_with_the_next_write(saved, tmp_path):
    model, path = saved
    leftovers = [tmp_path / f".model.{n:08x}.tmp" for n in (0, 0xDEADBEEF)]
    others = [tmp_path / name for name in (".other.00000000.tmp", "model.tmp", ".model.tmp")]
    for file in (*leftovers, *others):
        file.write_bytes(b"half")
    model.save(path)
    assert sorted(os.listdir(tmp_path)) == sorted(["model", *(f.name for f in others)])


def test_a_name_with_wildcards_sweeps_only_its_own_leftovers(saved, tmp_path):
    model, _ = saved
    (tmp_path / ".model.00000000.tmp").write_bytes(b"half")
    (tmp_path / ".[m]odel.00000000.tmp").write_bytes(b"half")
    model.save(tmp_path / "[m]odel")
    assert sorted(os.listdir(tmp_path)) == [".model.00000000.tmp", "[m]odel", "model"]


def test_the_file_of_a_writer_at_work_is_not_swept(saved, tmp_path):
    model, path = saved
    busy = tmp_path / ".model.00000001.tmp"
    with open(busy, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        model.save(path)
        assert busy.exists()
    model.save(path)
    assert not busy.exists()


KILLED_WRITER = """
import os, signal, sys
import fastnet as fn
model = fn.load(sys.argv[1], backend="numpy")
model.parameters.flat[...] = 1
calls = []
def killed_before(call):
    def wrapper(*arguments, **options):
        calls.append(call)
        if len(calls) == int(sys.argv[2]):
            print(call.__name__, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return wrapper
for name in ("open", "chmod", "fsync", "replace"):
    setattr(os, name, killed_before(getattr(os, name)))
model.save(sys.argv[1])
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_file_and_one_leftover_at_most(tmp_path):
    path = tmp_path / "model"
    model = fn.Model(NETWORK, backend="numpy", seed=1)
    killed_before = []
    while True:
        model.parameters.flat[...] = 0
        model.save(path)
        assert os.listdir(tmp_path) == ["model"]
        with child.start(KILLED_WRITER, str(path), str(len(killed_before) + 1)) as writer:
            call = writer.stdout.readline().strip()
        if not call:
            break
        assert writer.returncode == -signal.SIGKILL
        killed_before.append(call)
        flat = fn.load(path, backend="numpy").parameters.flat
        replaced = "replace" in killed_before[:-1]
        assert (flat == replaced).all()
        assert len(os.listdir(tmp_path)) == (1 if replaced else 2)
    assert writer.returncode == 0
    # The new file is on the disk before it gets its name, and its name is on the disk at the end.
    assert killed_before == ["chmod", "fsync", "replace", "open", "fsync"]


def test_several_writers_of_one_file_leave_one_whole_file(tmp_path):
    models = [fn.Model(NETWORK, backend="numpy", seed=seed) for seed in range(4)]
    path = tmp_path / "model"

    def work(model):
        for _ in range(20):
            try:
                model.save(path)
            except fn.FileAccessError:
                return False  # lost its file between making and locking it; nothing else broke
        return True

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, models))
    assert fn.load(path, backend="numpy").seed in range(4)
    models[0].save(path)
    assert os.listdir(tmp_path) == ["model"]
