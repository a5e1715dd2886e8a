// What the layered path does between its matrix products: gather rows, activations, losses, and the
// derivatives. The grid of a kernel depends on its buffers, not on the number of rows in a batch.
//
// A batch's tail has fewer rows than the buffers: the rest of them repeat its last row, and
// their derivatives are zero, so that products of whole buffers stay right.
#include "control.cuh"
#include "entries.cuh"
#include "losses.cuh"

// A batch's x `(buffer, inputs)`, masked by dropout, as products read it, and in full; either may be
// null.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    gather(const int *int_table, const double *float_table, const int64_t *control,
           const double *steps, const int64_t *order, const real *data_x, int buffer, store *x,
           real *wide) {
  Table table = {int_table, float_table};
  Batch batch = batch_of(control, control[NEXT]);
  int inputs = table[TABLE_INPUTS];
  Masks masks = input_masks(table, control, steps, control[NEXT], batch.step);
  if (inputs % 4 == 0 && !masks.count && (uint64_t)data_x % sizeof(Four) == 0) {
    int fours = inputs / 4;
    EACH_ENTRY(item, (int64_t)buffer * fours) {
      int64_t r = quotient(item, fours), i = item - r * fours;
      int row = r < batch.rows ? (int)r : batch.rows - 1;
      Four four = *(const Four *)(data_x + row_of(batch, order, row) * inputs + i * 4);
      if (wide) *(Four *)(wide + item * 4) = four;
      if (!x) continue;
      store_pair(x + item * 4, four.entry[0], four.entry[1]);
      store_pair(x + item * 4 + 2, four.entry[2], four.entry[3]);
    }
    return;
  }
  EACH_ENTRY(item, (int64_t)buffer * inputs) {
    int64_t r = quotient(item, inputs), i = item - r * inputs;
    int row = r < batch.rows ? (int)r : batch.rows - 1;
    real value = data_x[row_of(batch, order, row) * inputs + i];
    if (masks.count) value *= masks.factor(item);
    if (wide) wide[item] = value;
    if (x) x[item] = to_store(value);
  }
}

// a = f(z + bias), masked, for `(buffer, units)` entries; bias null: z has it already. `slope`
// becomes da / dz; null: it can be computed from `a`, or is not needed.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    activate(const int *int_table, const double *float_table, const int64_t *control,
             const double *steps, int l, int64_t count, const real *z, const real *bias, store *a,
             store *slope) {
  Table table = {int_table, float_table};
  int units = table.layer(l, LAYER_UNITS), code = table.layer(l, LAYER_CODE);
  Constants constants = table.constants(l);
  uint64_t step = batch_of(control, control[NEXT]).step;
  Masks masks = layer_masks(table, l, control, steps, control[NEXT], step);
  EACH_ENTRY(item, count) {
    real in = bias ? z[item] + bias[item - quotient(item, units) * units] : z[item];
    real out = activated(code, in, constants), steep = 1;
    if (slope) steep = slope_at(code, in, out, constants);
    if (masks.count) {
      real factor = masks.factor(item);
      out *= factor;
      steep *= factor;
    }
    a[item] = to_store(out);
    if (slope) slope[item] = to_store(steep);
  }
}

// The last layer's output z + bias, through its activation, in place; bias null: z has it
// already. `slope` becomes da / dz; null: it is 1.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    finish_output(const int *int_table, const double *float_table, int l, int64_t count,
                  const real *bias, real *out, real *slope) {
  Table table = {int_table, float_table};
  int units = table.layer(l, LAYER_UNITS), code = table.layer(l, LAYER_CODE);
  Constants constants = table.constants(l);
  EACH_ENTRY(item, count) {
    real z = bias ? out[item] + bias[item - quotient(item, units) * units] : out[item];
    real a = activated(code, z, constants);
    out[item] = a;
    if (slope) slope[item] = slope_at(code, z, a, constants);
  }
}

// Softmax of `rows` rows of `n` in place, each by a group of lanes.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    softmax(real *p, int rows, int n, int lanes) {
  __shared__ real unused[FN_WARP];
  int lane = threadIdx.x % lanes, at_once = blockDim.x / lanes;
  for (int first = blockIdx.x * at_once; first < rows; first += gridDim.x * at_once) {
    int r = first + threadIdx.x / lanes;
    softmax_row(r < rows ? p + (int64_t)r * n : unused, r < rows ? n : 0, lane, lanes);
  }
}

