// Matrix products of one warp, from shared memory, for every kind of number.
//
// c += op(a) op(b), c being M x N fragments of 16 rows and 8 columns. Lane 4 g + t holds of each
// rows g and g + 8, columns 2 t and 2 t + 1: the layout of `fn_mma_*`, which is also that of the
// plain version, so that everything else is written once.
//
// a: element (m, k) at a[m * LDA + k], transposed at a[k * LDA + m];
// b: element (k, n) at b[k * LDB + n], transposed at b[n * LDB + k].
#pragma once
#include "numbers.cuh"

// Whether loops over the depth of products of 32-bit and 64-bit numbers are unrolled (1), for which
// there must be registers enough.
#ifndef FN_UNROLLED
#define FN_UNROLLED 1
#endif

// Entries between the ends of one row and the next: rows begin at 16 bytes, and no two lanes find
// their entries in one bank (but see TF32's `multiply`).
#define ROW_PADDING (16 / (int)sizeof(store))

__device__ __forceinline__ int lane_group() { return (threadIdx.x & 31) >> 2; }
__device__ __forceinline__ int lane_pair() { return (threadIdx.x & 3) * 2; }

__device__ __forceinline__ void store_pair_cut(store *to, real first, real second) {
#if FN_16_BIT
  *(uint32_t *)to = (uint32_t)to_store_cut(first) | (uint32_t)to_store_cut(second) << 16;
#else
  store_pair(to, first, second);
#endif
}

template <int M, int N>
__device__ __forceinline__ void clear(real (&c)[M][N][4]) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) c[m][n][i] = 0;
}

#if FN_16_BIT

#ifdef FN_BF16
#define FN_MMA fn_mma_bf16
#else
#define FN_MMA fn_mma_fp16
#endif

template <int M, int N, int K, bool TRANSPOSE_A, bool TRANSPOSE_B, int LDA, int LDB>
__device__ __forceinline__ void multiply(const store *a, const store *b, real (&c)[M][N][4]) {
  int lane = threadIdx.x & 31, row = lane & 7, second = (lane >> 3) & 1, third = lane >> 4;
  // Four 8 x 8 pieces come at once: of a the two halves of rows, then of depth; of b the two
  // halves of depth, then of columns, which belong to two fragments.
  const store *from_a = TRANSPOSE_A ? a + (row + 8 * third) * LDA + 8 * second
                               : a + (row + 8 * second) * LDA + 8 * third;
  int beside = N > 1 ? 8 * third : 0;  // one fragment alone has no neighbor
  const store *from_b = TRANSPOSE_B ? b + (row + beside) * LDB + 8 * second
                               : b + (row + 8 * second) * LDB + beside;
#pragma unroll(M *N < 8 ? 4 : 2)
  for (int k = 0; k < K; k += 16) {
    uint32_t fa[M][4], fb[4];
#pragma unroll
    for (int m = 0; m < M; m++)
      if (TRANSPOSE_A)
        fn_load_matrices_transposed(fa[m], from_a + k * LDA + m * 16);
      else
        fn_load_matrices(fa[m], from_a + m * 16 * LDA + k);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      if (TRANSPOSE_B)
        fn_load_matrices(fb, from_b + n * 8 * LDB + k);
      else
        fn_load_matrices_transposed(fb, from_b + k * LDB + n * 8);
      uint32_t left[2] = {fb[0], fb[1]}, right[2] = {fb[2], fb[3]};
#pragma unroll
      for (int m = 0; m < M; m++) {
        FN_MMA(c[m][n], fa[m], left);
        if (n + 1 < N) FN_MMA(c[m][n + 1 < N ? n + 1 : n], fa[m], right);
      }
    }
  }
}

#else

template <bool TRANSPOSE, int LD>
__device__ __forceinline__ real entry(const store *matrix, int row, int column) {
  return matrix[TRANSPOSE ? column * LD + row : row * LD + column];
}

#ifdef FN_TF32

// A sum over the depth has any order, as long as both operands have the same. Lane 4 g + t takes
// entries t and t + 4 of eight where the depth runs along both matrices' rows, and else entries 2 t
// and 2 t + 1. As rows are 4 entries longer than a multiple of 16, no two lanes then find theirs in
// one bank, but in `a` where both matrices are as they are stored: an entry of `a` is read for all
// fragments of b.
template <int M, int N, int K, bool TRANSPOSE_A, bool TRANSPOSE_B, int LDA, int LDB>
__device__ __forceinline__ void multiply(const store *a, const store *b, real (&c)[M][N][4]) {
  constexpr bool APART = !TRANSPOSE_A && (TRANSPOSE_B || N == 1);
  constexpr int NEXT = APART ? 4 : 1;
  int g = lane_group(), t = threadIdx.x & 3, depth = APART ? t : 2 * t;
  // Pointers of which everything else is a constant away: from indices, addresses are computed anew.
  const store *from_a = TRANSPOSE_A ? a + depth * LDA + g : a + g * LDA + depth;
  const store *from_b = TRANSPOSE_B ? b + g * LDB + depth : b + depth * LDB + g;
#pragma unroll(FN_UNROLLED ? 4 : 2)
  for (int k = 0; k < K; k += 8) {
    uint32_t fa[M][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int row = m * 16 + 8 * (i & 1), entry = k + NEXT * (i >> 1);
        fa[m][i] = __float_as_uint(from_a[TRANSPOSE_A ? entry * LDA + row : row * LDA + entry]);
      }
#pragma unroll
    for (int n = 0; n < N; n++) {
      uint32_t fb[2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        int column = n * 8, entry = k + NEXT * i;
        fb[i] = __float_as_uint(from_b[TRANSPOSE_B ? column * LDB + entry : entry * LDB + column]);
      }
#pragma unroll
      for (int m = 0; m < M; m++) fn_mma_tf32(c[m][n], fa[m], fb);
    }
  }
}

#else

template <int M, int N, int K, bool TRANSPOSE_A, bool TRANSPOSE_B, int LDA, int LDB>
__device__ __forceinline__ void multiply(const store *a, const store *b, real (&c)[M][N][4]) {
  int g = lane_group(), pair = lane_pair();
#pragma unroll(FN_UNROLLED ? 4 : 2)
  for (int k = 0; k < K; k++) {
    real fa[M][2], fb[N][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int h = 0; h < 2; h++) fa[m][h] = entry<TRANSPOSE_A, LDA>(a, m * 16 + g + 8 * h, k);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 2; i++) fb[n][i] = entry<TRANSPOSE_B, LDB>(b, k, n * 8 + pair + i);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) c[m][n][i] += fa[m][i >> 1] * fb[n][i & 1];
  }
}

#endif
#endif
