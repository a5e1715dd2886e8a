// Sums in a fixed order, of a group of lanes and of a block.
#pragma once
#include "names.cuh"
#include "numbers.cuh"

#define FN_MOST_WARPS 32
#define FN_ALL_LANES 0xffffffffu

// The sum over groups of `lanes` neighboring lanes, a power of two, in every lane.
template <class T>
__device__ __forceinline__ T group_sum(T value, int lanes) {
  for (int apart = lanes / 2; apart > 0; apart /= 2)
    value += __shfl_xor_sync(FN_ALL_LANES, value, apart);
  return value;
}

// The largest over such a group, NaN if there is one, in every lane.
__device__ __forceinline__ real group_peak(real value, int lanes) {
  for (int apart = lanes / 2; apart > 0; apart /= 2)
    value = larger(value, __shfl_xor_sync(FN_ALL_LANES, value, apart));
  return value;
}

// The sum over the block, in every thread. `scratch` holds a number for each warp; the block
// is in step afterwards, and may use it again.
template <class T>
__device__ __forceinline__ T block_sum(T value, T *scratch) {
  value = group_sum(value, FN_WARP);
  int warps = blockDim.x / FN_WARP;
  if (warps == 1) return value;
  if (threadIdx.x % FN_WARP == 0) scratch[threadIdx.x / FN_WARP] = value;
  __syncthreads();
  T whole = 0;
  for (int warp = 0; warp < warps; warp++) whole += scratch[warp];
  __syncthreads();
  return whole;
}

// The largest over the block, NaN if there is one, likewise.
__device__ __forceinline__ real block_peak(real value, real *scratch) {
  value = group_peak(value, FN_WARP);
  int warps = blockDim.x / FN_WARP;
  if (warps == 1) return value;
  if (threadIdx.x % FN_WARP == 0) scratch[threadIdx.x / FN_WARP] = value;
  __syncthreads();
  real most = scratch[0];
  for (int warp = 1; warp < warps; warp++) most = larger(most, scratch[warp]);
  __syncthreads();
  return most;
}

#if FN_16_BIT
__device__ __forceinline__ real to_real(real value) { return value; }
#endif

// The sum of term(r) over rows `first` to `last`, by a block of FN_THREADS, of which each line of
// SUM_COLUMNS threads takes a row: a sum for each of the first line's threads.
template <class S, class F>
__device__ __forceinline__ S sum_of_lines(int first, int last, F term) {
  constexpr int LINES = FN_THREADS / SUM_COLUMNS;
  __shared__ S lines[LINES][SUM_COLUMNS];
  int line = threadIdx.x / SUM_COLUMNS;
  S sum = 0;
#pragma unroll 4
  for (int r = first + line; r < last; r += LINES) sum += term(r);
  lines[line][threadIdx.x % SUM_COLUMNS] = sum;
  __syncthreads();
  if (line) return 0;
  sum = 0;
  for (int other = 0; other < LINES; other++) sum += lines[other][threadIdx.x];
  return sum;
}

// The sum of column j of rows `first` to `last` of d `(rows, columns)`, likewise.
template <class T>
__device__ __forceinline__ real column_sum(const T *d, int columns, int j, int first, int last) {
  return sum_of_lines<real>(first, j < columns ? last : 0,
                            [&](int r) { return to_real(d[(int64_t)r * columns + j]); });
}
