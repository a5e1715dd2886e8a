// Forward, loss, backward and weight gradient of a network of narrow layers in one kernel.
//
// A block takes ROWS rows of the batch at a time through the whole network. All weights, and the
// rows' values between layers, are in shared memory; the gradient of all its rows stays in
// registers until its last rows are done. So of a batch only its rows are read from global memory,
// and of the gradient each block writes one part, which `sum_parts` (layered.cu) adds up in order.
//
// Letters: `x` what goes into a layer, `w` its weight, `a` what comes out, `d` the loss's
// derivative, by a and then by z = x w + b. Layer L goes from width(L) to width(L + 1): the
// network's own widths, padded with zeros to 16, 32, 64 or 128.
//
// Macros: FN_LAYERS; FN_WIDTHS, FN_LAYERS + 1 of them; FN_ROW_WARPS x FN_COLUMN_WARPS, the warps of
// a block, as they share a layer's output out; FN_TILES, 16 rows each, of a warp; FN_CODES, the
// layers' activations; FN_SLOPES, whether slopes are kept (1) or computed from the outputs (0);
// FN_OUTPUT_SLOPES, whether the last layer has any; FN_MASKS, whether dropout stands behind layers;
// FN_TOGETHER, how many blocks a multiprocessor is to have at once.
#include "control.cuh"
#include "losses.cuh"
#include "products.cuh"

#define ROWS (FN_ROW_WARPS * FN_TILES * 16)
#define WARPS (FN_ROW_WARPS * FN_COLUMN_WARPS)
#define THREADS (WARPS * FN_WARP)
// Lanes of a row in the loss, at most.
#define LOSS_LANES 8

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

// A block's shared memory.
struct Chip {
  store *weights, *inputs, *slopes, *d;
  real *biases, *output, *output_slope, *column;

  __device__ __forceinline__ Chip(char *memory) {
    weights = (store *)memory;
    inputs = weights + weights_before(FN_LAYERS);
    slopes = inputs + inputs_before(FN_LAYERS);
    d = slopes + (FN_SLOPES ? inputs_before(FN_LAYERS) - inputs_before(1) : 0);
    biases = (real *)(d + ROWS * (widest_behind(1) + ROW_PADDING));
    output = biases + biases_before(FN_LAYERS);
    output_slope = output + ROWS * OUTPUT_ROW;
    column = output_slope + (FN_OUTPUT_SLOPES ? ROWS * OUTPUT_ROW : 0);
  }
  template <int L>
  __device__ __forceinline__ store *weight() const { return weights + weights_before(L); }
  template <int L>
  __device__ __forceinline__ store *input() const { return inputs + inputs_before(L); }
  template <int L>
  __device__ __forceinline__ store *slope() const {  // of what comes out of layer L - 1
    return slopes + inputs_before(L) - inputs_before(1);
  }
};

// How a layer's weight gradient is shared out: fragments of a warp, along its rows and columns.
template <int L>
struct Share {
  static constexpr int tall = width(L) / 16, broad = width(L + 1) / 8;
  static constexpr int row_warps = tall < WARPS ? tall : WARPS;
  static constexpr int column_warps = WARPS / row_warps;
  static constexpr int rows = tall / row_warps;
  static constexpr int columns = broad < column_warps ? 1 : broad / column_warps;
  // Threads that add up one column of d, for the bias.
  static constexpr int adders = THREADS / width(L + 1);

  static __device__ __forceinline__ int first_row() {
    return threadIdx.x / FN_WARP % row_warps * rows * 16;
  }
  static __device__ __forceinline__ int first_column() {
    return threadIdx.x / FN_WARP / row_warps * columns * 8;
  }
  static __device__ __forceinline__ bool has_any() { return first_column() < width(L + 1); }
};

// The gradient of layer L and those behind it, this thread's share.
template <int L>
struct Gradient {
  real weight[Share<L>::rows][Share<L>::columns][4];
  real bias;
  Gradient<L + 1> behind;

