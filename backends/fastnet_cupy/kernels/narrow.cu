// Forward, loss, backward and weight gradient of a network of narrow layers in one kernel.
//
// A block takes ROWS rows of the batch at a time through the whole network. All weights, and the
// rows' values between layers, are in shared memory; the gradient of all its rows stays in
// registers until its last rows are done. So of a batch only its rows are read from global memory,
// and of the gradient each block writes one part, which `sum_parts` (layered.cu) adds up in order.
// Where a warp has all columns of its rows, what one product leaves in its registers goes into the
// next, and shared memory has it for the weight gradient only (narrow_chip.cuh).
//
// Letters: `x` what goes into a layer, `w` its weight, `a` what comes out, `d` the loss's
// derivative, by a and then by z = x w + b. Layer L goes from width(L) to width(L + 1): the
// network's own widths, padded with zeros to 16, 32, 64 or 128.
#include "control.cuh"
#include "losses.cuh"
#include "narrow_gradient.cuh"
#include "narrow_rows.cuh"

// Lanes of a row in the loss, at most.
#define LOSS_LANES 8

// Copy the weights and biases of layer L and those behind it to shared memory.
template <int L>
__device__ __forceinline__ void fetch_weights(const Task &task, const real *parameters,
                                              const Chip &chip) {
  if constexpr (L < FN_LAYERS) {
    int inputs = task.table.layer(L, LAYER_INPUTS), units = task.table.layer(L, LAYER_UNITS);
    const real *w = parameters + task.table.layer(L, LAYER_WEIGHT);
    int bias = task.table.layer(L, LAYER_BIAS);
    constexpr int WIDTH = width(L + 1), LD = row_length(L + 1);
    if (readable_in<4>(w, units)) {
      int j = threadIdx.x % (WIDTH / 4) * 4;
#pragma unroll 8
      for (int i = threadIdx.x / (WIDTH / 4); i < width(L); i += THREADS / (WIDTH / 4)) {
        Four four = i < inputs && j < units ? *(const Four *)(w + i * units + j) : Four{};
        store_pair(chip.weight<L>() + i * LD + j, four.entry[0], four.entry[1]);
        store_pair(chip.weight<L>() + i * LD + j + 2, four.entry[2], four.entry[3]);
      }
    } else {
      int j = threadIdx.x % WIDTH;
#pragma unroll 8
      for (int i = threadIdx.x / WIDTH; i < width(L); i += THREADS / WIDTH)
        chip.weight<L>()[i * LD + j] =
            to_store(i < inputs && j < units ? w[i * units + j] : (real)0);
    }
    for (int j = threadIdx.x; j < WIDTH; j += THREADS)
      chip.biases[biases_before(L) + j] =
          bias >= 0 && j < units ? parameters[bias + j] : (real)0;
    fetch_weights<L + 1>(task, parameters, chip);
  }
}

// Dropout behind layer L: what came out of it, and its slopes.
template <int L>
__device__ __forceinline__ void drop(const Task &task, const Masks &masks, int first,
                                     const Chip &chip) {
  int units = task.table.layer(L, LAYER_UNITS);
  if (CHAINED) __syncthreads();  // all warps have put their rows
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

// Layer L, which x goes into, and those behind it: the last one's output goes to `chip.output`.
// Afterwards all that threads have asked for is there.
template <int L>
__device__ __forceinline__ void forward(const Task &task, int first, const Chip &chip,
                                        const Operand<width(L)> &x) {
  constexpr int N = width(L + 1) / 8 / FN_COLUMN_WARPS;
  constexpr bool LAST = L == FN_LAYERS - 1;
  int row = warp_row(), column = threadIdx.x / FN_WARP / FN_ROW_WARPS * N * 8;
  real c[FN_TILES][N][4];
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int i = 0; i < 2; i++) {
      real bias = chip.biases[biases_before(L) + column + n * 8 + lane_pair() + i];
#pragma unroll
      for (int m = 0; m < FN_TILES; m++) c[m][n][i] = c[m][n][2 + i] = bias;
    }
  x.template add_product<N, false, row_length(L + 1)>(chip.weight<L>() + column, c);
  constexpr int code = code_of(L);
  Constants constants = task.table.constants(L);
  Operand<width(L + 1)> a(chip.input<L + 1>());
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
          if (LAST ? FN_OUTPUT_SLOPES : FN_SLOPES)
            steep[i] = slope_at(code, z, out[i], constants);
        }
        if constexpr (LAST) {
          int at = r * OUTPUT_ROW + j;
#pragma unroll
          for (int i = 0; i < 2; i++) {
            chip.output[at + i] = out[i];
            if (FN_OUTPUT_SLOPES) chip.output_slope[at + i] = steep[i];
          }
        } else {
          int at = r * row_length(L + 1) + j;
          store_pair(chip.input<L + 1>() + at, out[0], out[1]);
          if (FN_SLOPES) store_pair(chip.slope<L + 1>() + at, steep[0], steep[1]);
          a.keep(m, n, h, out[0], out[1]);
        }
      }
  if constexpr (LAST) {
    fn_wait_for_copies();
    __syncthreads();
  } else {
    if (!CHAINED) __syncthreads();
    if constexpr (FN_MASKS) {
      Masks masks = layer_masks(task.table, L, task.control, task.steps, task.control[NEXT],
                                task.batch.step);
      if (masks.count) {
        drop<L>(task, masks, first, chip);
        a.fetch(chip.input<L + 1>());
      }
    }
    forward<L + 1>(task, first, chip, a);
  }
}

