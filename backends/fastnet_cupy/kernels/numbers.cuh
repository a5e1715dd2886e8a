// Kinds of numbers, chosen by one macro: FN_FLOAT64, FN_FLOAT32, FN_TF32, FN_BF16 or FN_FP16.
//
// `real`: sums, parameters, gradients, losses. `store`: values between layers. `to_real`
// and `to_store` go from one to the other; `to_store` rounds as a product will read it.
#pragma once
#include "device.cuh"

#ifdef FN_FLOAT64
typedef double real;
#else
typedef float real;
#endif

#if defined(FN_BF16) || defined(FN_FP16)
#define FN_16_BIT 1
typedef uint16_t store;
#else
#define FN_16_BIT 0
typedef real store;
#endif

// Whether products go through tensor cores.
#if FN_16_BIT || defined(FN_TF32)
#define FN_TENSOR_CORES 1
#else
#define FN_TENSOR_CORES 0
#endif

__device__ __forceinline__ real to_real(store value) {
#if defined(FN_BF16)
  return fn_bf16_to_float(value);
#elif defined(FN_FP16)
  return fn_fp16_to_float(value);
#else
  return value;
#endif
}

__device__ __forceinline__ store to_store(real value) {
#if defined(FN_BF16)
  return fn_float_to_bf16(value);
#elif defined(FN_FP16)
  return fn_float_to_fp16(value);
#elif defined(FN_TF32)
  return fn_round_tf32(value);
#else
  return value;
#endif
}

// fp16 ends at 65504: a derivative beyond is cut, not made infinite, because the loss's scale is
// chosen by the derivatives at the output, and may be too large for a layer further down.
__device__ __forceinline__ real cut(real value) {
#ifdef FN_FP16
  value = value > 65504.f ? 65504.f : (value < -65504.f ? -65504.f : value);
#endif
  return value;
}

__device__ __forceinline__ store to_store_cut(real value) { return to_store(cut(value)); }

// Entries that are read at once.
struct __align__(16) Four {
  real entry[4];
};

// Two neighboring entries, as they are stored.
#if FN_16_BIT
__device__ __forceinline__ uint32_t to_store_pair(real first, real second) {
#ifdef FN_BF16
  return fn_pair_to_bf16(first, second);
#else
  return fn_pair_to_fp16(first, second);
#endif
}
#endif
__device__ __forceinline__ void store_pair(store *to, real first, real second) {
#if FN_16_BIT
  *(uint32_t *)to = to_store_pair(first, second);
#else
  to[0] = to_store(first);
  to[1] = to_store(second);
#endif
}

__device__ __forceinline__ void load_pair(const store *from, real &first, real &second) {
#if FN_16_BIT
  uint32_t pair = *(const uint32_t *)from;
  first = to_real((store)pair);
  second = to_real((store)(pair >> 16));
#else
  first = to_real(from[0]);
  second = to_real(from[1]);
#endif
}

// C's functions, by one name for both kinds of `real`.
__device__ __forceinline__ float exp_(float x) { return expf(x); }
__device__ __forceinline__ double exp_(double x) { return exp(x); }
__device__ __forceinline__ float expm1_(float x) { return expm1f(x); }
__device__ __forceinline__ double expm1_(double x) { return expm1(x); }
__device__ __forceinline__ float log_(float x) { return logf(x); }
__device__ __forceinline__ double log_(double x) { return log(x); }
__device__ __forceinline__ float log1p_(float x) { return log1pf(x); }
__device__ __forceinline__ double log1p_(double x) { return log1p(x); }
__device__ __forceinline__ float tanh_(float x) { return tanhf(x); }
__device__ __forceinline__ double tanh_(double x) { return tanh(x); }
__device__ __forceinline__ float sin_(float x) { return sinf(x); }
__device__ __forceinline__ double sin_(double x) { return sin(x); }
__device__ __forceinline__ float cos_(float x) { return cosf(x); }
__device__ __forceinline__ double cos_(double x) { return cos(x); }
__device__ __forceinline__ float sqrt_(float x) { return sqrtf(x); }
__device__ __forceinline__ double sqrt_(double x) { return sqrt(x); }
__device__ __forceinline__ float abs_(float x) { return fabsf(x); }
__device__ __forceinline__ double abs_(double x) { return fabs(x); }

// 1, -1, 0 or NaN.
__device__ __forceinline__ real sign_(real x) {
  return x > 0 ? (real)1 : (x < 0 ? (real)-1 : x);
}

// The larger; NaN if one of them is.
__device__ __forceinline__ real larger(real x, real y) { return x > y ? x : (y >= x ? y : x + y); }
