"""How CUDA kernels are compiled and kept. NVRTC needs no GPU."""

import hashlib
import logging
import re
import subprocess
import sys

import child
import pytest

import fastnet as fn

pytest.importorskip("cupy", reason="cupy is not installed")

from cupy.cuda import nvrtc

from fastnet_cupy import compiler

try:
    nvrtc.getVersion()
except Exception as error:
    pytest.skip(f"NVRTC cannot be loaded: {error}", allow_module_level=True)

KERNEL = """
#include "sum.cuh"
#include "sum.cuh"
extern "C" __global__ void add(NUMBER *x) { x[threadIdx.x] = sum(x[threadIdx.x], TERMS); }
"""
HEADER = """#pragma once
__device__ NUMBER sum(NUMBER a, NUMBER b) { return a + b; }
"""
DEFINES = (("NUMBER", "float"), ("TERMS", "1.f + 2.f"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Kernels to compile, and a cache of their own."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cache"))
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    (kernels / "add.cu").write_text(KERNEL)
    (kernels / "sum.cuh").write_text(HEADER)
    return kernels


@pytest.fixture
def compilations(monkeypatch):
    """What NVRTC was asked to compile, in order."""
    asked = []
    compile_program = nvrtc.compileProgram

    def count(program, options):
        asked.append(options)
        compile_program(program, options)

    monkeypatch.setattr(nvrtc, "compileProgram", count)
    return asked


#: Two kernels, of which one keeps more numbers than it may have registers.
CROWD = """
extern "C" __global__ void __launch_bounds__(1024, 2) crowded(float *a) {
  float kept[64];
#pragma unroll
  for (int i = 0; i < 64; i++) kept[i] = a[threadIdx.x + 1024 * i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 64; i++) a[threadIdx.x + 1024 * i] = kept[63 - i] * kept[i];
}
extern "C" __global__ void roomy(float *a) { a[threadIdx.x] *= 2; }
"""


def entries():
    return sorted(compiler.cache_folder().iterdir())


def compiled(folder, defines=DEFINES, architecture="sm_90", **options):
    return compiler.compile_file("add.cu", defines, architecture, folder=folder, **options)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100", "sm_120"])
def test_a_kernel_compiles_without_a_word(folder, architecture):
    cubin, log = compiled(folder, architecture=architecture)
    assert cubin.startswith(b"\x7fELF")
    assert cubin.count(b"\0add\0")
    assert not re.search("warning|remark|error", log, re.IGNORECASE)


def test_the_cubin_is_whole(folder):
    """CuPy takes the last byte off; it is a zero."""
    import ctypes

    whole = {}

    def read(program):
        size = ctypes.c_size_t()
        library = ctypes.CDLL(f"libnvrtc.so.{nvrtc.getVersion()[0]}")
        library.nvrtcGetCUBINSize(ctypes.c_void_p(program), ctypes.byref(size))
        room = ctypes.create_string_buffer(size.value)
        library.nvrtcGetCUBIN(ctypes.c_void_p(program), room)
        whole["cubin"] = room.raw
        return get(program)

    get, patch = nvrtc.getCUBIN, pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(nvrtc, "getCUBIN", read)
        cubin, _ = compiled(folder)
    assert cubin == whole["cubin"]


def test_the_source_holds_each_header_once_and_knows_its_lines(folder):
    source = compiler.source_of("add.cu", DEFINES, folder)
    assert source.count("NUMBER sum(") == 1
    assert "#include" not in source
    assert "#pragma once" not in source
    assert source.startswith("#define NUMBER float\n#define TERMS 1.f + 2.f\n")


def test_a_mistake_is_reported_with_its_file_and_line(folder):
    (folder / "sum.cuh").write_text(HEADER + "\n\nint broken = ;\n")
    with pytest.raises(fn.FastnetError, match=r"(?s)add\.cu .*sm_90.*sum\.cuh\(5\): error"):
        compiled(folder)
    (folder / "sum.cuh").write_text(HEADER)
    (folder / "add.cu").write_text(KERNEL + "int broken = ;\n")
    with pytest.raises(fn.FastnetError, match=r"add\.cu\(5\): error"):
        compiled(folder)


def test_an_unknown_architecture_is_reported(folder):
    with pytest.raises(fn.FastnetError, match=r"sm_999.*\n.*architecture"):
        compiled(folder, architecture="sm_999")