  __device__ __forceinline__ void begin() {
    clear(weight);
    bias = 0;
    behind.begin();
  }
  __device__ __forceinline__ void multiply_by(real factor) {
#pragma unroll
    for (int m = 0; m < Share<L>::rows; m++)
#pragma unroll
      for (int n = 0; n < Share<L>::columns; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) weight[m][n][i] *= factor;
    bias *= factor;
    behind.multiply_by(factor);
  }
};
template <>
struct Gradient<FN_LAYERS> {
  __device__ __forceinline__ void begin() {}
  __device__ __forceinline__ void multiply_by(real) {}
};

// What is the same for all of a block's rows.
struct Task {
  Table table;
  Batch batch;
  const int64_t *control;
  const double *steps;
};

// Copy the weights and biases of layer L and those behind it to shared memory.
template <int L>
__device__ __forceinline__ void fetch_weights(const Task &task, const real *parameters,
                                              const Chip &chip) {
  if constexpr (L < FN_LAYERS) {
    int inputs = task.table.layer(L, LAYER_INPUTS), units = task.table.layer(L, LAYER_UNITS);
    const real *w = parameters + task.table.layer(L, LAYER_WEIGHT);
    int bias = task.table.layer(L, LAYER_BIAS);
#pragma unroll 8
    for (int item = threadIdx.x; item < width(L) * width(L + 1); item += THREADS) {
      int i = item / width(L + 1), j = item % width(L + 1);
      real value = i < inputs && j < units ? w[i * units + j] : (real)0;
      chip.weight<L>()[i * row_length(L + 1) + j] = to_store(value);
    }
    for (int j = threadIdx.x; j < width(L + 1); j += THREADS)
      chip.biases[biases_before(L) + j] =
          bias >= 0 && j < units ? parameters[bias + j] : (real)0;
    fetch_weights<L + 1>(task, parameters, chip);
  }
}

// Copy ROWS rows, from row `first` of the batch on; behind the last one it is repeated.
__device__ __forceinline__ void fetch_rows(const Task &task, const real *x, const int64_t *order,
                                           int first, const Chip &chip) {
  int inputs = task.table[TABLE_INPUTS];
  Masks masks = input_masks(task.table, task.control, task.steps, task.control[NEXT],
                            task.batch.step);
  if (inputs % 4 == 0 && !masks.count && (uint64_t)x % sizeof(Four) == 0) {
    // Several at once, first their rows' places and then they themselves: at most one other block
    // is on the multiprocessor, to hide the latency.
    constexpr int ITEMS = ROWS * width(0) / 4;
    constexpr int AT_ONCE = ITEMS / THREADS < 1 ? 1 : (ITEMS / THREADS < 4 ? ITEMS / THREADS : 4);
#pragma unroll 1
    for (int base = threadIdx.x; base < ITEMS; base += AT_ONCE * THREADS) {
      int64_t from[AT_ONCE];
      Four four[AT_ONCE];
#pragma unroll
      for (int q = 0; q < AT_ONCE; q++) {
        int r = (base + q * THREADS) / (width(0) / 4);
        int row = first + r < task.batch.rows ? first + r : task.batch.rows - 1;
        from[q] = row_of(task.batch, order, row);
      }
#pragma unroll
      for (int q = 0; q < AT_ONCE; q++) {
        int i = (base + q * THREADS) % (width(0) / 4) * 4;
        four[q] = i < inputs ? *(const Four *)(x + from[q] * inputs + i) : Four{};
      }
#pragma unroll
      for (int q = 0; q < AT_ONCE; q++) {
        int item = base + q * THREADS, r = item / (width(0) / 4), i = item % (width(0) / 4) * 4;
        store *to = chip.input<0>() + r * row_length(0) + i;
        store_pair(to, four[q].entry[0], four[q].entry[1]);
        store_pair(to + 2, four[q].entry[2], four[q].entry[3]);
      }
    }
    return;
  }
  for (int item = threadIdx.x; item < ROWS * width(0); item += THREADS) {
    int r = item / width(0), i = item % width(0);
    int row = first + r < task.batch.rows ? first + r : task.batch.rows - 1;
    real value = 0;
    if (i < inputs) {
      value = x[row_of(task.batch, order, row) * inputs + i];
      if (masks.count) value *= masks.factor((uint64_t)row * inputs + i);
    }
    chip.input<0>()[r * row_length(0) + i] = to_store(value);
  }
}

