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

template <>
struct Loss<LOSS_SMOOTHED_BINARY_CROSSENTROPY> : OfEntries {  // of (1 - e) y + e / 2
  static __device__ __forceinline__ real value(real p, real y, real e, real &slope) {
    return Loss<LOSS_BINARY_CROSSENTROPY>::value(p, y + e * ((real)0.5 - y), e, slope);
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

// Of a row, with the loss's own constants; `put(j, slope)` takes the derivative by p[j], and may
// overwrite it. The loss is in every lane of the group.

// Of the logits p, with targets (1 - e) y + e sum(y) / n.
template <class Put>
__device__ __forceinline__ real crossentropy(real e, const real *p, Target target, int n, int lane,
                                             int lanes, Put put) {
  real peak = p[0];
  for (int j = lane; j < n; j += lanes) peak = larger(peak, p[j]);
  peak = group_peak(peak, lanes);
  real sum = 0;
  for (int j = lane; j < n; j += lanes) sum += exp_(p[j] - peak);
  sum = group_sum(sum, lanes);
  // Probabilities sum to 1 up to their rounding, by which both are taken as they are.
  real sure = 1, picked = 0, even = 0;
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
  if (e != 0) {
    real spread = 0;
    for (int j = lane; j < n; j += lanes) spread += p[j] - peak;
    even = e * sure / n;
    picked = (1 - e) * picked + even * group_sum(spread, lanes);
  }
  __syncwarp();  // all have read p before put may overwrite it
  for (int j = lane; j < n; j += lanes) {
    real y = target.y ? target.y[j] : (real)(j == target.label);
    put(j, exp_(p[j] - peak) / sum * sure - ((1 - e) * y + even));
  }
  return sure * log_(sum) - picked;
}

template <>
struct Loss<LOSS_CROSSENTROPY> : OfRows {
  template <class Put>
  static __device__ __forceinline__ real value(const double *, const real *p, Target target, int n,
                                               int lane, int lanes, Put put) {
    return crossentropy((real)0, p, target, n, lane, lanes, put);
  }
};

template <>
struct Loss<LOSS_SMOOTHED_CROSSENTROPY> : OfRows {
  template <class Put>
  static __device__ __forceinline__ real value(const double *constants, const real *p,
                                               Target target, int n, int lane, int lanes,
                                               Put put) {
    return crossentropy((real)constants[0], p, target, n, lane, lanes, put);
  }
};

template <>
struct Loss<LOSS_QUANTILES> : OfRows {  // constants: each output's q
  template <class Put>
  static __device__ __forceinline__ real value(const double *constants, const real *p,
                                               Target target, int n, int lane, int lanes,
                                               Put put) {
    real sum = 0;
    for (int j = lane; j < n; j += lanes) {
      real slope;
      sum += Loss<LOSS_QUANTILE>::value(p[j], target.y[j], (real)constants[j], slope);
      put(j, slope);
    }
    return group_sum(sum, lanes);
  }
};

template <>
struct Loss<LOSS_GAUSSIAN_NLL> : OfRows {  // p holds the means, then the logarithms of variances
  template <class Put>
  static __device__ __forceinline__ real value(const double *constants, const real *p,
                                               Target target, int n, int lane, int lanes,
                                               Put put) {
    real least = (real)constants[0], sum = 0;
    int half = n / 2;
    for (int j = lane; j < half; j += lanes) {
      real r = p[j] - target.y[j], s = p[half + j];
      real c = s < least ? least : s;
      real slope = r * exp_(-c);
      sum += (real)0.5 * (c + r * slope);
      put(j, slope);
      put(half + j, (real)0.5 * (1 - r * slope) * exp_(s - c));
    }
    __syncwarp();  // derivatives were put for other lanes too
    return group_sum(sum, lanes);
  }
};

// A row's loss times its weight, in every lane of the group; `put(j, slope)` takes the derivative
// by p[j], times `share`, the weight over the sum of all weights (and outputs); it may overwrite
// p[j]. A row of weight 0 does not count, even where its loss is not finite.
template <class Put>
__device__ __forceinline__ real row_loss(int code, const double *constants, const real *p,
                                         Target target, real weight, real share, int n, int lane, int lanes,
                                         Put put) {
  auto put_shared = [&](int j, real slope) { put(j, weight > 0 ? slope * share : (real)0); };
#define FN_CASE(KIND)                                                                     \
  case KIND: {                                                                            \
    real loss = Loss<KIND>::value(constants, p, target, n, lane, lanes, put_shared);      \
    return weight > 0 ? loss * weight : (real)0;                                          \
  }
  switch (code) { EACH_LOSS_OF_ROWS(FN_CASE) }
#undef FN_CASE
  real sum = 0, constant = (real)constants[0];
  for (int j = lane; j < n; j += lanes) {
    real slope;
    sum += entry_loss(code, p[j], target.y[j], constant, slope);
    put_shared(j, slope);
  }
  sum = group_sum(sum, lanes);
  return weight > 0 ? sum * weight : (real)0;
}
