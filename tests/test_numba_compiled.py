"""How the Numba backend compiles its kernels, beside other code that uses Numba."""

import operator

import pytest

numba = pytest.importorskip("numba", reason="numba is not installed")


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT: nothing is compiled")
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