// Dropout behind layer L: what came out of it, and its slopes.
template <int L>
__device__ __forceinline__ void drop(const Task &task, const Masks &masks, int first,
                                     const Chip &chip) {
  int units = task.table.layer(L, LAYER_UNITS);
  for (int item = threadIdx.x; item < ROWS * width(L + 1); item += THREADS) {
    int r = item / width(L + 1), j = item % width(L + 1), at = r * row_length(L + 1) + j;
    if (j >= units) continue;
    real factor = masks.factor((uint64_t)(first + r) * units + j);
    store *a = chip.input<L + 1>() + at, *slope = chip.slope<L + 1>() + at;
    *a = to_store(to_real(*a) * factor);
    *slope = to_store(to_real(*slope) * factor);
  }
  __syncthreads();
}

// Layer L and those behind it: the last one's output goes to `chip.output`.
template <int L>
__device__ __forceinline__ void forward(const Task &task, int first, const Chip &chip) {
  if constexpr (L < FN_LAYERS) {
    constexpr int N = width(L + 1) / 8 / FN_COLUMN_WARPS;
    int warp = threadIdx.x / FN_WARP;
    int row = warp % FN_ROW_WARPS * FN_TILES * 16, column = warp / FN_ROW_WARPS * N * 8;
    real c[FN_TILES][N][4];
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        real bias = chip.biases[biases_before(L) + column + n * 8 + lane_pair() + i];
#pragma unroll
        for (int m = 0; m < FN_TILES; m++) c[m][n][i] = c[m][n][2 + i] = bias;
      }
    multiply<FN_TILES, N, width(L), false, false, row_length(L), row_length(L + 1)>(
        chip.input<L>() + row * row_length(L), chip.weight<L>() + column, c);
    constexpr int code = code_of(L);
    Constants constants = task.table.constants(L);
    row += lane_group();
    column += lane_pair();
#pragma unroll
    for (int m = 0; m < FN_TILES; m++)
#pragma unroll
      for (int n = 0; n < N; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          int r = row + m * 16 + h * 8, j = column + n * 8;
          real out[2], steep[2];
#pragma unroll
          for (int i = 0; i < 2; i++) {
            real z = c[m][n][2 * h + i];
            out[i] = activated(code, z, constants);
            if (L < FN_LAYERS - 1 ? FN_SLOPES : FN_OUTPUT_SLOPES)
              steep[i] = slope_at(code, z, out[i], constants);
          }
          if constexpr (L < FN_LAYERS - 1) {
            int at = r * row_length(L + 1) + j;
            store_pair(chip.input<L + 1>() + at, out[0], out[1]);
            if (FN_SLOPES) store_pair(chip.slope<L + 1>() + at, steep[0], steep[1]);
          } else {
            int at = r * OUTPUT_ROW + j;
#pragma unroll
            for (int i = 0; i < 2; i++) {
              chip.output[at + i] = out[i];
              if (FN_OUTPUT_SLOPES) chip.output_slope[at + i] = steep[i];
            }
          }
        }
    __syncthreads();
    if constexpr (FN_MASKS && L < FN_LAYERS - 1) {
      Masks masks = layer_masks(task.table, L, task.control, task.steps, task.control[NEXT],
                                task.batch.step);
      if (masks.count) drop<L>(task, masks, first, chip);
    }
    forward<L + 1>(task, first, chip);
  }
}

