// The gradient of a block's rows in the narrow kernel: in registers, shared out among its warps.
#pragma once
#include "narrow_chip.cuh"

// How many groups of warps a weight gradient of so many fragments is computed by: they share out the
// rows, and each has a sum of its own, so that a warp has more fragments, and what it reads from
// shared memory goes into more products.
__device__ constexpr int groups_for(int fragments) {
  int groups = 1;
  while (FN_TENSOR_CORES && 2 * groups <= WARPS && 2 * groups <= ROWS / 16 &&
         2 * groups * fragments <= FN_FRAGMENTS * WARPS)
    groups *= 2;
  return groups;
}

// How a layer's weight gradient is shared out: fragments of a warp, along its rows and columns.
template <int L>
struct Share {
  static constexpr int tall = width(L) / 16, broad = width(L + 1) / 8;
  static constexpr int groups = groups_for(tall * broad), warps = WARPS / groups;
  static constexpr int row_warps = tall < warps ? tall : warps;
  static constexpr int column_warps = warps / row_warps;
  static constexpr int rows = tall / row_warps;
  static constexpr int columns = broad < column_warps ? 1 : broad / column_warps;

  static __device__ __forceinline__ int group() { return threadIdx.x / FN_WARP / warps; }
  static __device__ __forceinline__ int warp() { return threadIdx.x / FN_WARP % warps; }
  static __device__ __forceinline__ int row_warp() { return warp() % row_warps; }
  static __device__ __forceinline__ int first_row() { return row_warp() * rows * 16; }
  static __device__ __forceinline__ int first_column() { return warp() / row_warps * columns * 8; }
  static __device__ __forceinline__ bool has_any() { return first_column() < width(L + 1); }
};

#if FN_TENSOR_CORES

// The bias' gradient of layer L, this warp's share: warps that have the same columns of d share
// them out, and add them up as they multiply them, by a product with ones.
template <int L>
struct BiasGradient {
  static constexpr int warps = Share<L>::row_warps;
  static constexpr int fragments = (Share<L>::columns + warps - 1) / warps;
  real sums[1][fragments][4];

  __device__ __forceinline__ void begin() { clear(sums); }
  __device__ __forceinline__ void multiply_by(real factor) { scale_fragments(sums, factor); }
  // Take fragment n of d; they come in order. Of each `warps` of them this warp adds up one, `own`:
  // to choose it takes fewer instructions than a branch around each product.
  __device__ __forceinline__ void take(int n, const uint32_t (&d)[2], uint32_t (&own)[2]) {
    bool first = n % warps == 0, last = n % warps == warps - 1 || n == Share<L>::columns - 1;
#pragma unroll
    for (int i = 0; i < 2; i++) own[i] = first || n % warps == Share<L>::row_warp() ? d[i] : own[i];
    if (last) add_columns(sums[0][n / warps], own);
  }
  __device__ __forceinline__ void write(real *out, int units, real unscale, real *) const {
    if (Share<L>::group() || !Share<L>::has_any() || lane_group()) return;
#pragma unroll
    for (int n = 0; n < Share<L>::columns; n++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        int j = Share<L>::first_column() + n * 8 + lane_pair() + i;
        if (n % warps == Share<L>::row_warp() && j < units)
          out[j] = sums[0][n / warps][i] * unscale;
      }
  }
};

#else

// The bias' gradient of layer L: threads share out the rows of a column of d.
template <int L>
struct BiasGradient {
  static constexpr int adders = THREADS / width(L + 1);
  real sum;

  __device__ __forceinline__ void begin() { sum = 0; }
  __device__ __forceinline__ void multiply_by(real factor) { sum *= factor; }
  __device__ __forceinline__ void add(const store *d) {
    int j = threadIdx.x % width(L + 1);
    real more = 0;
#pragma unroll 4
    for (int r = threadIdx.x / width(L + 1); r < ROWS; r += adders)
      more += to_real(d[r * row_length(L + 1) + j]);
    sum += more;
  }
  __device__ __forceinline__ void write(real *out, int units, real unscale, real *column) const {
    column[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < units) {
      real whole = 0;
      for (int adder = 0; adder < adders; adder++)
        whole += column[adder * width(L + 1) + threadIdx.x];
      out[threadIdx.x] = whole * unscale;
    }
    __syncthreads();
  }
};

#endif

// The gradient of layer L and those behind it, this thread's share.
template <int L>
struct Gradient {
  real weight[Share<L>::rows][Share<L>::columns][4];
  BiasGradient<L> bias;
  Gradient<L + 1> behind;

