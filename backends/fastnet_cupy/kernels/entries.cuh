// A loop over the entries of a matrix, by all threads of the grid.
#pragma once
#include "device.cuh"

#define EACH_ENTRY(i, count)                                                     \
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, i##_end = (count); \
       i < i##_end; i += (int64_t)gridDim.x * blockDim.x)