// Layer L and those behind it, from the last one on: the gradient, and `chip.d` from the
// derivative by the last one's z to that by the z of the layer before L.
template <int L>
__device__ __forceinline__ void backward(const Task &task, const Chip &chip,
                                         Gradient<L> &gradient) {
  if constexpr (L < FN_LAYERS - 1) backward<L + 1>(task, chip, gradient.behind);
  constexpr int LD = row_length(L + 1);
  if (Share<L>::has_any())
    multiply<Share<L>::rows, Share<L>::columns, ROWS, true, false, row_length(L), LD>(
        chip.input<L>() + Share<L>::first_row(), chip.d + Share<L>::first_column(),
        gradient.weight);
  int j = threadIdx.x % width(L + 1), adder = threadIdx.x / width(L + 1);
  real sum = 0;
#pragma unroll 4
  for (int r = adder; r < ROWS; r += Share<L>::adders) sum += to_real(chip.d[r * LD + j]);
  gradient.bias += sum;
  if constexpr (L > 0) {
    constexpr int N = width(L) / 8 / FN_COLUMN_WARPS;
    int warp = threadIdx.x / FN_WARP;
    int row = warp % FN_ROW_WARPS * FN_TILES * 16, column = warp / FN_ROW_WARPS * N * 8;
    real c[FN_TILES][N][4];
    clear(c);
    multiply<FN_TILES, N, width(L + 1), false, true, LD, LD>(
        chip.d + row * LD, chip.weight<L>() + column * LD, c);
    __syncthreads();  // all have read d
    constexpr int code = code_of(L - 1);
    Constants constants = task.table.constants(L - 1);
    row += lane_group();
    column += lane_pair();
#pragma unroll
    for (int m = 0; m < FN_TILES; m++)
#pragma unroll
      for (int n = 0; n < N; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          int at = (row + m * 16 + h * 8) * row_length(L) + column + n * 8;
          real steep[2];
#pragma unroll
          for (int i = 0; i < 2; i++)
            steep[i] = FN_SLOPES ? to_real(chip.slope<L>()[at + i])
                                 : slope_of(code, to_real(chip.input<L>()[at + i]), constants);
          store_pair_cut(chip.d + at, c[m][n][2 * h] * steep[0], c[m][n][2 * h + 1] * steep[1]);
        }
    __syncthreads();
  }
}

