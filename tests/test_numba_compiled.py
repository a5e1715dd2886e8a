"""How the Numba backend compiles its kernels, beside other code that uses Numba."""

import inspect
import operator
import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
from compare import assert_same_bits

from fastnet.arrays import cache_lines
from fastnet.errors import BackendUnavailable

numba = pytest.importorskip("numba", reason="numba is not installed")


compiles = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT: nothing is compiled"
)


@compiles
def test_other_code_may_extend_numba_after_kernels_were_compiled():
    from numba.extending import overload

    from fastnet_numba.simd.compiled import entry

    @entry
    def doubled(x):
        return x * 2.0

    assert doubled(1.5) == 3.0

    @overload(operator.mul)
    def multiply(x, y):
        return (lambda x, y: 0) if isinstance(x, numba.types.NoneType) else None

    @numba.njit
    def products(x):
        return x * 3, None * x

    assert products(2) == (6, 0)


@compiles
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectors_are_streamed_past_the_caches_to_whole_places_and_stored_elsewhere(dtype):
    from fastnet_numba.simd.vectors import drain, lanes, load, stream

    @numba.njit
    def streamed(x, out, at):
        stream(out, at, load(x, 0))
        drain()
        return lanes(x)

    x, out = np.arange(1, 65, dtype=dtype), cache_lines.zeros(64, np.dtype(dtype))
    for at in range(32):
        out[:] = 0
        count = streamed(x, out, at)
        wanted = np.zeros_like(out)
        wanted[at : at + count] = x[:count]
        assert_same_bits(out, wanted)
    if platform.machine() in ("x86_64", "AMD64"):
        (assembly,) = streamed.inspect_asm().values()
        assert "movntp" in assembly
        assert "sfence" in assembly


#: First a version of Numba that lacks what is imported, then one that lacks what compiling needs.
ANOTHER_NUMBA = """
import numba, numba.extending
from numba.core.codegen import CPUCodeLibrary

import fastnet as fn

numba.__version__ = "0.99.0"
network = fn.Network(2, [fn.Dense(1)])
kept = numba.extending._Intrinsic
del numba.extending._Intrinsic
for _ in range(2):
    try:
        fn.Model(network, backend="numba")
    except fn.BackendUnavailable as error:
        print(error)
numba.extending._Intrinsic = kept
del CPUCodeLibrary._finalize_dynamic_globals
try:
    fn.Model(network, backend="numba").predict([[1.0, 2.0]])
except fn.BackendUnavailable as error:
    print(error)
"""


@compiles
def test_a_version_of_numba_that_does_not_fit_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_NUMBA],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    first, again, later = done.stdout.splitlines()
    assert first == again
    for line, failed, lacks in (
        (first, "load its kernels", "'_Intrinsic'"),
        (
            later,
            r"compile its kernel fastnet_numba\.\S+ for float32",
            "'_finalize_dynamic_globals'",
        ),
    ):
        assert re.match(rf"backend 'numba' cannot {failed} with numba 0\.99\.0 \(.*{lacks}", line)
        assert 'tried with 0.66.0 and 0.68.1: python -m pip install "numba==0.68.1", or' in line


def test_what_goes_wrong_with_a_version_that_was_tried_is_not_blamed_on_it(monkeypatch):
    from fastnet_numba.versions import TRIED, explained

    monkeypatch.setattr(numba, "__version__", TRIED[0])
    said = rf"cannot compile x with numba {TRIED[0]} \(KeyError: 'y'\); choose backend 'numpy'\.$"
    with pytest.raises(BackendUnavailable, match=said), explained("compile x"):
        raise KeyError("y")
    with pytest.raises(OSError, match="disk"), explained("compile x"):
        raise OSError("the disk is full")


@compiles
def test_a_kernel_that_cannot_be_compiled_is_named_and_its_cache_is_not_blamed(caplog):
    from fastnet_numba import kernels
    from fastnet_numba.simd.compiled import part

    @part
    def broken(x):
        return x.nothing

    said = (
        r"cannot compile its kernel test_numba_compiled\.broken for float32 with numba \d.*'numpy'"
    )
    with pytest.raises(BackendUnavailable, match=said):
        kernels.load(np.dtype("float32")).address_of(broken)
    assert "cannot use" not in caplog.text


def test_this_numba_has_what_we_put_in_the_place_of_its_own():
    """A method that Numba no longer calls, or a pass of another name, would be lost in silence."""
    from numba.core.codegen import JITCPUCodegen
    from numba.core.compiler_machinery import _pass_registry

    from fastnet_numba.simd import compiled

    for one in vars(compiled).values():
        if getattr(one, "__module__", "") != compiled.__name__ or not isinstance(one, type):
            continue
        numbas = [base for base in one.__mro__ if base.__module__.startswith("numba.")]
        known = {name for base in (*numbas, JITCPUCodegen) for name in dir(base)}
        own = {name for name, value in vars(one).items() if inspect.isfunction(value)}
        assert own <= known, one
    passes = {one.pass_inst.name() for one in _pass_registry._registry.values()}
    assert passes >= compiled._NEEDLESS
