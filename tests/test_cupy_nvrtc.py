"""What NVRTC makes of the CUDA kernels: no spills, room on the chip, tensor cores. It needs no GPU.

Everything is asked of `ptxas -v`, which NVRTC's log has, of the PTX, and of the machine code
where there is a disassembler.
"""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

import fastnet as fn

pytest.importorskip("cupy", reason="cupy is not installed")

from cupy.cuda import nvrtc

from fastnet.contract.plan import lower
from fastnet_cupy import compiler, narrow, tiny
from fastnet_cupy.context import THREADS, WARP
from fastnet_cupy.layout import lay_out, tabulate
from fastnet_cupy.precision import BF16, FLOAT32, FLOAT64, FP16, TF32

try:
    nvrtc.getVersion()
except Exception as error:
    pytest.skip(f"NVRTC cannot be loaded: {error}", allow_module_level=True)

#: Bytes of shared memory that a block may have (CUDA C++ Programming Guide, 13.0, "Compute
#: Capabilities", table "Technical Specifications per Compute Capability": maximum amount of
#: shared memory per thread block).
SHARED_BYTES = {
    "sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "sm_120": 99 * 1024,
}  # fmt: skip
#: The same table: 32-bit registers of a block, and of a thread; a block's own shared memory.
REGISTERS, THREAD_REGISTERS, PLAIN_SHARED_BYTES = 65_536, 255, 48 * 1024

NUMBERS = [FLOAT64, FLOAT32, TF32, BF16, FP16]
REALS = [FLOAT64, FLOAT32]

#: How ptxas tells of one kernel. What it does not use, it does not name.
_TOLD = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for '(?P<architecture>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<more>[^\n]*)",
    re.DOTALL,
)


class Use(NamedTuple):
    """What a kernel uses."""

    spilled: int
    registers: int
    shared: int


def uses(log, architecture):
    """Each kernel's, as the log tells."""
    found = {}
    for told in _TOLD.finditer(log):
        assert told["architecture"] == architecture
        shared = re.search(r"(\d+) bytes smem", told["more"])
        spilled = int(told["stores"]) + int(told["loads"])
        found[told["name"]] = Use(spilled, int(told["registers"]), int(shared[1]) if shared else 0)
    return found


def kernels_of(file):
    """The names of a file's kernels."""
    head = r'extern "C" __global__ void(?:\s+__launch_bounds__\([^)]*\))?\s+(\w+)\('
    return set(re.findall(head, (compiler.KERNELS / file).read_text()))


def macros(number, given=()):
    return ((number.macro, ""), *dict(given).items())


def network(inputs, hidden, outputs, activation="relu"):
    layers = [*(fn.Dense(units, activation) for units in hidden), fn.Dense(outputs)]
    return lay_out(lower(fn.Network(inputs, layers, "mse")))


#: Networks that are to have a kernel of their own wherever one has room on the chip, by the kinds
#: of number: among them those of the benchmarks.
NARROW = {
    FP16: [network(32, [64] * 5, 16), network(64, [128] * 2, 16, "gelu")],
    BF16: [network(32, [64] * 5, 16, "gelu"), network(64, [128] * 2, 16)],
    TF32: [network(32, [64] * 2, 16), network(32, [64] * 5, 16), network(64, [128] * 2, 16)],
    FLOAT32: [network(32, [64] * 2, 16, "gelu"), network(32, [64] * 5, 16)],
    FLOAT64: [network(16, [32] * 3, 16, "tanh")],
}


XOR = lay_out(lower(fn.datasets.xor_network(True)))
#: The largest network that gets a tiny kernel of its own.
OWN = network(3, [5, 4, 3], 1, "gelu")


def tiny_macros(layout, number):
    own = ",".join(map(str, tabulate(layout).whole.tolist()))
    return macros(number, {"FN_TABLE": own})


class Asked(NamedTuple):
    """A file to compile, and what its kernels are launched with: threads, dynamic memory."""

    name: str
    file: str
    defines: tuple
    architecture: str
    threads: int
    dynamic: int = 0


def all_asked():
    for architecture, shared in SHARED_BYTES.items():
        for number in NUMBERS:
            plain = macros(number)
            for file in ("step.cu", "layered.cu"):
                yield Asked(number.name, file, plain, architecture, THREADS)
        for number in REALS:
            room = shared - tiny.OWN_BYTES  # what the largest chunk may take
            given = (architecture, tiny.MOST_THREADS, room)
            yield Asked(f"{number.name}-any", "tiny.cu", macros(number), *given)
            for name, layout in (("xor", XOR), ("own", OWN)):
                defines = tiny_macros(layout, number)
                yield Asked(f"{number.name}-{name}", "tiny.cu", defines, *given)


ASKED = list(all_asked())


#: Kind of number, network, architecture; where not even one shape has room, there is no such case.
NARROW_ASKED = [
    pytest.param(number, layout, architecture, id=f"{number.name}-{n}-{architecture}")
    for architecture, shared in SHARED_BYTES.items()
    for number, layouts in NARROW.items()
    for n, layout in enumerate(layouts)
    if any(narrow.shapes_for(layout, number, shared))
]


def chosen(number, layout, architecture):
    """The shape that planning chooses, and what its kernel uses; None where all of them spill."""
    told = {}

    def spills(shape):
        given = macros(number, shape.macros), architecture
        compiled = compiler.compile_file("narrow.cu", *given)
        told[shape] = uses(compiled.log, architecture)["narrow"]
        assert compiled.spills("narrow") == (told[shape].spilled > 0)
        return told[shape].spilled > 0

    shape = narrow.shape_for(layout, number, SHARED_BYTES[architecture], spills)
    return None if shape is None else (shape, told[shape])


