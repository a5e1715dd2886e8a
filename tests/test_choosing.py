"""Which backend runs a model, and what is said when one cannot."""

import os
import sys
import textwrap

import child
import pytest
from roster import Entry, absence
from samples import rows_for

import fastnet as fn
from fastnet.contract import choosing as backends
from fastnet.contract import loading
from fastnet.contract.loading import CONTRACT
from fastnet.contract.program import Probe

NETWORK = fn.Network(2, [fn.Dense(1)])

#: A backend as somebody else would publish it: a module and the metadata of its package.
MODULE = """
from fastnet.contract.program import Probe
from fastnet_numpy.backend import NumpyBackend


class Theirs(NumpyBackend):
    name = "theirs"
    {extra}


BACKEND = Theirs()
"""


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Install a package with one backend into a folder of the import path."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name="theirs", extra="", target="BACKEND", module=None):
        source = MODULE.format(extra=extra) if module is None else module
        (tmp_path / f"{name}_module.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        entry = f"[fastnet.backends]\n{name} = {name}_module:{target}\n"
        (info / "entry_points.txt").write_text(entry)
        return name

    yield install
    for name in [name for name in sys.modules if name.endswith("_module")]:
        del sys.modules[name]


def test_a_published_backend_is_known_chosen_and_trains(publish):
    assert publish() in loading.known()
    model = fn.Model(NETWORK, backend="theirs", seed=1)
    assert model.backend == "theirs"
    x, y = rows_for(NETWORK, 5)
    model.fit(x, y, epochs=1)
    with fn.using("theirs"):
        assert fn.Model(NETWORK).backend == "theirs"


def test_a_backend_of_another_contract_is_refused(publish):
    publish(extra="contract = 99")
    with pytest.raises(
        fn.BackendUnavailable,
        match=rf"'theirs'.*contract 99.*has {CONTRACT}.*belong together",
    ):
        fn.Model(NETWORK, backend="theirs")


def test_a_backend_without_a_contract_is_refused(publish):
    publish(module="BACKEND = object()")
    with pytest.raises(fn.BackendUnavailable, match="contract None"):
        fn.Model(NETWORK, backend="theirs")


def test_a_backend_that_cannot_run_here_says_why_and_what_to_do(publish):
    publish(extra="def probe(self): return Probe(False, 'no abacus', 'Buy an abacus.')")
    with pytest.raises(
        fn.BackendUnavailable, match=r"'theirs' cannot run here: no abacus\. Buy an abacus\."
    ) as caught:
        fn.Model(NETWORK, backend="theirs")
    assert isinstance(caught.value, ImportError)
    assert backends.probe("theirs") == Probe(False, "no abacus", "Buy an abacus.")


@pytest.mark.parametrize(
    ("module", "target"),
    [("import a_library_that_is_absent", "BACKEND"), ("BACKEND = 1", "MISSING"), ("1 / 0", "B")],
    ids=["library_absent", "name_absent", "broken"],
)
def test_a_backend_that_cannot_be_imported_is_unavailable(publish, module, target):
    publish(module=module, target=target)
    with pytest.raises(fn.BackendUnavailable, match="'theirs' could not be imported"):
        fn.Model(NETWORK, backend="theirs")
    assert not backends.probe("theirs").usable


@pytest.mark.parametrize("name", ["numba", "cupy"])
def test_a_backend_that_is_not_part_of_this_installation_is_unavailable(name):
    if backends.probe(name).usable:
        pytest.skip(f"{name} is part of this installation and runs")
    with pytest.raises(
        fn.BackendUnavailable, match=f"'{name}'.*(not in this version|cannot run here)"
    ):
        fn.Model(NETWORK, backend=name)
    found = backends.probe(name)
    assert found.reason
    assert found.remedy


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "nunpy",
            r"unknown backend 'nunpy'; did you mean 'numpy'\?.*Known: array_api, auto, cupy, ",
        ),
        ("NumPy", "did you mean 'numpy'"),
        ("gpu", "did you mean 'cupy'"),
        ("torch", r"did you mean 'array_api:torch'\?"),  # by itself it is NumPy's
        ("jax", r"did you mean 'array_api:jax\.numpy'\?"),
        ("array_api:", r"unknown backend 'array_api:'"),
        (
            "array_api:nonsense",
            r"it cannot import 'nonsense' .*Install it, or use another: numpy, torch",
        ),
        (
            "array_api:os",
            r"it needs a library of the array-API standard, which 'os' is not",
        ),
        ("tensorcore9000", r"unknown backend 'tensorcore9000'\. Known: array_api, auto, "),
    ],
)
def test_an_unknown_backend_is_refused_with_the_nearest_known_name(monkeypatch, name, says):
    with pytest.raises(fn.BackendUnavailable, match=says):
        fn.Model(NETWORK, backend=name)
    with pytest.raises(fn.BackendUnavailable, match=says), fn.using(name):
        pytest.fail("the block must not be entered")
    monkeypatch.setenv("FASTNET_BACKEND", name)
    with pytest.raises(fn.BackendUnavailable, match=says):
        fn.Model(NETWORK)


