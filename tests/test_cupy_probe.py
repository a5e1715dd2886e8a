"""What is said where the CuPy backend cannot run: no CuPy, a broken one, no driver, no GPU."""

import importlib.util
import types

import child
import pytest

import fastnet as fn

ASK = """
import fastnet as fn
from fastnet.contract import choosing
net = fn.Network(2, [fn.Dense(1)])
try:
    fn.Model(net, backend="cupy")
except fn.BackendUnavailable as error:
    print(error)
assert not choosing.probe("cupy").usable
"""

BLOCKED = """
import sys
class NoCuPy:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cupy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoCuPy())
"""


def test_without_cupy_it_is_cupy_that_is_missing():
    said = child.run(BLOCKED + ASK)
    assert "backend 'cupy' cannot run here: CuPy is not installed. " in said
    assert 'pip install "cupy-cuda1' in said


def test_cupy_that_cannot_be_imported_is_reported_with_its_reason(tmp_path):
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy" / "__init__.py").write_text("raise ImportError('====\\nno libfoo\\n====')")
    said = child.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + ASK)
    assert "CuPy is installed but cannot be imported (ImportError: no libfoo)" in said
    assert 'pip install "cupy-cuda1' in said


def test_without_a_gpu_it_is_the_gpu_that_is_missing():
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("cupy is not installed")
    said = child.run(ASK, CUDA_VISIBLE_DEVICES="")
    assert "backend 'cupy' cannot run here: CuPy is installed, but" in said
    assert "there is no NVIDIA driver, and so no GPU" in said or "finds no NVIDIA GPU" in said
    assert "use another backend" in said


def test_looking_for_backends_imports_no_cupy():
    child.run("import sys; import fastnet_cupy; assert 'cupy' not in sys.modules")


class Runtime(types.SimpleNamespace):
    """CuPy's runtime on a machine that is made up."""

    class CUDARuntimeError(RuntimeError):
        """As CuPy's."""

        def __init__(self, status):
            super().__init__(f"status {status}")
            self.status = status

    def __init__(self, count=1, status=0, driver=13000, capability="90"):
        super().__init__()
        self.count, self.status, self.driver, self.capability = count, status, driver, capability

    def getDeviceCount(self):  # noqa: N802
        if self.status:
            raise self.CUDARuntimeError(self.status)
        return self.count

    def driverGetVersion(self):  # noqa: N802
        return self.driver

    def runtimeGetVersion(self):  # noqa: N802
        return 13020

    def getDeviceProperties(self, device):  # noqa: N802
        return {"name": b"NVIDIA Abacus"}


@pytest.fixture
def found(monkeypatch):
    """What `find` says with a runtime that is made up."""

    def find(nvrtc=True, cublas=True, **machine):
        from fastnet_cupy import cublaslt, finding

        runtime = Runtime(**machine)

        def architectures():
            if not nvrtc:
                raise RuntimeError("libnvrtc.so.13: cannot open shared object file")
            return (75, 80, 90, 120)

        def load(major):
            if not cublas:
                raise fn.BackendUnavailable("absent")

        device = types.SimpleNamespace(id=0, compute_capability=runtime.capability)
        cuda = types.SimpleNamespace(
            runtime=runtime, Device=lambda: device,
            nvrtc=types.SimpleNamespace(getSupportedArchs=architectures),
        )  # fmt: skip
        cupy = types.ModuleType("cupy")
        cupy.__spec__ = importlib.util.spec_from_loader("cupy", loader=None)
        cupy.cuda = cuda
        monkeypatch.setitem(__import__("sys").modules, "cupy", cupy)
        monkeypatch.setattr(cublaslt, "load", load)
        return finding.find()

    return find


def test_a_gpu_with_its_libraries_is_usable(found):
    assert found().usable


def test_no_driver_and_an_old_driver_are_two_things(found):
    none = found(status=35, driver=0)
    assert "no NVIDIA driver" in none.reason
    old = found(status=35, driver=12040)
    assert old.reason.endswith("is for CUDA 12.4")
    assert "remove cupy-cuda13x" in old.remedy
    assert 'pip install "cupy-cuda12x' in old.remedy


@pytest.mark.parametrize("machine", [{"status": 100}, {"count": 0}], ids=["error", "none"])
def test_no_gpu_is_reported_with_what_hides_it(found, machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "finds no NVIDIA GPU (CUDA_VISIBLE_DEVICES is '7')" in found(**machine).reason
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert found(**machine).reason.endswith("finds no NVIDIA GPU")


def test_any_other_trouble_is_shown(found):
    assert "cannot be used (CUDARuntimeError: status 802)" in found(status=802).reason


def test_an_old_gpu_is_reported_by_name(found):
    old = found(capability="75")
    assert old.reason == "NVIDIA Abacus has compute capability 7.5, and fastnet needs 8.0"
    assert found(capability="120").usable


def test_a_gpu_that_is_newer_than_the_compiler_is_reported(found):
    new = found(capability="150")
    assert "NVIDIA Abacus has compute capability 15.0, which" in new.reason
    assert 'pip install "cuda-toolkit[nvrtc]==13.*" --upgrade' in new.remedy


def test_libraries_that_are_missing_are_reported_with_the_pip_line(found):
    assert 'pip install "cuda-toolkit[nvrtc]==13.*"' in found(nvrtc=False).remedy
    both = found(nvrtc=False, cublas=False)
    assert "nvrtc and cublas for CUDA 13" in both.reason
    assert 'pip install "cuda-toolkit[nvrtc,cublas]==13.*"' in both.remedy
