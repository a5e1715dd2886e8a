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

template <int M, int N>
__device__ __forceinline__ void clear(real (&c)[M][N][4]) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) c[m][n][i] = 0;
}

template <int M, int N>
__device__ __forceinline__ void scale_fragments(real (&c)[M][N][4], real factor) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) c[m][n][i] *= factor;
}

#if FN_TENSOR_CORES

#if defined(FN_TF32)
#define FN_MMA fn_mma_tf32
#elif defined(FN_BF16)
#define FN_MMA fn_mma_bf16
#else
#define FN_MMA fn_mma_fp16
#endif

// c += a b, where a is all ones: the sums of b's columns, in each row of c.
__device__ __forceinline__ void add_columns(real (&c)[4], const uint32_t (&b)[2]) {
#if FN_16_BIT
  uint32_t one = to_store_pair(1.f, 1.f);
#else
  uint32_t one = __float_as_uint(1.f);
#endif
  uint32_t a[4] = {one, one, one, one};
  FN_MMA(c, a, b);
}

// What `multiply` does with each fragment of b beside the product.
struct NothingElse {
  __device__ __forceinline__ void operator()(int, const uint32_t (&)[2]) const {}
};

#endif

#if FN_16_BIT

// Where a lane begins to read: four 8 x 8 pieces come at once, each by the rows of eight lanes. Of a
// they are the two halves of rows, then of depth; of b the two halves of depth, then of columns,
// which belong to two fragments.
template <bool TRANSPOSE, int LD>
__device__ __forceinline__ const store *lane_of_a(const store *a) {
  int lane = threadIdx.x & 31, row = lane & 7, second = (lane >> 3) & 1, third = lane >> 4;
  return TRANSPOSE ? a + (row + 8 * third) * LD + 8 * second
                   : a + (row + 8 * second) * LD + 8 * third;
}
template <int N, bool TRANSPOSE, int LD>
__device__ __forceinline__ const store *lane_of_b(const store *b) {
  int lane = threadIdx.x & 31, row = lane & 7, second = (lane >> 3) & 1, third = lane >> 4;
  int beside = N > 1 ? 8 * third : 0;  // one fragment alone has no neighbor
  return TRANSPOSE ? b + (row + beside) * LD + 8 * second
                   : b + (row + 8 * second) * LD + beside;
}

// c += a b for 16 entries of depth, of which `a` has the fragments; `b` is where the lane reads.
template <int M, int N, bool TRANSPOSE_B, int LDB, class Also>
__device__ __forceinline__ void multiply_fragments(const uint32_t (&a)[M][4], const store *b,
                                                   real (&c)[M][N][4], Also &also) {
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    uint32_t fb[4];
    if (TRANSPOSE_B)
      fn_load_matrices(fb, b + n * 8 * LDB);
    else
      fn_load_matrices_transposed(fb, b + n * 8);
    uint32_t left[2] = {fb[0], fb[1]}, right[2] = {fb[2], fb[3]};
#pragma unroll
    for (int m = 0; m < M; m++) {
      FN_MMA(c[m][n], a[m], left);
      if (n + 1 < N) FN_MMA(c[m][n + 1 < N ? n + 1 : n], a[m], right);
    }
    also(n, left);
    if (n + 1 < N) also(n + 1, right);
  }
}

template <int M, int N, int K, bool TRANSPOSE_A, bool TRANSPOSE_B, int LDA, int LDB,
          class Also = NothingElse>
__device__ __forceinline__ void multiply(const store *a, const store *b, real (&c)[M][N][4],
                                         Also also = {}) {
  a = lane_of_a<TRANSPOSE_A, LDA>(a);
  b = lane_of_b<N, TRANSPOSE_B, LDB>(b);
#pragma unroll(M *N < 8 ? 4 : 2)
  for (int k = 0; k < K; k += 16) {
    uint32_t fa[M][4];
#pragma unroll
    for (int m = 0; m < M; m++)
      if (TRANSPOSE_A)
        fn_load_matrices_transposed(fa[m], a + m * 16);
      else
        fn_load_matrices(fa[m], a + m * 16 * LDA);
    multiply_fragments<M, N, TRANSPOSE_B, LDB>(fa, b, c, also);
    a += TRANSPOSE_A ? 16 * LDA : 16;
    b += TRANSPOSE_B ? 16 : 16 * LDB;
  }
}

// Rows of a warp, as many as M fragments have, in its registers: as a product reads them, and as
// one leaves them.
template <int M, int WIDTH>
struct Kept {
  uint32_t fragments[WIDTH / 16][M][4];

  template <int LD>
  __device__ __forceinline__ void load(const store *rows) {
    rows = lane_of_a<false, LD>(rows);
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++)
#pragma unroll
      for (int m = 0; m < M; m++) fn_load_matrices(fragments[k][m], rows + m * 16 * LD + k * 16);
  }
  // What lies at c[m][n][2 h] and behind it in the sums of a product.
  __device__ __forceinline__ void keep(int m, int n, int h, real first, real second) {
    fragments[n / 2][m][n % 2 * 2 + h] = to_store_pair(first, second);
  }
  // c += these rows times b.
  template <int N, bool TRANSPOSE_B, int LDB>
  __device__ __forceinline__ void add_product(const store *b, real (&c)[M][N][4]) const {
    b = lane_of_b<N, TRANSPOSE_B, LDB>(b);
    NothingElse nothing;
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++)
      multiply_fragments<M, N, TRANSPOSE_B, LDB>(
          fragments[k], b + k * 16 * (TRANSPOSE_B ? 1 : LDB), c, nothing);
  }
};

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
template <int M, int N, int K, bool TRANSPOSE_A, bool TRANSPOSE_B, int LDA, int LDB,
          class Also = NothingElse>
__device__ __forceinline__ void multiply(const store *a, const store *b, real (&c)[M][N][4],
                                         Also also = {}) {
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
      for (int m = 0; m < M; m++) FN_MMA(c[m][n], fa[m], fb);
      also(n, fb);
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
