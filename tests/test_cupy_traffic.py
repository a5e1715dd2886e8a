"""What a tile of rows costs the narrow kernel in 16 bits, counted as it runs on the processor."""

from dataclasses import replace

import numpy as np
import pytest
from simulated import building, compiled

if building.absence() is not None:
    pytest.skip(building.absence(), allow_module_level=True)

import cuda_cases_narrow
from cuda_cases import FP16, network

from fastnet_cupy.names import WARP, Mode
from fastnet_cupy.narrow import shapes_for

#: The kernel's own text, and a kernel that hands out what its threads have counted.
COUNTING = f"""
#include "device.cuh"
enum {{ LOADS, PRODUCTS, BARRIERS, COUNTS }};
static long long counted[COUNTS];
#define fn_load_matrices(...) (counted[LOADS]++, fn_load_matrices(__VA_ARGS__))
#define fn_load_matrices_transposed(...) \\
  (counted[LOADS]++, fn_load_matrices_transposed(__VA_ARGS__))
#define fn_mma_fp16(...) (counted[PRODUCTS]++, fn_mma_fp16(__VA_ARGS__))
#define __syncthreads() (counted[BARRIERS]++, fn_host::sync_block(fn_host::here()))
#line 1 "narrow.cu"
{(building.KERNELS / "narrow.cu").read_text()}
extern "C" __global__ void __launch_bounds__(32) hand_out(int64_t *counts) {{
  for (int i = threadIdx.x; i < COUNTS; i += 32) {{
    counts[i] = counted[i];
    counted[i] = 0;
  }}
}}
"""


def test_a_tile_reads_few_fragments_for_its_products_and_has_few_barriers():
    net, layout = network(32, (32, "relu"), (32, "relu"), (16, "identity"))
    shape = next(shapes_for(layout, FP16, cuda_cases_narrow.SHARED_BYTES))
    maker = cuda_cases_narrow.Maker(net, layout, FP16, shape)

    def counted(tiles):
        case = maker.case("counted", Mode.GRADIENT, tiles=tiles, blocks=1)
        replace(case, file=COUNTING).run(0)
        counts = np.zeros(3, np.int64)
        compiled.kernels(COUNTING, case.macros)["hand_out"].launch(1, WARP, (counts,))
        return counts

    loads, products, barriers = counted(2) - counted(1)
    hidden = 2
    assert barriers == shape.threads * (7 + hidden), "a hidden layer has one, on the way back"
    # Tiles of 16 x 16 from shared memory: with all rows read anew, and a fragment of a weight's
    # gradient for each warp, they were 1.29 a product.
    assert loads <= 0.63 * products
