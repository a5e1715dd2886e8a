// What training needs besides the network. Before a run: a look at the rows, and their orders. In a
// step: the weights' sum before it, the loss, the penalties and the update behind it. Sums are of
// fixed parts in a fixed order.
#include "control.cuh"
#include "layout.cuh"
#include "optimizers.cuh"
#include "sums.cuh"

// found[0] is raised by the number of values that are not in [least, most], as NaN is not.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    count_outside(const real *values, int64_t count, double least, double most, int64_t *found) {
  real low = (real)least, high = (real)most;
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += apart)
    if (!(values[i] >= low && values[i] <= high)) atomicAdd((unsigned long long *)found, 1ull);
}

// The same for class indices, which are 0 to `classes` - 1.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    count_unknown(const int64_t *labels, int64_t count, int64_t classes, int64_t *found) {
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += apart)
    if (labels[i] < 0 || labels[i] >= classes) atomicAdd((unsigned long long *)found, 1ull);
}

// keys `(epochs, rows)`: of each row in each epoch, from epoch `first` on, a random word above the
// row's number. Sorted, they stand in the order of `fastnet.random.permutation`. They are signed: so
// the word's first bit is turned.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    draw_keys(uint64_t seed, int64_t first, int64_t epochs, int64_t rows, int64_t *keys) {
  int64_t groups = quotient(rows + 3, 4), apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < epochs * groups;
       i += apart) {
    int64_t epoch = quotient(i, groups), group = i - epoch * groups;
    Words drawn = random_words(seed, FN_SHUFFLE, (uint64_t)(first + epoch), 0, (uint32_t)group);
    uint32_t words[4] = {drawn.first, drawn.second, drawn.third, drawn.fourth};
#pragma unroll
    for (int k = 0; k < 4; k++) {
      int64_t row = 4 * group + k;
      if (row < rows)
        keys[epoch * rows + row] =
            (int64_t)((uint64_t)(words[k] ^ 0x80000000u) << 32 | (uint64_t)row);
    }
  }
}

// Sorted keys become their rows' numbers.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    keep_rows(int64_t *keys, int64_t count) {
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += apart)
    keys[i] &= 0xFFFFFFFFll;
}

// sums[block] = a part of the sum of the weights of the batch's rows.
extern "C" __global__ void __launch_bounds__(MASS_THREADS)
    mass(const int64_t *control, const real *weights, const int64_t *order, double *sums) {
  __shared__ double scratch[FN_MOST_WARPS];
  Batch batch = batch_of(control, control[NEXT]);
  double sum = 0;
#pragma unroll 8
  for (int r = blockIdx.x * blockDim.x + threadIdx.x; r < batch.rows; r += gridDim.x * blockDim.x)
    sum += weights[row_of(batch, order, r)];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// scalars[MASS] = the sum of the `count` parts that several blocks of `mass` have left. One block.
extern "C" __global__ void __launch_bounds__(FN_WARP)
    add_up_mass(const double *sums, int count, double *scalars) {
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += FN_WARP) sum += sums[i];
  sum = group_sum(sum, FN_WARP);
  if (threadIdx.x == 0) scalars[MASS] = sum;
}

// gradient `(size,)` = the pass's, without the scale it carries, with the penalties' derivative;
// both may be the same array. Statistics behind the trained parameters stay as they are.
// sums `(3, blocks)`: what a block's parameters add to the loss, the squares of its entries, cut as
// they will be, and the same times SHRINK^2.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    collect(const int *int_table, const int64_t *control, const double *settings,
            const double *steps, const double *scalars, const real *parameters,
            const real *passed, real *gradient, double *sums) {
  __shared__ double scratch[FN_MOST_WARPS];
  Table table = {int_table, nullptr};
  int size = table[TABLE_SIZE], trained = table[TABLE_TRAINED];
  real l1 = (real)settings[SETTING_L1], limit = (real)settings[SETTING_CLIP_VALUE];
  real l2 = (real)steps[control[NEXT] * control[STEP_NUMBERS] + STEP_L2];
  bool penalized = l1 != 0 || l2 != 0;
  real unscale = (real)(1 / scalars[SCALE]);
  double added = 0, square = 0, small = 0;
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += apart) {
    if (i >= trained) {
      gradient[i] = passed[i];
      continue;
    }
    real g = passed[i] * unscale;
    if (penalized)
      for (int l = 0; l < table.layers(); l++) {
        int64_t place = i - table.layer(l, LAYER_WEIGHT);
        if (place < 0 || place >= table.layer(l, LAYER_INPUTS) * table.layer(l, LAYER_UNITS))
          continue;
        real w = parameters[i];
        added += penalty(w, l1, l2);
        g += penalty_slope(w, l1, l2);
      }
    gradient[i] = g;
    double entry = clipped(g, limit);
    square += entry * entry;
    small += entry * SHRINK * (entry * SHRINK);
  }
  added = block_sum(added, scratch);
  square = block_sum(square, scratch);
  small = block_sum(small, scratch);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = added;
    sums[gridDim.x + blockIdx.x] = square;
    sums[2 * gridDim.x + blockIdx.x] = small;
  }
}

