// What a training step needs besides the network: the weights' sum before it, the loss, the
// penalties and the update behind it. Sums are of fixed parts in a fixed order.
#include "control.cuh"
#include "layout.cuh"
#include "optimizers.cuh"
#include "sums.cuh"

#define STEP_THREADS 256

// Threads that add up weights: as many reads are on their way at once.
#define MASS_THREADS 1024

// scalars[MASS] = the sum of the weights of the batch's rows. One block.
extern "C" __global__ void __launch_bounds__(MASS_THREADS)
    mass(const int64_t *control, const real *weights, const int64_t *order, double *scalars) {
  __shared__ double scratch[FN_MOST_WARPS];
  Batch batch = batch_of(control, control[NEXT]);
  double sum = 0;
#pragma unroll 8
  for (int r = threadIdx.x; r < batch.rows; r += blockDim.x)
    sum += weights[row_of(batch, order, r)];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) scalars[MASS] = sum;
}

// gradient `(size,)` = the pass's, without the scale it carries, with the penalties' derivative;
// both may be the same array.
// For each block: penalties[block] what its parameters add to the loss, squares[block] the
// squares of its entries, cut as they will be, and shrunk[block] the same, times SHRINK^2.
extern "C" __global__ void __launch_bounds__(STEP_THREADS, 1)
    collect(const int *table_whole, const double *table_reals, const double *objective,
            const double *scalars, const real *parameters, const real *passed, real *gradient,
            double *penalties, double *squares, double *shrunk) {
  __shared__ double scratch[FN_MOST_WARPS];
  Table table = {table_whole, table_reals};
  int size = table[TABLE_SIZE];
  real l1 = (real)objective[L1], l2 = (real)objective[L2], limit = (real)objective[CLIP_VALUE];
  bool penalized = l1 != 0 || l2 != 0;
  real unscale = (real)(1 / scalars[SCALE]);
  double penalty = 0, square = 0, small = 0;
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += apart) {
    real g = passed[i] * unscale;
    if (penalized)
      for (int l = 0; l < table.layers(); l++) {
        int64_t place = i - table.layer(l, LAYER_WEIGHT);
        if (place < 0 || place >= table.layer(l, LAYER_INPUTS) * table.layer(l, LAYER_UNITS))
          continue;
        real w = parameters[i];
        penalty += l1 * abs_(w) + (real)0.5 * l2 * w * w;
        g += l1 * sign_(w) + l2 * w;
      }
    gradient[i] = g;
    double entry = clipped(g, limit);
    square += entry * entry;
    small += entry * SHRINK * (entry * SHRINK);
  }
  penalty = block_sum(penalty, scratch);
  square = block_sum(square, scratch);
  small = block_sum(small, scratch);
  if (threadIdx.x == 0) {
    penalties[blockIdx.x] = penalty;
    squares[blockIdx.x] = square;
    shrunk[blockIdx.x] = small;
  }
}

// One block: the step's loss from its `count` parts, the gradient's factor from the `blocks` parts
// that `collect` made (0: it was not needed), and the next step's turn. losses[step] and
// masses[step], the weights behind that mean. A loss that is not finite stops the run.
extern "C" __global__ void __launch_bounds__(STEP_THREADS, 1)
    total(const int *table_whole, int64_t *control, double *scalars, const double *objective,
          int weighted, const double *parts, int count, const double *penalties,
          const double *squares, const double *shrunk, int blocks, double *losses,
          double *masses) {
  __shared__ double scratch[FN_MOST_WARPS];
  Table table = {table_whole, nullptr};
  double loss = 0, penalty = 0, square = 0, small = 0;
  for (int part = threadIdx.x; part < count; part += blockDim.x) loss += parts[part];
  for (int block = threadIdx.x; block < blocks; block += blockDim.x) {
    penalty += penalties[block];
    square += squares[block];
    small += shrunk[block];
  }
  loss = block_sum(loss, scratch);
  penalty = block_sum(penalty, scratch);
  square = block_sum(square, scratch);
  small = block_sum(small, scratch);
  if (threadIdx.x) return;
  int64_t step = control[NEXT];
  double rows = weighted ? scalars[MASS] : (double)batch_of(control, step).rows;
  if (table[TABLE_LOSS] != CROSSENTROPY) loss /= table[TABLE_OUTPUTS];
  // A batch of weights that are all zero teaches nothing.
  loss = (rows > 0 ? loss / rows : 0.0) + penalty;
  control[NOW] = step;
  control[NEXT] = step + 1;
  if (control[STOPPED]) return;
  losses[step] = loss;
  masses[step] = rows;
  control[STOPPED] = !isfinite(loss);
  scalars[FACTOR] = blocks ? norm_factor(square, small, objective[CLIP_NORM]) : 1.0;
}

// Move every parameter by its entry of the gradient, which carries the step's scale if `scaled`.
// `copy` becomes the parameters as products read them; null: nobody reads one.
extern "C" __global__ void __launch_bounds__(STEP_THREADS, 1)
    move(const int64_t *control, const double *scalars, const double *objective,
         const double *constants, int code, int slots, const double *rates,
         const real *gradient, int scaled, int64_t size, real *parameters, real *memory,
         store *copy) {
  if (control[STOPPED]) return;
  Rule rule(code, constants);
  rule.take(rates + control[NOW] * RATES);
  real factor = (real)scalars[FACTOR], limit = (real)objective[CLIP_VALUE];
  real unscale = scaled ? (real)(1 / scalars[SCALE]) : (real)1;
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += apart) {
    real g = clipped(gradient[i] * unscale, limit) * factor;
    real p = parameters[i], m = slots > 0 ? memory[i] : (real)0;
    real n = slots > 1 ? memory[size + i] : (real)0;
    update(rule, p, g, m, n);
    parameters[i] = p;
    if (slots > 0) memory[i] = m;
    if (slots > 1) memory[size + i] = n;
    if (copy) copy[i] = to_store(p);
  }
}

// copy = the parameters as products read them.
extern "C" __global__ void __launch_bounds__(STEP_THREADS, 1)
    recast(const real *parameters, store *copy, int64_t size) {
  int64_t apart = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += apart)
    copy[i] = to_store(parameters[i]);
}
