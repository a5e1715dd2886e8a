"""What the compiler makes of the kernels' most important parts for ARM64, asked on any machine."""

import re

import pytest

pytest.importorskip("numba", reason="numba is not installed")

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target

from fastnet_numba.simd import atomics, dots, squares, tiles
from fastnet_numba.simd.compiled import tidy
from fastnet_numba.simd.traced import Traced
from fastnet_numba.simd.vector import Vector, vector_type

TRIPLES = {"aarch64": "aarch64-unknown-linux-gnu", "x86": "x86_64-unknown-linux-gnu"}


def assembly(module: ir.Module, triple: str, processor: str) -> str:
    """A module's optimized code for a processor."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=processor, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.triple = triple
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=0))
    passes = builder.getModulePassManager()
    tidy(passes)
    passes.run(parsed, builder)
    return machine.emit_assembly(parsed)


@pytest.mark.parametrize("processor", ["apple-m1", "generic"])
@pytest.mark.parametrize(("element", "lanes"), [(ir.FloatType(), 4), (ir.DoubleType(), 2)])
def test_tiles_stay_in_the_32_registers_of_neon(processor, element, lanes, monkeypatch):
    # As on a host with 32 registers of 16 bytes.
    monkeypatch.setattr(tiles, "WIDTHS", (4, 2, 1))
    monkeypatch.setattr(tiles, "STEPS", 1)
    monkeypatch.setattr(dots, "DOTS_HEIGHTS", (4, 2, 1))
    module = ir.Module()
    tiles._product(module, ir.VectorType(element, lanes)).linkage = "external"
    code = assembly(module, TRIPLES["aarch64"], processor)
    products = {}
    for name, body in re.findall(r"(?ms)^fastnet_(\w+):(.*?)^\.Lfunc_end", code):
        # From label or branch to label or branch: the loop over depth is the one that multiplies.
        blocks = re.split(r"(?m)^(?:\.LBB\w+:|\s+c?bn?z?\.?\w*\s.*)$", body)
        loop = max(blocks, key=lambda block: block.count("fmla"))
        products[name] = loop.count("fmla")
        if products[name]:
            assert not re.findall(r"\[sp\b", loop), f"{name} spills:\n{loop}"
            # A number of A is in all lanes by its load (ld1r), or taken from its lane by fmla.
            assert not re.findall(r"(?m)^\s+dup\b", loop), f"{name}:\n{loop}"
    counts = {form: products[f"tile_{element}_6_4_{form}"] for form in ("along", "down", "any")}
    assert counts == dict.fromkeys(counts, 24)
    assert products[f"dots_{element}_4_4_sums"] == 16


@pytest.mark.parametrize("processor", ["apple-m1", "neoverse-n1"])
@pytest.mark.parametrize(("number", "registers"), [(types.float32, 4), (types.float64, 8)])
def test_squares_are_multiplied_by_element(processor, number, registers):
    context, square = cpu_target.target_context, Vector(number, squares.SIDE**2)
    module, kind = ir.Module(), vector_type(square)
    signature = ir.FunctionType(ir.VoidType(), [ir.PointerType()] * 3)
    function = ir.Function(module, signature, "multiply")
    builder = ir.IRBuilder(function.append_basic_block())
    given = [Traced(context, builder, square, builder.load(p, typ=kind)) for p in function.args]
    builder.store(squares.square_product(*given).value, function.args[0])
    builder.ret_void()
    code = assembly(module, TRIPLES["aarch64"], processor)
    by_element = re.findall(r"(?m)^\s+fm(?:ul|la)\s.*v\d+\.[sd]\[\d\]$", code)
    assert len(by_element) == squares.SIDE * registers
    assert not re.findall(r"(?m)^\s+(?:dup|trn|zip|uzp|ext)|\[sp\b", code)


@pytest.mark.parametrize(
    ("write", "kind", "processor", "instruction"),
    [
        (atomics.pause, "aarch64", "apple-m1", "isb"),
        (atomics.pause, "x86", "haswell", "pause"),
        (atomics.order_streams, "aarch64", "apple-m1", r"dmb\s+ish"),
        (atomics.order_streams, "x86", "haswell", "sfence"),
    ],
)
def test_waiting_and_streams_have_the_instruction_of_their_processor(
    write, kind, processor, instruction
):
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "written")
    builder = ir.IRBuilder(function.append_basic_block())
    write(builder, TRIPLES[kind])
    builder.ret_void()
    assert re.findall(rf"(?m)^\s+{instruction}$", assembly(module, TRIPLES[kind], processor))
