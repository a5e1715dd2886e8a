// A whole run of training steps of a tiny network by one block, in one launch; or of many networks,
// each by a block of its own.
//
// Parameters, the optimizer's memory, the gradient and all values between layers
// stay in shared memory from the first step to the last. A batch with more rows than `chunk`
// goes through in chunks. Rows of a layer are an odd number of entries apart, so that neither a
// warp along a row nor one along a column finds two of its entries in one bank.
//
// Letters: x what goes into a layer `(rows, inputs)`, w its weight `(inputs, units)`, a what comes
// out, d the loss's derivative by a, and after the slope by z = x w + b.
#include "control.cuh"
#include "layout.cuh"
#include "losses.cuh"
#include "optimizers.cuh"

// A barrier: all threads see what the others have written. That of one warp is much cheaper.
__device__ __forceinline__ void barrier() {
  if (blockDim.x == FN_WARP)
    __syncwarp();
  else
    __syncthreads();
}

// How far rows of `n` entries are apart.
__device__ __forceinline__ constexpr int stride_of(int n) { return n | 1; }

__device__ __forceinline__ void divide(int whole, int by, int &quotient, int &rest) {
  quotient = by == 1 ? whole : whole / by;
  rest = whole - quotient * by;
}

// What the rows of a batch are made of, and where they lie on the chip.
struct Rows {
  const real *x, *y, *weights;
  const int64_t *labels, *order;
};

struct Chunk {
  real *x, *y, *weight;
  int *label;
};

// From a step's batch to the next one's, without a division.
__device__ __forceinline__ void next_batch(Batch &batch, int64_t size, int64_t rows,
                                           bool ordered) {
  batch.step++;
  batch.start += size;
  batch.first += batch.rows;
  if (batch.start >= rows) {
    batch.start = 0;
    if (!ordered) batch.first = 0;  // else the next epoch's order lies behind
  }
  batch.rows = (int)(rows - batch.start < size ? rows - batch.start : size);
}

// Copy `rows` rows of a batch from row `start` on to shared memory.
__device__ __forceinline__ void fetch(const Table &table, const Rows &data, const Batch &batch,
                                      int start, int rows, const Masks &masks,
                                      const Chunk &chunk) {
  int inputs = table[TABLE_INPUTS], outputs = table[TABLE_OUTPUTS];
  for (int item = threadIdx.x; item < rows * inputs; item += blockDim.x) {
    int r, i;
    divide(item, inputs, r, i);
    real value = data.x[row_of(batch, data.order, start + r) * inputs + i];
    if (masks.count) value *= masks.factor((uint64_t)(start + r) * inputs + i);
    chunk.x[r * stride_of(inputs) + i] = value;
  }
  for (int r = threadIdx.x; r < rows; r += blockDim.x) {
    int64_t row = row_of(batch, data.order, start + r);
    if (data.labels) chunk.label[r] = (int)data.labels[row];
    if (data.weights) chunk.weight[r] = data.weights[row];
  }
  if (data.y)
    for (int item = threadIdx.x; item < rows * outputs; item += blockDim.x) {
      int r, j;
      divide(item, outputs, r, j);
      chunk.y[item] = data.y[row_of(batch, data.order, start + r) * outputs + j];
    }
}

// a = f(x w + b), masked, and its slope where it cannot be computed from a: TILE rows of a column
// at a time.
template <int TILE>
__device__ __forceinline__ void forward(const Table &table, int l, const real *p, const real *x,
                                        real *a, real *slope, int rows, int start,
                                        const Masks &masks) {
  int inputs = table.layer(l, LAYER_INPUTS), units = table.layer(l, LAYER_UNITS);
  int xs = stride_of(inputs), as = stride_of(units), code = table.layer(l, LAYER_CODE);
  const real *w = p + table.layer(l, LAYER_WEIGHT), *bias = p + table.layer(l, LAYER_BIAS);
  bool biased = table.layer(l, LAYER_BIAS) >= 0, from_output = table.layer_slope_from_output(l);
  Constants constants = table.constants(l);
  int items = (rows + TILE - 1) / TILE * units;
  for (int item = threadIdx.x; item < items; item += blockDim.x) {
    int group, j;
    divide(item, units, group, j);
    real sum[TILE];
    const real *from[TILE];
#pragma unroll
    for (int q = 0; q < TILE; q++) {
      int r = group * TILE + q;
      sum[q] = biased ? bias[j] : (real)0;
      from[q] = x + (r < rows ? r : rows - 1) * xs;
    }
#pragma unroll 4
    for (int i = 0; i < inputs; i++) {
      real weight = w[i * units + j];
#pragma unroll
      for (int q = 0; q < TILE; q++) sum[q] += from[q][i] * weight;
    }
#pragma unroll
    for (int q = 0; q < TILE; q++) {
      int r = group * TILE + q;
      if (r >= rows) break;
      real out = code == ACTIVATION_IDENTITY ? sum[q] : activated(code, sum[q], constants);
      if (!from_output) {
        real steep = slope_at(code, sum[q], out, constants);
        if (masks.count) {
          real factor = masks.factor((uint64_t)(start + r) * units + j);
          out *= factor;
          steep *= factor;
        }
        slope[r * as + j] = steep;
      }
      a[r * as + j] = out;
    }
  }
}

