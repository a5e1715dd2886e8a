// The seam between kernels and the machine: all that is not plain CUDA C++.
//
// On a GPU these are single PTX instructions. Everywhere else the tests' "cuda_host.h" has the
// same functions, with the same layout of fragments, and all that CUDA C++ has built in.
#pragma once

#ifdef __CUDACC__

typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;

// The block's dynamic shared memory, aligned to 16 bytes.
#define FN_SHARED(name) extern __shared__ __align__(16) char name[]

__device__ __forceinline__ float fn_fp16_to_float(uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

// To the nearest, ties to even; beyond 65504 infinity.
__device__ __forceinline__ uint16_t fn_float_to_fp16(float value) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

__device__ __forceinline__ float fn_bf16_to_float(uint16_t bits) {
  return __uint_as_float((uint32_t)bits << 16);
}

// To the nearest, ties to even.
__device__ __forceinline__ uint16_t fn_float_to_bf16(float value) {
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

// Two at once, likewise; `first` in the lower half.
__device__ __forceinline__ uint32_t fn_pair_to_fp16(float first, float second) {
  uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
}

__device__ __forceinline__ uint32_t fn_pair_to_bf16(float first, float second) {
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
}

// To the nearest with 10 bits of significand, ties away from zero, the bits below it zero. A NaN
// whose own bits all lie below becomes infinite: of one that is computed the first is set.
__device__ __forceinline__ float fn_round_tf32(float value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return __uint_as_float(bits);
}

// c += a b by one warp: a 16 x 16, b 16 x 8, c 16 x 8 (PTX ISA, section 9.7.14.5.8). Lane
// 4 g + t holds of c rows g and g + 8, columns 2 t and 2 t + 1, in the order
// (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1).
__device__ __forceinline__ void fn_mma_fp16(float (&c)[4], const uint32_t (&a)[4],
                                            const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void fn_mma_bf16(float (&c)[4], const uint32_t (&a)[4],
                                            const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same with a 16 x 8, b 8 x 8, of float32 that fn_round_tf32 has rounded. Lane 4 g + t holds
// of a (g, t), (g+8, t), (g, t+4), (g+8, t+4), of b (t, g), (t+4, g) (section 9.7.14.5.7).
__device__ __forceinline__ void fn_mma_tf32(float (&c)[4], const uint32_t (&a)[4],
                                            const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of 16-bit numbers from shared memory, by one warp. Lane i gives the
// address of row i % 8 of matrix i / 8, 16 bytes, aligned to 16. Afterwards lane 4 g + t holds
// of each matrix row g, columns 2 t and 2 t + 1 (section 9.7.14.5.15).
__device__ __forceinline__ void fn_load_matrices(uint32_t (&m)[4], const void *row) {
  uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address)
               : "memory");
}

// The same, each matrix transposed: lane 4 g + t holds column g, rows 2 t and 2 t + 1.
__device__ __forceinline__ void fn_load_matrices_transposed(uint32_t (&m)[4], const void *row) {
  uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address)
               : "memory");
}

// Copy BYTES, 4, 8 or 16, from global to shared memory, both aligned to as many, while this thread
// goes on (cp.async). Until `fn_wait_for_copies` neither place may be written to, and the copy not
// be read; other threads may read it behind a barrier after that.
template <int BYTES>
__device__ __forceinline__ void fn_copy(void *to, const void *from) {
  uint32_t address = (uint32_t)__cvta_generic_to_shared(to);
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
               :
               : "r"(address), "l"(from), "n"(BYTES)
               : "memory");
}

// Wait for all copies that this thread has asked for.
__device__ __forceinline__ void fn_wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

#else
#include "cuda_host.h"
#endif
