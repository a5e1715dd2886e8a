"""What NVRTC makes of the CUDA kernels: no spills, room on the chip, tensor cores. It needs no GPU.

All is read from what `ptxas -v` writes into NVRTC's log, from the PTX, and from the machine code
where there is a disassembler. A compilation takes seconds, so each property has one architecture,
and the others what differs there.
"""

import ctypes
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

from fastnet.contract.lowering import lower
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
            files = ("step.cu", "layered.cu", *["staged.cu"] * (architecture == "sm_90"))
            for file in files:
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


def assert_room(use, threads, architecture, dynamic, own, blocks=1):
    """A kernel spills nothing, and so many blocks of it have room on a multiprocessor."""
    assert use.spilled == 0
    assert use.registers <= THREAD_REGISTERS
    # Registers are given to warps in units of 256 (the guide, "Hardware Multithreading").
    assert blocks * -(-use.registers * WARP // 256) * 256 * (threads // WARP) <= REGISTERS
    assert use.shared <= own
    # Each block takes 1 KiB more of a multiprocessor, which has that for the largest block, too.
    whole = SHARED_BYTES[architecture] + 1024
    assert blocks * (use.shared + dynamic + 1024) <= whole


@pytest.mark.parametrize(("number", "layout", "architecture"), NARROW_ASKED)
def test_narrow_networks_have_a_kernel_that_spills_nothing(compiled, number, layout, architecture):
    found = compiled((number, layout, architecture))
    assert found is not None, "every shape spills"
    shape, use = found
    dynamic = shape.shared_bytes(number)
    assert_room(use, shape.threads, architecture, dynamic, narrow.OWN_BYTES, shape.together)
    if number.is_16_bit and not shape.slopes and architecture == "sm_90":
        assert shape.column_warps <= 2, "the benchmarks' networks have the quicker shapes there"


@pytest.mark.parametrize("number", [FP16, TF32, FLOAT32], ids=lambda number: number.name)
def test_two_blocks_of_a_small_network_have_room(number):
    layout = network(32, [32] * 2, 16)
    shape = next(narrow.shapes_for(layout, number, SHARED_BYTES["sm_90"]))
    assert shape.together == 2
    given = compiler.compile_file("narrow.cu", macros(number, shape.macros), "sm_90")
    use = uses(given.log, "sm_90")["narrow"]
    room = shape.shared_bytes(number), narrow.OWN_BYTES, shape.together
    assert_room(use, shape.threads, "sm_90", *room)


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


def machine_code(cubin, folder):
    """What the disassembler writes of it; skips where there is none."""
    tool, path = disassembler()
    if tool is None:
        pytest.skip(
            "cuobjdump and nvdisasm are absent: pip install nvidia-cuda-cuobjdump "
            "nvidia-cuda-nvdisasm"
        )
    (folder / "kernels.cubin").write_bytes(cubin)
    return subprocess.run(
        [tool, "-sass", folder / "kernels.cubin"],
        capture_output=True, text=True, check=True, env={**os.environ, "PATH": path},
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    ("number", "architecture"),
    [*((number, "sm_90") for number in NUMBERS), *((FP16, other) for other in SHARED_BYTES
     if other != "sm_90")],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_the_machine_code_has_them_too(number, architecture, tmp_path):
    given = compiler.compile_file("narrow.cu", small(number), architecture)
    code = machine_code(given.cubin, tmp_path)
    assert "FFMA" in code or "DFMA" in code
    made = set(re.findall(r"\s([A-Z]+MMA[.\w]* )", code))
    assert made == ({PRODUCTS[number.name][1]} if number.name in PRODUCTS else set())
    assert ("LDSM" in code) == number.is_16_bit


def product_loops(code, product):
    """Innermost loops that multiply: their instructions, and how many of those are products.

    A loop ends with a jump back; one that has a function of its own in it (MUFU) is a loss's.
    """
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/ +(?:@!?U?P\d+ +)?([^;]+);", code)
    places = [(int(place, 16), words) for place, words in lines]
    jumps = [
        (int(target[1], 16), place)
        for place, words in places
        if words.startswith("BRA") and (target := re.search(r"0x([0-9a-f]+)", words))
    ]
    loops = [(first, last) for first, last in jumps if first <= last]
    for first, last in loops:
        if any(first <= f and z <= last and (f, z) != (first, last) for f, z in loops):
            continue
        body = [words for place, words in places if first <= place <= last]
        products = sum(words.startswith(product) for words in body)
        if products and not any(words.startswith("MUFU") for words in body):
            yield len(body), products


#: A network whose products are loops in machine code; instructions of all those loops for each
#: product, at most: a tenth more than NVRTC 13.0 makes of them for sm_90.
BUDGETS = {
    FP16: (NARROW[FP16][0], 3.3), BF16: (NARROW[BF16][1], 2.7), TF32: (NARROW[TF32][0], 6.3),
    FLOAT32: (NARROW[FLOAT32][0], 1.65), FLOAT64: (NARROW[FLOAT64][0], 2.0),
}  # fmt: skip


@pytest.mark.parametrize("number", BUDGETS, ids=lambda number: number.name)
def test_product_loops_do_little_but_products(compiled, number, tmp_path):
    layout, budget = BUDGETS[number]
    shape, _ = compiled((number, layout, "sm_90"))
    given = compiler.compile_file("narrow.cu", macros(number, shape.macros), "sm_90")
    product = {FLOAT32: "FFMA", FLOAT64: "DFMA"}.get(number, "HMMA")
    loops = [*product_loops(machine_code(given.cubin, tmp_path), product)]
    if product != "HMMA":  # other loops multiply, too: those of losses and activations
        loops = [(all_, own) for all_, own in loops if own >= 16 and 2.5 * own > all_]
    # Where rows stay in registers, only products of weight gradients are loops, and not of all.
    least = 1 if shape.chained else 2 * len(shape.codes) - 1
    assert len(loops) >= least, "a layer's products are missing"
    all_, own = map(sum, zip(*loops, strict=True))
    assert all_ / own <= budget, (all_ / own, loops)


@pytest.fixture(scope="module")
def older():
    """Compile a source with NVRTC 12, which drivers for CUDA 12 need: its log."""
    found = find_spec("nvidia")
    wheels = [*found.submodule_search_locations] if found else []
    files = [file for wheel in wheels for file in Path(wheel).glob("cuda_nvrtc/lib/libnvrtc.so.12")]
    if not files:
        pytest.skip("NVRTC 12 is not installed: pip install 'nvidia-cuda-nvrtc-cu12==12.*'")
    library = ctypes.CDLL(str(files[0]))

    def log(file, defines, architecture):
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        source = compiler.source_of(file, defines).encode()
        options = [*compiler.OPTIONS, f"--gpu-architecture={architecture}"]
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        made = ctypes.byref(program), source, file.encode(), 0, None, None
        assert library.nvrtcCreateProgram(*made) == 0
        status = library.nvrtcCompileProgram(program, len(options), given)
        assert library.nvrtcGetProgramLogSize(program, ctypes.byref(size)) == 0
        text = ctypes.create_string_buffer(size.value)
        assert library.nvrtcGetProgramLog(program, text) == 0
        assert library.nvrtcDestroyProgram(ctypes.byref(program)) == 0
        assert status == 0, text.value.decode()
        return text.value.decode()

    return log


@pytest.mark.parametrize("file", ["narrow.cu", "layered.cu", "staged.cu", "step.cu", "tiny.cu"])
def test_kernels_spill_nothing_with_nvrtc_12(compiled, older, file):
    number = FLOAT32 if file == "tiny.cu" else FP16
    defines = macros(number)
    if file == "narrow.cu":
        shape, _ = compiled((number, NARROW[number][0], "sm_90"))
        defines = macros(number, shape.macros)
    found = uses(older(file, defines, "sm_90"), "sm_90")
    assert set(found) == kernels_of(file)
    assert all(use.spilled == 0 for use in found.values()), found