// dw = x' d and db = 1' d: TILE rows of the weight at a time; the bias counts as one row more.
template <int TILE>
__device__ __forceinline__ void gradient(const Table &table, int l, const real *x, const real *d,
                                         real *g, int rows, bool first) {
  int inputs = table.layer(l, LAYER_INPUTS), units = table.layer(l, LAYER_UNITS);
  int xs = stride_of(inputs), ds = stride_of(units);
  int lines = inputs + (table.layer(l, LAYER_BIAS) >= 0 ? 1 : 0);
  int items = (lines + TILE - 1) / TILE * units;
  real *dw = g + table.layer(l, LAYER_WEIGHT), *db = g + table.layer(l, LAYER_BIAS);
  for (int item = threadIdx.x; item < items; item += blockDim.x) {
    int group, j;
    divide(item, units, group, j);
    real sum[TILE] = {};
#pragma unroll 4
    for (int r = 0; r < rows; r++) {
      real by = d[r * ds + j];
#pragma unroll
      for (int q = 0; q < TILE; q++) {
        int i = group * TILE + q;
        sum[q] += i < inputs ? x[r * xs + i] * by : by;
      }
    }
#pragma unroll
    for (int q = 0; q < TILE; q++) {
      int i = group * TILE + q;
      if (i >= lines) break;
      real *to = i < inputs ? dw + i * units + j : db + j;
      *to = first ? sum[q] : *to + sum[q];
    }
  }
}

// The derivative by the layer before's z: e = (d w') times that layer's slope. A warp goes along
// the rows: all its lanes read the same weight.
__device__ __forceinline__ void backward(const Table &table, int l, const real *p, const real *d,
                                         const real *a, const real *slope, real *e, int rows) {
  int inputs = table.layer(l, LAYER_INPUTS), units = table.layer(l, LAYER_UNITS);
  int ds = stride_of(units), es = stride_of(inputs);
  int code = table.layer(l - 1, LAYER_CODE);
  bool from_output = table.layer_slope_from_output(l - 1);
  Constants constants = table.constants(l - 1);
  const real *w = p + table.layer(l, LAYER_WEIGHT);
  for (int item = threadIdx.x; item < rows * inputs; item += blockDim.x) {
    int i, r;
    divide(item, rows, i, r);
    real sum = 0;
#pragma unroll 4
    for (int j = 0; j < units; j++) sum += d[r * ds + j] * w[i * units + j];
    int at = r * es + i;
    e[at] = sum * (from_output ? slope_of(code, a[at], constants) : slope[at]);
  }
}

// Add the penalties' derivative to the gradient; return what they add to the loss, a thread's
// share of it.
__device__ __forceinline__ real penalize(const Table &table, const real *p, real *g, real l1,
                                         real l2) {
  real sum = 0;
  EACH_LAYER
  for (int l = 0; l < table.layers(); l++) {
    int first = table.layer(l, LAYER_WEIGHT);
    int last = first + table.layer(l, LAYER_INPUTS) * table.layer(l, LAYER_UNITS);
    for (int i = first + threadIdx.x; i < last; i += blockDim.x) {
      real w = p[i];
      sum += penalty(w, l1, l2);
      g[i] += penalty_slope(w, l1, l2);
    }
  }
  return sum;
}

