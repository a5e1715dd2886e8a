// CUDA C++ as the kernels use it, for g++: what nvcc or NVRTC has built in, and the processor's
// half of `device.cuh`.
//
// Blocks run one after the other; a block's threads are fibres (fibres.h), or with
// FN_HOST_THREADS threads of the operating system (os_threads.h). One-dimensional launches only.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef FN_HOST_THREADS
#include "os_threads.h"
#else
#include "fibres.h"
namespace fn_host {
static inline void sync_block(Place place) { meet_block(place); }
static inline void sync_warp(unsigned mask, Place place) { barrier(nothing, mask, place); }
}  // namespace fn_host
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static const
// In a section of its own, so that it can be poisoned before each block.
#define __shared__ static __attribute__((section("fn_shared")))
#define FN_SHARED(name) char *const name = fn_host::shared_memory

// Vectors.
#define FN_VECTOR2(name, type, alignment)                                    \
  struct alignas(alignment) name {                                           \
    type x, y;                                                               \
  };                                                                         \
  static inline name make_##name(type x, type y) { return {x, y}; }
#define FN_VECTOR4(name, type)                                               \
  struct alignas(16) name {                                                  \
    type x, y, z, w;                                                         \
  };                                                                         \
  static inline name make_##name(type x, type y, type z, type w) {           \
    return {x, y, z, w};                                                     \
  }
FN_VECTOR2(float2, float, 8)
FN_VECTOR2(int2, int, 8)
FN_VECTOR2(uint2, unsigned, 8)
FN_VECTOR2(double2, double, 16)
FN_VECTOR4(float4, float)
FN_VECTOR4(int4, int)
FN_VECTOR4(uint4, unsigned)

// Numbers.
template <class To, class From>
static inline To fn_same_bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "the same size");
  To bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
static inline float __uint_as_float(unsigned bits) { return fn_same_bits<float>(bits); }
static inline float __int_as_float(int bits) { return fn_same_bits<float>(bits); }
static inline unsigned __float_as_uint(float value) { return fn_same_bits<unsigned>(value); }
static inline int __float_as_int(float value) { return fn_same_bits<int>(value); }
static inline double __longlong_as_double(long long bits) { return fn_same_bits<double>(bits); }
static inline long long __double_as_longlong(double value) {
  return fn_same_bits<long long>(value);
}

static inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)((unsigned long long)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
static inline int __ffs(int bits) { return __builtin_ffs(bits); }
static inline int __clz(int bits) { return bits ? __builtin_clz((unsigned)bits) : 32; }

static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
#define __expf expf  // glibc declares functions of these names, and does not have them
#define __logf logf
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }

template <class T>
static inline T min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
static inline T max(T a, T b) {
  return a > b ? a : b;
}
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

// Memory that threads share.
template <class T>
static inline T atomicAdd(T *at, T value) {
  static_assert(T(1) / 2 == 0, "whole numbers: sums of others depend on their order");
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
// By a change of nobody's number: g++'s sanitizer of threads does not know plain fences.
static inline void __threadfence() {
  int own = 0;
  __atomic_fetch_add(&own, 0, __ATOMIC_SEQ_CST);
}
static inline void __threadfence_block() { __threadfence(); }
template <class T>
static inline T __ldg(const T *at) {
  return *at;
}

static inline void __syncthreads(fn_host::Place place = fn_host::here()) {
  fn_host::sync_block(place);
}
static inline void __syncwarp(unsigned mask = 0xffffffffu, fn_host::Place place = fn_host::here()) {
  fn_host::sync_warp(mask, place);
}

#include "copies.h"
#include "shuffles.h"
#include "tensor_cores.h"