// The loss of each row of a batch, each by a group of lanes, added up in parts[block] as float64,
// and the derivative `(buffer, outputs)` by the last layer's z. `p` is the network's output; where
// that is a softmax, it is done. `slope` is the last activation's; null: 1.
//
// `real_d` holds the derivative in full, and `d` as products read it; either may be null, both
// where only the loss is needed. Behind a softmax `real_d` is needed. peaks[block], unless
// null, becomes the largest derivative's size.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    losses(const int *int_table, const double *float_table, const int64_t *control,
           const double *scalars, const int64_t *order, const real *p, const real *data_y,
           const int64_t *data_labels, const real *data_weights, int buffer, int lanes,
           const real *slope, real *real_d, store *d, double *parts, real *peaks) {
  __shared__ double scratch[FN_MOST_WARPS];
  __shared__ real peak_scratch[FN_MOST_WARPS], unused[FN_WARP];
  Table table = {int_table, float_table};
  int n = table[TABLE_OUTPUTS], code = table[TABLE_LOSS];
  bool softmax = table[TABLE_SOFTMAX];
  Batch batch = batch_of(control, control[NEXT]);
  real mass = data_weights ? (real)scalars[MASS] : (real)batch.rows;
  mass *= table[TABLE_EACH];
  int lane = threadIdx.x % lanes, at_once = blockDim.x / lanes;
  double sum = 0;
  real peak = 0;
  for (int64_t first = blockIdx.x * at_once; first < buffer; first += gridDim.x * at_once) {
    int64_t r = first + threadIdx.x / lanes, at = r * n;
    bool here = r < batch.rows;
    int64_t source = here ? row_of(batch, order, (int)r) : 0;
    Target target = {data_y ? data_y + source * n : nullptr,
                     data_labels && here ? (int)data_labels[source] : 0};
    real weight = data_weights && here ? data_weights[source] : (real)1;
    auto store_derivative = [&](int j, real value) {
      peak = larger(peak, abs_(value));
      if (real_d) real_d[at + j] = value;
      if (d) d[at + j] = to_store_cut(value);
    };
    auto put = [&](int j, real value) {
      if (softmax && real_d)
        real_d[at + j] = value;  // its derivative comes first
      else
        store_derivative(j, slope ? value * slope[at + j] : value);
    };
    int m = here ? n : 0;
    const real *row = here ? p + at : unused;
    real loss = row_loss(code, table.loss_constants(), row, target, weight, weight / mass, m, lane,
                         lanes, put);
    if (here && lane == 0) sum += loss;
    if (softmax && real_d) {
      real *back = here ? real_d + at : unused;
      softmax_row_back(row, back, m, lane, lanes);
      for (int j = lane; j < m; j += lanes) store_derivative(j, back[j]);
    }
    if (!here && r < buffer)
      for (int j = lane; j < n; j += lanes) {
        if (real_d) real_d[at + j] = 0;
        if (d) d[at + j] = 0;
      }
  }
  sum = block_sum(sum, scratch);
  peak = block_peak(peak, peak_scratch);
  if (threadIdx.x) return;
  parts[blockIdx.x] = sum;
  if (peaks) peaks[blockIdx.x] = peak;
}

// scalars[SCALE] = the scale of a step whose largest derivatives `count` blocks have found. One block
// of one warp.
extern "C" __global__ void __launch_bounds__(FN_WARP)
    choose_scale(const real *peaks, int count, double *scalars) {
  real peak = 0;
  for (int i = threadIdx.x; i < count; i += FN_WARP) peak = larger(peak, peaks[i]);
  peak = group_peak(peak, FN_WARP);
  if (threadIdx.x == 0) scalars[SCALE] = scale_for((float)peak);
}

// The derivative at the output times the step's scale, as products read it, and in full; either may
// be null, and real_d and `wide` the same.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    output_derivative(const double *scalars, int64_t count, const real *real_d, store *d,
                      real *wide) {
  real scale = (real)scalars[SCALE];
  EACH_ENTRY(item, count) {
    real value = real_d[item] * scale;
    if (d) d[item] = to_store_cut(value);
    if (wide) wide[item] = value;
  }
}

// d = wide_d times the slope of layer `l`, which is in `slope`, or computed from `a`, or 1 where
// both are null. `wide_d` and `d` may be the same.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    through_slope(const int *int_table, const double *float_table, int l, int64_t count,
                  const real *wide_d, const store *a, const store *slope, store *d) {
  Table table = {int_table, float_table};
  int code = table.layer(l, LAYER_CODE);
  Constants constants = table.constants(l);
  EACH_ENTRY(item, count) {
    real steep = slope ? to_real(slope[item])
                       : (a ? slope_of(code, to_real(a[item]), constants) : (real)1);
    d[item] = to_store_cut(wide_d[item] * steep);
  }
}

// sums `(columns,)` of d `(rows, columns)`, in two stages: parts[part] of every part's rows, and
// then, with the parts for rows, the sums of those.
template <class T>
__device__ __forceinline__ void column_sums(const T *d, int rows, int columns, int rows_of_part,
                                            real *parts) {
  int blocks = (columns + SUM_COLUMNS - 1) / SUM_COLUMNS, part = blockIdx.x / blocks;
  int j = blockIdx.x % blocks * SUM_COLUMNS + threadIdx.x % SUM_COLUMNS;
  int first = part * rows_of_part;
  int last = first + rows_of_part < rows ? first + rows_of_part : rows;
  real sum = column_sum(d, columns, j, first, last);
  if (threadIdx.x < SUM_COLUMNS && j < columns) parts[(int64_t)part * columns + j] = sum;
}

extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    sum_columns(const store *d, int rows, int columns, int rows_of_part, real *parts) {
  column_sums(d, rows, columns, rows_of_part, parts);
}

extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    sum_parts(const real *parts, int rows, int columns, int rows_of_part, real *sums) {
  column_sums(parts, rows, columns, rows_of_part, sums);
}

// Predictions of a batch, from the network's output p `(buffer, outputs)`: row r of the batch
// becomes row first + r of `out`.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    store_predictions(const int *int_table, const int64_t *control, const real *p, real *out) {
  Table table = {int_table, nullptr};
  Batch batch = batch_of(control, control[NEXT]);
  int n = table[TABLE_OUTPUTS], code = table[TABLE_OUTPUT];
  EACH_ENTRY(item, (int64_t)batch.rows * n)
    out[batch.first * n + item] = code == ACTIVATION_SIGMOID ? sigmoid(p[item]) : p[item];
}

// On to the next step, where no loss is computed. One block.
extern "C" __global__ void __launch_bounds__(FN_WARP) advance(int64_t *control) {
  if (threadIdx.x == 0) control[NEXT] += 1;
}