// Do a run's steps.
//
// The tables: see layout.py; control, settings and steps: see names.py. parameters `(size,)` and
// memory `(slots, size)` are changed in place. losses `(steps,)`. chunk_rows: rows that go through
// together. control[NOW] becomes the number of updates made.
//
// networks: null; or for each block a row of addresses (names.py), of the arrays of a network of its
// own with the same tables, which are then taken instead of the arguments.
extern "C" __global__ void __launch_bounds__(TINY_THREADS, 1)
    tiny_train(const int *int_table, const double *float_table, int64_t *control,
               const double *settings, const double *steps, real *parameters, real *memory,
               const real *data_x, const real *data_y, const int64_t *labels,
               const real *weights, const int64_t *order, double *losses, int chunk_rows,
               const int64_t *networks) {
  if (networks) {
    const int64_t *own = networks + (int64_t)blockIdx.x * NETWORK_COLUMNS;
    control = (int64_t *)own[NETWORK_CONTROL];
    settings = (const double *)own[NETWORK_SETTINGS];
    steps = (const double *)own[NETWORK_STEPS];
    parameters = (real *)own[NETWORK_PARAMETERS];
    memory = (real *)own[NETWORK_MEMORY];
    data_x = (const real *)own[NETWORK_X];
    data_y = (const real *)own[NETWORK_Y];
    labels = (const int64_t *)own[NETWORK_LABELS];
    weights = (const real *)own[NETWORK_WEIGHTS];
    order = (const int64_t *)own[NETWORK_ORDER];
    losses = (double *)own[NETWORK_LOSSES];
  }
  FN_SHARED(chip);
  __shared__ double double_scratch[FN_MOST_WARPS];
  Table table = {int_table, float_table};
  Rows data = {data_x, data_y, weights, labels, order};
  int size = table[TABLE_SIZE], inputs = table[TABLE_INPUTS], outputs = table[TABLE_OUTPUTS];
  int layers = table.layers(), loss_code = table[TABLE_LOSS], slots = (int)control[SLOTS];

  real *at = (real *)chip;
  real *p = at, *m = p + size, *g = m + slots * size, *scratch = g + size;
  Chunk chunk;
  chunk.x = scratch + FN_MOST_WARPS;
  chunk.y = chunk.x + chunk_rows * stride_of(inputs);
  chunk.weight = chunk.y + chunk_rows * outputs;
  chunk.label = (int *)(chunk.weight + chunk_rows);
  real *first_a = chunk.weight + 2 * chunk_rows;
  int widest = inputs, wide = 0;
  EACH_LAYER
  for (int l = 0; l < layers; l++) {
    int units = table.layer(l, LAYER_UNITS);
    widest = units > widest ? units : widest;
    wide += stride_of(units);
  }
  real *first_slope = first_a + chunk_rows * wide;
  real *d = first_slope + chunk_rows * wide, *e = d + chunk_rows * stride_of(widest);

  for (int i = threadIdx.x; i < size; i += blockDim.x) p[i] = parameters[i];
  for (int i = threadIdx.x; i < slots * size; i += blockDim.x) m[i] = memory[i];
  int lanes = 1;  // of a row, in the loss
  while (lanes < outputs && lanes < FN_WARP) lanes *= 2;
  int lane = threadIdx.x % lanes, at_once = blockDim.x / lanes;
  int few = 0;  // lanes that hold a batch's losses, if one warp does all
  if (blockDim.x == FN_WARP) {
    few = 1;
    while (few < FN_WARP && few < control[BATCH] * lanes) few *= 2;
  }
  real l1 = (real)settings[SETTING_L1], limit = (real)settings[SETTING_CLIP_VALUE];
  double longest = settings[SETTING_CLIP_NORM];
  int64_t size_of_batch = control[BATCH];
  // Rows that never change are copied once.
  bool resident = control[ROWS] <= size_of_batch && size_of_batch <= chunk_rows && !order &&
                  !(table[TABLE_MASKS] && control[DROPPING]);
  int64_t rows_of_data = control[ROWS], index = 0, numbers = control[STEP_NUMBERS];
  Batch batch = batch_of(control, 0);
  Rule rule((int)control[OPTIMIZER], settings);
  // A step's numbers are far away: those that all steps have are read a step ahead.
  double step[STEP_MASKS];
#pragma unroll
  for (int i = 0; i < STEP_MASKS; i++) step[i] = steps[i];
  int rows_of_share = 0;  // those that `plain_share` is for
  real plain_share = 0;
  for (; index < control[STEPS]; index++) {
    const double *ahead = steps + (index + 1 < control[STEPS] ? index + 1 : index) * numbers;
    double next[STEP_MASKS];
#pragma unroll
    for (int i = 0; i < STEP_MASKS; i++) next[i] = ahead[i];
    real l2 = (real)step[STEP_L2];
    real mass = (real)batch.rows;
    if (weights) {
      mass = 0;
      for (int r = threadIdx.x; r < batch.rows; r += blockDim.x)
        mass += weights[row_of(batch, order, r)];
      mass = block_sum(mass, scratch);
    }
    mass *= table[TABLE_EACH];
    if (batch.rows != rows_of_share) {
      rows_of_share = batch.rows;
      plain_share = 1 / mass;
    }
    real loss = 0;
    for (int start = 0; start < batch.rows; start += chunk_rows) {
      int rows = batch.rows - start < chunk_rows ? batch.rows - start : chunk_rows;
      if (!resident || index == 0)
        fetch(table, data, batch, start, rows,
              input_masks(table, control, steps, index, batch.step), chunk);
      barrier();
      const real *x = chunk.x;
      real *a = first_a, *slope = first_slope;
      EACH_LAYER
      for (int l = 0; l < layers; l++) {
        int units = table.layer(l, LAYER_UNITS);
        Masks masks = layer_masks(table, l, control, steps, index, batch.step);
        if (rows * units > (int)blockDim.x)
          forward<4>(table, l, p, x, a, slope, rows, start, masks);
        else
          forward<1>(table, l, p, x, a, slope, rows, start, masks);
        barrier();
        x = a;
        a += chunk_rows * stride_of(units);
        slope += chunk_rows * stride_of(units);
      }
      real *out = a - chunk_rows * stride_of(outputs);
      const real *out_slope = slope - chunk_rows * stride_of(outputs);
      int out_code = table.layer(layers - 1, LAYER_CODE);
      for (int first = 0; first < rows; first += at_once) {
        int r = first + threadIdx.x / lanes;
        bool here = r < rows;  // all threads of a warp must take part
        int n = here ? outputs : 0;
        real *row = here ? out + r * stride_of(outputs) : scratch;
        real *back = here ? d + r * stride_of(outputs) : scratch;
        if (table[TABLE_SOFTMAX]) softmax_row(row, n, lane, lanes);
        Target target = {data.y ? chunk.y + (here ? r * outputs : 0) : nullptr,
                         data.labels && here ? chunk.label[r] : 0};
        real weight = weights && here ? chunk.weight[r] : (real)1;
        real share = weights ? weight / mass : plain_share;
        real one = row_loss(loss_code, table.loss_constants(), row, target, weight, share, n, lane, lanes,
                            [back](int j, real slope) { back[j] = slope; });
        if (here && lane == 0) loss += one;
        if (table[TABLE_SOFTMAX])
          softmax_row_back(row, back, n, lane, lanes);
        else if (out_code != ACTIVATION_IDENTITY)
          for (int j = lane; j < n; j += lanes)
            back[j] *= slope_from_output(out_code)
                           ? slope_of(out_code, row[j], table.constants(layers - 1))
                           : out_slope[r * stride_of(outputs) + j];
      }
      barrier();
      EACH_LAYER
      for (int l = layers - 1; l >= 0; l--) {
        int units = table.layer(l, LAYER_UNITS), before = table.layer(l, LAYER_INPUTS);
        a -= chunk_rows * stride_of(units);
        slope -= chunk_rows * stride_of(units);
        const real *in = l ? a - chunk_rows * stride_of(before) : chunk.x;
        if ((before + 1) * units > (int)blockDim.x)
          gradient<4>(table, l, in, d, g, rows, start == 0);
        else
          gradient<1>(table, l, in, d, g, rows, start == 0);
        if (l) {
          backward(table, l, p, d, in, slope - chunk_rows * stride_of(before), e, rows);
          real *taken = d;
          d = e;
          e = taken;
        }
        barrier();  // d is whole, and at the end the gradient: the next rows may come
      }
    }
    loss = few ? __shfl_sync(FN_ALL_LANES, group_sum(loss, few), 0) : block_sum(loss, scratch);
    loss = weights ? (mass > 0 ? loss / mass : (real)0) : loss * plain_share;
    if (l1 != 0 || l2 != 0) {
      real added = block_sum(penalize(table, p, g, l1, l2), scratch);
      if (settings[SETTING_REPORTS_PENALTY] != 0) loss += added;
      barrier();
    }
    if (threadIdx.x == 0) losses[index] = (double)loss;
    if (!isfinite(loss)) break;
    real factor = 1;
    if (!isinf(longest)) {
      double squares = 0, shrunk = 0;
      for (int i = threadIdx.x; i < size; i += blockDim.x) {
        double entry = clipped(g[i], limit);
        squares += entry * entry;
        shrunk += entry * SHRINK * (entry * SHRINK);
      }
      squares = block_sum(squares, double_scratch);
      factor = (real)norm_factor(squares, block_sum(shrunk, double_scratch), longest);
    }
    rule.take(step);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
      real mine = p[i], first = slots > 0 ? m[i] : (real)0;
      real second = slots > 1 ? m[size + i] : (real)0;
      update(rule, mine, clipped(g[i], limit) * factor, first, second);
      p[i] = mine;
      if (slots > 0) m[i] = first;
      if (slots > 1) m[size + i] = second;
    }
#pragma unroll
    for (int i = 0; i < STEP_MASKS; i++) step[i] = next[i];
    next_batch(batch, size_of_batch, rows_of_data, order != nullptr);
  }
  barrier();
  for (int i = threadIdx.x; i < size; i += blockDim.x) parameters[i] = p[i];
  for (int i = threadIdx.x; i < slots * size; i += blockDim.x) memory[i] = m[i];
  if (threadIdx.x == 0) control[NOW] = index;
}