def test_an_argument_goes_before_using_and_that_before_the_environment(publish, monkeypatch):
    publish()
    assert fn.Model(NETWORK).backend in backends.AUTOMATIC
    monkeypatch.setenv("FASTNET_BACKEND", " theirs ")
    assert fn.Model(NETWORK).backend == "theirs"
    with fn.using("numpy"):
        assert fn.Model(NETWORK).backend == "numpy"
        assert fn.Model(NETWORK, backend="theirs").backend == "theirs"
        with fn.using("theirs"):
            assert fn.Model(NETWORK).backend == "theirs"
        assert fn.Model(NETWORK).backend == "numpy"
    assert fn.Model(NETWORK).backend == "theirs"
    monkeypatch.setenv("FASTNET_BACKEND", "")
    assert fn.Model(NETWORK).backend in backends.AUTOMATIC


def test_using_ends_with_its_block_also_by_an_error(publish):
    publish()
    with pytest.raises(LookupError), fn.using("theirs"):
        raise LookupError
    assert fn.Model(NETWORK).backend != "theirs"


def test_using_holds_in_its_own_thread_only(publish):
    import threading

    publish()
    found = []
    with fn.using("theirs"):
        thread = threading.Thread(target=lambda: found.append(fn.Model(NETWORK).backend))
        thread.start()
        thread.join()
    assert found[0] in backends.AUTOMATIC


def test_loading_a_model_chooses_a_backend_too(publish, monkeypatch, tmp_path):
    publish()
    path = fn.Model(NETWORK, backend="numpy").save(tmp_path / "model")
    assert fn.load(path, backend="theirs").backend == "theirs"
    monkeypatch.setenv("FASTNET_BACKEND", "theirs")
    assert fn.load(path).backend == "theirs"
    with pytest.raises(fn.BackendUnavailable):
        fn.load(path, backend="nonsense")


def test_the_environment_is_read_when_a_model_is_made_not_at_import():
    said = child.run(
        "import fastnet as fn, os\n"
        "os.environ['FASTNET_BACKEND'] = 'numpy'\n"
        "print(fn.Model(fn.Network(2, [fn.Dense(1)])).backend)",
        FASTNET_BACKEND="nonsense",
    )
    assert said == "numpy\n"


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_a_number_of_threads_that_makes_no_sense_is_refused(threads):
    with pytest.raises(fn.DefinitionError, match=f"threads is {threads!r}"):
        fn.Model(NETWORK, threads=threads)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_threads_in_the_environment_that_make_no_sense_are_refused(monkeypatch, text):
    monkeypatch.setenv("FASTNET_NUM_THREADS", text)
    with pytest.raises(fn.DefinitionError, match=f"FASTNET_NUM_THREADS is '?{text}'?"):
        fn.Model(NETWORK)


@pytest.fixture
def four_processors(tmp_path, monkeypatch):
    """A machine of four processors without limits, and the folder where it would tell of these."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)), raising=False)
    monkeypatch.setattr(backends, "LIMITS", tmp_path)
    backends._share.cache_clear()
    yield tmp_path
    backends._share.cache_clear()


@pytest.mark.parametrize(
    ("limits", "whole"),
    [
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "800000 100000\n"}, 4),
        ({"cpu.max": "max 100000\n"}, 4),
        ({"cpu.max": "unheard of"}, 4),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "100000\n"}, 4),
    ],
)
def test_a_container_has_its_share_of_the_processors(four_processors, limits, whole):
    for name, text in limits.items():
        (four_processors / name).parent.mkdir(exist_ok=True)
        (four_processors / name).write_text(text)
    assert backends.processors() == whole


def test_threads_as_an_argument_go_before_the_environment(four_processors, monkeypatch):
    monkeypatch.setenv("FASTNET_NUM_THREADS", " 3 ")
    assert backends.requested_threads() == 3
    monkeypatch.setenv("FASTNET_NUM_THREADS", "64")  # which would take turns
    assert backends.requested_threads() == 4
    assert backends.requested_threads(2) == 2
    fn.Model(NETWORK, threads=2)
    monkeypatch.setenv("FASTNET_NUM_THREADS", "")
    assert backends.requested_threads() is None


def test_the_roster_tells_an_absent_library_from_absent_hardware(publish, monkeypatch):
    monkeypatch.delenv("FASTNET_REQUIRE_GPU", raising=False)
    gone = Entry("theirs", library="a_library_that_is_absent", hardware="a GPU")
    assert absence(gone).reason == "theirs: library absent: a_library_that_is_absent"
    assert not absence(gone).fails
    publish(extra="def probe(self): return Probe(False, 'no device found')")
    off = Entry("theirs", library="theirs_module", hardware="a GPU")
    assert absence(off).reason == "theirs: hardware absent: a GPU: no device found"
    assert not absence(off).fails
    monkeypatch.setenv("FASTNET_REQUIRE_GPU", "1")
    assert absence(gone).fails
    assert absence(off).fails
    assert absence(Entry("numpy")) is None