  __device__ __forceinline__ void begin() {
    clear(weight);
    bias.begin();
    behind.begin();
  }
  __device__ __forceinline__ void multiply_by(real factor) {
    scale_fragments(weight, factor);
    bias.multiply_by(factor);
    behind.multiply_by(factor);
  }
  // Of layer AT.
  template <int AT>
  __device__ __forceinline__ Gradient<AT> &of() {
    if constexpr (AT == L)
      return *this;
    else
      return behind.template of<AT>();
  }
};
template <>
struct Gradient<FN_LAYERS> {
  __device__ __forceinline__ void begin() {}
  __device__ __forceinline__ void multiply_by(real) {}
};

// Add what the block's rows give to layer L's gradient.
template <int L>
__device__ __forceinline__ void add_gradient(const Chip &chip, Gradient<L> &gradient) {
  constexpr int M = Share<L>::rows, N = Share<L>::columns, DEPTH = ROWS / Share<L>::groups;
  constexpr int LDX = row_length(L), LDD = row_length(L + 1);
  int first = Share<L>::group() * DEPTH;
  const store *x = chip.input<L>() + first * LDX + Share<L>::first_row();
  const store *d = chip.d<L>() + first * LDD + Share<L>::first_column();
#if FN_TENSOR_CORES
  uint32_t own[2];
  if (Share<L>::has_any())
    multiply<M, N, DEPTH, true, false, LDX, LDD>(
        x, d, gradient.weight,
        [&](int n, const uint32_t (&entries)[2]) { gradient.bias.take(n, entries, own); });
#else
  if (Share<L>::has_any()) multiply<M, N, DEPTH, true, false, LDX, LDD>(x, d, gradient.weight);
  gradient.bias.add(chip.d<L>());
#endif
}

// A thread's sums and their places in shared memory, where neighbors are those of other lanes: put
// them there, or add what is there.
template <bool PUT, int M, int N>
__device__ __forceinline__ void exchange(real (&c)[M][N][4], real *places) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        real &place = places[((m * N + n) * 4 + i) * FN_WARP];
        if (PUT)
          place = c[m][n][i];
        else
          c[m][n][i] += place;
      }
}

// Add up the sums of all groups in the first one. The block has done with what is at the beginning
// of its shared memory.
template <int L>
__device__ __forceinline__ void add_groups(const Chip &chip, Gradient<L> &gradient) {
  constexpr int OF_WEIGHT = Share<L>::rows * Share<L>::columns * 4 * FN_WARP;
  constexpr int ENTRIES = OF_WEIGHT + BiasGradient<L>::fragments * 4 * FN_WARP;  // of a warp
  constexpr int STORED = weights_before(FN_LAYERS) + inputs_before(FN_LAYERS);
  static_assert((WARPS - Share<L>::warps) * ENTRIES * sizeof(real) <=
                    STORED * sizeof(store) + D_BYTES, "all groups' sums have room");
  real *sums = (real *)chip.weights + Share<L>::warp() * ENTRIES + threadIdx.x % FN_WARP;
  constexpr int APART = Share<L>::warps * ENTRIES;
  int group = Share<L>::group();
  if (group) {
    exchange<true>(gradient.weight, sums + (group - 1) * APART);
    exchange<true>(gradient.bias.sums, sums + (group - 1) * APART + OF_WEIGHT);
  }
  __syncthreads();  // all groups' sums are there
  if (!group)
    for (int other = 0; other < Share<L>::groups - 1; other++) {
      exchange<false>(gradient.weight, sums + other * APART);
      exchange<false>(gradient.bias.sums, sums + other * APART + OF_WEIGHT);
    }
  __syncthreads();  // and have been added up
}

// Write this block's gradient of layer L and those behind it, times `unscale`.
template <int L>
__device__ __forceinline__ void write_gradient(const Task &task, const Chip &chip,
                                               Gradient<L> &gradient, real unscale, real *part) {
  if constexpr (Share<L>::groups > 1) add_groups(chip, gradient);
  int inputs = task.table.layer(L, LAYER_INPUTS), units = task.table.layer(L, LAYER_UNITS);
  real *dw = part + task.table.layer(L, LAYER_WEIGHT);
  if (Share<L>::group() == 0 && Share<L>::has_any()) {
#pragma unroll
    for (int m = 0; m < Share<L>::rows; m++)
#pragma unroll
      for (int n = 0; n < Share<L>::columns; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          int i = Share<L>::first_row() + m * 16 + lane_group() + 8 * (e >> 1);
          int j = Share<L>::first_column() + n * 8 + lane_pair() + (e & 1);
          if (i < inputs && j < units) dw[i * units + j] = gradient.weight[m][n][e] * unscale;
        }
  }
  int bias = task.table.layer(L, LAYER_BIAS);
  if (bias >= 0) gradient.bias.write(part + bias, units, unscale, chip.column);
  if constexpr (L < FN_LAYERS - 1)
    write_gradient<L + 1>(task, chip, gradient.behind, unscale, part);
}