// Write this block's gradient of layer L and those behind it, times `unscale`.
template <int L>
__device__ __forceinline__ void write_gradient(const Task &task, const Chip &chip,
                                          const Gradient<L> &gradient, real unscale,
                                          real *part) {
  int inputs = task.table.layer(L, LAYER_INPUTS), units = task.table.layer(L, LAYER_UNITS);
  real *dw = part + task.table.layer(L, LAYER_WEIGHT);
  if (Share<L>::has_any()) {
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
  chip.column[threadIdx.x] = gradient.bias;
  __syncthreads();
  int bias = task.table.layer(L, LAYER_BIAS);
  if (bias >= 0 && threadIdx.x < units) {
    real sum = 0;
    for (int adder = 0; adder < Share<L>::adders; adder++)
      sum += chip.column[adder * width(L + 1) + threadIdx.x];
    part[bias + threadIdx.x] = sum * unscale;
  }
  __syncthreads();
  if constexpr (L < FN_LAYERS - 1)
    write_gradient<L + 1>(task, chip, gradient.behind, unscale, part);
}

// What a step of `mode` does with its batch.
//
// parameters `(size,)`. data_x `(rows, inputs)`, data_y `(rows, outputs)` or labels `(rows,)`, and
// weights `(rows,)`, as `order` says. out `(rows, outputs)`: predictions. parts[block]: its rows'
// part of the loss. gradients `(blocks, stride)`: its part of the gradient.
extern "C" __global__ void __launch_bounds__(THREADS, FN_TOGETHER)
    narrow(int mode, const int *int_table, const double *float_table, const int64_t *control,
           const double *steps, const double *scalars, const real *parameters,
           const int64_t *order, const real *data_x, const real *data_y, const int64_t *labels,
           const real *weights, real *out, double *parts, real *gradients, int64_t stride) {
  FN_SHARED(memory);
  __shared__ double scratch[FN_MOST_WARPS];
  __shared__ real unused[LOSS_LANES];
  Chip chip(memory);
  Task task = {{int_table, float_table}, batch_of(control, control[NEXT]), control, steps};
  int outputs = task.table[TABLE_OUTPUTS], loss_code = task.table[TABLE_LOSS];
  bool softmax = task.table[TABLE_SOFTMAX];
  real mass = weights ? (real)scalars[MASS] : (real)task.batch.rows;
  mass *= task.table[TABLE_EACH];
  int lanes = 1;
  while (lanes < outputs && lanes < LOSS_LANES) lanes *= 2;
  int lane = threadIdx.x % lanes;
  fetch_weights<0>(task, parameters, chip);
  Gradient<0> gradient;
  gradient.begin();
  double loss = 0;
  float scale = 1.f;
#ifdef FN_FP16
  scale = LARGEST_SCALE;  // the first rows lower it
#endif
  for (int first = blockIdx.x * ROWS; first < task.batch.rows; first += gridDim.x * ROWS) {
    __syncthreads();
    fetch_rows(task, data_x, order, first, chip);
    __syncthreads();
    forward<0>(task, first, chip);
    real peak = 0;
    for (int r = threadIdx.x / lanes; r < ROWS; r += THREADS / lanes) {
      bool here = first + r < task.batch.rows;  // all threads of a warp must take part
      int n = here ? outputs : 0;
      real *row = here ? chip.output + r * OUTPUT_ROW : unused;
      real *steep = chip.output_slope + r * OUTPUT_ROW;
      if (softmax || (mode == PREDICT && task.table[TABLE_OUTPUT_SOFTMAX]))
        softmax_row(row, n, lane, lanes);
      if (mode == PREDICT) {
        for (int j = lane; j < n; j += lanes)
          out[(task.batch.first + first + r) * outputs + j] =
              task.table[TABLE_OUTPUT] == ACTIVATION_SIGMOID ? sigmoid(row[j]) : row[j];
        continue;
      }
      if (softmax)
        for (int j = lane; j < n; j += lanes) steep[j] = row[j];
      int64_t source = here ? row_of(task.batch, order, first + r) : 0;
      Target target = {data_y ? data_y + source * outputs : nullptr,
                       labels && here ? (int)labels[source] : 0};
      real weight = weights ? weights[source] : (real)1;
      real one = row_loss(loss_code, task.table.loss_constants(), row, target, weight, weight / mass, n,
                          lane, lanes, [row](int j, real slope) { row[j] = slope; });
      if (here && lane == 0) loss += one;
      if (softmax) softmax_row_back(steep, row, n, lane, lanes);
      if (FN_OUTPUT_SLOPES && !softmax)
        for (int j = lane; j < n; j += lanes) row[j] *= steep[j];
      for (int j = lane; j < n; j += lanes) peak = larger(peak, abs_(row[j]));
    }
    if (mode != GRADIENT) continue;
    __syncthreads();
#ifdef FN_FP16
    __shared__ real peaks[FN_MOST_WARPS];
    peak = block_peak(peak, peaks);
    float fitting = scale_for(peak);
    if (fitting < scale) {  // what was added up before is rescaled, exactly
      gradient.multiply_by(fitting / scale);
      scale = fitting;
    }
#endif
    for (int item = threadIdx.x; item < ROWS * OUTPUTS; item += THREADS) {
      int r = item / OUTPUTS, j = item % OUTPUTS;
      bool counts = first + r < task.batch.rows && j < outputs;
      real d = counts ? chip.output[r * OUTPUT_ROW + j] * scale : (real)0;
      chip.d[r * row_length(FN_LAYERS) + j] = to_store_cut(d);
    }
    __syncthreads();
    backward<0>(task, chip, gradient);
  }
  if (mode == PREDICT) return;
  loss = block_sum(loss, scratch);
  if (threadIdx.x == 0) parts[blockIdx.x] = loss;
  if (mode == GRADIENT)
    write_gradient<0>(task, chip, gradient, 1 / scale, gradients + blockIdx.x * stride);
}
