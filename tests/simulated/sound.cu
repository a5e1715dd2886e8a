// Kernels with known results, for test_host_device.py and test_gpu_ptx.py.
#include "device.cuh"
extern "C" __global__ void __launch_bounds__(256) total(const float *x, float *out, int n) {
  __shared__ float part[8];
  float s = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) s += x[i];
  for (int d = 16; d; d /= 2) s += __shfl_xor_sync(0xffffffffu, s, d);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
#ifndef MISSING_BARRIER
  __syncthreads();
#endif
  if (threadIdx.x) return;
  s = 0;
  for (int w = 0; w < blockDim.x / 32; w++) s += part[w];
  out[blockIdx.x] = s;
}
extern "C" __global__ void turn(float *x, int n) {  // the other way round, by dynamic memory
  FN_SHARED(chip);
  float *kept = (float *)chip;
  for (int i = threadIdx.x; i < n; i += blockDim.x) kept[i] = x[i];
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) x[i] = kept[n - 1 - i];
}
template <class T>
__device__ void swap_neighbors(T *x) {
  __shared__ T kept[32];
  kept[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  x[threadIdx.x] = kept[threadIdx.x ^ 1];
}
extern "C" __global__ void neighbors(float *x, int *y) {
  swap_neighbors(x);
  swap_neighbors(y);
}
extern "C" __global__ void shuffles(const double *x, double *out, unsigned *votes, int width) {
  int lane = threadIdx.x;
  double v = x[lane];
  out[lane] = __shfl_sync(~0u, v, 5, width);
  out[32 + lane] = __shfl_xor_sync(~0u, v, 3);
  out[64 + lane] = __shfl_up_sync(~0u, v, 2, width);
  out[96 + lane] = __shfl_down_sync(~0u, v, 2, width);
  votes[lane] = __ballot_sync(~0u, lane % 3 == 0);
  if (lane < 8) votes[lane] = __ballot_sync(0xffu, lane % 2);
  votes[lane] += __any_sync(~0u, lane == 7) && !__all_sync(~0u, lane == 7) ? 1000 : 0;
}
extern "C" __global__ void convert(const float *x, uint16_t *half, float *half_back,
                                   uint16_t *brain, float *brain_back, float *tf32, int64_t n) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  half[i] = fn_float_to_fp16(x[i]);
  half_back[i] = fn_fp16_to_float(half[i]);
  brain[i] = fn_float_to_bf16(x[i]);
  brain_back[i] = fn_bf16_to_float(brain[i]);
  tf32[i] = fn_round_tf32(x[i]);
}
// A number and the next one, as a pair.
extern "C" __global__ void convert_pairs(const float *x, uint32_t *half, uint32_t *brain, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  half[i] = fn_pair_to_fp16(x[2 * i], x[2 * i + 1]);
  brain[i] = fn_pair_to_bf16(x[2 * i], x[2 * i + 1]);
}
// x (224,) by copies of every size; what a lane gives out another one has copied.
extern "C" __global__ void copy(const float *x, float *out, int waits) {
  __shared__ __align__(16) float chip[224];
  int lane = threadIdx.x;
  fn_copy<4>(chip + lane, x + lane);
  fn_copy<8>(chip + 32 + 2 * lane, x + 32 + 2 * lane);
  fn_copy<16>(chip + 96 + 4 * lane, x + 96 + 4 * lane);
  if (waits) fn_wait_for_copies();
  __syncthreads();
  for (int i = lane; i < 224; i += 32) out[i] = chip[223 - i];
}
// a (16, 16), b (16, 8), c (16, 8), row by row.
__device__ uint32_t pair(const uint16_t *a, const uint16_t *b) { return *a | (uint32_t)*b << 16; }
#define FRAGMENTS                                                                  int g = threadIdx.x / 4, t = threadIdx.x % 4;                                    uint32_t fa[4], fb[2];                                                           float fc[4];                                                                     for (int i = 0; i < 4; i++) fc[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
#define WRITE_BACK   for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fc[i];
extern "C" __global__ void narrow_mma(const uint16_t *a, const uint16_t *b, float *c, int brain) {
  FRAGMENTS
  for (int i = 0; i < 4; i++) {
    const uint16_t *at = a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
    fa[i] = pair(at, at + 1);
  }
  for (int i = 0; i < 2; i++) {
    const uint16_t *at = b + (2 * t + i * 8) * 8 + g;
    fb[i] = pair(at, at + 8);
  }
  if (brain) fn_mma_bf16(fc, fa, fb); else fn_mma_fp16(fc, fa, fb);
  WRITE_BACK
}
extern "C" __global__ void tf32_mma(const float *a, const float *b, float *c) {
  FRAGMENTS
  for (int i = 0; i < 4; i++)
    fa[i] = __float_as_uint(fn_round_tf32(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]));
  for (int i = 0; i < 2; i++) fb[i] = __float_as_uint(fn_round_tf32(b[(t + i * 4) * 8 + g]));
  fn_mma_tf32(fc, fa, fb);
  WRITE_BACK
}
// Registers as lanes hold them: a (32, 4), b (32, 2), c (32, 4).
extern "C" __global__ void lanes_mma(const uint32_t *a, const uint32_t *b, float *c, int kind) {
  uint32_t fa[4], fb[2];
  float fc[4];
  for (int i = 0; i < 4; i++) fa[i] = a[threadIdx.x * 4 + i], fc[i] = c[threadIdx.x * 4 + i];
  for (int i = 0; i < 2; i++) fb[i] = b[threadIdx.x * 2 + i];
  if (kind == 0) fn_mma_fp16(fc, fa, fb);
  if (kind == 1) fn_mma_bf16(fc, fa, fb);
  if (kind == 2) fn_mma_tf32(fc, fa, fb);
  for (int i = 0; i < 4; i++) c[threadIdx.x * 4 + i] = fc[i];
}
// m (32, 4), from the four 8 x 8 matrices x.
extern "C" __global__ void lanes_load(const uint16_t *x, uint32_t *m, int transposed) {
  __shared__ __align__(16) uint16_t chip[256];
  for (int i = threadIdx.x; i < 256; i += 32) chip[i] = x[i];
  __syncwarp();
  uint32_t fm[4];
  if (transposed) fn_load_matrices_transposed(fm, chip + 8 * threadIdx.x);
  else fn_load_matrices(fm, chip + 8 * threadIdx.x);
  for (int i = 0; i < 4; i++) m[threadIdx.x * 4 + i] = fm[i];
}
extern "C" __global__ void load(const uint16_t *x, uint16_t *out, uint16_t *turned, int shift) {
  __shared__ __align__(16) uint16_t chip[264];
  int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  for (int i = lane; i < 256; i += 32) chip[i] = x[i];
  __syncwarp();
  uint32_t m[4];
  for (int way = 0; way < 2; way++) {
    if (way) fn_load_matrices_transposed(m, chip + 8 * lane + shift);
    else fn_load_matrices(m, chip + 8 * lane + shift);
    for (int i = 0; i < 4; i++) {
      uint16_t *to = (way ? turned : out) + i * 64 + g * 8 + 2 * t;
      to[0] = (uint16_t)m[i];
      to[1] = (uint16_t)(m[i] >> 16);
    }
  }
}
