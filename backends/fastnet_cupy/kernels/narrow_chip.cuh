// What a block of the narrow kernel has: its shape, and its shared memory.
//
// Macros: FN_LAYERS; FN_WIDTHS, FN_LAYERS + 1 of them; FN_ROW_WARPS x FN_COLUMN_WARPS, the warps of
// a block, as they share a layer's output out; FN_TILES, 16 rows each, of a warp; FN_CODES, the
// layers' activations; FN_SLOPES, whether slopes are kept (1) or computed from the outputs (0);
// FN_OUTPUT_SLOPES, whether the last layer has any; FN_MASKS, whether dropout stands behind layers;
// FN_TOGETHER, how many blocks a multiprocessor is to have at once; FN_AHEAD, whether there is room
// for the x of the rows that come next; FN_FRAGMENTS, of a layer's weight gradient that a warp
// has.
#pragma once
#include "layout.cuh"
#include "products.cuh"

#define ROWS (FN_ROW_WARPS * FN_TILES * 16)
#define WARPS (FN_ROW_WARPS * FN_COLUMN_WARPS)
#define THREADS (WARPS * FN_WARP)

__device__ constexpr int width(int l) {
  constexpr int widths[] = {FN_WIDTHS};
  return widths[l];
}
__device__ constexpr int code_of(int l) {
  constexpr int codes[] = {FN_CODES};
  return codes[l];
}
__device__ constexpr int row_length(int l) { return width(l) + ROW_PADDING; }
__device__ constexpr int widest_behind(int l) {
  return l > FN_LAYERS ? 0
                       : (width(l) > widest_behind(l + 1) ? width(l) : widest_behind(l + 1));
}
// Entries of shared memory before layer L's weight, and before its input.
__device__ constexpr int weights_before(int l) {
  return l == 0 ? 0 : weights_before(l - 1) + width(l - 1) * row_length(l);
}
__device__ constexpr int inputs_before(int l) {
  return l == 0 ? 0 : inputs_before(l - 1) + ROWS * row_length(l - 1);
}
__device__ constexpr int biases_before(int l) {
  return l == 0 ? 0 : biases_before(l - 1) + width(l);
}
#define OUTPUTS width(FN_LAYERS)
#define OUTPUT_ROW (OUTPUTS + 1)

// Whether a warp has all columns of its rows: then what a layer leaves in its registers goes into
// the next, and no warp waits for another between them.
#define CHAINED (FN_16_BIT && FN_COLUMN_WARPS == 1)

// Bytes of d, in whose place a row's target and its weight are until d is computed.
#define D_ENTRIES (ROWS * (widest_behind(1) + ROW_PADDING))
#define D_BYTES ((CHAINED ? 2 : 1) * D_ENTRIES * (int)sizeof(store))
#define TARGET_BYTES (ROWS * (OUTPUTS + 1) * (int)sizeof(real))

// A block's shared memory.
struct Chip {
  store *weights, *inputs, *slopes, *derivatives;
  real *x;          // of the rows that come next
  int64_t *places;  // of the rows of two tiles in the data
  real *output, *output_slope, *biases, *column;

  __device__ __forceinline__ Chip(char *memory) {
    weights = (store *)memory;
    inputs = weights + weights_before(FN_LAYERS);
    slopes = inputs + inputs_before(FN_LAYERS);
    derivatives = slopes + (FN_SLOPES ? inputs_before(FN_LAYERS) - inputs_before(1) : 0);
    x = (real *)((char *)derivatives + (D_BYTES < TARGET_BYTES ? TARGET_BYTES : D_BYTES));
    places = (int64_t *)(x + (FN_AHEAD ? ROWS * width(0) : 0));
    output = (real *)(places + 2 * ROWS);
    output_slope = output + ROWS * OUTPUT_ROW;
    biases = output_slope + (FN_OUTPUT_SLOPES ? ROWS * OUTPUT_ROW : 0);
    column = biases + biases_before(FN_LAYERS);  // where there are no tensor cores
  }
  __device__ __forceinline__ real *targets() const { return (real *)derivatives; }
  __device__ __forceinline__ int64_t *labels() const { return (int64_t *)derivatives; }
  __device__ __forceinline__ real *row_weights() const { return targets() + ROWS * OUTPUTS; }
  template <int L>
  __device__ __forceinline__ store *weight() const { return weights + weights_before(L); }
  template <int L>
  __device__ __forceinline__ store *input() const { return inputs + inputs_before(L); }
  template <int L>
  __device__ __forceinline__ store *slope() const {  // of what comes out of layer L - 1
    return slopes + inputs_before(L) - inputs_before(1);
  }
  // By the z of layer L. Where there are two of them, no one needs wait until all have read one.
  template <int L>
  __device__ __forceinline__ store *d() const {
    return derivatives + (CHAINED && L % 2 ? D_ENTRIES : 0);
  }
};

// The first of a warp's rows.
__device__ __forceinline__ int warp_row() {
  return threadIdx.x / FN_WARP % FN_ROW_WARPS * FN_TILES * 16;
}

#if CHAINED

// A warp's rows that go into a product: they are in its registers.
template <int WIDTH>
struct Operand : Kept<FN_TILES, WIDTH> {
  __device__ __forceinline__ Operand(const store *) {}
  // From a matrix in shared memory.
  __device__ __forceinline__ void fetch(const store *matrix) {
    constexpr int LD = WIDTH + ROW_PADDING;
    this->template load<LD>(matrix + warp_row() * LD);
  }
};

#else

// A warp's rows that go into a product: of a matrix in shared memory.
template <int WIDTH>
struct Operand {
  const store *rows;

  __device__ __forceinline__ Operand(const store *matrix)
      : rows(matrix + warp_row() * (WIDTH + ROW_PADDING)) {}
  __device__ __forceinline__ void fetch(const store *) {}
  __device__ __forceinline__ void keep(int, int, int, real, real) {}
  template <int N, bool TRANSPOSE_B, int LDB>
  __device__ __forceinline__ void add_product(const store *b, real (&c)[FN_TILES][N][4]) const {
    multiply<FN_TILES, N, WIDTH, false, TRANSPOSE_B, WIDTH + ROW_PADDING, LDB>(rows, b, c);
  }
};

#endif

// What is the same for all of a block's rows.
struct Task {
  Table table;
  Batch batch;
  const int64_t *control;
  const double *steps;
};