// The loss of a step, from the `count` parts that a pass has left, and the weights behind that mean.
struct StepLoss {
  double loss, rows;

  // By all threads of a block, each of which has it, in all blocks alike.
  __device__ __forceinline__ StepLoss(const Table &table, const int64_t *control,
                                      const double *scalars, int weighted, const double *parts,
                                      int count, double *scratch) {
    loss = 0;
    for (int part = threadIdx.x; part < count; part += blockDim.x) loss += parts[part];
    loss = block_sum(loss, scratch);
    rows = weighted ? scalars[MASS] : (double)batch_of(control, control[NEXT]).rows;
    loss /= table[TABLE_EACH];
    // A batch of weights that are all zero has loss 0.
    loss = rows > 0 ? loss / rows : 0.0;
  }
  // On to the next step, by the last thread that reads the control block: losses[step], and
  // masses[step]. A loss that is not finite stops the run. Whether it was not stopped before.
  __device__ __forceinline__ bool conclude(int64_t *control, double *losses, double *masses) const {
    int64_t step = control[NEXT];
    control[NOW] = step;
    control[NEXT] = step + 1;
    if (control[STOPPED]) return false;
    losses[step] = loss;
    masses[step] = rows;
    control[STOPPED] = !isfinite(loss);
    return true;
  }
};

// One block: the step's loss, the gradient's factor from the sums of the `blocks` that `collect` ran
// in (0: it was not needed), and on to the next step.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    total(const int *int_table, int64_t *control, double *scalars, const double *settings,
          int weighted, const double *parts, int count, const double *sums, int blocks,
          double *losses, double *masses) {
  __shared__ double scratch[FN_MOST_WARPS];
  Table table = {int_table, nullptr};
  StepLoss found(table, control, scalars, weighted, parts, count, scratch);
  double added = 0, square = 0, small = 0;
  for (int block = threadIdx.x; block < blocks; block += blockDim.x) {
    added += sums[block];
    square += sums[blocks + block];
    small += sums[2 * blocks + block];
  }
  added = block_sum(added, scratch);
  square = block_sum(square, scratch);
  small = block_sum(small, scratch);
  if (threadIdx.x) return;
  if (blocks && settings[SETTING_REPORTS_PENALTY] != 0) found.loss += added;
  if (!found.conclude(control, losses, masses)) return;
  scalars[FACTOR] = blocks ? norm_factor(square, small, settings[SETTING_CLIP_NORM]) : 1.0;
}

// What `total` does without the gradient's sums, by an update itself, of which every block adds up
// the loss: `count` parts, 0 where `total` has done it.
struct OwnTotal {
  StepLoss found;
  int count;
  int64_t step;
  bool stopped;

  __device__ __forceinline__ OwnTotal(const int *int_table, const int64_t *control,
                                      const double *scalars, int weighted, const double *parts,
                                      int count, double *scratch)
      : found({int_table, nullptr}, control, scalars, weighted, parts, count, scratch),
        count(count), step(control[count ? NEXT : NOW]) {
    stopped = control[STOPPED] || (count && !isfinite(found.loss));
  }
  // By the block that is the last to get here: no other one reads the control block any more.
  __device__ __forceinline__ void conclude(int64_t *control, double *losses, double *masses) const {
    if (!count) return;
    __syncthreads();  // this block's threads have read it
    if (threadIdx.x) return;
    __threadfence();
    unsigned long long *done = (unsigned long long *)(control + DONE);
    if (atomicAdd(done, 1ull) + 1 < gridDim.x) return;
    *done = 0;
    found.conclude(control, losses, masses);
  }
};

