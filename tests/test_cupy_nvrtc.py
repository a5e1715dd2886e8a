"""What NVRTC makes of the CUDA kernels: no spills, room on the chip, tensor cores. It needs no GPU.

All is read from what `ptxas -v` writes into NVRTC's log, from the PTX, and from the machine code
where there is a disassembler. A compilation takes seconds, so each property has one architecture,
and the others what differs there.
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
from fastnet_cupy.layout import lay_out, tabulate
from fastnet_cupy.names import THREADS, TINY_THREADS, WARP
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

#: What ptxas writes about one kernel. What it does not use, it does not name.
_REPORT = re.compile(
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
    """Each kernel's, from the log."""
    found = {}
    for report in _REPORT.finditer(log):
        assert report["architecture"] == architecture
        shared = re.search(r"(\d+) bytes smem", report["more"])
        use = Use(
            int(report["stores"]) + int(report["loads"]), int(report["registers"]),
            int(shared[1]) if shared else 0,
        )  # fmt: skip
        found[report["name"]] = use
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


#: The largest network that gets a tiny kernel of its own.
OWN = network(3, [5, 4, 3], 1, "gelu")


def tiny_macros(layout, number):
    own = ",".join(map(str, tabulate(layout).ints.tolist()))
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
    # The oldest architecture, in the kind of number that takes the most registers.
    for architecture, numbers in (("sm_90", [FLOAT64, BF16]), ("sm_80", [FLOAT64])):
        for number in numbers:
            for file in ("step.cu", "layered.cu"):
                yield Asked(number.name, file, macros(number), architecture, THREADS)
        room = SHARED_BYTES[architecture] - tiny.OWN_BYTES  # what the largest chunk may take
        given = (architecture, TINY_THREADS, room)
        for number in [FLOAT64] if architecture == "sm_80" else REALS:
            yield Asked(f"{number.name}-any", "tiny.cu", macros(number), *given)
            yield Asked(f"{number.name}-own", "tiny.cu", tiny_macros(OWN, number), *given)


ASKED = list(all_asked())


#: Kind of number, network, architecture: all for the benchmarks' GPU, the first of each kind of
#: number for the oldest, and one for that with the least memory. sm_100 differs from sm_90 in
#: neither memory nor registers.
NARROW_ASKED = [
    pytest.param(number, layout, architecture, id=f"{number.name}-{n}-{architecture}")
    for architecture, numbers in (("sm_80", NARROW), ("sm_90", NARROW), ("sm_120", [FP16]))
    for number in numbers
    for n, layout in enumerate(NARROW[number][: None if architecture == "sm_90" else 1])
    if any(narrow.shapes_for(layout, number, SHARED_BYTES[architecture]))
]


def chosen(number, layout, architecture):
    """The shape that planning chooses, and what its kernel uses; None where all of them spill."""
    found = {}

    def spills(shape):
        given = macros(number, shape.macros), architecture
        compiled = compiler.compile_file("narrow.cu", *given)
        found[shape] = uses(compiled.log, architecture)["narrow"]
        assert compiled.spills("narrow") == (found[shape].spilled > 0)
        return found[shape].spilled > 0

    shape = narrow.shape_for(layout, number, SHARED_BYTES[architecture], spills)
    return None if shape is None else (shape, found[shape])


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
    if number.is_16_bit and not shape.slopes and architecture == "sm_90":
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
    both = {
        f"ldmatrix.sync.aligned.m8n8.x4.{transposed}shared.b16" for transposed in ("", "trans.")
    }
    assert loads == (both if number.is_16_bit else set())


def disassembler():
    """`cuobjdump` and the folder with it and `nvdisasm`, on the path or from NVIDIA's wheels."""
    found = find_spec("nvidia")
    wheels = [*found.submodule_search_locations] if found else []
    folders = [str(folder) for wheel in wheels for folder in Path(wheel).glob("cu*/bin")]
    path = os.pathsep.join([*folders, os.environ.get("PATH", "")])
    if not shutil.which("nvdisasm", path=path):
        return None, path
    return shutil.which("cuobjdump", path=path), path


@pytest.mark.parametrize(
    ("number", "architecture"),
    [*((number, "sm_90") for number in NUMBERS), *((FP16, other) for other in SHARED_BYTES
     if other != "sm_90")],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
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
    assert ("LDSM" in code) == number.is_16_bit
