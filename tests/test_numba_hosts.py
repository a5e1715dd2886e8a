"""Other processors, as the compiler is told: narrower vectors, no fused multiply-add.

Between them the two cases have 2 and 8 lanes; the other tests have what this processor has.
"""

import platform

import child
import pytest

pytest.importorskip("numba", reason="numba is not installed")

CODE = """
import logging
logging.disable(logging.WARNING)  # that it compiles
from fastnet_numba.simd.host import register_bytes
from numba_cases import compare
cases = ("one-of-each", "through-one", "one-more", "classes")
import sys
dtype = sys.argv[1]
worst = max(max(compare(case, dtype, 2, 0.2, batch=5)) for case in cases)
print(register_bytes(), max(worst, *compare("narrow", dtype, 2)))
import numpy as np, fastnet as fn
x, y = fn.datasets.xor()
flat = []
for backend in ("numba", "numpy"):
    model = fn.Model(fn.datasets.xor_network(True), backend=backend, seed=1, dtype=dtype)
    model.fit(x, y, optimizer=fn.SGD(2.0), epochs=50, batch_size=None)
    flat.append(model.parameters.flat)
print(np.abs(flat[0] - flat[1]).max())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the processors are x86")
@pytest.mark.parametrize(
    ("name", "features", "width", "dtype"),
    [("haswell", "+avx,+avx2,+fma,+bmi,+bmi2", 32, "float32"), ("generic", "", 16, "float64")],
)
def test_narrower_vectors_give_the_same_results(name, features, width, dtype):
    said = child.run(CODE, dtype, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    found, distance, tiny = said.split()
    assert int(found) == width
    assert float(distance) < 1e-4
    assert float(tiny) < 1e-4
