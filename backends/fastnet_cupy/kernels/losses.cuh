// Losses of a row and their derivatives by the network's output, as fastnet_numpy defines them.
// Where a loss is computed from logits, the output `p` is those.
//
// Each kind stands in one place, its struct. To add one, add a struct: the lists of kinds that the
// switches below go over are made from the structs (names.py).
#pragma once
#include "layout.cuh"
#include "sums.cuh"

// A row's target: `y` (outputs,), or a class's index.
struct Target {
  const real *y;
  int label;
};

// What a loss is: a sum over a row's entries, or one formula for a row as a whole.
struct OfEntries {};
struct OfRows {};

template <int KIND>
struct Loss;

// Of one entry, with prediction p, target y, r = p - y: its loss; `slope` becomes its derivative
// by p.

template <>
struct Loss<LOSS_MSE> : OfEntries {
  static __device__ __forceinline__ real value(real p, real y, real, real &slope) {
    real r = p - y;
    slope = r + r;
    return r * r;
  }
};

template <>
struct Loss<LOSS_MAE> : OfEntries {
  static __device__ __forceinline__ real value(real p, real y, real, real &slope) {
    real r = p - y;
    slope = sign_(r);
    return abs_(r);
  }
};

template <>
struct Loss<LOSS_HUBER> : OfEntries {
  static __device__ __forceinline__ real value(real p, real y, real delta, real &slope) {
    real r = p - y;
    real c = r > delta ? delta : (r < -delta ? -delta : r);
    slope = c;
    return c * (r - (real)0.5 * c);
  }
};

template <>
struct Loss<LOSS_POISSON> : OfEntries {
  static __device__ __forceinline__ real value(real p, real y, real, real &slope) {
    real rate = exp_(p);
    slope = rate - y;
    return rate - y * p;
  }
};

template <>
struct Loss<LOSS_POISSON_RATE> : OfEntries {
  static __device__ __forceinline__ real value(real p, real y, real epsilon, real &slope) {
    real near = p + epsilon;
    slope = 1 - y / near;
    return p - y * log_(near);
  }
};

template <>
struct Loss<LOSS_QUANTILE> : OfEntries {
  static __device__ __forceinline__ real value(real p, real y, real q, real &slope) {
    real r = y - p;
    slope = r > 0 ? -q : (r < 0 ? 1 - q : r);
    return -r * slope;
  }
};

template <>
struct Loss<LOSS_BINARY_CROSSENTROPY> : OfEntries {  // p is the logit
  static __device__ __forceinline__ real value(real p, real y, real, real &slope) {
    slope = sigmoid(p) - y;
    // In this order: where the answer is sure and right, the first two cancel exactly.
    return ((p < 0 ? (real)0 : p) - p * y) + log1p_(exp_(-abs_(p)));
  }
};

__device__ __forceinline__ real entry_loss(int code, real p, real y, real constant, real &slope) {
#define FN_CASE(KIND) \
  case KIND:          \
    return Loss<KIND>::value(p, y, constant, slope);
  switch (code) { EACH_LOSS_OF_ENTRIES(FN_CASE) }
#undef FN_CASE
  return slope = 0;
}

// Softmax of a row of `n` in place, by a group of lanes of which this is number `lane`.
__device__ __forceinline__ void softmax_row(real *row, int n, int lane, int lanes) {
  real peak = row[0];
  for (int j = lane; j < n; j += lanes) peak = larger(peak, row[j]);
  peak = group_peak(peak, lanes);
  real whole = 0;
  __syncwarp();  // all have read row[0] before it is written
  for (int j = lane; j < n; j += lanes) {
    row[j] = exp_(row[j] - peak);
    whole += row[j];
  }
  whole = group_sum(whole, lanes);
  for (int j = lane; j < n; j += lanes) row[j] = row[j] / whole;
}

// dz_j = a_j (d_j - sum_k a_k d_k), for a = softmax(z), in place of d.
__device__ __forceinline__ void softmax_row_back(const real *a, real *d, int n, int lane,
                                                 int lanes) {
  real shared = 0;
  for (int j = lane; j < n; j += lanes) shared += a[j] * d[j];
  shared = group_sum(shared, lanes);
  for (int j = lane; j < n; j += lanes) d[j] = a[j] * (d[j] - shared);
}

// The largest derivative at the output is scaled to this, for fp16: 2^11 below its largest number,
// because derivatives may grow on the way to the first layer, and 2^28 above its least.
#define SCALED_PEAK 16
// 2^126, the largest scale: its inverse is the least number that float32 has in full, and it lifts
// float32's least, 2^-149, above fp16's, 2^-24.
#define LARGEST_SCALE 8.5070592e37f

// The power of two that brings `peak`, the largest size of a derivative, next to SCALED_PEAK; 1 for
// one that is not finite.
__device__ __forceinline__ float scale_for(float peak) {
  if (!isfinite(peak)) return 1.f;
  int exponent = 0;
  frexpf(peak, &exponent);
  return peak > 0 && exponent > -122 ? ldexpf((float)SCALED_PEAK, -exponent) : LARGEST_SCALE;
}

// A row's loss, of its logits p; `put(j, slope)` takes the derivative by p[j], and may overwrite it.
template <>
struct Loss<LOSS_CROSSENTROPY> : OfRows {
  template <class Put>
  static __device__ __forceinline__ real value(const real *p, Target target, int n, int lane,
                                               int lanes, Put put) {
    real peak = p[0];
    for (int j = lane; j < n; j += lanes) peak = larger(peak, p[j]);
    peak = group_peak(peak, lanes);
    real sum = 0;
    for (int j = lane; j < n; j += lanes) sum += exp_(p[j] - peak);
    sum = group_sum(sum, lanes);
    // Probabilities sum to 1 up to their rounding, by which both are taken as they are.
    real sure = 1, picked = 0;
    if (target.y) {
      sure = 0;
      for (int j = lane; j < n; j += lanes) {
        real y = target.y[j];
        sure += y;
        if (y > 0) picked += y * (p[j] - peak);
      }
      sure = group_sum(sure, lanes);
      picked = group_sum(picked, lanes);
    } else {
      picked = p[target.label] - peak;
    }
    __syncwarp();  // all have read p before put may overwrite it
    for (int j = lane; j < n; j += lanes) {
      real y = target.y ? target.y[j] : (real)(j == target.label);
      put(j, exp_(p[j] - peak) / sum * sure - y);
    }
    return sure * log_(sum) - picked;
  }
};

// A row's loss times its weight, in every lane of the group; `put(j, slope)` takes the derivative
// by p[j], times `share`, the weight over the sum of all weights (and outputs); it may overwrite
// p[j]. A row of weight 0 does not count, even where its loss is not finite.
template <class Put>
__device__ __forceinline__ real row_loss(int code, real constant, const real *p, Target target,
                                         real weight, real share, int n, int lane, int lanes,
                                         Put put) {
  auto put_shared = [&](int j, real slope) { put(j, weight > 0 ? slope * share : (real)0); };
#define FN_CASE(KIND)                                                                     \
  case KIND: {                                                                            \
    real loss = Loss<KIND>::value(p, target, n, lane, lanes, put_shared);                 \
    return weight > 0 ? loss * weight : (real)0;                                          \
  }
  switch (code) { EACH_LOSS_OF_ROWS(FN_CASE) }
#undef FN_CASE
  real sum = 0;
  for (int j = lane; j < n; j += lanes) {
    real slope;
    sum += entry_loss(code, p[j], target.y[j], constant, slope);
    put_shared(j, slope);
  }
  sum = group_sum(sum, lanes);
  return weight > 0 ? sum * weight : (real)0;
}
