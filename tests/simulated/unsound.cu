// Kernels with planted bugs, which the simulated device must find: test_host_device.py.
#include "device.cuh"
extern "C" __global__ void past_the_end(float *x, int n) { x[threadIdx.x + n] = 1; }
extern "C" __global__ void past_the_chip(float *x) {
  FN_SHARED(chip);
  chip[threadIdx.x] = 1;
  x[threadIdx.x] = chip[threadIdx.x];
}
extern "C" __global__ void past_the_array(float *x, int n) {
  __shared__ float first[32], second[32];
  float *at = n % 2 ? first : second;
  at[threadIdx.x + n] = 1;
  __syncwarp();
  x[threadIdx.x] = first[31 - threadIdx.x] + second[31 - threadIdx.x];
}
extern "C" __global__ void overflow(int *x, int n) { x[threadIdx.x] = n + (int)threadIdx.x; }
extern "C" __global__ void misaligned(float *x, int n) { x[0] = ((float4 *)(x + n))->y; }
extern "C" __global__ void missing_warp_barrier(float *x) {
  __shared__ float kept[32];
  kept[threadIdx.x] = x[threadIdx.x];
  float heard = __shfl_xor_sync(~0u, x[threadIdx.x], 1);
  x[threadIdx.x] = heard + kept[threadIdx.x ^ 1];
}
extern "C" __global__ void half_the_warp(int *x) {
  if (threadIdx.x % 2) __syncthreads(); else __syncwarp();
}
extern "C" __global__ void two_barriers(int *x) {
  if (threadIdx.x % 2) {
    __syncthreads();
    x[0] = 1;
  } else
    __syncthreads();
}
extern "C" __global__ void two_shuffles(int *x) {
  if (threadIdx.x % 2) x[threadIdx.x] = __shfl_sync(~0u, 1, 0);
  else x[threadIdx.x] = __ballot_sync(~0u, 1);
}
extern "C" __global__ void foreign_mask(int *x) { x[threadIdx.x] = __shfl_sync(1u, 1, 0); }
extern "C" __global__ void gone(float *x) {
  if (threadIdx.x == 3) return;
  x[threadIdx.x] = __shfl_sync(~0u, x[threadIdx.x], 3);
}