def test_what_was_compiled_is_not_compiled_again(folder, compilations):
    first = compiled(folder)
    assert compiled(folder).cubin == first.cubin
    assert len(compilations) == 1
    assert len(entries()) == 1


@pytest.mark.parametrize("change", ["defines", "architecture", "header", "kernel", "nvrtc"])
def test_whatever_it_is_made_from_makes_another_entry(folder, compilations, change, monkeypatch):
    compiled(folder)
    if change == "header":
        (folder / "sum.cuh").write_text(HEADER.replace("a + b", "b + a"))
    if change == "kernel":
        (folder / "add.cu").write_text(KERNEL + "\n")
    if change == "nvrtc":
        monkeypatch.setattr(nvrtc, "getVersion", lambda: (1, 2))
    other = (("NUMBER", "double"), DEFINES[1])
    compiled(
        folder,
        other if change == "defines" else DEFINES,
        "sm_80" if change == "architecture" else "sm_90",
    )
    assert len(compilations) == len(entries()) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_entry_is_compiled_anew(folder, compilations, damage):
    good = compiled(folder)
    (entry,) = entries()
    whole = bytearray(entry.read_bytes())
    whole[-100] ^= 1
    entry.write_bytes({"cut": whole[:-50], "flipped": whole, "empty": b""}[damage])
    assert compiled(folder).cubin == good.cubin
    assert len(compilations) == 2
    mended = entry.read_bytes()
    assert mended[:32] == hashlib.sha256(mended[32:]).digest()
    assert mended.endswith(good.cubin)


def test_a_cache_that_cannot_be_written_is_reported_once_and_does_no_harm(
    folder, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file"))
    compiler._cannot_keep.cache_clear()
    with caplog.at_level(logging.WARNING, logger="fastnet"):
        first, second = compiled(folder), compiled(folder)
    assert first.cubin == second.cubin
    assert [record.message.count("CUPY_CACHE_DIR") for record in caplog.records] == [1]


def test_a_long_compilation_is_announced_once(folder, monkeypatch, caplog):
    monkeypatch.setattr(compiler, "_PATIENCE", 0.0)
    compile_program = nvrtc.compileProgram

    def slow(program, options):
        import time

        compile_program(program, options)
        time.sleep(0.2)

    monkeypatch.setattr(nvrtc, "compileProgram", slow)
    compiler._announce.cache_clear()
    with caplog.at_level(logging.WARNING, logger="fastnet"):
        compiled(folder)
        compiled(folder, architecture="sm_80")
    assert [record.message.count("compiles its CUDA kernels") for record in caplog.records] == [1]


def test_the_log_tells_registers_and_spills_from_the_cache_too(folder, compilations):
    first, again = compiled(folder), compiled(folder)
    assert "Used" in first.log
    assert again == first
    assert len(compilations) == 1
    assert not first.spills("add")


def test_spills_are_reported_of_the_kernel_that_has_them(folder):
    (folder / "load_monitor.cu").write_text(CROWD)
    made = compiler.compile_file("load_monitor.cu", (), "sm_90", folder)
    assert made.spills("crowded")
    assert not made.spills("roomy")


def test_the_cache_is_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiler.cache_folder() == tmp_path / "fastnet" / "cuda"
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert compiler.cache_folder() == tmp_path / "fastnet" / "cuda"


def test_processes_that_compile_at_once_do_not_disturb_each_other(folder, tmp_path):
    code = f"""
from pathlib import Path
from fastnet_cupy import compiler
for _ in range(3):
    compiled = compiler.compile_file("add.cu", {DEFINES!r}, "sm_90", folder=Path({str(folder)!r}))
    print(len(compiled.cubin))
    for entry in compiler.cache_folder().glob("*.cubin"):
        entry.write_bytes(b"")
"""
    environment = child.environment(FASTNET_BACKEND="cupy", CUPY_CACHE_DIR=str(tmp_path / "cache"))
    load_monitor = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    ends = [(*one.communicate(timeout=60), one.returncode) for one in load_monitor]
    sizes = {line for out, _, _ in ends for line in out.split()}
    assert [(err, status) for _, err, status in ends] == [("", 0)] * 3
    assert len(sizes) == 1
    assert len(entries()) == 1