// Layer L and those before it: their gradients, from `d`, the derivative by the z of layer L, which
// is in `chip.d<L>()` too.
template <int L>
__device__ __forceinline__ void backward(const Task &task, const Chip &chip, Gradient<0> &gradient,
                                         const Operand<width(L + 1)> &d) {
  add_gradient(chip, gradient.of<L>());
  if constexpr (L > 0) {
    constexpr int N = width(L) / 8 / FN_COLUMN_WARPS;
    int row = warp_row(), column = threadIdx.x / FN_WARP / FN_ROW_WARPS * N * 8;
    real c[FN_TILES][N][4];
    clear(c);
    d.template add_product<N, true, row_length(L + 1)>(
        chip.weight<L>() + column * row_length(L + 1), c);
    if (!CHAINED) __syncthreads();  // all have read d
    constexpr int code = code_of(L - 1);
    Constants constants = task.table.constants(L - 1);
    Operand<width(L)> back(chip.d<L - 1>());
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
          load_pair((FN_SLOPES ? chip.slope<L>() : chip.input<L>()) + at, steep[0], steep[1]);
#pragma unroll
          for (int i = 0; i < 2; i++) {
            if (!FN_SLOPES) steep[i] = slope_of(code, steep[i], constants);
            steep[i] = cut(c[m][n][2 * h + i] * steep[i]);
          }
          store_pair(chip.d<L - 1>() + at, steep[0], steep[1]);
          back.keep(m, n, h, steep[0], steep[1]);
        }
    __syncthreads();
    backward<L - 1>(task, chip, gradient, back);
  }
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
  Data data = {data_x, data_y, labels, weights, order};
  int64_t first = blockIdx.x * ROWS, apart = gridDim.x * ROWS;
  int64_t *places = chip.places, *next = chip.places + ROWS;
  ask_for_places(task, data, first, places);
  ask_for_places(task, data, first + apart, next);
  fetch_weights<0>(task, parameters, chip);
  fn_wait_for_copies();
  __syncthreads();
  if (FN_AHEAD && first < task.batch.rows) ask_for_x(task, data, places, chip);
  Gradient<0> gradient;
  gradient.begin();
  double loss = 0;
  float scale = 1.f;
#ifdef FN_FP16
  scale = LARGEST_SCALE;  // the first rows lower it
#endif
  for (; first < task.batch.rows; first += apart) {
    fn_wait_for_copies();
    __syncthreads();
    put_x(task, data, first, places, chip);
    if (mode != PREDICT) ask_for_targets(task, data, places, chip);
    __syncthreads();
    if (FN_AHEAD && first + apart < task.batch.rows) ask_for_x(task, data, next, chip);
    ask_for_places(task, data, first + 2 * apart, places);
    int64_t *kept = places;
    places = next;
    next = kept;
    Operand<width(0)> x(chip.input<0>());
    x.fetch(chip.input<0>());
    forward<0>(task, first, chip, x);
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
      Target target = {data_y ? chip.targets() + r * OUTPUTS : nullptr,
                       labels && here ? (int)chip.labels()[r] : 0};
      real weight = weights ? chip.row_weights()[r] : (real)1;
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
    int j = threadIdx.x % OUTPUTS;
#pragma unroll 4
    for (int r = threadIdx.x / OUTPUTS; r < ROWS; r += THREADS / OUTPUTS) {
      bool counts = first + r < task.batch.rows && j < outputs;
      real value = counts ? chip.output[r * OUTPUT_ROW + j] * scale : (real)0;
      chip.d<FN_LAYERS - 1>()[r * row_length(FN_LAYERS) + j] = to_store_cut(value);
    }
    __syncthreads();
    Operand<OUTPUTS> d(chip.d<FN_LAYERS - 1>());
    d.fetch(chip.d<FN_LAYERS - 1>());
    backward<FN_LAYERS - 1>(task, chip, gradient, d);
  }
  if (mode == PREDICT) return;
  loss = block_sum(loss, scratch);
  if (threadIdx.x == 0) parts[blockIdx.x] = loss;
  if (mode == GRADIENT)
    write_gradient<0>(task, chip, gradient, 1 / scale, gradients + blockIdx.x * stride);
}