// A step's update: its rule, and the arrays that it changes. The gradient carries the step's scale
// if `scaled`. `factors`: for each parameter that of its learning rate, then all of weight decay;
// null: all 1. `copy` becomes the parameters as products read them; null: it is not needed.
struct Update {
  Rule rule;
  const double *step;
  real factor, limit, unscale;
  int slots;
  int64_t size;
  const real *factors;
  real *parameters, *memory;
  store *copy;

  __device__ __forceinline__ Update(const int64_t *control, const double *settings,
                                    const double *steps, int64_t index, const double *scalars,
                                    int scaled, int64_t size, const real *factors,
                                    real *parameters, real *memory, store *copy)
      : rule((int)control[OPTIMIZER], settings), size(size), factors(factors),
        parameters(parameters), memory(memory), copy(copy) {
    step = steps + index * control[STEP_NUMBERS];
    slots = (int)control[SLOTS];
    rule.take(step);
    factor = (real)scalars[FACTOR];
    limit = (real)settings[SETTING_CLIP_VALUE];
    unscale = scaled ? (real)(1 / scalars[SCALE]) : (real)1;
  }
  // Parameter i, by its entry of the gradient.
  __device__ __forceinline__ void entry(int64_t i, real gradient) {
    real g = clipped(gradient * unscale, limit) * factor;
    real p = parameters[i], m = slots > 0 ? memory[i] : (real)0;
    real n = slots > 1 ? memory[size + i] : (real)0;
    if (factors) rule.take(step, factors[i], factors[size + i]);
    update(rule, p, g, m, n);
    parameters[i] = p;
    if (slots > 0) memory[i] = m;
    if (slots > 1) memory[size + i] = n;
    if (copy) copy[i] = to_store(p);
  }
};

// Update every parameter. `own_parts` to `masses`: see `OwnTotal`.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    update_parameters(const int *int_table, int64_t *control, const double *settings,
                      const double *steps, const double *scalars, int weighted,
                      const double *own_parts, int own_count, double *losses, double *masses,
                      const real *gradient, int scaled, int64_t size, const real *factors,
                      real *parameters, real *memory, store *copy) {
  __shared__ double scratch[FN_MOST_WARPS];
  OwnTotal own(int_table, control, scalars, weighted, own_parts, own_count, scratch);
  if (!own.stopped) {
    Update update(control, settings, steps, own.step, scalars, scaled, size, factors, parameters,
                  memory, copy);
    int64_t apart = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += apart)
      update.entry(i, gradient[i]);
  }
  own.conclude(control, losses, masses);
}

// The same by the sums of the columns of parts `(rows, stride)`, a block for SUM_COLUMNS of them.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    update_by_parts(const int *int_table, int64_t *control, const double *settings,
                    const double *steps, const double *scalars, int weighted,
                    const double *own_parts, int own_count, double *losses, double *masses,
                    const real *parts, int rows, int stride, int scaled, int64_t size,
                    const real *factors, real *parameters, real *memory, store *copy) {
  __shared__ double scratch[FN_MOST_WARPS];
  OwnTotal own(int_table, control, scalars, weighted, own_parts, own_count, scratch);
  int64_t i = (int64_t)blockIdx.x * SUM_COLUMNS + threadIdx.x % SUM_COLUMNS;
  real sum = column_sum(parts, stride, (int)i, 0, rows);
  if (!own.stopped) {
    Update update(control, settings, steps, own.step, scalars, scaled, size, factors, parameters,
                  memory, copy);
    if (threadIdx.x < SUM_COLUMNS && i < size) update.entry(i, sum);
  }
  own.conclude(control, losses, masses);
}

// Move `count` statistics toward those of the step's batch, by their shares of the way.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    move_statistics(const int64_t *control, const real *batch, const real *shares, int64_t count,
                    real *statistics) {
  if (control[STOPPED]) return;
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += apart)
    statistics[i] += (batch[i] - statistics[i]) * shares[i];
}

// copy = the parameters as products read them.
extern "C" __global__ void __launch_bounds__(FN_THREADS, 1)
    convert(const real *parameters, store *copy, int64_t size) {
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += apart)
    copy[i] = to_store(parameters[i]);
}