@pytest.fixture(scope="module")
def compiled():
    """What becomes of each, worked on by all processors: NVRTC lets Python's other threads run."""
    pool = ThreadPoolExecutor(os.cpu_count())
    futures = {}

    def submit():
        for param in NARROW_ASKED:
            number, layout, architecture = param.values
            futures[param.values] = pool.submit(chosen, number, layout, architecture)
        for one in ASKED:
            given = one.file, one.defines, one.architecture
            futures[one] = pool.submit(compiler.compile_file, *given)

    def result(asked):
        if not futures:
            submit()
        return futures[asked].result()

    yield result
    pool.shutdown(cancel_futures=True)


def assert_room(use, threads, architecture, dynamic, own):
    """A kernel spills nothing, and one block of it has room on a multiprocessor."""
    assert use.spilled == 0
    assert use.registers <= THREAD_REGISTERS
    # Registers are given to warps in units of 256 (the guide, "Hardware Multithreading").
    assert -(-use.registers * WARP // 256) * 256 * (threads // WARP) <= REGISTERS
    assert use.shared <= own
    assert use.shared + dynamic <= SHARED_BYTES[architecture]


@pytest.mark.parametrize(("number", "layout", "architecture"), NARROW_ASKED)
def test_narrow_networks_have_a_kernel_that_spills_nothing(compiled, number, layout, architecture):
    found = compiled((number, layout, architecture))
    assert found is not None, "every shape spills"
    shape, use = found
    dynamic = shape.shared_bytes(number)
    assert_room(use, shape.threads, architecture, dynamic, narrow.OWN_BYTES)
    if number.narrow and not shape.slopes and architecture in ("sm_90", "sm_100"):
        assert shape.column_warps == 2, "the benchmarks' networks have the quicker shapes there"


@pytest.mark.parametrize(
    "asked", ASKED, ids=lambda one: f"{one.file}-{one.name}-{one.architecture}"
)
def test_kernels_spill_nothing_and_have_room(compiled, asked):
    found = uses(compiled(asked).log, asked.architecture)
    assert set(found) == kernels_of(asked.file)
    own = tiny.OWN_BYTES if asked.dynamic else PLAIN_SHARED_BYTES
    for name, use in found.items():
        print(name, use)  # shown where it fails
        assert_room(use, asked.threads, asked.architecture, asked.dynamic, own)


#: In PTX (PTX ISA, "Matrix multiply-accumulate operation using mma instruction"), and in machine
#: code (CUDA Binary Utilities, "Instruction Set Reference").
PRODUCTS = {
    "fp16": ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "HMMA.16816.F32 "),
    "bf16": ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "HMMA.16816.F32.BF16 "),
    "tf32": ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "HMMA.1688.F32.TF32 "),
}


def small(number):
    """A kernel that every architecture has."""
    shape = next(narrow.shapes_for(network(16, [16], 16), number, min(SHARED_BYTES.values())))
    return macros(number, shape.macros)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_products_go_through_tensor_cores_where_they_may(number):
    source = compiler.source_of("narrow.cu", small(number))
    program = nvrtc.createProgram(source, "narrow.cu", (), ())
    nvrtc.compileProgram(program, (*compiler.OPTIONS, "--gpu-architecture=compute_80"))
    code = nvrtc.getPTX(program).decode()
    nvrtc.destroyProgram(program)
    made = set(re.findall(r"(?:wg|w)?mma\.[\w.:]+", code))
    assert made == ({PRODUCTS[number.name][0]} if number.name in PRODUCTS else set())
    loads = set(re.findall(r"ldmatrix\.[\w.]+", code))
    both = {f"ldmatrix.sync.aligned.m8n8.x4.{turned}shared.b16" for turned in ("", "trans.")}
    assert loads == (both if number.narrow else set())


def disassembler():
    """`cuobjdump` and the folder with it and `nvdisasm`, on the path or from NVIDIA's wheels."""
    found = find_spec("nvidia")
    wheels = [*found.submodule_search_locations] if found else []
    folders = [str(folder) for wheel in wheels for folder in Path(wheel).glob("cu*/bin")]
    path = os.pathsep.join([*folders, os.environ.get("PATH", "")])
    if not shutil.which("nvdisasm", path=path):
        return None, path
    return shutil.which("cuobjdump", path=path), path


@pytest.mark.parametrize("architecture", SHARED_BYTES)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_the_machine_code_has_them_too(number, architecture, tmp_path):
    tool, path = disassembler()
    if tool is None:
        pytest.skip(
            "cuobjdump and nvdisasm are absent: pip install nvidia-cuda-cuobjdump "
            "nvidia-cuda-nvdisasm"
        )
    given = compiler.compile_file("narrow.cu", small(number), architecture)
    (tmp_path / "narrow.cubin").write_bytes(given.cubin)
    code = subprocess.run(
        [tool, "-sass", tmp_path / "narrow.cubin"],
        capture_output=True, text=True, check=True, env={**os.environ, "PATH": path},
    ).stdout  # fmt: skip
    assert "FFMA" in code or "DFMA" in code
    made = set(re.findall(r"\s([A-Z]+MMA[.\w]* )", code))
    assert made == ({PRODUCTS[number.name][1]} if number.name in PRODUCTS else set())
    assert ("LDSM" in code) == number.narrow
